using Kvm.Devices.Memory;

namespace Kvm.Devices.Block.Qcow2;

/// <summary>
/// Reads compressed clusters, a few at once, and keeps the last ones unpacked: requests are smaller than clusters and follow each other. Thread-safe.
/// </summary>
internal sealed class CompressedReader : IDisposable
{
    /// <summary>The most clusters that are unpacked at once; each takes three clusters' memory from its first use on.</summary>
    private const int Lanes = 4;

    private readonly Lane[] _lanes = new Lane[Lanes];

    public CompressedReader(ClusterFile file, EntryFormat format, int clusterSize, Func<IClusterCodec>? makeCodec)
    {
        for (int i = 0; i < Lanes; i++)
            _lanes[i] = new Lane(file, format, clusterSize, makeCodec);
    }

    /// <summary>Reads part of a cluster.</summary>
    /// <param name="entry">Its entry, of a compressed cluster.</param>
    /// <param name="offset">Where in the cluster.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="to">What to fill.</param>
    public DiskResult Read(ulong entry, int offset, int length, ref BufferWalk to)
    {
        var lane = LaneFor(entry);
        try
        {
            return lane.Read(entry, offset, length, ref to);
        }
        finally
        {
            lane.Gate.Exit();
        }
    }

    /// <summary>Forgets what it holds: the file changed where compressed data was.</summary>
    public void Forget()
    {
        foreach (var lane in _lanes)
        {
            lock (lane.Gate)
                lane.Held = 0;
        }
    }

    public void Dispose()
    {
        foreach (var lane in _lanes)
            lane.Dispose();
    }

    /// <summary>The lane that holds a cluster, else the first that is free, else the first: entered.</summary>
    private Lane LaneFor(ulong entry)
    {
        foreach (var lane in _lanes)
        {
            // Whoever unpacks it now has it when the gate is free.
            if (Volatile.Read(ref lane.Held) != entry)
                continue;
            lane.Gate.Enter();
            return lane;
        }

        foreach (var lane in _lanes)
        {
            if (lane.Gate.TryEnter())
                return lane;
        }

        _lanes[0].Gate.Enter();
        return _lanes[0];
    }

    /// <summary>What unpacks one cluster at a time. Used under its gate.</summary>
    private sealed class Lane(ClusterFile file, EntryFormat format, int clusterSize, Func<IClusterCodec>? makeCodec) : IDisposable
    {
        public readonly Lock Gate = new();

        // The entry whose data the buffer holds.
        public ulong Held;

        private IClusterCodec? _codec;
        private AlignedBuffer? _packed;
        private AlignedBuffer? _cluster;

        public DiskResult Read(ulong entry, int offset, int length, ref BufferWalk to)
        {
            var result = Unpack(entry);
            if (result == DiskResult.Done)
                to.CopyFrom(_cluster!.Buffer.Slice(offset, length).Span);
            return result;
        }

        public void Dispose()
        {
            _codec?.Dispose();
            _packed?.Dispose();
            _cluster?.Dispose();
        }

        private DiskResult Unpack(ulong entry)
        {
            if (Held == entry)
                return DiskResult.Done;
            if (makeCodec is null)
                return DiskResult.Unsupported;
            _codec ??= makeCodec();
            _packed ??= new AlignedBuffer(2 * clusterSize);
            _cluster ??= new AlignedBuffer(clusterSize);
            var (offset, length) = format.CompressedRange(entry);
            var packed = _packed.Buffer.Slice(0, length);
            Volatile.Write(ref Held, 0);
            var result = file.Read(offset, packed);
            if (result != DiskResult.Done)
                return result;
            if (!_codec.TryDecompress(packed.Span, _cluster.Buffer.Span))
                return DiskResult.Failed;
            Volatile.Write(ref Held, entry);
            return DiskResult.Done;
        }
    }
}
