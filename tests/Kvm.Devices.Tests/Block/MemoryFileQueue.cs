using Kvm.Devices.Block;
using Kvm.Devices.Memory;

namespace Kvm.Devices.Tests.Block;

/// <summary>
/// Operations of a <see cref="MemoryFile"/> that take effect and end when a test lets them, in any order; unless it holds them they end as soon as
/// they are submitted, as those of a file in the page cache do. Watches its user: tags in use, waiting for nothing.
/// </summary>
internal sealed class MemoryFileQueue(MemoryFile file, int depth) : IHostFileQueue
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly object _lock = new();
    private readonly List<Operation> _prepared = [];
    private readonly List<Operation> _underWay = [];
    private readonly Queue<HostFileCompletion> _ended = [];
    private readonly bool[] _used = new bool[depth];
    private bool _muted;

    private sealed record Operation(int Tag, FileCall Call, ulong Position, ulong Length, HostBuffer[] Buffers);

    /// <summary>Operations wait for <see cref="Release"/>.</summary>
    public bool Holds { get; set; }

    /// <summary>Nothing can be given up: the host has begun it.</summary>
    public bool CannotCancel { get; set; }

    /// <summary>Called when an operation ends and the user asked to be woken.</summary>
    public Action? Bell { get; set; }

    /// <summary>Called once, when the user is about to ask for being woken.</summary>
    public Action? BeforeUnmute { get; set; }

    /// <summary>Where nobody else lets operations end: one does when it is waited for.</summary>
    public bool EndsWhenWaitedFor { get; set; }

    public bool Disposed { get; private set; }

    public int Submissions { get; private set; }

    public int Cancellations { get; private set; }

    /// <summary>What was submitted and has not ended, in the order of submission.</summary>
    public FileCall[] UnderWay
    {
        get
        {
            lock (_lock)
                return [.. _underWay.Select(o => o.Call)];
        }
    }

    public void Read(int tag, ulong position, ReadOnlySpan<HostBuffer> buffers) => Prepare(tag, FileCall.Read, position, 0, buffers);

    public void Write(int tag, ulong position, ReadOnlySpan<HostBuffer> buffers) => Prepare(tag, FileCall.Write, position, 0, buffers);

    public void Flush(int tag) => Prepare(tag, FileCall.Flush, 0, 0, []);

    public void Discard(int tag, ulong position, ulong length) => Prepare(tag, FileCall.Discard, position, length, []);

    public void WriteZeroes(int tag, ulong position, ulong length) => Prepare(tag, FileCall.WriteZeroes, position, length, []);

    public void Submit()
    {
        lock (_lock)
        {
            Submissions++;
            _underWay.AddRange(_prepared);
            _prepared.Clear();
            while (!Holds && _underWay.Count > 0)
                End(0);
        }
    }

    public bool HasEnded
    {
        get
        {
            lock (_lock)
                return _ended.Count > 0;
        }
    }

    public bool TryTake(out HostFileCompletion completion)
    {
        lock (_lock)
        {
            if (!_ended.TryDequeue(out completion))
                return false;
            _used[completion.Tag] = false;
            return true;
        }
    }

    public void Wait()
    {
        lock (_lock)
        {
            while (_ended.Count == 0)
            {
                if (_underWay.Count == 0)
                    throw new InvalidOperationException("nothing is submitted that could end");
                if (EndsWhenWaitedFor)
                {
                    End(_underWay.Count - 1);
                    return;
                }

                if (!Monitor.Wait(_lock, Patience))
                    throw new TimeoutException("nobody released what is waited for");
            }
        }
    }

    public void Cancel()
    {
        lock (_lock)
        {
            Cancellations++;
            if (CannotCancel)
                return;
            foreach (var operation in _underWay)
                _ended.Enqueue(new HostFileCompletion(operation.Tag, new HostFileResult(0, HostFileError.Cancelled)));
            _underWay.Clear();
        }
    }

    public void Mute()
    {
        lock (_lock)
            _muted = true;
    }

    public bool Unmute()
    {
        var before = BeforeUnmute;
        BeforeUnmute = null;
        before?.Invoke();
        lock (_lock)
        {
            _muted = false;
            return _ended.Count > 0;
        }
    }

    /// <summary>Lets an operation take effect and end: the one so far back in the order of submission.</summary>
    public void Release(int index = 0) => Release(_ => index);

    /// <summary>Lets any operation take effect and end; false if there is none.</summary>
    public bool TryRelease(Random random) => Release(count => count == 0 ? -1 : random.Next(count));

    public void Dispose()
    {
        lock (_lock)
        {
            if (_underWay.Count > 0 || _ended.Count > 0 || Disposed)
                throw new InvalidOperationException("disposed of with operations under way, or twice");
            Disposed = true;
        }
    }

    private bool Release(Func<int, int> choose)
    {
        bool ring;
        lock (_lock)
        {
            int index = choose(_underWay.Count);
            if (index < 0)
                return false;
            End(index);
            Monitor.PulseAll(_lock);
            ring = !_muted;
        }

        if (ring)
            Bell?.Invoke();
        return true;
    }

    private void Prepare(int tag, FileCall call, ulong position, ulong length, ReadOnlySpan<HostBuffer> buffers)
    {
        lock (_lock)
        {
            if (_used[tag] || Disposed)
                throw new InvalidOperationException($"tag {tag} is in use, or the queue is gone");
            _used[tag] = true;
            _prepared.Add(new Operation(tag, call, position, length, buffers.ToArray()));
        }
    }

    private void End(int index)
    {
        var operation = _underWay[index];
        _underWay.RemoveAt(index);
        var result = operation.Call switch
        {
            FileCall.Read => file.ReadAt(operation.Position, operation.Buffers),
            FileCall.Write => file.WriteAt(operation.Position, operation.Buffers),
            FileCall.Flush => new HostFileResult(0, file.Flush()),
            FileCall.Discard => new HostFileResult(0, file.Discard(operation.Position, operation.Length)),
            _ => new HostFileResult(0, file.WriteZeroes(operation.Position, operation.Length)),
        };
        _ended.Enqueue(new HostFileCompletion(operation.Tag, result));
    }
}
