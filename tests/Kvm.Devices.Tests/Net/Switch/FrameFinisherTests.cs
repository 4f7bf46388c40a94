using System.Buffers.Binary;
using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Switch;
using static Kvm.Devices.Tests.Net.Switch.SwitchLab;

namespace Kvm.Devices.Tests.Net.Switch;

/// <summary>Frames for receivers that take only whole ones: what comes out is taken apart by a second, slow implementation.</summary>
public sealed class FrameFinisherTests
{
    private const int Tcp = 6, Udp = 17;

    /// <summary>A packet as a driver with offloads sends it: headers, payload, the pseudo-header's sum in the checksum's field.</summary>
    private sealed record Packet(bool Ipv6, int Protocol, int IpOptions, int TcpOptions, int Payload, int Segment, byte Flags = 0x18)
    {
        public int Network => 14;

        public int Transport => Network + (Ipv6 ? 40 : 20 + IpOptions);

        public int Headers => Transport + (Protocol == Tcp ? 20 + TcpOptions : 8);

        public byte[] Bytes => [.. Enumerable.Range(0, Payload).Select(i => (byte)(i * 7 + i / 251))];

        public byte[] Frame(bool cut, MacAddress to, MacAddress from)
        {
            byte[] all = new byte[NetHeader.Size + Headers + Payload];
            byte gso = !cut ? NetHeader.GsoNone : Protocol == Udp ? NetHeader.GsoUdpL4 : Ipv6 ? NetHeader.GsoTcp6 : NetHeader.GsoTcp4;
            new NetHeader(NetHeader.NeedsChecksum, gso, (ushort)Headers, cut ? (ushort)Segment : (ushort)0, (ushort)Transport, (ushort)(Protocol == Tcp ? 16 : 6), 0).Write(all);
            var frame = all.AsSpan(NetHeader.Size);
            to.Write(frame);
            from.Write(frame[6..]);
            BinaryPrimitives.WriteUInt16BigEndian(frame[12..], (ushort)(Ipv6 ? 0x86dd : 0x0800));
            var ip = frame[Network..];
            int length = frame.Length - Transport;
            for (int i = 8; i < 40 && Ipv6; i++)
                ip[i] = (byte)(0xf0 + i);
            if (Ipv6)
            {
                (ip[0], ip[6], ip[7]) = (0x60, (byte)Protocol, 64);
                BinaryPrimitives.WriteUInt16BigEndian(ip[4..], (ushort)length);
            }
            else
            {
                (ip[0], ip[8], ip[9]) = ((byte)(0x40 | (5 + IpOptions / 4)), 64, (byte)Protocol);
                BinaryPrimitives.WriteUInt16BigEndian(ip[2..], (ushort)(frame.Length - Network));
                BinaryPrimitives.WriteUInt16BigEndian(ip[4..], 0xfffe);
                BinaryPrimitives.WriteUInt32BigEndian(ip[12..], 0x0a000001);
                BinaryPrimitives.WriteUInt32BigEndian(ip[16..], 0x0a000002);
                ip[20..(20 + IpOptions)].Fill(1);
                BinaryPrimitives.WriteUInt16BigEndian(ip[10..], (ushort)~Sum(ip[..(20 + IpOptions)]));
            }

            var transport = frame[Transport..];
            if (Protocol == Tcp)
            {
                BinaryPrimitives.WriteUInt32BigEndian(transport[4..], 0xffff_ff00);
                (transport[12], transport[13]) = ((byte)((20 + TcpOptions) / 4 << 4), Flags);
                transport[20..(20 + TcpOptions)].Fill(1);
            }
            else
            {
                BinaryPrimitives.WriteUInt16BigEndian(transport[4..], (ushort)length);
            }

            BinaryPrimitives.WriteUInt16BigEndian(transport[(Protocol == Tcp ? 16 : 6)..], Sum(Pseudo(frame, length)));
            Bytes.CopyTo(all.AsSpan(NetHeader.Size + Headers));
            return all;
        }

        public byte[] Pseudo(ReadOnlySpan<byte> frame, int length)
        {
            byte[] addresses = Ipv6 ? frame.Slice(Network + 8, 32).ToArray() : frame.Slice(Network + 12, 8).ToArray();
            return [.. addresses, 0, 0, (byte)(length >> 8), (byte)length, 0, 0, 0, (byte)Protocol];
        }

        /// <summary>RFC 1071, two bytes at a time.</summary>
        public static ushort Sum(ReadOnlySpan<byte> bytes)
        {
            uint sum = 0;
            for (int i = 0; i < bytes.Length; i++)
                sum += (uint)bytes[i] << (i % 2 == 0 ? 8 : 0);
            while (sum >> 16 != 0)
                sum = (sum & 0xffff) + (sum >> 16);
            return (ushort)sum;
        }
    }

