using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Virtio.Net;

/// <summary>
/// A frame of the driver's, taken out of a chain and checked: it knows rings and headers, but no network. What somebody may decide by is copied once;
/// the rest stays where it is.
/// </summary>
internal ref struct TransmitRequest
{
    /// <summary>Bytes of the copy: header, and the frame's own headers.</summary>
    public const int HeadSize = NetHeader.Size + INetworkBackend.HeadBytes;

    /// <summary>Header and frame.</summary>
    public ReadOnlySpan<HostBuffer> Pieces;

    /// <summary>Bytes of all pieces.</summary>
    public int Length;

    /// <summary>Who the frame says it is from.</summary>
    public MacAddress Source;

    /// <summary>Takes a chain apart.</summary>
    /// <param name="chain">The chain; what can be read is taken off.</param>
    /// <param name="headerSize">Bytes of this driver's header.</param>
    /// <param name="allowed">What the driver may leave undone.</param>
    /// <param name="head">Room for <see cref="HeadSize"/> bytes, the queue's own.</param>
    /// <param name="pieces">Room for a piece more than a chain has elements.</param>
    /// <param name="request">The frame.</param>
    /// <returns>False if this is no frame.</returns>
    public static bool TryParse(ref DescriptorChain chain, int headerSize, NetOffloads allowed, HostBuffer head, HostBuffer[] pieces, out TransmitRequest request)
    {
        request = default;
        if (chain.HasBadBuffer)
            return false;
        var bytes = head.Span;
        bytes[..NetHeader.Size].Clear();
        if (chain.Read(bytes[..headerSize]) != headerSize)
            return false;
        long length = chain.ReadableLength;
        var header = NetHeader.Read(bytes) with { Buffers = 0 };
        if (length > NetHeader.MaxFrame || !header.Fits((int)length, allowed))
            return false;
        header.Write(bytes);
        int copied = chain.Read(bytes.Slice(NetHeader.Size, INetworkBackend.HeadBytes));
        pieces[0] = head.Slice(0, NetHeader.Size + copied);
        int count = 1;
        foreach (ref readonly var rest in chain.Readable)
        {
            if (rest.Length != 0)
                pieces[count++] = rest;
        }

        request.Pieces = pieces.AsSpan(0, count);
        request.Length = NetHeader.Size + (int)length;
        request.Source = MacAddress.Read(bytes[(NetHeader.Size + MacAddress.Size)..]);
        return true;
    }
}
