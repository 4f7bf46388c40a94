using System.Buffers.Binary;
using System.Text;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Metadata;
using Kvm.Devices.Tests.Net.Policy;
using Kvm.Tests.Support;

namespace Kvm.Devices.Tests.Net.Metadata;

/// <summary>ARP and TCP of the metadata service, with a guest that does as it should and ones that do not.</summary>
public sealed class MetadataNetworkTests
{
    private const string Question = "GET /name HTTP/1.1\r\n\r\n";

    private static readonly byte[] s_arp =
        [.. Packets.ToMac, .. Packets.FromMac, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, .. Packets.FromMac, 10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 169, 254, 169, 254];

    [Fact]
    public void Question_for_the_address_is_answered_and_any_other_is_somebody_elses()
    {
        using var guest = new MetadataGuest();
        guest.Send(s_arp).Should().BeTrue();
        byte[] answer = guest.TakeAll().Should().ContainSingle().Subject;
        answer.Should().Equal((byte[])[.. Packets.FromMac, 6, 1, 0x23, 0x45, 0x67, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2, 6, 1, 0x23, 0x45, 0x67, 1, 169, 254, 169, 254, .. Packets.FromMac, 10, 0, 2, 15]);
        foreach (var (at, value) in ((int, byte)[])[(41, 253), (21, 2), (15, 6), (16, 9), (18, 7), (19, 5)])
        {
            byte[] other = [.. s_arp];
            other[at] = value;
            guest.Send(other).Should().BeFalse($"byte {at}");
        }

        guest.Send(s_arp[..41]).Should().BeFalse("it is cut");
        guest.Send(Packets.UdpFrame("10.0.2.15", 1, "169.254.169.253", 80)).Should().BeFalse();
        guest.Send(Packets.Ethernet(0x86dd, new byte[60])).Should().BeFalse();
        guest.Send(Packets.Ethernet(0x0800, Packets.UdpFrame("10.0.2.15", 1, MetadataGuest.Service, 80)[14..], 5)).Should().BeFalse("it is another VLAN's");
        guest.TakeAll().Should().BeEmpty();
    }

    [Theory]
    [InlineData(1460, 1)]
    [InlineData(1, 1)]
    [InlineData(7, 3)]
    public void Request_is_answered_however_it_was_cut(int size, int cut)
    {
        using var guest = new MetadataGuest();
        var socket = guest.Connect();
        socket.Send(Question, size);
        socket.Received.Should().EndWith("\r\n\r\nZoë \" A");
        guest.Send(socket.Frame(GuestSocket.Ack, Encoding.UTF8.GetBytes(Question), [], socket.Sequence), cut).Should().BeTrue();
        socket.Sequence += (uint)Question.Length;
        socket.Go();
        socket.Received.Split("HTTP/1.1 200 OK").Should().HaveCount(3, "the connection goes on");
    }

    [Fact]
    public void Requests_that_come_at_once_are_answered_one_after_the_other()
    {
        using var guest = new MetadataGuest();
        var socket = guest.Connect();
        socket.Send(string.Concat(Enumerable.Repeat(Question, 50)));
        socket.Received.Split("HTTP/1.1 200 OK").Should().HaveCount(51);
        guest.Answers.Counters.Requests.Should().Be(50);
    }

    [Fact]
    public void Long_answer_arrives_whole_in_segments_of_the_guests_size_and_no_further_than_its_window()
    {
        string value = string.Concat(Enumerable.Range(0, 30_000).Select(i => $"{i},"));
        using var guest = new MetadataGuest($$"""{"v": "{{value}}"}""");
        var socket = new GuestSocket(guest, 7) { Window = 3000 };
        socket.Open([2, 4, 1, 0]);
        socket.Send("GET /v HTTP/1.1\r\n\r\n");
        socket.Received.Should().EndWith("\r\n\r\n" + value);
        socket.Largest.Should().Be(256);
    }

    [Fact]
    public void Window_limits_what_is_on_the_way()
    {
        using var guest = new MetadataGuest($$"""{"v": "{{new string('x', 10_000)}}"}""");
        var socket = new GuestSocket(guest, 7) { Window = 2000 };
        socket.Open();
        socket.Put(GuestSocket.Ack, Encoding.UTF8.GetBytes("GET /v HTTP/1.1\r\n\r\n"));
        guest.TakeAll().Sum(f => GuestSocket.Payload(f).Length).Should().Be(2000);
    }

