using Kvm.Devices.Memory;

namespace Kvm.Devices.Block.Qcow2;

/// <summary>Reads compressed clusters, and keeps the last one unpacked: requests are smaller than clusters and follow each other. Thread-safe.</summary>
internal sealed class CompressedReader(ClusterFile file, EntryFormat format, int clusterSize, Func<IClusterCodec>? makeCodec) : IDisposable
{
    private readonly Lock _lock = new();
    private IClusterCodec? _codec;
    private AlignedBuffer? _packed;
    private AlignedBuffer? _cluster;
    // The entry whose data the buffer holds.
    private ulong _held;

    /// <summary>Reads part of a cluster.</summary>
    /// <param name="entry">Its entry, of a compressed cluster.</param>
    /// <param name="offset">Where in the cluster.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="to">What to fill.</param>
    public DiskResult Read(ulong entry, int offset, int length, ref BufferWalk to)
    {
        lock (_lock)
        {
            var result = Unpack(entry);
            if (result == DiskResult.Done)
                to.CopyFrom(_cluster!.Buffer.Slice(offset, length).Span);
            return result;
        }
    }

    /// <summary>Forgets what it holds: the file changed where compressed data was.</summary>
    public void Forget()
    {
        lock (_lock)
            _held = 0;
    }

    public void Dispose()
    {
        _codec?.Dispose();
        _packed?.Dispose();
        _cluster?.Dispose();
    }

    private DiskResult Unpack(ulong entry)
    {
        if (_held == entry)
            return DiskResult.Done;
        if (makeCodec is null)
            return DiskResult.Unsupported;
        _codec ??= makeCodec();
        _packed ??= new AlignedBuffer(2 * clusterSize);
        _cluster ??= new AlignedBuffer(clusterSize);
        var (offset, length) = format.CompressedRange(entry);
        var packed = _packed.Buffer.Slice(0, length);
        _held = 0;
        var result = file.Read(offset, packed);
        if (result != DiskResult.Done)
            return result;
        if (!_codec.TryDecompress(packed.Span, _cluster.Buffer.Span))
            return DiskResult.Failed;
        _held = entry;
        return DiskResult.Done;
    }
}
