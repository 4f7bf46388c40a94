using System.Buffers.Binary;
using Kvm.Devices.Memory;

namespace Kvm.Devices.Net.Switch;

/// <summary>The path of a frame through the switch.</summary>
public sealed partial class NetworkSwitch
{
    private const ushort CustomerTag = 0x8100, ServiceTag = 0x88a8;
    private const int AddressBytes = 2 * MacAddress.Size, TagBytes = 4, Nobody = -1;

    [ThreadStatic]
    private static byte[]? _scratch;

    /// <summary>A frame on its way: what was found out about it once, from a copy that nobody changes.</summary>
    private readonly ref struct Passing(ReadOnlySpan<HostBuffer> pieces, int length, NetHeader header, int tag, int vlan)
    {
        public readonly ReadOnlySpan<HostBuffer> Pieces = pieces;
        public readonly int Length = length;
        public readonly NetHeader Header = header;
        public readonly int Vlan = vlan;

        // The tag it came with, or −1.
        public readonly int Tag = tag;

        /// <summary>The frame's beginning.</summary>
        public Span<byte> Head => Pieces[0].Span[NetHeader.Size..];
    }

    /// <summary>Passes a frame on; false if nobody has it in a queue afterwards.</summary>
    internal bool Forward(SwitchPort from, ReadOnlySpan<HostBuffer> pieces, int length)
    {
        if (length < NetHeader.Size + NetHeader.EthernetSize || pieces[0].Length < Math.Min(length, NetHeader.Size + NetHeader.EthernetSize + TagBytes)
            || NetHeader.Read(pieces[0].Span) is var header && !header.Fits(length - NetHeader.Size, NetOffloads.Modern))
            return Drop(from, SwitchDrop.Malformed);
        var head = pieces[0].Span[NetHeader.Size..];
        int tag = TagOf(head);
        int vlan = VlanOf(from.Options, tag);
        if ((header.Flags & NetHeader.NeedsChecksum) != 0 && header.ChecksumStart < NetHeader.EthernetSize + (tag < 0 ? 0 : TagBytes))
            return Drop(from, SwitchDrop.Malformed);
        // What would be a tag where this one is taken away is no way into another VLAN.
        if (vlan == 0 || (tag >= 0 && BinaryPrimitives.ReadUInt16BigEndian(head[(AddressBytes + TagBytes)..]) is CustomerTag or ServiceTag))
            return Drop(from, SwitchDrop.Vlan);
        var source = MacAddress.Read(head[MacAddress.Size..]);
        if (!source.IsUsable)
            return Drop(from, SwitchDrop.BadSource);
        long now = Now;
        if (from.IsGone)
            return false;
        if (!Learn(from, vlan, source, now))
            return Drop(from, SwitchDrop.Spoofed);
        Rewriter?.Rewrite(from.Number, in header, head);
        var destination = MacAddress.Read(head);
        var passing = new Passing(pieces, length, header, tag, vlan);
        if (destination.Value >> 4 == 0x0180_c200_000)
            return Drop(from, SwitchDrop.Reserved);
        int to = Nobody;
        lock (_lock)
        {
            if (!destination.IsGroup)
                to = _table.Find(vlan, destination, now);
            if (to == Nobody)
            {
                if (from.Flood.WaitFor(1, now) != 0)
                    return Drop(from, SwitchDrop.Flood);
                from.Flood.Take(1);
            }
        }

        if (to == Nobody)
            return Flood(from, in passing, destination.IsGroup);
        if (to == from.Number)
            return Drop(from, SwitchDrop.Local);
        var all = All;
        return to < all.Length && all[to] is { IsGone: false } receiver && receiver.Carries(vlan) && Pass(from, receiver, in passing);
    }

    /// <summary>What the tag says after its type: priority and VLAN; −1 without one.</summary>
    private static int TagOf(ReadOnlySpan<byte> head) =>
        head.Length >= NetHeader.EthernetSize + TagBytes && BinaryPrimitives.ReadUInt16BigEndian(head[AddressBytes..]) == CustomerTag
            ? BinaryPrimitives.ReadUInt16BigEndian(head[(AddressBytes + 2)..]) : -1;

