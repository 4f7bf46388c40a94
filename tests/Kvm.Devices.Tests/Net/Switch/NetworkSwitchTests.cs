using Kvm.Devices.Net;
using Kvm.Devices.Net.Switch;
using static Kvm.Devices.Tests.Net.Switch.SwitchLab;

namespace Kvm.Devices.Tests.Net.Switch;

public sealed class NetworkSwitchTests
{
    [Fact]
    public void Frame_to_nobody_known_goes_to_all_others_and_the_answer_to_who_asked_alone()
    {
        var lab = new SwitchLab();
        var (a, b, c) = (lab.Add(), lab.Add(), lab.Add());
        byte[] question = Frame(Mac(2), Mac(1), "question"), answer = Frame(Mac(1), Mac(2), "answer");
        a.Send(question).Should().BeTrue();
        a.Take().Should().BeEmpty();
        b.Take().Should().ContainSingle().Which.Should().Equal(question);
        c.Take().Should().ContainSingle().Which.Should().Equal(question);
        b.Send(answer);
        a.Take().Should().ContainSingle().Which.Should().Equal(answer);
        c.Take().Should().BeEmpty();
        a.Send(question);
        b.Take().Should().ContainSingle();
        c.Take().Should().BeEmpty();
        lab.Switch.Counters.Should().Be(new SwitchCounters(3, 2, 0, 0, 1));
        a.Port.Counters.Should().Be(new PortCounters(2, 2 * (question.Length - 12), 1, answer.Length - 12));
        b.Told.Should().Be(2);
    }

    [Fact]
    public void Address_that_sends_nothing_for_the_ageing_time_is_forgotten()
    {
        var lab = new SwitchLab();
        var (a, b, c) = (lab.Add(), lab.Add(), lab.Add());
        b.Send(Frame(MacAddress.Broadcast, Mac(2)));
        c.Take();
        lab.Time.Advance(TimeSpan.FromSeconds(299));
        a.Send(Frame(Mac(2), Mac(1)));
        c.Take().Should().BeEmpty();
        lab.Time.Advance(TimeSpan.FromSeconds(1));
        a.Send(Frame(Mac(2), Mac(1)));
        c.Take().Should().ContainSingle();
    }

    [Fact]
    public void Address_seen_at_another_port_moved_there()
    {
        var lab = new SwitchLab();
        var (a, b, c) = (lab.Add(), lab.Add(), lab.Add());
        b.Send(Frame(MacAddress.Broadcast, Mac(2)));
        c.Send(Frame(MacAddress.Broadcast, Mac(2)));
        lab.Forget();
        a.Send(Frame(Mac(2), Mac(1)));
        (b.Take().Count, c.Take().Count).Should().Be((0, 1));
        lab.Switch.Counters.Moves.Should().Be(1);
    }

    private sealed class Deny(int from, int to) : IFramePolicy
    {
        public bool Allows(int fromPort, int toPort, ReadOnlySpan<byte> frame) => fromPort != from || toPort != to || frame.Length < 14;
    }

    private sealed class Redirect(MacAddress from, MacAddress to) : IFrameRewriter
    {
        public void Rewrite(int fromPort, in NetHeader header, Span<byte> frame)
        {
            if (MacAddress.Read(frame) == from)
                to.Write(frame);
        }
    }

    [Fact]
    public void Policy_is_asked_for_each_port_a_frame_would_go_to_and_holds_from_the_next_frame_on()
    {
        var lab = new SwitchLab();
        var (a, b, c) = (lab.Add(), lab.Add(), lab.Add());
        lab.Switch.Policy = new Deny(a.Port.Number, b.Port.Number);
        a.Send(Frame(MacAddress.Broadcast, Mac(1)));
        (b.Take().Count, c.Take().Count, a.Port.Dropped(SwitchDrop.Policy)).Should().Be((0, 1, 1));
        lab.Switch.Policy = null;
        a.Send(Frame(MacAddress.Broadcast, Mac(1)));
        b.Take().Should().ContainSingle();
    }

    [Fact]
    public void Rewritten_frame_goes_where_it_says_now_and_its_sender_is_known_by_the_old_source()
    {
        var lab = new SwitchLab();
        var (a, b, c) = (lab.Add(), lab.Add(), lab.Add());
        b.Send(Frame(MacAddress.Broadcast, Mac(2)));
        lab.Forget();
        lab.Switch.Rewriter = new Redirect(Mac(100), Mac(2));
        a.Send(Frame(Mac(100), Mac(1), "service"));
        b.Take().Should().ContainSingle().Which.Should().Equal(Frame(Mac(2), Mac(1), "service"));
        c.Take().Should().BeEmpty();
    }

