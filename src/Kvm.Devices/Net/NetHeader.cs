using System.Buffers.Binary;

namespace Kvm.Devices.Net;

/// <summary>What stands before each frame: <c>struct virtio_net_hdr_v1</c> (virtio 1.2, 5.1.6), copied out once.</summary>
/// <param name="Flags">NEEDS_CSUM 1, DATA_VALID 2.</param>
/// <param name="GsoType">How the frame is to be cut; <see cref="GsoEcn"/> may be added.</param>
/// <param name="HeaderLength">Bytes of all the frame's headers; a hint.</param>
/// <param name="GsoSize">Payload bytes of one piece.</param>
/// <param name="ChecksumStart">Where summing begins.</param>
/// <param name="ChecksumOffset">Where the sum goes, counted from there.</param>
/// <param name="Buffers">Buffers the frame takes; for the guest only.</param>
public readonly record struct NetHeader(byte Flags, byte GsoType, ushort HeaderLength, ushort GsoSize, ushort ChecksumStart, ushort ChecksumOffset, ushort Buffers)
{
    /// <summary>Its bytes; a legacy driver that does not merge buffers leaves the last two away.</summary>
    public const int Size = 12, LegacySize = 10;

    /// <summary>Where <see cref="Buffers"/> is.</summary>
    public const int BuffersOffset = 10;

    /// <summary>A flag.</summary>
    public const byte NeedsChecksum = 1, DataValid = 2;

    /// <summary>Values of <see cref="GsoType"/>.</summary>
    public const byte GsoNone = 0, GsoTcp4 = 1, GsoUdp = 3, GsoTcp6 = 4, GsoUdpL4 = 5, GsoEcn = 0x80;

    /// <summary>Bytes of an Ethernet header; no frame is shorter.</summary>
    public const int EthernetSize = 14;

    /// <summary>The longest frame: 64 KiB of IP behind an Ethernet header, with room for a VLAN tag less a byte.</summary>
    public const int MaxFrame = 65_550;

    /// <summary>Reads a header.</summary>
    /// <param name="bytes">At least <see cref="LegacySize"/>; fields that are not there are 0.</param>
    public static NetHeader Read(ReadOnlySpan<byte> bytes) => new(bytes[0], bytes[1],
        BinaryPrimitives.ReadUInt16LittleEndian(bytes[2..]), BinaryPrimitives.ReadUInt16LittleEndian(bytes[4..]),
        BinaryPrimitives.ReadUInt16LittleEndian(bytes[6..]), BinaryPrimitives.ReadUInt16LittleEndian(bytes[8..]),
        bytes.Length >= Size ? BinaryPrimitives.ReadUInt16LittleEndian(bytes[BuffersOffset..]) : (ushort)0);

    /// <summary>Writes it.</summary>
    /// <param name="bytes">At least <see cref="Size"/>.</param>
    public void Write(Span<byte> bytes)
    {
        (bytes[0], bytes[1]) = (Flags, GsoType);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[2..], HeaderLength);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[4..], GsoSize);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[6..], ChecksumStart);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[8..], ChecksumOffset);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[BuffersOffset..], Buffers);
    }

    /// <summary>
    /// True if it fits a frame of so many bytes and asks for nothing but <paramref name="allowed"/>: what goes on from here is what a kernel or
    /// another guest may be given.
    /// </summary>
    /// <param name="length">Bytes of the frame without this header.</param>
    /// <param name="allowed">What may be left undone.</param>
    public bool Fits(int length, NetOffloads allowed)
    {
        bool summed = (Flags & NeedsChecksum) != 0;
        if (length is < EthernetSize or > MaxFrame || (summed && !ChecksumFits(length, allowed)))
            return false;
        if (GsoType == GsoNone)
            return true;
        // 5.1.6.2: what is to be cut needs checksums of its pieces too; UFO's is the one that older drivers leave out.
        if (GsoSize == 0 || HeaderLength > length || (GsoType & GsoEcn) != 0 && (allowed & NetOffloads.Ecn) == 0)
            return false;
        return (GsoType & ~GsoEcn) switch
        {
            GsoTcp4 => summed && (allowed & NetOffloads.Tso4) != 0,
            GsoTcp6 => summed && (allowed & NetOffloads.Tso6) != 0,
            GsoUdp => (allowed & NetOffloads.Ufo) != 0,
            GsoUdpL4 => summed && (allowed & (NetOffloads.Uso4 | NetOffloads.Uso6)) != 0,
            _ => false,
        };
    }

    private bool ChecksumFits(int length, NetOffloads allowed) =>
        (allowed & NetOffloads.Checksum) != 0 && ChecksumStart <= length && ChecksumOffset <= length - ChecksumStart - 2;
}
