using System.Buffers.Binary;
using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Virtio.Net;

/// <summary>Commands of the control queue, class and command in one number (virtio 1.2, 5.1.6.5).</summary>
internal enum NetCommand : ushort
{
    Promiscuous = 0x0000,
    NoBroadcast = 0x0005,
    MacTable = 0x0100,
    MacAddress = 0x0101,
    VlanAdd = 0x0200,
    VlanDelete = 0x0201,
    AnnounceDone = 0x0300,
    Pairs = 0x0400,
    GuestOffloads = 0x0500,
}

/// <summary>A command copied out of a chain: it knows the ring, but no card.</summary>
internal ref struct ControlRequest
{
    /// <summary>Bytes that are looked at: both lists of addresses as long as they may be for us, and their counts; a longer list counts as all.</summary>
    public const int MaxData = 2 * (4 + MacAddress.Size * (NetFilter.MaxAddresses + 1));

    public NetCommand Command;

    public ReadOnlySpan<byte> Data;

    /// <summary>Bytes the driver sent, of which <see cref="Data"/> may be the first.</summary>
    public long DataLength;

    /// <summary>Where the answer goes; empty if there is no place for it.</summary>
    public HostBuffer Answer;

    /// <summary>Takes a chain apart.</summary>
    /// <param name="chain">The chain.</param>
    /// <param name="room">Room for <see cref="MaxData"/> bytes.</param>
    /// <param name="request">The command; its answer's place is set whatever the outcome.</param>
    /// <returns>False if this is no command.</returns>
    public static bool TryParse(ref DescriptorChain chain, Span<byte> room, out ControlRequest request)
    {
        request = default;
        if (!chain.TryTakeLastByte(out request.Answer) || chain.HasBadBuffer)
            return false;
        Span<byte> header = stackalloc byte[2];
        if (chain.Read(header) != header.Length)
            return false;
        request.Command = (NetCommand)BinaryPrimitives.ReadUInt16BigEndian(header);
        request.DataLength = chain.ReadableLength;
        request.Data = room[..chain.Read(room)];
        return true;
    }

    /// <summary>The two lists of addresses of MAC_TABLE_SET: those of single cards, those of groups; null for a list that is too long.</summary>
    /// <returns>False if they are not what was sent.</returns>
    public readonly bool TryReadTables(out MacAddress[]? singles, out MacAddress[]? groups)
    {
        groups = null;
        if (!TryReadTable(0, out singles, out long next))
            return false;
        // Behind a list that is too long the next one may be outside what was copied; then nobody knows it, and all groups are wanted.
        if (next > Data.Length - 4)
            return singles is null && next <= DataLength - 4;
        return TryReadTable((int)next, out groups, out next) && next == DataLength;
    }

    private readonly bool TryReadTable(int at, out MacAddress[]? addresses, out long end)
    {
        (addresses, end) = (null, 0);
        if (Data.Length - at < 4)
            return false;
        uint count = BinaryPrimitives.ReadUInt32LittleEndian(Data[at..]);
        end = at + 4 + (long)count * MacAddress.Size;
        if (end > DataLength)
            return false;
        if (count > NetFilter.MaxAddresses)
            return true;
        addresses = new MacAddress[count];
        for (int i = 0; i < addresses.Length; i++)
            addresses[i] = MacAddress.Read(Data[(at + 4 + i * MacAddress.Size)..]);
        return true;
    }
}