    /// <summary>The VLAN of a frame that comes in by a port; 0 if it has none here. A tag of VLAN 0 is a priority alone (802.1Q-2018, 9.6).</summary>
    private static int VlanOf(PortOptions port, int tag)
    {
        int vlan = tag < 0 ? 0 : tag & 0xfff;
        return vlan == 0 ? port.Vlan : port.Trunk is { } trunk && trunk.Contains(vlan) ? vlan : 0;
    }

    private bool Learn(SwitchPort from, int vlan, MacAddress source, long now)
    {
        if (from.Options.Mac is { } own)
            return own == source;
        int most = from.Options.Role == PortRole.Card ? Options.MaxAddressesPerPort : Options.MaxAddresses / 2;
        lock (_lock)
        {
            // A port that was taken off meanwhile is not learned again.
            switch (from.IsGone ? Learned.Known : _table.Learn(vlan, source, from.Number, most, now))
            {
                case Learned.Foreign:
                    return false;
                case Learned.Moved:
                    _moves++;
                    break;
                case Learned.NoRoom:
                    _notLearned++;
                    break;
                default:
                    break;
            }

            return true;
        }
    }

    private bool Flood(SwitchPort from, in Passing passing, bool isGroup)
    {
        Interlocked.Increment(ref _flooded);
        bool any = false;
        foreach (var to in All)
        {
            // A port whose only address is known is not whom an unknown one is meant for.
            if (to is { IsGone: false } && to != from && to.Carries(passing.Vlan) && (isGroup || to.Options.Mac is null) && !AreIsolated(from, to))
                any |= Pass(from, to, in passing);
        }

        return any;
    }

    private static bool AreIsolated(SwitchPort from, SwitchPort to) =>
        from.Options.Role == PortRole.Card && to.Options.Role == PortRole.Card
        && (from.Options.Isolated || to.Options.Isolated || (from.Options.IsolationGroup.Length > 0 && from.Options.IsolationGroup == to.Options.IsolationGroup));

    /// <summary>Asks whether a frame may go to a port, and puts it into its queue.</summary>
    private bool Pass(SwitchPort from, SwitchPort to, in Passing passing)
    {
        if (AreIsolated(from, to))
            return Drop(from, SwitchDrop.Isolated);
        if (Policy is { } policy && !policy.Allows(from.Number, to.Number, passing.Head))
            return Drop(from, SwitchDrop.Policy);
        bool tagged = passing.Vlan != to.Options.Vlan;
        int shift = (tagged ? TagBytes : 0) - (passing.Tag < 0 ? 0 : TagBytes);
        // The header is always written anew: of what a peer wrote only what was looked at goes on.
        Span<byte> first = stackalloc byte[NetHeader.Size + AddressBytes + TagBytes];
        int skip = WriteFirst(in passing, tagged, shift, from.Options.Role == PortRole.Uplink ? to.Takes : NetOffloads.None, ref first);
        var outcome = passing.Length + shift - NetHeader.Size <= NetHeader.MaxFrame && passing.Header.Fits(passing.Length - NetHeader.Size, to.Takes)
            ? to.QueueFor(from).TryAdd(first, passing.Pieces, skip, passing.Length, out bool wasEmpty) ? (wasEmpty ? Placed.First : Placed.Behind) : Placed.NoRoom
            : Finish(first, in passing, skip, to.QueueFor(from));
        if (outcome is Placed.First or Placed.SomeFirst)
            to.Tell();
        if (outcome is Placed.First or Placed.Behind)
            return true;
        return outcome == Placed.Never ? Drop(from, SwitchDrop.Unfinished)
            : to.Options.Role == PortRole.Uplink ? Drop(from, SwitchDrop.UplinkFull) : Drop(to, SwitchDrop.QueueFull);
    }

    /// <summary>What became of a frame that was to be put into a queue.</summary>
    private enum Placed
    {
        /// <summary>It is there, and whoever takes frames has to be told.</summary>
        First,

