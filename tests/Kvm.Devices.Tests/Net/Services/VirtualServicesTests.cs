using System.Buffers.Binary;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Policy;
using Kvm.Devices.Net.Services;
using Kvm.Devices.Tests.Net.Policy;
using Kvm.Devices.Tests.Support;
using Kvm.Tests.Support;
using static Kvm.Devices.Tests.Net.Services.Plans;

namespace Kvm.Devices.Tests.Net.Services;

/// <summary>Flows to an address that stands for several: who gets them, how long, and that every checksum is right.</summary>
public sealed class VirtualServicesTests
{
    private const string Service = "10.20.0.50", Client = "10.20.0.200";

    private readonly ManualTime _time = new() { Timestamp = 1 };
    private readonly VirtualServices _services;

    public VirtualServicesTests()
    {
        var backends = Enumerable.Range(1, 4).Select(i => new ServiceBackend($"db{i}", Mac(i), Address($"10.20.0.{i + 60}"))).ToList();
        _services = new VirtualServices([new VirtualService("shop", Address(Service), 6, 80, 8080, backends), new VirtualService("names", Address(Service), 17, 53, 53, backends)], _time);
        for (int i = 1; i <= 4; i++)
            _services.SetHealth($"db{i}", true);
    }

    private static MacAddress Mac(int number) => new(0x5254_0000_0060 + (ulong)number);

    private static string DestinationOf(byte[] frame) => Text(BinaryPrimitives.ReadUInt32BigEndian(frame.AsSpan(30)));

    private byte[] Rewrite(byte[] frame, bool unfinished = false, int transport = 34)
    {
        _services.Rewrite(1, new NetHeader(unfinished ? NetHeader.NeedsChecksum : (byte)0, 0, 0, 0, (ushort)transport, frame.Length > 23 && frame[23] == 6 ? (ushort)16 : (ushort)6, 0), frame);
        return frame;
    }

    private string Ask(int port, byte flags = Packets.Syn) => DestinationOf(Rewrite(Packets.TcpFrame(Client, port, Service, 80, flags)));

    [Theory]
    [InlineData(6)]
    [InlineData(17)]
    public void A_frame_goes_to_a_machine_and_its_answer_comes_from_the_service_with_right_checksums(byte protocol)
    {
        byte[] question = Rewrite(protocol == 6 ? Packets.TcpFrame(Client, 40_001, Service, 80, payload: 33) : Packets.UdpFrame(Client, 40_001, Service, 53));
        string backend = DestinationOf(question);
        backend.Should().BeOneOf("10.20.0.61", "10.20.0.62", "10.20.0.63", "10.20.0.64");
        MacAddress.Read(question).Should().Be(Mac(int.Parse(backend[^1..], System.Globalization.CultureInfo.InvariantCulture)));
        BinaryPrimitives.ReadUInt16BigEndian(question.AsSpan(36)).Should().Be(protocol == 6 ? (ushort)8080 : (ushort)53);
        Packets.SumsAreRight(question).Should().BeTrue();
        byte[] answer = Rewrite(protocol == 6 ? Packets.TcpFrame(backend, 8080, Client, 40_001, Packets.Syn | Packets.Ack) : Packets.UdpFrame(backend, 53, Client, 40_001));
        Text(BinaryPrimitives.ReadUInt32BigEndian(answer.AsSpan(26))).Should().Be(Service);
        BinaryPrimitives.ReadUInt16BigEndian(answer.AsSpan(34)).Should().Be(protocol == 6 ? (ushort)80 : (ushort)53);
        Packets.SumsAreRight(answer).Should().BeTrue();
        PacketHeaders.Parse(answer, out var headers);
        var key = headers.Key;
        _services.Restore(ref key);
        (Text((uint)key.Source), key.SourcePort).Should().Be((backend, protocol == 6 ? (ushort)8080 : (ushort)53));
    }