    [Fact]
    public void Groups_of_one_vlan_are_kept_apart_from_themselves_alone()
    {
        var lab = new SwitchLab();
        var uplink = lab.Add(new PortOptions { Role = PortRole.Uplink });
        var (a1, a2) = (lab.Add(new PortOptions { IsolationGroup = "a" }), lab.Add(new PortOptions { IsolationGroup = "a" }));
        var (b1, b2) = (lab.Add(new PortOptions { IsolationGroup = "b" }), lab.Add(new PortOptions { IsolationGroup = "b" }));
        var free = lab.Add();
        byte[] frame = Frame(MacAddress.Broadcast, Mac(1), "is anybody there");
        a1.Send(frame);
        foreach (var reached in new[] { uplink, b1, b2, free })
            reached.Take().Should().ContainSingle().Which.Should().Equal(frame);
        a2.Take().Should().BeEmpty();
        // Not by its address either, which is known.
        a2.Send(Frame(MacAddress.Broadcast, Mac(2), "here"));
        a1.Take().Should().BeEmpty();
        a1.Send(Frame(Mac(2), Mac(1), "you")).Should().BeFalse();
        a1.Port.Dropped(SwitchDrop.Isolated).Should().Be(1);
        b1.Take();
        b1.Send(Frame(Mac(2), Mac(3), "from another group")).Should().BeTrue();
        a2.Take().Should().ContainSingle();
    }

    /// <summary>A service answers on the thread of whoever sends.</summary>
    [Fact]
    public void Service_of_this_process_answers_at_its_own_address_which_nobody_else_can_take()
    {
        var lab = new SwitchLab();
        var service = new Echo();
        service.Port = lab.Switch.TryAttach(new PortOptions { Role = PortRole.Service, Mac = Mac(9), Label = "echo" }, service, out _)!;
        var (a, b) = (lab.Add(new PortOptions { Isolated = true }), lab.Add());
        b.Send(Frame(MacAddress.Broadcast, Mac(9), "I am the service")).Should().BeFalse();
        b.Port.Dropped(SwitchDrop.Spoofed).Should().Be(1);
        a.Send(Frame(Mac(9), Mac(1), "hello"));
        a.Take().Should().ContainSingle().Which.Should().Equal(Frame(Mac(1), Mac(9), "hello"));
        b.Take().Should().BeEmpty();
        service.Port.Dispose();
        b.Send(Frame(MacAddress.Broadcast, Mac(9), "now I may")).Should().BeFalse("the only other port is isolated");
        b.Port.Dropped(SwitchDrop.Spoofed).Should().Be(1);
    }

    private sealed class Echo : IPortListener
    {
        public SwitchPort Port { get; set; } = null!;

        public void FramesWaiting(SwitchPort port)
        {
            while (port.Peek() is { IsEmpty: false } frame)
            {
                byte[] answer = frame.ToArray();
                port.Take();
                answer.AsSpan(NetHeader.Size + 6, 6).CopyTo(answer.AsSpan(NetHeader.Size));
                Mac(9).Write(answer.AsSpan(NetHeader.Size + 6));
                port.Send(answer);
            }
        }
    }

    [Fact]
    public void Port_is_announced_before_anything_passes_it_and_number_and_addresses_are_free_when_it_is_gone()
    {
        var lab = new SwitchLab(new SwitchOptions { MaxPorts = 2 });
        var told = new List<string>();
        var a = lab.Add(new PortOptions { Label = "a" });
        lab.Switch.PortAttached += p =>
        {
            a.Send(Frame(MacAddress.Broadcast, Mac(1), "early")).Should().BeFalse();
            told.Add($"+{p.Options.Label}{p.Number}");
        };
        lab.Switch.PortDetached += p => told.Add($"-{p.Options.Label}{p.Number}");
        var b = lab.Add(new PortOptions { Label = "b", Mac = Mac(2) });
        lab.Switch.TryAttach(new PortOptions(), b, out string why).Should().BeNull();
        why.Should().Be("the switch has 2 ports, which are all used");
        a.Port.Dispose();
        lab.Switch.TryAttach(new PortOptions { Mac = Mac(2) }, b, out why).Should().BeNull();
        why.Should().Be("the address 52:54:00:00:00:02 belongs to another port");
        b.Take().Should().BeEmpty();
        b.Port.Dispose();
        lab.Add(new PortOptions { Label = "c", Mac = Mac(2) }).Port.Number.Should().Be(0);
        told.Should().Equal("+b1", "-a0", "-b1", "+c0");
    }
}
