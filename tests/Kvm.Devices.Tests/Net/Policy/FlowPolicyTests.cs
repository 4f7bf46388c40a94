using Kvm.Devices.Net.Policy;
using Kvm.Devices.Tests.Support;
using Kvm.Tests.Support;

namespace Kvm.Devices.Tests.Net.Policy;

/// <summary>Frames between ports: rules, answers, floods, changes of rules while frames pass.</summary>
public sealed class FlowPolicyTests
{
    private const int Web = 1, Db = 2, Other = 3, Uplink = 4, Services = 5, Nobody = 9;
    private const string WebAddress = "10.0.0.1", DbAddress = "10.0.0.2", OtherAddress = "10.0.0.3";

    private static readonly PolicyEndpoint[] s_endpoints = [new("web", ["web"]), new("db", ["db"]), new("other", []), new("uplink", [], IsUplink: true)];

    private readonly ManualTime _time = new();
    private readonly FlowTable _flows;
    private readonly FlowPolicy _policy;

    public FlowPolicyTests()
    {
        _flows = new FlowTable(_time, 64);
        _policy = Make(_flows, "allow from label=web to label=db tcp/5432,icmp", "allow from vm=web to uplink");
    }

    private static CompiledPolicy Compile(params string[] rules) => new([.. rules.Select(text => PolicyRule.Parse(text, out var rule) is null ? rule : throw new InvalidOperationException(text))], false, s_endpoints);

    private static FlowPolicy Make(FlowTable flows, params string[] rules)
    {
        var policy = new FlowPolicy(Compile(rules), flows);
        policy.Bind(Web, "web");
        policy.Bind(Db, "db");
        policy.Bind(Other, "other");
        policy.Bind(Uplink, "uplink");
        policy.BindServices(Services);
        return policy;
    }

    private static byte[] Request(int port = 40_000, byte flags = Packets.Syn) => Packets.TcpFrame(WebAddress, port, DbAddress, 5432, flags);

    private static byte[] Answer(int port = 40_000, byte flags = Packets.Syn | Packets.Ack) => Packets.TcpFrame(DbAddress, 5432, WebAddress, port, flags);

    [Fact]
    public void What_a_rule_allows_passes_and_its_answers_and_nothing_else()
    {
        _policy.Allows(Db, Web, Answer()).Should().BeFalse("nobody asked");
        _policy.Allows(Web, Db, Request()).Should().BeTrue();
        _policy.Allows(Db, Web, Answer()).Should().BeTrue();
        _policy.Allows(Db, Web, Packets.TcpFrame(DbAddress, 40_000, WebAddress, 5432)).Should().BeFalse();
        _policy.Allows(Web, Db, Packets.TcpFrame(WebAddress, 40_000, DbAddress, 22)).Should().BeFalse();
        _policy.Allows(Other, Db, Packets.TcpFrame(OtherAddress, 40_000, DbAddress, 5432)).Should().BeFalse();
        _policy.Allows(Other, Web, Answer()).Should().BeFalse("the answer is another's to give");
        _policy.Rules.Count(0).Should().Be(2);
        _policy.Rules.Count(-1).Should().Be(5);
    }

    [Fact]
    public void What_a_denied_end_sends_first_does_not_keep_the_other_from_asking()
    {
        _policy.Allows(Db, Web, Answer()).Should().BeFalse();
        _policy.Allows(Web, Db, Request()).Should().BeTrue();
        _policy.Allows(Db, Web, Answer()).Should().BeTrue();
    }

    [Fact]
    public void Echoes_are_answered_and_errors_are_about_flows_that_are_known()
    {
        _policy.Allows(Web, Db, Packets.Echo(WebAddress, DbAddress, 5)).Should().BeTrue();
        _policy.Allows(Db, Web, Packets.Echo(DbAddress, WebAddress, 5, reply: true)).Should().BeTrue();
        _policy.Allows(Db, Web, Packets.Echo(DbAddress, WebAddress, 5)).Should().BeFalse();
        _policy.Allows(Db, Web, Packets.Error(DbAddress, WebAddress, Request())).Should().BeFalse("no such segment was sent");
        _policy.Allows(Web, Db, Request()).Should().BeTrue();
        _policy.Allows(Db, Web, Packets.Error(DbAddress, WebAddress, Request())).Should().BeTrue();
        _policy.Allows(Other, Web, Packets.Error(OtherAddress, WebAddress, Request())).Should().BeFalse("the segment did not pass there");
        _policy.Unrelated.Should().Be(2);
        _policy.Allows(Web, Uplink, Packets.Error(WebAddress, "192.0.2.1", Packets.TcpFrame("192.0.2.1", 1, WebAddress, 2))).Should().BeTrue("all is allowed there, and not remembered");
    }