    [Theory]
    [InlineData(6)]
    [InlineData(17)]
    public void A_checksum_that_is_still_to_be_finished_is_right_when_it_was(byte protocol)
    {
        byte[] frame = protocol == 6 ? Packets.TcpFrame(Client, 40_001, Service, 80, payload: 33) : Packets.UdpFrame(Client, 40_001, Service, 53);
        int field = protocol == 6 ? 50 : 40, length = BinaryPrimitives.ReadUInt16BigEndian(frame.AsSpan(16)) - 20;
        ulong Pseudo() => InternetChecksum.PseudoHeader(BinaryPrimitives.ReadUInt32BigEndian(frame.AsSpan(26)), BinaryPrimitives.ReadUInt32BigEndian(frame.AsSpan(30)), protocol, length);
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(field), InternetChecksum.Fold(Pseudo()));
        Rewrite(frame, unfinished: true);
        DestinationOf(frame).Should().NotBe(Service);
        BinaryPrimitives.ReadUInt16BigEndian(frame.AsSpan(field)).Should().Be(InternetChecksum.Fold(Pseudo()));
        // As who finishes it does: the sum over all from where the segment begins, the pseudo header's included.
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(field), InternetChecksum.Of(frame.AsSpan(34, length)));
        Packets.SumsAreRight(frame).Should().BeTrue();
    }

    [Fact]
    public void A_datagram_without_checksum_stays_without()
    {
        byte[] frame = Packets.UdpFrame(Client, 1, Service, 53);
        frame.AsSpan(40, 2).Clear();
        Rewrite(frame);
        frame.AsSpan(40, 2).ToArray().Should().Equal(0, 0);
        Packets.SumsAreRight(frame).Should().BeTrue();
    }

    [Fact]
    public void Flows_spread_stay_and_outlive_the_death_of_others()
    {
        var before = Enumerable.Range(1, 400).ToDictionary(port => port, port => Ask(port));
        before.Values.Distinct().Should().HaveCount(4);
        _services.SetHealth("db2", false);
        foreach (var (port, backend) in before)
            Ask(port, Packets.Ack).Should().Be(backend, "even a dead one's are its own: nobody else knows them");
        foreach (var (port, backend) in before)
        {
            if (backend == "10.20.0.62")
                Ask(port).Should().NotBe(backend, "it begins anew");
            else
                Ask(port).Should().Be(backend);
        }

        Enumerable.Range(1000, 200).Select(port => Ask(port)).Should().NotContain("10.20.0.62");
        _services.SetHealth("db2", true);
        foreach (int port in before.Keys)
            Ask(port, Packets.Ack).Should().NotBe("10.20.0.62", "it comes back for new flows");
        Enumerable.Range(2000, 200).Select(port => Ask(port)).Should().Contain("10.20.0.62");
    }

    [Fact]
    public void A_service_that_nobody_serves_leaves_frames_as_they_are()
    {
        for (int i = 1; i <= 4; i++)
            _services.SetHealth($"db{i}", false);
        Ask(5).Should().Be(Service);
        _services.Unserved.Should().Be(1);
        _services.IsHealthy("db1").Should().BeFalse();
    }

    [Fact]
    public void Who_serves_and_asks_is_served_by_another()
    {
        for (int port = 1; port < 200; port++)
            DestinationOf(Rewrite(Packets.TcpFrame("10.20.0.61", port, Service, 80))).Should().NotBe("10.20.0.61");
    }

    [Fact]
    public void Frames_of_others_answers_to_nobody_and_what_is_no_flow_are_left_alone()
    {
        byte[] fragment = Packets.TcpFrame(Client, 1, Service, 80);
        fragment[20] = 0x20;
        foreach (byte[] frame in (byte[][])[Packets.TcpFrame(Client, 1, Service, 81), Packets.TcpFrame(Client, 1, "10.20.0.61", 8080), Packets.TcpFrame("10.20.0.61", 8080, Client, 9),
            Packets.Echo(Client, Service, 1), fragment, fragment[..20], []])
            Rewrite([.. frame]).Should().Equal(frame);
        var key = new FlowKey(Address(Service), Address(Client), 80, 9, 6, 4);
        var same = key;
        _services.Restore(ref same);
        same.Should().Be(key);
    }

    [Fact]
    public void A_flood_of_flows_takes_no_more_room_and_answered_ones_keep_theirs()
    {
        string backend = Ask(7);
        Rewrite(Packets.TcpFrame(backend, 8080, Client, 7, Packets.Syn | Packets.Ack));
        for (int i = 0; i < 60_000; i++)
            Rewrite(Packets.TcpFrame("10.20.0.201", i, Service, 80));
        _services.SetHealth(_services.Services[0].Backends.First(b => Text(b.Address) == backend).Name, false);
        Ask(7, Packets.Ack).Should().Be(backend);
    }

    [Fact]
    public void Nothing_is_allocated_for_a_frame()
    {
        byte[] question = Packets.TcpFrame(Client, 40_001, Service, 80), other = Packets.TcpFrame(Client, 1, "10.20.0.9", 80);
        byte[] copy = new byte[question.Length];
        Allocation.Of(i =>
        {
            question.CopyTo(copy, 0);
            copy[35] = (byte)i;
            _services.Rewrite(1, default, copy);
            _services.Rewrite(1, default, other);
        }).Should().Be(0);
    }
}
