using System.Buffers.Binary;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Services;
using Kvm.Devices.Tests.Support;
using Kvm.Tests.Support;
using static Kvm.Devices.Tests.Net.Services.Plans;

namespace Kvm.Devices.Tests.Net.Services;

/// <summary>Who gets which address, for how long, and what is said to whom that asks badly.</summary>
public sealed class DhcpServerTests
{
    private readonly ManualTime _time = new() { Timestamp = 1 };
    private readonly DhcpServer _server;
    private readonly byte[] _answer = new byte[DhcpServer.MostBytes];

    public DhcpServerTests() => _server = new DhcpServer(Lab, _time);

    private static MacAddress Client(int number) => new(0x5254_0001_0000 + (ulong)number);

    /// <summary>The kind of the answer, and the address in it; 0 if there is no answer.</summary>
    private (byte Type, string Address) Say(MacAddress client, byte type, string wanted = "0.0.0.0", string server = "0.0.0.0", string current = "0.0.0.0", int port = 1)
    {
        int length = _server.Answer(Dhcp(client, type, Address(wanted), Address(server), Address(current)), client, port, _answer);
        return length == 0 ? ((byte)0, "") : (Option(53)![0], Text(BinaryPrimitives.ReadUInt32BigEndian(_answer.AsSpan(16))));
    }

    private byte[]? Option(byte number)
    {
        for (int at = 240; _answer[at] != 255; at += 2 + _answer[at + 1])
        {
            if (_answer[at] == number)
                return _answer[(at + 2)..(at + 2 + _answer[at + 1])];
        }

        return null;
    }

    private string Lease(MacAddress client, int port = 1)
    {
        var (type, address) = Say(client, DhcpMessage.Discover, port: port);
        if (type == 0)
            return "none";
        type.Should().Be(DhcpMessage.Offer);
        Say(client, DhcpMessage.Request, address, "10.20.0.2", port: port).Should().Be((DhcpMessage.Acknowledge, address));
        return address;
    }

    [Fact]
    public void A_machine_of_the_plan_gets_its_own_address_and_all_it_needs_to_know()
    {
        Lease(Web).Should().Be("10.20.0.11");
        _answer.AsSpan(0, 4).ToArray().Should().Equal(2, 1, 6, 0);
        BinaryPrimitives.ReadUInt32BigEndian(_answer.AsSpan(4)).Should().Be(0xdead_beef);
        MacAddress.Read(_answer.AsSpan(28)).Should().Be(Web);
        Option(1).Should().Equal(255, 255, 255, 0);
        Option(3).Should().Equal(10, 20, 0, 1);
        Option(6).Should().Equal(10, 20, 0, 2);
        Option(12).Should().Equal("web"u8.ToArray());
        Option(15).Should().Equal("lab"u8.ToArray());
        Option(26).Should().Equal(5, 120);
        Option(28).Should().Equal(10, 20, 0, 255);
        Option(51).Should().Equal(0, 0, 0x0e, 0x10);
        Option(54).Should().Equal(10, 20, 0, 2);
        Say(Web, DhcpMessage.Request, current: "10.20.0.11").Should().Be((DhcpMessage.Acknowledge, "10.20.0.11"), "it renews");
        Say(Web, DhcpMessage.Request, "10.20.0.77").Type.Should().Be(DhcpMessage.Refuse);
        (_server.Acknowledged, _server.RefusedCount).Should().Be((2, 1));
    }

    [Fact]
    public void Others_get_what_is_free_of_the_range_keep_it_and_get_nothing_when_it_is_exhausted()
    {
        string[] leases = [Lease(Client(1)), Lease(Client(2)), Lease(Client(3))];
        leases.Should().BeEquivalentTo("10.20.0.100", "10.20.0.102", "10.20.0.103").And.OnlyHaveUniqueItems("101 is a machine's own");
        Lease(Client(4)).Should().Be("none");
        _server.Exhausted.Should().Be(1);
        Lease(Client(2)).Should().Be(leases[1]);
        Text(_server.AddressOf(Client(2))).Should().Be(leases[1]);
        _time.Advance(TimeSpan.FromMinutes(61));
        _server.AddressOf(Client(2)).Should().Be(0);
        Lease(Client(2)).Should().Be(leases[1], "who comes back finds its own");
        Lease(Client(4)).Should().NotBe("none");
    }

