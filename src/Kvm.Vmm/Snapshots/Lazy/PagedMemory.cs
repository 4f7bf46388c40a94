using System.Text;
using Kvm.Devices.Memory;
using Kvm.Interop;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Snapshots.Lazy;

/// <summary>
/// A machine's memory that a pager brings (docs/snapshots.md, "Lazily"). The pager alone has the descriptor by which that is done: where it is killed, the kernel lets
/// all go on that wait for pages, and the machine is ended; what they have read that was not there is written to no file (<see cref="MayWrite"/>).
/// </summary>
internal sealed class PagedMemory : IDisposable
{
    private const int MostText = 4096, EndMilliseconds = 2000, SigKill = 9, PageSize = SnapshotFormat.PageSize;

    private readonly UnixSocket _line;
    private readonly int _process;
    private readonly FaultWitness _witness;
    private readonly Thread _watch;
    private readonly ManualResetEventSlim _ended = new();
    private readonly Lock _gate = new();
    private volatile bool _isComplete, _isDisposed;
    private string? _failure;
    private Action<string>? _failed;

    private PagedMemory(UnixSocket line, int process, FaultWitness witness)
    {
        (_line, _process, _witness) = (line, process, witness);
        _watch = new Thread(Watch, 256 << 10) { Name = "pages", IsBackground = true };
        _watch.Start();
    }

    /// <summary>Whether all of it is there.</summary>
    public bool IsComplete => _isComplete;

    /// <summary>Has a snapshot's memory brought by a process of its own.</summary>
    /// <param name="program">The program whose verb <c>pager</c> does it.</param>
    /// <param name="reader">The snapshot; not needed any longer than this call.</param>
    /// <param name="ram">Where it goes: untouched.</param>
    /// <param name="why">Why it cannot be, where null is returned; nothing has been changed then.</param>
    public static PagedMemory? TryBegin(string program, SnapshotReader reader, RamMapping ram, out string? why)
    {
        why = null;
        if (reader.Origin is not { } origin)
            why = "the snapshot is in no file";
        else if (UserFault.TryCreate(out var faults) is < 0 and var error)
            why = $"userfaultfd: {Errno.TextOf(-error)}";
        else
        {
            using (faults)
                return TryBegin(program, reader, origin, ram, faults!, out why);
        }

        return null;
    }

    /// <summary>Has somebody told where it cannot go on; at once, where it has happened already.</summary>
    public void Connect(Action<string> failed)
    {
        string? already;
        lock (_gate)
            (_failed, already) = (failed, _failure);
        Tell(already);
    }

    /// <summary>
    /// Whether a file may be written now from this memory, or by a request that lay in it. Waits for what is to be written: the system call finds it there. Any thread.
    /// </summary>
    /// <param name="buffers">What is to be written; or none.</param>
    /// <returns>False for good from the moment on at which the kernel has let anybody go on without what was saved.</returns>
    public bool MayWrite(ReadOnlySpan<HostBuffer> buffers)
    {
        if (_isComplete)
            return true;
        foreach (ref readonly var buffer in buffers)
            Touch(buffer.Span, buffer.Address);
        // All that was read until now, by whomever, had come.
        if (_witness.IsWatched)
            return true;
        // The pager has closed its descriptor: it is about to say that all is there, or has said or will say no more.
        _ended.Wait();
        return _isComplete;
    }

    /// <summary>Ends the pager. What waits for pages goes on.</summary>
    public void Dispose()
    {
        _isDisposed = true;
        _line.Shutdown();
        _watch.Join();
        _line.Dispose();
        EndProcess();
        _witness.Dispose();
        _ended.Dispose();
    }

    private static void Touch(Span<byte> bytes, nint address)
    {
        int toNextPage = PageSize - (int)(address & (PageSize - 1));
        for (int at = 0; at < bytes.Length; at += at == 0 ? toNextPage : PageSize)
            _ = Volatile.Read(ref bytes[at]);
    }

    /// <summary>Takes the pager's end, which is due: its line is closed.</summary>
    private void EndProcess()
    {
        try
        {
            using var process = new PidFd(_process);
            PollFd[] ended = [new PollFd { Fd = process.Handle.Fd, Events = PollFd.POLLIN }];
            if (Descriptor.Poll(ended, EndMilliseconds) == 0 && process.Signal(SigKill) == 0)
                Descriptor.Poll(ended, -1);
        }
        catch (KvmException)
        {
            // Nothing to be waited for.
        }

        _ = PidFd.Reap(_process);
    }

    private static PagedMemory? TryBegin(string program, SnapshotReader reader, SnapshotOrigin origin, RamMapping ram, UserFault faults, out string? why)
    {
        var regions = new PagedRegion[reader.Regions.Count];
        for (int i = 0; i < regions.Length; i++)
        {
            var region = reader.Regions[i];
            regions[i] = new PagedRegion(i, (ulong)ram.HostAddressOf(region.Start, region.Length));
            if (faults.Watch((nint)regions[i].Address, (nuint)region.Length) is < 0 and var error)
            {
                why = $"userfaultfd: {Errno.TextOf(-error)}";
                return null;
            }
        }

        var witness = FaultWitness.TryCreate(faults, out int refused);
        if (witness is null)
        {
            why = $"userfaultfd: {Errno.TextOf(-refused)}";
            return null;
        }

        bool isKept = false;
        try
        {
            var (own, other) = UnixSocket.Pair();
            using (other)
            {
                int process = DetachedProcess.Start(program, ["pager"], "/dev/null", other.Handle);
                var paged = new PagedMemory(own, process, witness);
                isKept = true;
                why = new PageRequest(reader.Name, reader.Identity, origin, regions).Send(own, faults) is < 0 and var error ? $"the pager: {Errno.TextOf(-error)}" : null;
                if (why is null)
                    return paged;
                paged.Dispose();
            }
        }
        catch (KvmException e)
        {
            why = e.Message;
        }
        finally
        {
            if (!isKept)
                witness.Dispose();
        }

        return null;
    }

    private void Watch()
    {
        bool failed = !Follow(out string why);
        _ended.Set();
        if (failed && !_isDisposed)
        {
            lock (_gate)
                _failure = why;
            Tell(why);
        }

        // The machine is ending: the pager lets go on who waits.
        if (failed)
            _line.Shutdown();
    }

    /// <summary>Hears what the pager says, to its end. Returns whether all is there, else why not.</summary>
    private bool Follow(out string why)
    {
        byte[] said = new byte[MostText];
        int length = 0;
        while (length < said.Length && Descriptor.Poll([new PollFd { Fd = _line.Handle.Fd, Events = PollFd.POLLIN }], -1) >= 0)
        {
            int count = _line.ReceiveBytes(said.AsSpan(length));
            if (count == -Errno.EAGAIN)
                continue;
            if (count <= 0)
                break;
            length += count;
            if (said[0] == Pager.Failed && said[length - 1] == 0)
                break;
        }

        why = length > 1 && said[0] == Pager.Failed ? VisibleText.Escape(Encoding.UTF8.GetString(said, 1, length - 1).TrimEnd('\0')) : "the process that brings the machine's memory has ended";
        return _isComplete = length > 0 && said[0] == Pager.Done;
    }

    private void Tell(string? why)
    {
        if (why is not null)
            _failed?.Invoke(why);
    }
}
