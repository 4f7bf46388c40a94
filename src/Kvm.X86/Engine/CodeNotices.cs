namespace Kvm.X86.Engine;

/// <summary>What a processor is told about code pages by others.</summary>
internal enum CodeNoticeKind
{
    /// <summary>Bytes were written: decoded code that covers them is stale.</summary>
    Written,

    /// <summary>Another processor decoded code of the page: writes to it must be told from now on.</summary>
    Decoded,
}

/// <summary>A notice.</summary>
/// <param name="Kind">Which.</param>
/// <param name="Page">Physical page address.</param>
/// <param name="Granules">64-byte pieces of the page, one bit each.</param>
internal readonly record struct CodeNotice(CodeNoticeKind Kind, ulong Page, ulong Granules);

/// <summary>
/// A bounded mailbox: any thread puts notices in, the processor's thread takes them out. When it is full the processor is told
/// to forget all code and translations instead, which covers every notice.
/// </summary>
internal sealed class CodeNotices
{
    private const int Capacity = 256;

    private readonly Lock _lock = new();
    private readonly CodeNotice[] _notices = new CodeNotice[Capacity];
    private int _count;
    private bool _overflowed;
    private volatile bool _any;

    /// <summary>There is something to take.</summary>
    public bool Any => _any;

    /// <summary>Puts a notice in.</summary>
    public void Post(CodeNotice notice)
    {
        lock (_lock)
        {
            _any = true;
            if (_count == Capacity)
                _overflowed = true;
            else
                _notices[_count++] = notice;
        }
    }

    /// <summary>Takes all out. False if some were lost.</summary>
    public bool Take(Span<CodeNotice> destination, out int count)
    {
        lock (_lock)
        {
            count = Math.Min(_count, destination.Length);
            _notices.AsSpan(0, count).CopyTo(destination);
            bool complete = !_overflowed && count == _count;
            _count = 0;
            _overflowed = false;
            _any = false;
            return complete;
        }
    }

    /// <summary>Room <see cref="Take"/> needs.</summary>
    public const int MostNotices = Capacity;
}
