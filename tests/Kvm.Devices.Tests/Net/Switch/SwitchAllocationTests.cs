using Kvm.Devices.Net;
using Kvm.Devices.Net.Switch;
using Kvm.Tests.Support;
using static Kvm.Devices.Tests.Net.Switch.SwitchLab;

namespace Kvm.Devices.Tests.Net.Switch;

public sealed class SwitchAllocationTests
{
    [Theory]
    [InlineData(60, false)]
    [InlineData(1514, false)]
    [InlineData(65_549, false)]
    [InlineData(1514, true)]
    public void Ten_thousand_frames_allocate_nothing_known_or_flooded(int length, bool flooded)
    {
        var lab = new SwitchLab(new SwitchOptions { FloodLimit = new(1_000_000, 1) });
        lab.Switch.Policy = new Everything();
        var (a, b, up) = (lab.Add(), lab.Add(), lab.Add(new PortOptions { Role = PortRole.Uplink }));
        b.Send(Frame(MacAddress.Broadcast, Mac(2)));
        lab.Forget();
        byte[] frame = Frame(flooded ? MacAddress.Broadcast : Mac(2), Mac(1), new string('x', length - 14));
        Allocation.Of(_ =>
        {
            a.Port.Send(frame);
            b.Port.Peek();
            b.Port.Take();
            up.Port.Peek();
            up.Port.Take();
        }).Should().Be(0);
        b.Port.Counters.FramesOut.Should().BeGreaterThan(10_000);
    }

    private sealed class Everything : IFramePolicy
    {
        public bool Allows(int fromPort, int toPort, ReadOnlySpan<byte> frame) => true;
    }
}