    private static List<byte[]> Through(byte[] frame, SwitchLab? lab = null)
    {
        lab ??= new SwitchLab();
        var (a, b) = (lab.Add(), lab.Add(takes: NetOffloads.None));
        a.Send(frame);
        return b.Take();
    }

    /// <summary>True for a whole frame whose sums are right.</summary>
    private static bool IsRight(Packet packet, ReadOnlySpan<byte> all)
    {
        var frame = all[NetHeader.Size..];
        int length = frame.Length - packet.Transport;
        byte[] transport = [.. packet.Pseudo(frame, length), .. frame[packet.Transport..]];
        bool ip = packet.Ipv6
            ? BinaryPrimitives.ReadUInt16BigEndian(frame[(packet.Network + 4)..]) == length
            : BinaryPrimitives.ReadUInt16BigEndian(frame[(packet.Network + 2)..]) == frame.Length - packet.Network && Packet.Sum(frame[packet.Network..packet.Transport]) == 0xffff;
        return ip && !all[..NetHeader.Size].ContainsAnyExcept((byte)0) && Packet.Sum(transport) == 0xffff
            && (packet.Protocol == Tcp || BinaryPrimitives.ReadUInt16BigEndian(frame[(packet.Transport + 4)..]) == length);
    }

    private static Arbitrary<Packet> Packets()
    {
        var tcp = from six in Gen.Elements(false, true)
                  from ip in Gen.Choose(0, 10)
                  from options in Gen.Choose(0, 10)
                  from payload in Gen.Choose(1, 9000).Or(Gen.Constant(65_000))
                  from segment in Gen.Choose(48, 1500).Or(Gen.Choose(1000, 9000))
                  select new Packet(six, Tcp, 4 * ip, 4 * options, payload, segment, 0x99);
        var udp = from six in Gen.Elements(false, true)
                  from segments in Gen.Choose(1, 128)
                  from segment in Gen.Choose(1, 500)
                  from less in Gen.Choose(0, segment - 1)
                  select new Packet(six, Udp, 0, 0, segments * segment - less, segment);
        return Gen.OneOf(tcp, udp).ToArbitrary();
    }

    [Fact]
    public void Large_segment_is_cut_into_whole_frames_with_right_sums_that_make_up_its_payload() =>
        Prop.ForAll(Packets(), packet =>
        {
            var frames = Through(packet.Frame(cut: true, Mac(2), Mac(1)));
            if (frames.Count != (packet.Payload + packet.Segment - 1) / packet.Segment || !frames.TrueForAll(f => IsRight(packet, f)))
                return false;
            if (!frames.SelectMany(f => f[(NetHeader.Size + packet.Headers)..]).SequenceEqual(packet.Bytes))
                return false;
            for (int i = 0; i < frames.Count && packet.Protocol == Tcp; i++)
            {
                var tcp = frames[i].AsSpan(NetHeader.Size + packet.Transport);
                int flags = 0x10 | (i == 0 ? 0x80 : 0) | (i == frames.Count - 1 ? 9 : 0);
                if (BinaryPrimitives.ReadUInt32BigEndian(tcp[4..]) != unchecked(0xffff_ff00 + (uint)(i * packet.Segment)) || tcp[13] != flags)
                    return false;
            }

            return packet.Ipv6 || frames.Select((f, i) => BinaryPrimitives.ReadUInt16BigEndian(f.AsSpan(NetHeader.Size + 18)) == unchecked((ushort)(0xfffe + i))).All(x => x);
        }).QuickCheckThrowOnFailure();

    [Fact]
    public void Checksum_that_is_left_undone_is_done() =>
        Prop.ForAll(Packets(), packet =>
        {
            var whole = packet with { Payload = Math.Min(packet.Payload, 3000) };
            return Through(whole.Frame(cut: false, Mac(2), Mac(1))) is [var frame] && IsRight(whole, frame) && frame.AsSpan(NetHeader.Size + whole.Headers).SequenceEqual(whole.Bytes);
        }).QuickCheckThrowOnFailure();

