using System.Buffers.Binary;
using Kvm.Devices.Net;
using Kvm.Devices.Snapshot;

namespace Kvm.Devices.Virtio.Net;

/// <summary>Which frames a driver wants (virtio 1.2, 5.1.6.5.1 to 5.1.6.5.3). Immutable: a command makes a new one, which the receive queues take up whole.</summary>
internal sealed record NetFilter
{
    /// <summary>The most addresses a list has; a driver that gives more gets all frames of that kind.</summary>
    public const int MaxAddresses = 64;

    /// <summary>VLANs there are.</summary>
    public const int Vlans = 4096;

    /// <summary>Modes, a bit each in the order of the commands.</summary>
    public const byte Promiscuous = 1 << 0, AllGroups = 1 << 1, AllSingles = 1 << 2, NoGroups = 1 << 3, NoSingles = 1 << 4, NoBroadcast = 1 << 5;

    private const ushort VlanTag = 0x8100, ServiceTag = 0x88a8;

    /// <summary>A driver that says nothing gets everything.</summary>
    public static readonly NetFilter Open = new() { Modes = Promiscuous };

    public byte Modes { get; init; }

    /// <summary>Null: all.</summary>
    public MacAddress[]? Singles { get; init; } = [];

    /// <summary>Null: all.</summary>
    public MacAddress[]? Groups { get; init; } = [];

    /// <summary>A bit for each VLAN; null until the driver has negotiated to choose them.</summary>
    public ulong[]? VlanBits { get; init; }

    /// <summary>True if the driver wants a frame.</summary>
    /// <param name="frame">An Ethernet frame.</param>
    /// <param name="own">The card's own address.</param>
    public bool Wants(ReadOnlySpan<byte> frame, MacAddress own)
    {
        if (VlanBits is { } bits && BinaryPrimitives.ReadUInt16BigEndian(frame[12..]) is VlanTag or ServiceTag && frame.Length >= 16)
        {
            int vlan = BinaryPrimitives.ReadUInt16BigEndian(frame[14..]) & Vlans - 1;
            if ((bits[vlan >> 6] >> (vlan & 63) & 1) == 0)
                return false;
        }

        var to = MacAddress.Read(frame);
        if (to == MacAddress.Broadcast)
            return (Modes & NoBroadcast) == 0;
        if (to.IsGroup)
            return (Modes & NoGroups) == 0 && ((Modes & (Promiscuous | AllGroups)) != 0 || Groups is null || Array.IndexOf(Groups, to) >= 0);
        return (Modes & NoSingles) == 0
            && (to == own || (Modes & (Promiscuous | AllSingles)) != 0 || Singles is null || Array.IndexOf(Singles, to) >= 0);
    }

    /// <summary>With a mode on or off.</summary>
    public NetFilter With(byte mode, bool on) => this with { Modes = (byte)(on ? Modes | mode : Modes & ~mode) };

    /// <summary>With a VLAN wanted or not.</summary>
    public NetFilter WithVlan(int vlan, bool wanted)
    {
        ulong[] bits = VlanBits is { } old ? [.. old] : new ulong[Vlans / 64];
        bits[vlan >> 6] = bits[vlan >> 6] & ~(1UL << (vlan & 63)) | (wanted ? 1UL : 0) << (vlan & 63);
        return this with { VlanBits = bits };
    }

    public void Save(StateWriter writer)
    {
        writer.U8(Modes);
        Save(writer, Singles);
        Save(writer, Groups);
        writer.Bool(VlanBits is not null);
        foreach (ulong bits in VlanBits ?? [])
            writer.U64(bits);
    }

    /// <summary>Reads what <see cref="Save(StateWriter)"/> wrote; null if a driver cannot have made it.</summary>
    public static NetFilter? Restore(ref StateReader reader)
    {
        byte modes = reader.U8();
        if ((modes & ~(Promiscuous | AllGroups | AllSingles | NoGroups | NoSingles | NoBroadcast)) != 0
            || !TryRestore(ref reader, out var singles) || !TryRestore(ref reader, out var groups))
            return null;
        ulong[]? vlans = null;
        if (reader.Bool())
        {
            vlans = new ulong[Vlans / 64];
            for (int i = 0; i < vlans.Length; i++)
                vlans[i] = reader.U64();
        }

        return reader.Failed ? null : new NetFilter { Modes = modes, Singles = singles, Groups = groups, VlanBits = vlans };
    }

    private static void Save(StateWriter writer, MacAddress[]? addresses)
    {
        writer.U16(addresses is null ? ushort.MaxValue : (ushort)addresses.Length);
        foreach (var address in addresses ?? [])
            writer.U64(address.Value);
    }

    private static bool TryRestore(ref StateReader reader, out MacAddress[]? addresses)
    {
        int count = reader.U16();
        addresses = null;
        if (count == ushort.MaxValue)
            return !reader.Failed;
        if (reader.Failed || count > MaxAddresses)
            return false;
        addresses = new MacAddress[count];
        for (int i = 0; i < count; i++)
        {
            addresses[i] = new MacAddress(reader.U64());
            if (addresses[i].Value > MacAddress.Broadcast.Value)
                return false;
        }

        return !reader.Failed;
    }
}
