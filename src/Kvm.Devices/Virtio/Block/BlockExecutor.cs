using System.Text;
using Kvm.Devices.Block;
using Kvm.Devices.Memory;

namespace Kvm.Devices.Virtio.Block;

/// <summary>
/// Carries out requests that were checked, one after another: it knows a disk and what it promises, but no ring. Synchronous: when it returns, nothing touches
/// the request's memory any more. Safe from several threads at once.
/// </summary>
internal sealed class BlockExecutor
{
    /// <summary>Bytes of a device's identification (virtio 1.2, 5.2.6).</summary>
    public const int IdLength = 20;

    private readonly IDiskImage _image;
    private readonly DiskCache _cache;
    private readonly byte[] _id = new byte[IdLength];

    public BlockExecutor(IDiskImage image, DiskCache cache, string id)
    {
        (_image, _cache) = (image, cache);
        Encoding.ASCII.TryGetBytes(id.Length > IdLength ? id[..IdLength] : id, _id, out _);
    }

    /// <summary>False where flushes are acknowledged and not done.</summary>
    public bool Flushes => _cache != DiskCache.Unsafe;

    /// <summary>True if a change is to be durable before it is acknowledged.</summary>
    /// <param name="stable">The driver relies on that (5.2.6.2).</param>
    public bool MakesDurable(bool stable) => _cache == DiskCache.WriteThrough || (stable && _cache != DiskCache.Unsafe);

    /// <summary>Executes a request.</summary>
    /// <param name="request">A request that its parser found good.</param>
    /// <param name="stable">The driver relies on writes being durable when they are acknowledged (5.2.6.2).</param>
    /// <param name="written">Bytes of its data that were written.</param>
    public BlockStatus Execute(in BlockRequest request, bool stable, out uint written)
    {
        written = 0;
        switch (request.Type)
        {
            case BlockRequestType.Read:
                var read = Status(_image.Read(request.Position, request.Data));
                if (read == BlockStatus.Ok)
                    written = (uint)Math.Min(request.DataLength, uint.MaxValue - 1);
                return read;
            case BlockRequestType.Write:
                return MakeStable(_image.Write(request.Position, request.Data), stable);
            case BlockRequestType.Flush:
                return Flushes ? Status(_image.Flush()) : BlockStatus.Ok;
            case BlockRequestType.GetId:
                written = (uint)CopyId(request.Data);
                return BlockStatus.Ok;
            default:
                return MakeStable(ChangeRanges(request), stable);
        }
    }

    private DiskResult ChangeRanges(in BlockRequest request)
    {
        foreach (ref readonly var range in request.Ranges)
        {
            if (range.Length == 0)
                continue;
            var result = request.Type == BlockRequestType.Discard
                ? _image.Discard(range.Position, range.Length)
                : _image.WriteZeroes(range.Position, range.Length, range.Unmap);
            if (result != DiskResult.Done)
                return result;
        }

        return DiskResult.Done;
    }

    /// <summary>Makes a change durable before it is acknowledged, where that was promised.</summary>
    private BlockStatus MakeStable(DiskResult result, bool stable) =>
        Status(result == DiskResult.Done && MakesDurable(stable) ? _image.Flush() : result);

    private int CopyId(ReadOnlySpan<HostBuffer> to)
    {
        int done = 0;
        foreach (ref readonly var buffer in to)
        {
            int count = Math.Min(buffer.Length, IdLength - done);
            _id.AsSpan(done, count).CopyTo(buffer.Span);
            done += count;
        }

        return done;
    }

    internal static BlockStatus Status(DiskResult result) => result switch
    {
        DiskResult.Done => BlockStatus.Ok,
        DiskResult.Unsupported => BlockStatus.Unsupported,
        _ => BlockStatus.IoError,
    };
}