    [Fact]
    public void Guest_that_closes_its_window_is_asked_again_and_gets_the_rest()
    {
        using var guest = new MetadataGuest();
        var socket = new GuestSocket(guest, 7) { Window = 0 };
        socket.Open();
        socket.Send(Question);
        socket.Received.Should().BeEmpty();
        guest.Time.Advance(TimeSpan.FromMilliseconds(200));
        byte[] probe = guest.TakeAll().Should().ContainSingle().Subject;
        GuestSocket.Payload(probe).Should().Equal((byte)'H');
        socket.Window = 1000;
        socket.Take(probe);
        socket.Put(GuestSocket.Ack);
        socket.Go();
        socket.Received.Should().EndWith("Zoë \" A");
    }

    [Fact]
    public void What_is_lost_is_sent_again_and_a_guest_that_is_gone_forgotten()
    {
        using var guest = new MetadataGuest();
        var socket = guest.Connect();
        socket.Put(GuestSocket.Ack, Encoding.UTF8.GetBytes(Question));
        socket.Sequence += (uint)Question.Length;
        byte[] lost = guest.TakeAll().Should().ContainSingle().Subject;
        guest.Time.Advance(TimeSpan.FromMilliseconds(200));
        guest.TakeAll().Should().ContainSingle().Which.Should().Equal(lost);
        for (int i = 0; i < 1000; i++)
            guest.Time.Advance(TimeSpan.FromMilliseconds(200));
        guest.TakeAll();
        guest.Time.Armed.Should().Be(0, "nobody is waited for");
        socket.Put(GuestSocket.Ack);
        socket.Go();
        socket.WasReset.Should().BeTrue();
    }

    [Fact]
    public void Lost_answer_to_a_begin_is_sent_again()
    {
        using var guest = new MetadataGuest();
        var socket = new GuestSocket(guest, 9);
        socket.Put(GuestSocket.Syn);
        byte[] lost = guest.TakeAll().Should().ContainSingle().Subject;
        guest.Time.Advance(TimeSpan.FromMilliseconds(200));
        guest.TakeAll().Should().ContainSingle().Which.Should().Equal(lost);
        socket.Put(GuestSocket.Syn);
        guest.TakeAll().Should().ContainSingle("the guest asks again").Which.Should().Equal(lost);
    }

    [Fact]
    public void Segments_twice_out_of_order_and_overlapping_count_once()
    {
        using var guest = new MetadataGuest();
        var socket = guest.Connect();
        byte[] bytes = Encoding.UTF8.GetBytes(Question);
        uint start = socket.Sequence;
        socket.Put(GuestSocket.Ack, bytes[10..], sequence: start + 10);
        socket.Put(GuestSocket.Ack, bytes[..4], sequence: start);
        socket.Put(GuestSocket.Ack, bytes[..4], sequence: start);
        socket.Put(GuestSocket.Ack, bytes[2..12], sequence: start + 2);
        socket.Put(GuestSocket.Ack, bytes[8..], sequence: start + 8);
        socket.Sequence = start + (uint)bytes.Length;
        socket.Go();
        socket.Received.Should().EndWith("Zoë \" A");
        guest.Answers.Counters.Should().Be(new MetadataCounters(1, 0, 0));
    }

    [Fact]
    public void Both_ends_end_and_nothing_is_left()
    {
        using var guest = new MetadataGuest();
        var socket = guest.Connect();
        socket.Send(Question, end: true);
        socket.Received.Should().EndWith("Zoë \" A");
        socket.HasEnded.Should().BeTrue();
        socket.Put(GuestSocket.Ack);
        socket.Go();
        socket.WasReset.Should().BeTrue("it is forgotten");
        guest.Time.Armed.Should().BeLessThanOrEqualTo(1);
        guest.Time.Advance(TimeSpan.FromMilliseconds(200));
        guest.Time.Armed.Should().Be(0);
    }

    [Fact]
    public void Guest_that_wants_no_more_is_told_the_end_first()
    {
        using var guest = new MetadataGuest();
        var socket = guest.Connect();
        socket.Send("GET /name HTTP/1.0\r\n\r\n");
        socket.HasEnded.Should().BeTrue();
        socket.WasReset.Should().BeFalse();
        socket.End();
        socket.Put(GuestSocket.Ack);
        socket.Go();
        socket.WasReset.Should().BeTrue("it is forgotten");
    }

