using System.Buffers.Binary;

namespace Kvm.Devices.Virtio.Vsock;

/// <summary>What a packet is for (virtio 1.2, 5.10.6).</summary>
internal enum VsockOperation : ushort
{
    Invalid = 0,
    Request = 1,
    Response = 2,
    Reset = 3,
    Shutdown = 4,
    Data = 5,
    CreditUpdate = 6,
    CreditRequest = 7,
}

/// <summary>What a side will not do any more (5.10.6.6.1).</summary>
[Flags]
internal enum VsockEnds : uint
{
    None = 0,
    Receives = 1,
    Sends = 2,
    Both = Receives | Sends,
}

/// <summary>The header of a packet (<c>struct virtio_vsock_hdr</c>), data behind it.</summary>
internal readonly record struct VsockPacket
{
    /// <summary>Bytes of a header.</summary>
    public const int Size = 44;

    /// <summary>A connection of a stream of bytes.</summary>
    public const ushort Stream = 1;

    /// <summary>Who sends.</summary>
    public ulong SourceCid { get; init; }

    /// <summary>Who is to receive.</summary>
    public ulong TargetCid { get; init; }

    /// <summary>The sender's port.</summary>
    public uint SourcePort { get; init; }

    /// <summary>The receiver's port.</summary>
    public uint TargetPort { get; init; }

    /// <summary>Bytes of data.</summary>
    public uint Length { get; init; }

    /// <summary>The kind of connection.</summary>
    public ushort Type { get; init; }

    /// <summary>What it is for.</summary>
    public VsockOperation Operation { get; init; }

    /// <summary>Of <see cref="VsockOperation.Shutdown"/>: what the sender will not do any more.</summary>
    public VsockEnds Ends { get; init; }

    /// <summary>Bytes that the sender keeps for this connection.</summary>
    public uint BufferSize { get; init; }

    /// <summary>Bytes that the sender took out of that so far, as a counter that wraps.</summary>
    public uint Consumed { get; init; }

    /// <summary>Reads a header of <see cref="Size"/> bytes.</summary>
    public static VsockPacket Read(ReadOnlySpan<byte> from) => new()
    {
        SourceCid = BinaryPrimitives.ReadUInt64LittleEndian(from),
        TargetCid = BinaryPrimitives.ReadUInt64LittleEndian(from[8..]),
        SourcePort = BinaryPrimitives.ReadUInt32LittleEndian(from[16..]),
        TargetPort = BinaryPrimitives.ReadUInt32LittleEndian(from[20..]),
        Length = BinaryPrimitives.ReadUInt32LittleEndian(from[24..]),
        Type = BinaryPrimitives.ReadUInt16LittleEndian(from[28..]),
        Operation = (VsockOperation)BinaryPrimitives.ReadUInt16LittleEndian(from[30..]),
        Ends = (VsockEnds)BinaryPrimitives.ReadUInt32LittleEndian(from[32..]),
        BufferSize = BinaryPrimitives.ReadUInt32LittleEndian(from[36..]),
        Consumed = BinaryPrimitives.ReadUInt32LittleEndian(from[40..]),
    };

    /// <summary>Writes the header.</summary>
    public void Write(Span<byte> to)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(to, SourceCid);
        BinaryPrimitives.WriteUInt64LittleEndian(to[8..], TargetCid);
        BinaryPrimitives.WriteUInt32LittleEndian(to[16..], SourcePort);
        BinaryPrimitives.WriteUInt32LittleEndian(to[20..], TargetPort);
        BinaryPrimitives.WriteUInt32LittleEndian(to[24..], Length);
        BinaryPrimitives.WriteUInt16LittleEndian(to[28..], Type);
        BinaryPrimitives.WriteUInt16LittleEndian(to[30..], (ushort)Operation);
        BinaryPrimitives.WriteUInt32LittleEndian(to[32..], (uint)Ends);
        BinaryPrimitives.WriteUInt32LittleEndian(to[36..], BufferSize);
        BinaryPrimitives.WriteUInt32LittleEndian(to[40..], Consumed);
    }
}
