using Kvm.Interop;

namespace Kvm.Vmm.Snapshots.Lazy;

/// <summary>
/// Tells whether anybody still has the descriptor by which a machine's pages are brought, which the process that waits for them cannot keep a copy of. It is a page that nobody
/// touches, watched by that descriptor: the kernel refuses to have it watched by a second one (EBUSY) until the last copy of the first is closed. It takes the watch from all
/// memory at once, before it lets anybody go on that waited (fs/userfaultfd.c, userfaultfd_release): who finds it watched after having read a page has read what was brought.
/// </summary>
internal sealed class FaultWitness : IDisposable
{
    private const int Size = 4096;

    private readonly HostMapping _page;
    private readonly UserFault _second;

    private FaultWitness(HostMapping page, UserFault second) => (_page, _second) = (page, second);

    /// <summary>Whether somebody has it. Any thread; false for ever once it was.</summary>
    public bool IsWatched => _second.Watch(_page.Address, Size) == -Errno.EBUSY;

    /// <summary>Makes one for a descriptor.</summary>
    /// <param name="faults">It.</param>
    /// <param name="error">0, or -errno where null is returned.</param>
    /// <exception cref="KvmException">No page is to be had.</exception>
    public static FaultWitness? TryCreate(UserFault faults, out int error)
    {
        error = UserFault.TryCreate(out var second);
        if (error < 0)
            return null;
        var page = HostMapping.Anonymous(Size);
        error = faults.Watch(page.Address, Size);
        if (error == 0)
            return new FaultWitness(page, second!);
        page.Dispose();
        second!.Dispose();
        return null;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _second.Dispose();
        _page.Dispose();
    }
}
