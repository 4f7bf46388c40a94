using Kvm.Devices.Block;
using Kvm.Devices.Memory;

namespace Kvm.Devices.Tests.Block.Scheduling;

/// <summary>A queue whose requests end when a test lets them, and which keeps no order: its user's is seen.</summary>
internal sealed class HeldDisk : IDiskQueue
{
    private readonly Queue<DiskCompletion> _ended = [];

    /// <summary>A request that is with the disk.</summary>
    internal sealed record Request(int Tag, char Kind, ulong Position, long Bytes);

    /// <summary>What is with the disk, in the order in which it came.</summary>
    public List<Request> Requests { get; } = [];

    public int UnderWay => Requests.Count + _ended.Count;

    public bool HasEnded => _ended.Count > 0;

    public void Read(int tag, ulong position, ReadOnlyMemory<HostBuffer> buffers) => Requests.Add(new Request(tag, 'r', position, buffers.ToArray().Sum(b => (long)b.Length)));

    public void Write(int tag, ulong position, ReadOnlyMemory<HostBuffer> buffers, bool durable) =>
        Requests.Add(new Request(tag, durable ? 'W' : 'w', position, buffers.ToArray().Sum(b => (long)b.Length)));

    public void Flush(int tag) => Requests.Add(new Request(tag, 'f', 0, 0));

    public void Discard(int tag, ReadOnlyMemory<DiskRange> ranges, bool durable) => Requests.Add(new Request(tag, 'd', ranges.Span[0].Position, 0));

    public void WriteZeroes(int tag, ReadOnlyMemory<DiskRange> ranges, bool durable) => Requests.Add(new Request(tag, 'z', ranges.Span[0].Position, 0));

    public void End(int index = 0, DiskResult result = DiskResult.Done)
    {
        _ended.Enqueue(new DiskCompletion(Requests[index].Tag, result));
        Requests.RemoveAt(index);
    }

    public bool TryTake(out DiskCompletion completion) => _ended.TryDequeue(out completion);

    public void Wait() => End();

    public void Abandon()
    {
        Requests.Clear();
        _ended.Clear();
    }

    public void Mute()
    {
    }

    public bool Unmute() => HasEnded;

    public void Dispose()
    {
    }
}