    [Fact]
    public void An_offer_that_nobody_takes_is_free_again_soon()
    {
        for (int i = 0; i < 3; i++)
            Say(Client(i), DhcpMessage.Discover).Type.Should().Be(DhcpMessage.Offer);
        Lease(Client(9)).Should().Be("none");
        _time.Advance(TimeSpan.FromSeconds(31));
        Lease(Client(9)).Should().NotBe("none");
    }

    [Fact]
    public void A_client_may_ask_for_an_address_it_had_and_is_told_if_it_is_another_s()
    {
        Say(Client(1), DhcpMessage.Request, "10.20.0.102").Should().Be((DhcpMessage.Acknowledge, "10.20.0.102"));
        Say(Client(2), DhcpMessage.Request, "10.20.0.102").Type.Should().Be(DhcpMessage.Refuse);
        Say(Client(3), DhcpMessage.Request, "192.0.2.1").Type.Should().Be(DhcpMessage.Refuse);
        Say(Client(3), DhcpMessage.Request, "10.20.0.1").Type.Should().Be(DhcpMessage.Refuse);
        Say(Client(3), DhcpMessage.Request).Type.Should().Be(DhcpMessage.Refuse);
    }

    [Fact]
    public void Release_frees_decline_keeps_away_and_another_server_s_offer_ends_ours()
    {
        string first = Lease(Client(1));
        Say(Client(2), DhcpMessage.Release, current: first).Type.Should().Be(0);
        Text(_server.AddressOf(Client(1))).Should().Be(first, "nobody gives back what is another's");
        Say(Client(1), DhcpMessage.Release, current: first);
        Lease(Client(2)).Should().Be(first);
        Say(Client(2), DhcpMessage.Decline, wanted: first);
        Lease(Client(2)).Should().NotBe(first);
        Say(Client(3), DhcpMessage.Discover).Type.Should().Be(DhcpMessage.Offer);
        Say(Client(3), DhcpMessage.Request, "10.20.0.9", "10.20.0.250").Type.Should().Be(0);
        _server.AddressOf(Client(3)).Should().Be(0);
        Say(Client(3), DhcpMessage.Inform, current: "10.20.0.200").Should().Be((DhcpMessage.Acknowledge, "0.0.0.0"));
        Option(51).Should().BeNull();
    }

    [Fact]
    public void One_port_has_no_more_than_a_few()
    {
        var server = new DhcpServer(Lab with { LastLease = Address("10.20.0.200") }, _time);
        for (int i = 0; i < 200; i++)
            server.Answer(Dhcp(Client(i), DhcpMessage.Discover), Client(i), 7, _answer);
        server.Exhausted.Should().Be(200 - DhcpServer.MostOfPort);
        server.Answer(Dhcp(Client(999), DhcpMessage.Discover), Client(999), 8, _answer).Should().BePositive();
    }

    [Fact]
    public void A_message_that_is_none_is_counted_and_not_answered()
    {
        byte[] good = Dhcp(Client(1), DhcpMessage.Discover);
        byte[] Bad(int at, byte value) => [.. good[..at], value, .. good[(at + 1)..]];
        byte[][] bad =
        [
            [], good[..239], good[..240], Bad(0, 2), Bad(1, 6), Bad(2, 16), Bad(24, 1), Bad(236, 0), Bad(242, 2), Bad(242, 9), Bad(242, 0), Bad(241, 0), Bad(241, 200), Bad(28, 1),
            Dhcp(Client(1), DhcpMessage.Discover, more: [50, 3, 1, 2, 3]), Dhcp(Client(1), DhcpMessage.Discover, more: [54, 0]), Dhcp(Client(1), DhcpMessage.Discover, more: [77]),
            Dhcp(default, DhcpMessage.Discover), [.. good[..^1], 60, 255],
        ];
        foreach (byte[] message in bad)
            _server.Answer(message, Client(1), 1, _answer).Should().Be(0, Convert.ToHexString(message));
        _server.Answer(good, Client(2), 1, _answer).Should().Be(0, "it came from another card");
        _server.Malformed.Should().Be(bad.Length + 1);
        _server.Answer(good.AsSpan(0, good.Length - 1), Client(1), 1, _answer).Should().BePositive("an end that is missing harms nobody");
    }

    [Fact]
    public void Nothing_is_allocated_for_a_message()
    {
        byte[] discover = Dhcp(Client(1), DhcpMessage.Discover), request = Dhcp(Client(2), DhcpMessage.Request, Address("10.20.0.102"));
        Allocation.Of(i => _server.Answer(i % 2 == 0 ? discover : request, Client(1 + i % 2), 1, _answer)).Should().Be(0);
    }
}
