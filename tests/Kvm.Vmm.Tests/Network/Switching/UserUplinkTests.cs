using System.Buffers.Binary;
using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Tests.Support;
using Kvm.Vmm.Network;
using Kvm.Vmm.Network.Switching;

namespace Kvm.Vmm.Tests.Network.Switching;

/// <summary>A user network for each VLAN: frames come with tags and go without, and the other way round.</summary>
public sealed class UserUplinkTests
{
    private readonly List<Network> _networks = [];
    private readonly List<string> _notices = [];
    private int _mostNetworks = int.MaxValue;

    /// <summary>Keeps what it is sent, and gives it back.</summary>
    private sealed class Network(NetConfig config) : IGuardedBackend
    {
        private byte[] _frame = new byte[256];
        private int _length;

        public NetConfig Config { get; } = config;

        public IReadOnlyList<AllowedPort> Allowed { get; private set; } = config.AllowHost;

        public bool IsFull { get; set; }

        public bool IsDisposed { get; private set; }

        public INetworkListener? Listener { get; private set; }

        public NetOffloads SendOffloads => NetOffloads.None;

        public NetOffloads ReceiveOffloads => NetOffloads.None;

        public int MaxPairs => 1;

        public ReadOnlySpan<byte> Waiting => _frame.AsSpan(0, _length);

        public void Allow(IReadOnlyList<AllowedPort> ports) => Allowed = ports;

        public void Connect(INetworkListener listener) => Listener = listener;

        public void Configure(NetOffloads receive, int pairs)
        {
        }

        public SendOutcome Send(int pair, ReadOnlySpan<HostBuffer> frame, int length)
        {
            if (IsFull)
                return SendOutcome.Full;
            if (length != frame[0].Length)
                throw new InvalidOperationException("a frame comes in one piece");
            frame[0].Span.CopyTo(_frame);
            _length = length;
            return SendOutcome.Sent;
        }

        public ReadOnlySpan<byte> Peek(int pair) => Waiting;

        public void Take(int pair) => _length = 0;

        public void Dispose() => IsDisposed = true;
    }

    private sealed class Listener : INetworkListener
    {
        public int Waiting { get; private set; }

        public int Room { get; private set; }

        public void FramesWaiting(int pair) => Waiting++;

        public void RoomAgain(int pair) => Room++;

        public void LinkChanged(bool up)
        {
        }
    }

    private UserUplink Open(params PublishedPort[] ports) => new(new NetConfig { Kind = NetKind.User, Publish = ports, AllowHost = [new AllowedPort(1, false)] }, config =>
    {
        if (_networks.Count == _mostNetworks)
            throw new VmmException(NetworkErrors.NoUserNetwork, "there is no memory");
        var network = new Network(config);
        _networks.Add(network);
        return network;
    }, _notices.Add);

    /// <summary>A frame, header first, whose bytes are all different.</summary>
    private static AlignedBuffer Frame(int? tag)
    {
        var buffer = new AlignedBuffer(NetHeader.Size + 60 + (tag is null ? 0 : 4));
        var frame = buffer.Buffer.Span;
        byte next = 1;
        for (int i = NetHeader.Size; i < frame.Length; i++)
        {
            if (tag is { } vlan && i == NetHeader.Size + 12)
            {
                BinaryPrimitives.WriteUInt32BigEndian(frame[i..], 0x8100_0000 | (uint)vlan);
                i += 3;
            }
            else
            {
                frame[i] = next++;
            }
        }

        return buffer;
    }

    private static SendOutcome Send(UserUplink uplink, AlignedBuffer frame) => uplink.Send(0, [frame.Buffer], frame.Length);

    [Fact]
    public void Each_vlan_has_a_network_that_sees_no_tags()
    {
        using var uplink = Open();
        _networks.Should().ContainSingle("the VLAN without tags has one from the beginning");
        using (var plain = Frame(null))
        {
            Send(uplink, plain).Should().Be(SendOutcome.Sent);
            foreach (int vlan in (int[])[7, 4094, 0xe007])
            {
                using var tagged = Frame(vlan);
                Send(uplink, tagged).Should().Be(SendOutcome.Sent);
            }

            _networks.Should().HaveCount(3, "the priority is not the VLAN");
            foreach (var network in _networks)
                network.Waiting.ToArray().Should().Equal(plain.Buffer.Span.ToArray());
        }

        var seen = new List<byte[]>();
        while (uplink.Peek(0) is { IsEmpty: false } frame)
        {
            uplink.Peek(0).SequenceEqual(frame).Should().BeTrue("it is the same until it is taken");
            seen.Add(frame.ToArray());
            uplink.Take(0);
        }

        seen.Select(f => f.Length == NetHeader.Size + 60 ? 0 : BinaryPrimitives.ReadUInt32BigEndian(f.AsSpan(NetHeader.Size + 12))).Should().Equal(0, 0x8100_0007, 0x8100_0ffe);
        using var again = Frame(7);
        seen[1].Should().Equal(again.Buffer.Span.ToArray());
    }

