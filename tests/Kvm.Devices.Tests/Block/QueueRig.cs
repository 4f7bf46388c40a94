using Kvm.Devices.Block;
using Kvm.Devices.Memory;

namespace Kvm.Devices.Tests.Block;

/// <summary>A raw image's queue over a file whose operations end when a test lets them, with some memory for each tag.</summary>
internal sealed class QueueRig : IDisposable
{
    public const int Depth = 16, Room = 64 << 10;

    private readonly AlignedBuffer _memory = new(Depth * Room);

    public QueueRig(int length = 1 << 20, int alignment = 1, bool holds = true, int maxBuffers = 1024, int queues = 1)
    {
        File = new MemoryFile(length, alignment) { Asynchronous = true, MaxBuffers = maxBuffers };
        Image = new RawImage(File);
        Queues = Image.OpenQueues(queues, Depth);
        foreach (var host in File.Queues)
            host.Holds = holds;
    }

    public MemoryFile File { get; }

    public RawImage Image { get; }

    public IReadOnlyList<IDiskQueue> Queues { get; }

    public IDiskQueue Queue => Queues[0];

    public MemoryFileQueue Host => File.Queues[0];

    public Span<byte> Bytes(int tag, int length) => _memory.Buffer.Slice(tag * Room, length).Span;

    /// <summary>A tag's memory in pieces of these lengths.</summary>
    public ReadOnlyMemory<HostBuffer> Pieces(int tag, params ReadOnlySpan<int> lengths)
    {
        var pieces = new HostBuffer[lengths.Length];
        int at = tag * Room;
        for (int i = 0; i < pieces.Length; i++, at += lengths[i - 1])
            pieces[i] = _memory.Buffer.Slice(at, lengths[i]);
        return pieces;
    }

    /// <summary>Asks for a write of one value.</summary>
    public void Write(int tag, ulong position, byte value, int length = 512, bool durable = false)
    {
        Bytes(tag, length).Fill(value);
        Queue.Write(tag, position, Pieces(tag, length), durable);
    }

    /// <summary>Takes what has ended, and hands the rest to the host.</summary>
    public List<DiskCompletion> Take()
    {
        var all = new List<DiskCompletion>();
        while (Queue.TryTake(out var done))
            all.Add(done);
        return all;
    }

    /// <summary>Lets an operation end and takes what follows from that.</summary>
    public List<DiskCompletion> Release(int index = 0)
    {
        Host.Release(index);
        return Take();
    }

    /// <summary>Lets everything end, in an order of the generator's.</summary>
    public List<DiskCompletion> ReleaseAll(Random random)
    {
        var all = Take();
        while (Host.UnderWay.Length is > 0 and var count)
            all.AddRange(Release(random.Next(count)));
        return all;
    }

    public void Dispose()
    {
        // A test may have left operations with the host, which gives them up.
        foreach (var host in File.Queues)
            host.CannotCancel = false;
        Image.Dispose();
        _memory.Dispose();
    }
}
