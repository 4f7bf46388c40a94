namespace Kvm.Vmm.Host;

/// <summary>Where the guest's console output ends up. Called by one thread at a time; may block.</summary>
public interface IConsoleTarget : IDisposable
{
    /// <summary>Takes bytes.</summary>
    /// <param name="text">At least one byte.</param>
    /// <returns>False once nobody takes them any more; everything after that is lost.</returns>
    bool Write(ReadOnlySpan<byte> text);

    /// <summary>Bytes that were taken and dropped again, by a cap.</summary>
    long DroppedBytes { get; }
}

/// <summary>
/// Carries the guest's console output to its target from a thread of its own, so that a slow terminal or a full pipe does not
/// hold a vCPU in a system call. A guest that writes faster than the target takes waits, as at a serial line with a slow
/// other end, until <see cref="Release"/>.
/// </summary>
/// <remarks>
/// What arrives within a millisecond goes out in one write: a terminal that is woken for each character is many times slower.
/// <see cref="Write"/> allocates nothing.
/// </remarks>
public sealed class TerminalOutput : IDisposable
{
    private const int RingSize = 64 << 10;
    private const int ChunkSize = 16 << 10;
    private const int GatherMilliseconds = 1;
    private const int GatherBytes = 4 << 10;

    private readonly IConsoleTarget _target;
    private readonly object _lock = new();
    private readonly byte[] _ring = new byte[RingSize];
    private readonly byte[] _chunk = new byte[ChunkSize];
    private Thread? _thread;
    private int _start;
    private int _count;
    private long _written;
    private long _lost;
    private bool _writing;
    private bool _released;
    private bool _closed;
    private bool _gone;

    /// <summary>Prepares to write to <paramref name="target"/>, which becomes this object's.</summary>
    public TerminalOutput(IConsoleTarget target) => _target = target;

    /// <summary>Called on the writing thread, once, when the target takes nothing any more.</summary>
    public Action TargetGone { get; init; } = static () => { };

    /// <summary>Bytes the guest wrote.</summary>
    public long WrittenBytes
    {
        get
        {
            lock (_lock)
                return _written;
        }
    }

    /// <summary>Bytes of these that were dropped: by a cap, or because nobody took them.</summary>
    public long LostBytes
    {
        get
        {
            lock (_lock)
                return _lost + _target.DroppedBytes;
        }
    }

    /// <summary>Takes console output. Any thread.</summary>
    /// <param name="text">The bytes, valid during the call.</param>
    public void Write(ReadOnlySpan<byte> text)
    {
        lock (_lock)
        {
            _written += text.Length;
            while (text.Length > 0)
            {
                while (_count == RingSize && !_released && !_gone)
                    Monitor.Wait(_lock);
                var idle = _count == 0;
                var taken = _gone ? 0 : Put(text);
                if (taken == 0)
                {
                    _lost += text.Length;
                    return;
                }

                text = text[taken..];
                Wake(idle);
            }
        }
    }

    /// <summary>From now on <see cref="Write"/> never waits: the machine is ending, and what does not fit is lost.</summary>
    public void Release()
    {
        lock (_lock)
        {
            _released = true;
            Monitor.PulseAll(_lock);
        }
    }

    /// <summary>Waits until everything is written.</summary>
    /// <param name="patience">Gives up after this long without any progress; null never.</param>
    /// <returns>False if it gave up; what is left counts as lost.</returns>
    public bool Drain(TimeSpan? patience)
    {
        lock (_lock)
        {
            _closed = true;
            Monitor.PulseAll(_lock);
            while ((_count > 0 || _writing) && !_gone)
            {
                var before = _count;
                if (patience is null)
                    Monitor.Wait(_lock);
                else if (!Monitor.Wait(_lock, patience.Value) && _count == before)
                {
                    _lost += _count;
                    _gone = true;
                    return false;
                }
            }

            return !_gone;
        }
    }

    /// <summary>Gives up a <see cref="Drain"/> that waits in another thread. Any thread.</summary>
    public void Abandon()
    {
        lock (_lock)
        {
            _lost += _count;
            _count = 0;
            _gone = true;
            Monitor.PulseAll(_lock);
        }
    }

    /// <summary>Stops the thread, unless it hangs in a write that nobody takes, and closes the target.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _closed = true;
            _released = true;
            Monitor.PulseAll(_lock);
        }

        // A background thread in a blocked write ends with the process.
        if (_thread is null || _thread.Join(50))
            _target.Dispose();
    }

    private int Put(ReadOnlySpan<byte> text)
    {
        var end = (_start + _count) % RingSize;
        var room = Math.Min(RingSize - _count, RingSize - end);
        var taken = Math.Min(room, text.Length);
        text[..taken].CopyTo(_ring.AsSpan(end));
        _count += taken;
        return taken;
    }

    private void Wake(bool wasIdle)
    {
        if (_thread is null)
        {
            _thread = new Thread(Main, maxStackSize: 256 << 10) { Name = "console-output", IsBackground = true };
            _thread.Start();
        }
        else if (wasIdle || _count >= GatherBytes)
        {
            // The thread waits for the first byte, then only for enough of them or a millisecond.
            Monitor.PulseAll(_lock);
        }
    }

    private void Main()
    {
        while (Take() is var count and > 0)
        {
            var taken = _target.Write(_chunk.AsSpan(0, count));
            lock (_lock)
            {
                _writing = false;
                if (!taken)
                {
                    _lost += count + _count;
                    _count = 0;
                    _gone = true;
                }

                Monitor.PulseAll(_lock);
            }

            if (!taken)
            {
                TargetGone();
                return;
            }
        }
    }

    /// <summary>Waits for bytes and copies them out; 0 when there is no more to come.</summary>
    private int Take()
    {
        lock (_lock)
        {
            while (_count == 0 && !_closed && !_gone)
                Monitor.Wait(_lock);
            if (_count < GatherBytes && !_closed && !_gone)
                Monitor.Wait(_lock, GatherMilliseconds);
            if (_gone)
                return 0;
            var count = Math.Min(Math.Min(_count, RingSize - _start), ChunkSize);
            _ring.AsSpan(_start, count).CopyTo(_chunk);
            _start = (_start + count) % RingSize;
            _count -= count;
            _writing = count > 0;
            return count;
        }
    }
}