    [Fact]
    public void Frame_that_has_to_wait_stays_as_it_was()
    {
        using var uplink = Open();
        var listener = new Listener();
        uplink.Connect(listener);
        using var frame = Frame(0x2005);
        byte[] before = frame.Buffer.Span.ToArray();
        Send(uplink, frame).Should().Be(SendOutcome.Sent);
        frame.Buffer.Span.SequenceEqual(before).Should().BeFalse("it was changed where it lay");
        before.CopyTo(frame.Buffer.Span);
        _networks[1].IsFull = true;
        Send(uplink, frame).Should().Be(SendOutcome.Full);
        frame.Buffer.Span.ToArray().Should().Equal(before);
        _networks[1].Listener!.RoomAgain(0);
        _networks[0].Listener!.FramesWaiting(0);
        (listener.Room, listener.Waiting).Should().Be((1, 1));
    }

    [Fact]
    public void Ports_are_published_by_the_network_of_their_vlan_and_allowed_by_all()
    {
        var uplink = Open(new PublishedPort(System.Net.IPAddress.Loopback, 80, 80, false) { Vlan = 9 }, new PublishedPort(System.Net.IPAddress.Loopback, 81, 80, false));
        _networks.Select(n => string.Join(' ', n.Config.Publish)).Should().Equal("81:80", "80:80");
        AllowedPort[] more = [new(1, false), new(2, true)];
        uplink.Allow(more);
        using var frame = Frame(3);
        Send(uplink, frame);
        _networks.Should().HaveCount(3).And.OnlyContain(n => n.Allowed.SequenceEqual(more));
        uplink.Dispose();
        _networks.Should().OnlyContain(n => n.IsDisposed);
    }

    [Fact]
    public void Vlans_without_end_are_bounded_and_said_once()
    {
        using var uplink = Open();
        for (int round = 0; round < 2; round++)
        {
            for (int vlan = 2; vlan < 4095; vlan++)
            {
                using var frame = Frame(vlan);
                Send(uplink, frame).Should().Be(vlan <= UserUplink.MostNetworks ? SendOutcome.Sent : SendOutcome.Dropped);
            }
        }

        _networks.Should().HaveCount(UserUplink.MostNetworks);
        _notices.Should().HaveCount(1).And.ContainSingle(n => n.Contains("VLAN 65 has no user network: no more than 64"));
    }

    [Fact]
    public void Network_that_cannot_be_made_is_said_and_the_others_go_on()
    {
        _mostNetworks = 1;
        using var uplink = Open();
        using (var frame = Frame(5))
            Send(uplink, frame).Should().Be(SendOutcome.Dropped);
        using (var frame = Frame(null))
            Send(uplink, frame).Should().Be(SendOutcome.Sent);
        _notices.Should().Equal("VLAN 5 has no user network: there is no memory");
        FluentActions.Invoking(() => Open()).Should().Throw<VmmException>();
    }

    [Fact]
    public void Frames_that_are_cut_off_are_no_reason_to_fail()
    {
        using var uplink = Open();
        using var frame = Frame(5);
        for (int length = NetHeader.Size + 14; length <= frame.Length; length++)
        {
            frame.Buffer.Span[(NetHeader.Size + 12)..].Clear();
            BinaryPrimitives.WriteUInt16BigEndian(frame.Buffer.Span[(NetHeader.Size + 12)..], 0x8100);
            uplink.Send(0, [frame.Buffer.Slice(0, length)], length).Should().NotBe(SendOutcome.Full);
        }
    }

    [Fact]
    public void Ten_thousand_frames_allocate_nothing()
    {
        using var uplink = Open();
        using AlignedBuffer tagged = Frame(5), plain = Frame(null), now = Frame(5);
        var whole = new[] { now.Buffer };
        Allocation.Of(_ =>
        {
            tagged.Buffer.Span.CopyTo(now.Buffer.Span);
            uplink.Send(0, whole, now.Length);
            uplink.Peek(0);
            uplink.Take(0);
        }).Should().Be(0);
    }
}