    [Theory]
    [InlineData("GET / HTTP/1.1\r\nContent-Length: 1048576\r\n\r\n", "413")]
    [InlineData("GET /", "431")]
    [InlineData("GET / HTTP/1.1\r\nX: ", "431")]
    public void Request_of_a_megabyte_is_refused_and_taken_no_further_than_its_sender_needs_to_hear_that(string start, string status)
    {
        using var guest = new MetadataGuest();
        var socket = guest.Connect();
        socket.Send(start + new string('x', 1 << 20));
        socket.Received.Should().StartWith($"HTTP/1.1 {status} ").And.Contain("Connection: close");
        socket.Received.Split("HTTP/1.1 ").Should().HaveCount(2, "one answer");
        (socket.HasEnded, socket.WasReset).Should().Be((true, false));
        guest.Answers.Counters.Should().Be(new MetadataCounters(1, 1, 0));
    }

    [Fact]
    public void Reset_ends_a_connection_if_it_is_in_the_window()
    {
        using var guest = new MetadataGuest();
        var socket = guest.Connect();
        socket.Put(GuestSocket.Reset, sequence: socket.Sequence - 1);
        socket.Put(GuestSocket.Reset, sequence: socket.Sequence + 100_000);
        socket.Send(Question);
        socket.Received.Should().NotBeEmpty();
        socket.Put(GuestSocket.Reset);
        socket.Put(GuestSocket.Ack);
        socket.Go();
        socket.WasReset.Should().BeTrue();
    }

    [Theory]
    [InlineData(GuestSocket.Ack, 80)]
    [InlineData(GuestSocket.Ack | GuestSocket.Fin, 80)]
    [InlineData(GuestSocket.Syn | GuestSocket.Ack, 80)]
    [InlineData(GuestSocket.Syn, 81)]
    [InlineData(GuestSocket.Syn, 0)]
    public void What_belongs_to_no_connection_is_answered_by_a_reset(byte flags, int port)
    {
        using var guest = new MetadataGuest();
        var socket = new GuestSocket(guest, 5) { Acknowledgement = 77 };
        socket.Put(flags, [], toPort: port);
        byte[] reset = guest.TakeAll().Should().ContainSingle().Subject;
        (GuestSocket.Flags(reset) & GuestSocket.Reset).Should().NotBe(0);
        if ((flags & GuestSocket.Ack) != 0)
            BinaryPrimitives.ReadUInt32BigEndian(reset.AsSpan(38)).Should().Be(77);
        else
            BinaryPrimitives.ReadUInt32BigEndian(reset.AsSpan(42)).Should().Be(socket.Sequence + 1);
        guest.Network.Traffic.Connections.Should().Be(0);
    }

    [Fact]
    public void Resets_are_never_answered_by_resets_and_few_are_sent_at_once()
    {
        using var guest = new MetadataGuest();
        var socket = new GuestSocket(guest, 5);
        socket.Put(GuestSocket.Reset);
        guest.TakeAll().Should().BeEmpty();
        for (int i = 0; i < 1000; i++)
            socket.Put(GuestSocket.Ack);
        guest.TakeAll().Should().HaveCount(8);
    }

    [Theory]
    [InlineData(new byte[] { 2, 0, 0, 0 })]
    [InlineData(new byte[] { 2, 1, 5, 180 })]
    [InlineData(new byte[] { 1, 1, 1, 2 })]
    [InlineData(new byte[] { 2, 4, 5, 180, 9, 0, 1, 1 })]
    [InlineData(new byte[] { 9, 255, 0, 0 })]
    [InlineData(new byte[] { 2, 4, 0, 0 })]
    [InlineData(new byte[] { 0, 2, 4, 9 })]
    [InlineData(new byte[] { 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4, 255, 255, 1, 1 })]
    public void Options_that_cannot_be_end_the_options_and_the_connection_works(byte[] options)
    {
        using var guest = new MetadataGuest();
        var socket = new GuestSocket(guest, 5);
        socket.Open(options);
        socket.Send(Question);
        socket.Received.Should().EndWith("Zoë \" A");
        socket.Largest.Should().BeInRange(1, TcpSegment.MostPayload);
    }

