using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Switch;
using static Kvm.Devices.Tests.Net.Switch.SwitchLab;

namespace Kvm.Devices.Tests.Net.Switch;

/// <summary>Ports that share the uplink.</summary>
public sealed class WeightedTurnsTests
{
    /// <summary>Whatever the weights and the lengths of frames, ports that always have something to send share the uplink's bytes as their weights are, within a frame of each.</summary>
    [Fact]
    public void Ports_share_the_uplink_by_weight_whatever_their_frames()
    {
        var ports = Gen.Zip(Gen.Choose(1, 1000), Gen.Choose(60, 1514).Or(Gen.Constant(60_000))).ListOf(3);
        Prop.ForAll(ports.ToArbitrary(), all =>
        {
            var lab = new SwitchLab();
            var up = lab.Add(new PortOptions { Role = PortRole.Uplink });
            up.Send(Frame(MacAddress.Broadcast, Mac(99)));
            var stations = all.Select(p => lab.Add(new PortOptions { Weight = p.Item1 })).ToList();
            var frames = all.Select((p, i) => Frame(Mac(99), Mac(i), new string('z', p.Item2 - 14))).ToList();
            long[] bytes = new long[all.Count];
            // Until the lightest has sent 40 of the longest frames.
            while (bytes.Min() < 40 * 60_012)
            {
                for (int i = 0; i < stations.Count; i++)
                {
                    while (stations[i].Port.ForUplink!.Count < 4)
                        stations[i].Send(frames[i]);
                }

                var frame = up.Port.Peek();
                int sender = (int)(MacAddress.Read(frame[(NetHeader.Size + 6)..]).Value & 0xff);
                bytes[sender] += frame.Length;
                up.Port.Take();
            }

            double unit = bytes.Sum() / (double)all.Sum(p => p.Item1);
            return all.Select((p, i) => Math.Abs(bytes[i] / (unit * p.Item1) - 1)).All(off => off <= 0.05);
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(25));
    }

    [Fact]
    public void Port_that_had_nothing_to_send_does_not_save_its_turns()
    {
        var lab = new SwitchLab();
        var up = lab.Add(new PortOptions { Role = PortRole.Uplink });
        up.Send(Frame(MacAddress.Broadcast, Mac(99)));
        var (busy, idle) = (lab.Add(), lab.Add());
        string text = new('z', 986);
        for (int i = 0; i < 100; i++)
        {
            busy.Send(Frame(Mac(99), Mac(1), text));
            up.Take().Should().ContainSingle();
        }

        for (int i = 0; i < 50; i++)
        {
            busy.Send(Frame(Mac(99), Mac(1), text));
            idle.Send(Frame(Mac(99), Mac(2), text));
        }

        up.Take().Take(20).Count(f => f[NetHeader.Size + 11] == 2).Should().BeInRange(9, 11);
    }

    [Fact]
    public void Port_whose_part_of_the_queue_is_full_loses_frames_and_the_others_do_not()
    {
        var lab = new SwitchLab();
        var up = lab.Add(new PortOptions { Role = PortRole.Uplink });
        up.Send(Frame(MacAddress.Broadcast, Mac(99)));
        var (busy, other, third) = (lab.Add(new PortOptions { UplinkQueueBytes = PortOptions.LeastQueue }), lab.Add(), lab.Add());
        string text = new('z', 1400);
        int taken = Enumerable.Range(0, 1000).Count(_ => busy.Send(Frame(Mac(99), Mac(1), text)));
        busy.Port.Dropped(SwitchDrop.UplinkFull).Should().Be(1000 - taken).And.BePositive();
        other.Send(Frame(Mac(99), Mac(2), text)).Should().BeTrue();
        busy.Send(Frame(MacAddress.Broadcast, Mac(1), text)).Should().BeTrue("others have queues of their own");
        third.Take().Should().ContainSingle();
        up.Take().Should().HaveCount(taken + 1);
        up.Told.Should().BeGreaterThan(1);
    }

    [Fact]
    public void Port_that_leaves_between_look_and_take_takes_nothing_with_it_but_its_own()
    {
        var lab = new SwitchLab();
        var up = lab.Add(new PortOptions { Role = PortRole.Uplink });
        var (a, b) = (lab.Add(), lab.Add());
        a.Send(Frame(MacAddress.Broadcast, Mac(1)));
        b.Send(Frame(MacAddress.Broadcast, Mac(2)));
        up.Port.Peek().IsEmpty.Should().BeFalse();
        a.Port.Dispose();
        up.Take().Should().HaveCount(2);
        up.Port.Take();
        up.Port.Counters.FramesOut.Should().Be(2);
    }

    [Fact]
    public void Second_uplink_is_refused()
    {
        var lab = new SwitchLab();
        lab.Add(new PortOptions { Role = PortRole.Uplink });
        lab.Switch.TryAttach(new PortOptions { Role = PortRole.Uplink }, new Station(), out string why).Should().BeNull();
        why.Should().Be("the switch has an uplink");
    }
}
