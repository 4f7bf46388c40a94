using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Switch;
using Kvm.Vmm.Network.Switching;

namespace Kvm.Vmm.Tests.Network.Switching;

public sealed class PortPumpTests
{
    [Fact]
    public void A_frame_that_comes_just_after_the_last_look_is_not_forgotten()
    {
        using var end = new OtherEnd();
        using var pump = new PortPump(end, () => { });
        var network = new NetworkSwitch(new SwitchOptions(), TimeProvider.System);
        pump.Port = network.TryAttach(new PortOptions { Role = PortRole.Uplink, Label = "uplink", Trunk = VlanSet.All }, pump, out string why);
        pump.Port.Should().NotBeNull(why);
        end.Connect(pump);

        // Between the pump's finding of nothing and its going to sleep the other end says, once, that there is something.
        end.WhenFoundEmpty = () =>
        {
            end.WhenFoundEmpty = null;
            end.Put();
        };
        pump.Move();
        pump.HasMore.Should().BeTrue("the frame was told of");
        pump.Move();
        end.Taken.Should().Be(1);
    }

    /// <summary>A backend that has a frame when the test puts one there.</summary>
    private sealed class OtherEnd : INetworkBackend
    {
        private readonly byte[] _frame = new byte[NetHeader.Size + 60];
        private INetworkListener? _listener;
        private bool _isThere;

        public Action? WhenFoundEmpty { get; set; }

        public int Taken { get; private set; }

        public NetOffloads SendOffloads => NetOffloads.None;

        public NetOffloads ReceiveOffloads => NetOffloads.None;

        public int MaxPairs => 1;

        public void Put()
        {
            _isThere = true;
            _listener!.FramesWaiting(0);
        }

        public void Connect(INetworkListener listener) => _listener = listener;

        public void Configure(NetOffloads receive, int pairs)
        {
        }

        public SendOutcome Send(int pair, ReadOnlySpan<HostBuffer> frame, int length) => SendOutcome.Sent;

        public ReadOnlySpan<byte> Peek(int pair)
        {
            if (_isThere)
                return _frame;
            WhenFoundEmpty?.Invoke();
            return default;
        }

        public void Take(int pair)
        {
            _isThere = false;
            Taken++;
        }

        public void Dispose()
        {
        }
    }
}