        /// <summary>It is there.</summary>
        Behind,

        /// <summary>There is no room for it, or for some of its pieces.</summary>
        NoRoom,

        /// <summary>As <see cref="NoRoom"/>, but whoever takes frames has to be told of what had room.</summary>
        SomeFirst,

        /// <summary>It cannot be finished.</summary>
        Never,
    }

    /// <summary>Does what the receiver would not: the frame is put together as it leaves, and its pieces go into the queue.</summary>
    private static Placed Finish(ReadOnlySpan<byte> first, in Passing passing, int skip, FrameRing queue)
    {
        var whole = (_scratch ??= new byte[NetHeader.Size + NetHeader.MaxFrame + TagBytes]).AsSpan();
        first.CopyTo(whole);
        int end = first.Length;
        foreach (ref readonly var piece in passing.Pieces)
        {
            int skipped = Math.Min(skip, piece.Length);
            skip -= skipped;
            piece.Span[skipped..].CopyTo(whole[end..]);
            end += piece.Length - skipped;
        }

        var header = NetHeader.Read(whole);
        whole[..NetHeader.Size].Clear();
        var finisher = new FrameFinisher(header, whole[NetHeader.Size..end]);
        bool wasEmpty;
        if (!finisher.Cuts)
        {
            if (end > NetHeader.Size + NetHeader.MaxFrame)
                return Placed.Never;
            finisher.Sum();
            return queue.TryAdd(whole[..NetHeader.Size], whole[NetHeader.Size..end], out wasEmpty) ? (wasEmpty ? Placed.First : Placed.Behind) : Placed.NoRoom;
        }

        if (!finisher.TryBegin())
            return Placed.Never;
        bool tell = false;
        while (finisher.TryNext(out int headers, out var payload))
        {
            if (!queue.TryAdd(whole[..(NetHeader.Size + headers)], payload, out wasEmpty))
                return tell ? Placed.SomeFirst : Placed.NoRoom;
            tell |= wasEmpty;
        }

        return tell ? Placed.First : Placed.Behind;
    }

    /// <summary>Writes header, addresses and tag as they leave the switch. Returns how many bytes of the frame as it came they stand for.</summary>
    private static int WriteFirst(in Passing passing, bool tagged, int shift, NetOffloads vouched, ref Span<byte> first)
    {
        var header = passing.Header;
        // Offsets count from the frame's beginning.
        header = header with
        {
            HeaderLength = Shifted(header.HeaderLength, shift),
            ChecksumStart = Shifted(header.ChecksumStart, shift),
            Buffers = 0,
            // That a sum is right a guest is told by the host alone, and no other guest.
            Flags = (byte)(header.Flags & ((vouched & NetOffloads.Checksum) != 0 ? NetHeader.NeedsChecksum | NetHeader.DataValid : NetHeader.NeedsChecksum)),
        };
        header.Write(first);
        var head = passing.Head;
        head[..AddressBytes].CopyTo(first[NetHeader.Size..]);
        if (tagged)
        {
            // 802.1Q-2018, 6.9.2: the priority stays.
            int priority = passing.Tag < 0 ? 0 : passing.Tag & 0xf000;
            BinaryPrimitives.WriteUInt16BigEndian(first[(NetHeader.Size + AddressBytes)..], CustomerTag);
            BinaryPrimitives.WriteUInt16BigEndian(first[(NetHeader.Size + AddressBytes + 2)..], (ushort)(priority | passing.Vlan));
        }
        else
        {
            first = first[..(NetHeader.Size + AddressBytes)];
        }

        return NetHeader.Size + AddressBytes + (passing.Tag < 0 ? 0 : TagBytes);
    }

    /// <summary>An offset where a tag came or went before it; one that is 0 is none.</summary>
    private static ushort Shifted(ushort offset, int shift) => offset == 0 ? offset : (ushort)Math.Clamp(offset + shift, 0, ushort.MaxValue);

    private static bool Drop(SwitchPort port, SwitchDrop reason)
    {
        port.Count(reason);
        return false;
    }
}