    [Fact]
    public void Answers_come_as_long_as_a_flow_lives_and_no_longer()
    {
        _policy.Allows(Web, Db, Request()).Should().BeTrue();
        _time.Advance(TimeSpan.FromSeconds(61));
        _policy.Allows(Db, Web, Answer()).Should().BeFalse("it was never answered");
        _policy.Allows(Web, Db, Request()).Should().BeTrue();
        _policy.Allows(Db, Web, Answer()).Should().BeTrue();
        _time.Advance(TimeSpan.FromHours(2));
        _policy.Allows(Db, Web, Answer(flags: Packets.Ack)).Should().BeTrue("RFC 5382 wants connections to live for 2 hours and 4 minutes");
        _policy.Allows(Web, Db, Request(flags: Packets.Fin | Packets.Ack)).Should().BeTrue();
        _time.Advance(TimeSpan.FromSeconds(31));
        _policy.Allows(Db, Web, Answer(flags: Packets.Ack)).Should().BeFalse("it was ended");
    }

    [Fact]
    public void Neighbours_are_asked_for_only_between_those_who_may_talk()
    {
        byte[] arp = Packets.Ethernet(0x0806, [0, 1, 8, 0, 6, 4, 0, 1, .. Packets.FromMac, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
        _policy.Allows(Web, Db, arp).Should().BeTrue();
        _policy.Allows(Db, Web, arp).Should().BeTrue();
        _policy.Allows(Other, Db, arp).Should().BeFalse();
        _policy.Allows(Nobody, Db, arp).Should().BeFalse();
        _policy.Refused(PacketKind.Arp).Should().Be(2);
    }

    [Fact]
    public void What_is_not_understood_is_refused_and_counted_but_whole_packets_in_parts_where_all_is_allowed()
    {
        byte[] fragment = Packets.UdpFrame(WebAddress, 1, DbAddress, 5432);
        fragment[20] = 0x20;
        _policy.Allows(Web, Db, fragment).Should().BeFalse();
        _policy.Allows(Web, Uplink, fragment).Should().BeTrue();
        _policy.Allows(Web, Uplink, Packets.Ethernet(0x88cc, new byte[60])).Should().BeTrue();
        _policy.Allows(Web, Uplink, fragment.AsSpan(0, 30)).Should().BeFalse();
        _policy.Allows(Web, Uplink, []).Should().BeFalse();
        _policy.Allows(Web, Uplink, Packets.TcpFrame(WebAddress, 1, "192.0.2.1", 2, options: [8, 1])).Should().BeFalse();
        (_policy.Refused(PacketKind.Fragment), _policy.Refused(PacketKind.Truncated), _policy.Refused(PacketKind.Malformed)).Should().Be((1, 2, 1));
    }

    [Fact]
    public void Addresses_and_dhcp_are_the_network_s_to_give()
    {
        _policy.Bind(Web, "web", 0x0a00_0001);
        _policy.Allows(Web, Db, Request()).Should().BeTrue();
        _policy.Allows(Web, Db, Packets.TcpFrame(OtherAddress, 1, DbAddress, 5432)).Should().BeFalse();
        byte[] claim = Packets.Ethernet(0x0806, [0, 1, 8, 0, 6, 4, 0, 2, .. Packets.FromMac, 10, 0, 0, 9, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
        _policy.Allows(Web, Db, claim).Should().BeFalse();
        claim.AsSpan(28, 4).Clear();
        _policy.Allows(Web, Db, claim).Should().BeTrue("who looks for a free address has none");
        _policy.Spoofed.Should().Be(2);
        byte[] offer = Packets.UdpFrame(WebAddress, 67, "255.255.255.255", 68);
        _policy.Allows(Web, Uplink, offer).Should().BeFalse();
        _policy.Allows(Web, Uplink, Packets.UdpFrame("0.0.0.0", 68, "255.255.255.255", 67)).Should().BeFalse("it is for the network's server alone");
        (_policy.Rogue, _policy.Spoofed).Should().Be((1, 2), "who asks does nothing wrong");
        _policy.Allows(Web, Services, offer).Should().BeTrue("they decide themselves");
    }

    [Fact]
    public void Who_has_no_address_of_its_own_takes_nobody_else_s_and_only_the_way_out_is_a_router()
    {
        var policy = new FlowPolicy(new CompiledPolicy([], true, s_endpoints), _flows, reserved: [0x0a00_0001]);
        policy.Bind(Other, "other");
        policy.Bind(Uplink, "uplink");
        byte[] claim = Packets.Ethernet(0x0806, [0, 1, 8, 0, 6, 4, 0, 2, .. Packets.FromMac, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
        foreach (byte[] frame in (byte[][])[claim, Request()])
        {
            policy.Allows(Other, Db, frame).Should().BeFalse();
            policy.Allows(Uplink, Db, frame).Should().BeTrue();
        }

        policy.Allows(Other, Db, Packets.TcpFrame(OtherAddress, 1, DbAddress, 2)).Should().BeTrue();
        byte[] advertisement = Packets.Frame("fe80::1", "ff02::1", Packets.Icmp6, [134, 0, 0, 0, .. new byte[12]]), answer = Packets.UdpFrame("fe80::1", 547, "fe80::2", 546);
        advertisement[21] = 255;
        policy.Allows(Other, Db, advertisement).Should().BeFalse();
        policy.Allows(Uplink, Db, advertisement).Should().BeTrue();
        policy.Allows(Other, Db, answer).Should().BeFalse();
        (policy.Spoofed, policy.Rogue).Should().Be((2, 2));
    }

    [Fact]
    public void A_port_s_flows_are_forgotten_when_somebody_else_is_there()
    {
        _policy.Allows(Web, Db, Request()).Should().BeTrue();
        _policy.Unbind(Web);
        _policy.Bind(Web, "other");
        _policy.Allows(Db, Web, Answer()).Should().BeFalse();
        _policy.Allows(Web, Db, Request()).Should().BeFalse();
    }

    [Fact]
    public void Changed_rules_decide_about_flows_that_live_too()
    {
        _policy.Allows(Web, Db, Request()).Should().BeTrue();
        _policy.Allows(Db, Web, Answer()).Should().BeTrue();
        _policy.Swap(Compile("allow from label=web to label=db tcp/1-6000"));
        _policy.Allows(Db, Web, Answer(flags: Packets.Ack)).Should().BeTrue("it is still allowed");
        _policy.Swap(Compile("deny from any to any"));
        _policy.Allows(Db, Web, Answer(flags: Packets.Ack)).Should().BeFalse();
        _policy.Allows(Web, Db, Request(flags: Packets.Ack)).Should().BeFalse();
        _policy.Swap(Compile("deny from any to any", "allow from label=web to label=db tcp/1-6000"));
        _policy.Rules.Count(0).Should().Be(2, "a rule that stays goes on counting");
    }

    [Fact]
    public void A_flood_of_new_flows_grows_nothing_and_breaks_no_flow_that_was_answered()
    {
        _policy.Allows(Web, Db, Request(50_000)).Should().BeTrue();
        _policy.Allows(Db, Web, Answer(50_000)).Should().BeTrue();
        for (int i = 0; i < 65_000; i++)
        {
            _policy.Allows(Web, Db, Packets.Echo(WebAddress, DbAddress, i)).Should().BeTrue();
            _policy.Allows(Other, Db, Packets.TcpFrame(OtherAddress, i, DbAddress, 22)).Should().BeFalse();
        }

        var (live, denied) = _flows.Census();
        live.Should().BeLessThanOrEqualTo(_flows.Capacity);
        denied.Should().BeLessThanOrEqualTo(live);
        _policy.Allows(Db, Web, Answer(50_000, Packets.Ack)).Should().BeTrue();
    }

    /// <summary>While frames pass on other threads, rules change between two that agree about one flow and disagree about another.</summary>
    [Fact]
    public void No_frame_is_decided_by_half_of_a_change()
    {
        string[][] lists =
        [
            ["allow from label=web to label=db tcp/5432", "deny from any to any"],
            ["deny from label=web to label=db tcp/22", "allow from label=web to any tcp/5432", "deny from any to any"],
        ];
        using var done = new CancellationTokenSource();
        long wrong = 0, frames = 0;
        var threads = Enumerable.Range(0, 3).Select(number => new Thread(() =>
        {
            byte[] good = Request(41_000 + number), bad = Packets.TcpFrame(WebAddress, 42_000 + number, DbAddress, 22);
            while (!done.IsCancellationRequested)
            {
                if (!_policy.Allows(Web, Db, good) || _policy.Allows(Web, Db, bad))
                    Interlocked.Increment(ref wrong);
                Interlocked.Increment(ref frames);
            }
        })).ToList();
        _policy.Swap(Compile(lists[1]));
        threads.ForEach(thread => thread.Start());
        // As many changes as it takes for frames to pass between them.
        for (int i = 0; i < 2000 || Interlocked.Read(ref frames) < 2000; i++)
        {
            _policy.Swap(Compile(lists[i % 2]));
            _policy.Bind(Other, i % 2 == 0 ? "other" : "web");
        }

        done.Cancel();
        threads.ForEach(thread => thread.Join());
        wrong.Should().Be(0);
    }

    [Fact]
    public void Nothing_is_allocated_for_a_frame()
    {
        byte[][] frames = [Request(), Answer(), Packets.Echo(WebAddress, DbAddress, 1), Packets.UdpFrame(WebAddress, 1, DbAddress, 2), Packets.Error(DbAddress, WebAddress, Request())];
        Allocation.Of(i =>
        {
            byte[] frame = frames[i % frames.Length];
            frame[34] = (byte)i;
            _policy.Allows(i % 2 == 0 ? Web : Db, i % 2 == 0 ? Db : Web, frame);
        }).Should().Be(0);
    }
}
