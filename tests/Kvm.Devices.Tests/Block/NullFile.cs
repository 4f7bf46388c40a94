using Kvm.Devices.Block;
using Kvm.Devices.Memory;

namespace Kvm.Devices.Tests.Block;

/// <summary>A file whose operations do nothing and end as soon as they are submitted: what is left of a request is ours. Allocates nothing.</summary>
internal sealed class NullFile(ulong length) : IHostFile
{
    public ulong Length => length;

    public bool IsReadOnly => false;

    public int Alignment => 1;

    public HostFileResult ReadAt(ulong position, ReadOnlySpan<HostBuffer> buffers) => new(Sum(buffers));

    public HostFileResult WriteAt(ulong position, ReadOnlySpan<HostBuffer> buffers) => new(Sum(buffers));

    public HostFileError Flush() => HostFileError.None;

    public HostFileError Discard(ulong position, ulong length) => HostFileError.None;

    public HostFileError WriteZeroes(ulong position, ulong length) => HostFileError.None;

    public IReadOnlyList<IHostFileQueue> OpenQueues(int count, int depth) => [.. Enumerable.Range(0, count).Select(_ => new Queue(depth))];

    public void Dispose()
    {
    }

    private static long Sum(ReadOnlySpan<HostBuffer> buffers)
    {
        long sum = 0;
        foreach (ref readonly var buffer in buffers)
            sum += buffer.Length;
        return sum;
    }

    private sealed class Queue(int depth) : IHostFileQueue
    {
        private readonly HostFileCompletion[] _ended = new HostFileCompletion[depth];
        private int _submitted, _prepared;

        public bool HasEnded => _submitted > 0;

        public void Read(int tag, ulong position, ReadOnlySpan<HostBuffer> buffers) => End(tag, Sum(buffers));

        public void Write(int tag, ulong position, ReadOnlySpan<HostBuffer> buffers) => End(tag, Sum(buffers));

        public void Flush(int tag) => End(tag, 0);

        public void Discard(int tag, ulong position, ulong length) => End(tag, 0);

        public void WriteZeroes(int tag, ulong position, ulong length) => End(tag, 0);

        public void Submit() => _submitted = _prepared;

        public bool TryTake(out HostFileCompletion completion)
        {
            completion = default;
            if (_submitted == 0)
                return false;
            // The one submitted last; what is only prepared moves down.
            completion = _ended[--_submitted];
            _ended[_submitted] = _ended[--_prepared];
            return true;
        }

        public void Wait() => throw new InvalidOperationException("nothing takes time here");

        public void Cancel()
        {
        }

        public void Mute()
        {
        }

        public bool Unmute() => _submitted > 0;

        public void Dispose()
        {
        }

        private void End(int tag, long bytes) => _ended[_prepared++] = new HostFileCompletion(tag, new HostFileResult(bytes));
    }
}