    [Fact]
    public void Fragments_other_protocols_and_headers_that_contradict_themselves_are_dropped_and_counted()
    {
        using var guest = new MetadataGuest();
        var socket = new GuestSocket(guest, 5);
        byte[] good = socket.Frame(GuestSocket.Syn, [], [2, 4, 5, 180], 1);
        var wrong = new List<byte[]> { Packets.UdpFrame(MetadataGuest.Address, 1, MetadataGuest.Service, 80), good[..40], good[..53] };
        foreach (var (at, value) in ((int, byte)[])[(20, 0x20), (21, 1), (14, 0x55), (14, 0x44), (14, 0x4f), (16, 255), (17, 39), (17, 20), (46, 0x40), (46, 0xf0)])
        {
            byte[] frame = [.. good];
            frame[at] = value;
            wrong.Add(frame);
        }

        foreach (byte[] frame in wrong)
            guest.Send(frame).Should().BeTrue("it is nobody else's");
        guest.TakeAll().Should().BeEmpty();
        guest.Network.Traffic.Should().Be(new MetadataTraffic(0, 0, wrong.Count));
        guest.Send([.. good, .. new byte[500]]);
        guest.TakeAll().Should().ContainSingle("what is behind a packet is padding");
    }

    [Fact]
    public void Half_open_connections_without_end_take_no_memory_and_a_new_one_works()
    {
        using var guest = new MetadataGuest();
        var first = guest.Connect(1);
        byte[][] floods = [.. Enumerable.Range(2, 65_000).Select(port => new GuestSocket(guest, port & 0xffff).Frame(GuestSocket.Syn, [], [], 1))];
        long before = GC.GetTotalMemory(forceFullCollection: true);
        foreach (byte[] frame in floods)
            guest.Send(frame);
        (GC.GetTotalMemory(forceFullCollection: true) - before).Should().BeLessThan(1 << 20);
        guest.TakeAll().Should().HaveCount(MetadataNetwork.MostConnections);
        guest.Network.Traffic.Evicted.Should().Be(65_000 + 1 - MetadataNetwork.MostConnections);
        var socket = guest.Connect(1);
        socket.Send(Question);
        socket.Received.Should().EndWith("Zoë \" A");
        first.Put(GuestSocket.Ack);
        guest.TakeAll().Should().NotBeEmpty();
    }

    [Fact]
    public void Connection_that_is_used_is_not_the_one_that_has_to_go()
    {
        using var guest = new MetadataGuest();
        var used = guest.Connect(1);
        for (int port = 2; port < 2 + 3 * MetadataNetwork.MostConnections; port++)
        {
            guest.Connect(port);
            used.Send(Question);
        }

        used.WasReset.Should().BeFalse();
        used.Received.Split("HTTP/1.1 200 OK").Should().HaveCount(3 * MetadataNetwork.MostConnections + 1);
    }

    [Fact]
    public void Frames_allocate_nothing()
    {
        using var guest = new MetadataGuest();
        var socket = guest.Connect();
        byte[] frame = new byte[MetadataNetwork.FrameBytes];
        using var buffer = new Kvm.Devices.Memory.AlignedBuffer(2048, 64);
        byte[] question = Encoding.UTF8.GetBytes(Question);
        byte[] sent = socket.Frame(GuestSocket.Ack, question, [], socket.Sequence);
        Kvm.Devices.Memory.HostBuffer[] pieces = [buffer.Buffer.Slice(0, NetHeader.Size + sent.Length)];
        uint sequence = socket.Sequence, acknowledgement = socket.Acknowledgement;
        int answers = 0;
        Allocation.Of(_ =>
        {
            var place = buffer.Buffer.Span[NetHeader.Size..];
            sent.CopyTo(place);
            BinaryPrimitives.WriteUInt32BigEndian(place[38..], sequence);
            BinaryPrimitives.WriteUInt32BigEndian(place[42..], acknowledgement);
            guest.Network.Receive(pieces, NetHeader.Size + sent.Length);
            sequence += (uint)question.Length;
            for (int length = guest.Network.Next(frame); length > 0; length = guest.Network.Next(frame))
            {
                acknowledgement += (uint)(length - NetHeader.Size - 54);
                answers++;
            }
        }).Should().Be(0);
        answers.Should().BePositive();
        guest.Answers.Counters.Requests.Should().BeGreaterThan(1);
    }
}