    [Fact]
    public void Receiver_that_takes_it_gets_the_large_segment_as_it_is_behind_its_tag_too()
    {
        var lab = new SwitchLab();
        var packet = new Packet(false, Tcp, 0, 12, 30_000, 1448);
        byte[] sent = packet.Frame(cut: true, Mac(2), Mac(1));
        var (a, b, trunk) = (lab.Add(), lab.Add(), lab.Add(new PortOptions { Vlan = 0, Trunk = VlanSet.All }));
        a.Send(sent);
        b.Take().Should().ContainSingle().Which.Should().Equal(sent);
        byte[] tagged = trunk.Take().Should().ContainSingle().Which;
        tagged.AsSpan(NetHeader.Size + 12, 4).ToArray().Should().Equal(0x81, 0, 0, 1);
        var (was, now) = (NetHeader.Read(sent), NetHeader.Read(tagged));
        now.Should().Be(was with { ChecksumStart = (ushort)(was.ChecksumStart + 4), HeaderLength = (ushort)(was.HeaderLength + 4) });
        tagged.AsSpan(NetHeader.Size + 16).SequenceEqual(sent.AsSpan(NetHeader.Size + 12)).Should().BeTrue();
        trunk.Send(Exchanged(tagged));
        a.Take().Should().ContainSingle().Which.Should().Equal(Exchanged(sent));

        static byte[] Exchanged(byte[] frame)
        {
            byte[] back = (byte[])frame.Clone();
            Mac(1).Write(back.AsSpan(NetHeader.Size));
            Mac(2).Write(back.AsSpan(NetHeader.Size + 6));
            return back;
        }
    }

    /// <summary>The longest segment has no room for a tag: it is cut.</summary>
    [Fact]
    public void Longest_segment_for_a_trunk_is_cut_and_its_pieces_are_right()
    {
        var packet = new Packet(false, Tcp, 0, 0, 65_535 - 40, 1460);
        var lab = new SwitchLab();
        var (a, trunk) = (lab.Add(), lab.Add(new PortOptions { Vlan = 0, Trunk = VlanSet.All }));
        a.Send(packet.Frame(cut: true, Mac(2), Mac(1)));
        var frames = trunk.Take();
        frames.Should().HaveCount(45);
        foreach (byte[] frame in frames)
            IsRight(packet, [.. frame[..(NetHeader.Size + 12)], .. frame[(NetHeader.Size + 16)..]]).Should().BeTrue();
    }

    public static TheoryData<string, Action<byte[]>> Lies => new()
    {
        { "a segment of 47 bytes", f => BinaryPrimitives.WriteUInt16LittleEndian(f.AsSpan(4), 47) },
        { "the transport header in the Ethernet header's place", f => BinaryPrimitives.WriteUInt16LittleEndian(f.AsSpan(6), 14) },
        { "the transport header at the end", f => BinaryPrimitives.WriteUInt16LittleEndian(f.AsSpan(6), 1070) },
        { "the sum elsewhere", f => BinaryPrimitives.WriteUInt16LittleEndian(f.AsSpan(8), 4) },
        { "TCP of IPv6 in IPv4", f => f[1] = NetHeader.GsoTcp6 },
        { "UDP that is TCP", f => (f[1], f[8]) = (NetHeader.GsoUdpL4, 6) },
        { "IP of another version", f => f[NetHeader.Size + 14] = 0x65 },
        { "an IP header of 16 bytes", f => f[NetHeader.Size + 14] = 0x44 },
        { "a fragment", f => f[NetHeader.Size + 20] = 0x20 },
        { "a TCP header of no bytes", f => f[NetHeader.Size + 46] = 0 },
        { "a TCP header past the end", f => (f[NetHeader.Size + 46], f[6]) = (0xf0, 34) },
        { "no type that is known", f => f[NetHeader.Size + 12] = 0x99 },
    };

    [Theory]
    [MemberData(nameof(Lies))]
    public void Segment_that_is_not_what_its_header_says_is_counted_and_goes_nowhere(string lie, Action<byte[]> tell)
    {
        byte[] frame = new Packet(false, Tcp, 0, 0, 1036, 500).Frame(cut: true, Mac(2), Mac(1));
        tell(frame);
        if (lie.EndsWith("past the end", StringComparison.Ordinal))
            frame = frame[..(NetHeader.Size + 60)];
        if (frame.Length < 100)
            BinaryPrimitives.WriteUInt16LittleEndian(frame.AsSpan(2), 0);
        var lab = new SwitchLab();
        Through(frame, lab).Should().BeEmpty(lie);
        lab.Switch.Ports.First().Dropped(SwitchDrop.Unfinished).Should().Be(1, lie);
    }

    [Fact]
    public void A_hundred_and_twenty_nine_datagrams_are_too_many()
    {
        var lab = new SwitchLab();
        Through(new Packet(true, Udp, 0, 0, 129, 1).Frame(cut: true, Mac(2), Mac(1)), lab).Should().BeEmpty();
        lab.Switch.Ports.First().Dropped(SwitchDrop.Unfinished).Should().Be(1);
    }
}
