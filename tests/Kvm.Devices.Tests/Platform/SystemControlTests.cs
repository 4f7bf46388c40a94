using Kvm.Devices.Platform;
using Kvm.Devices.Tests.Support;

namespace Kvm.Devices.Tests.Platform;

public sealed class SystemControlTests
{
    private sealed class Channel : ISpeakerChannel
    {
        public bool Output { get; set; }

        public bool Gate { get; private set; }

        public void SetGate(bool open) => Gate = open;
    }

    private readonly ManualTime _time = new();

    [Fact]
    public void Port_b_drives_the_gate_and_shows_the_channels_output()
    {
        var channel = new Channel();
        var port = new SystemControlB("port61", _time, channel);
        port.Out8(0, 0xf1);
        channel.Gate.Should().BeTrue();
        port.In8(0).Should().Be(0x01);
        channel.Output = true;
        port.In8(0).Should().Be(0x21);
        port.Out8(0, 0x02);
        channel.Gate.Should().BeFalse();
        port.In8(0).Should().Be(0x22);
    }

    [Fact]
    public void Port_b_without_a_channel_shows_a_count_that_is_over() =>
        (new SystemControlB("port61", _time).In8(0) & 0x20).Should().Be(0x20);

    [Fact]
    public void Port_b_refresh_changes_every_16384_nanoseconds()
    {
        var time = new ManualTime { Frequency = 1_000_000_000 };
        var port = new SystemControlB("port61", time);
        int changes = 0;
        int last = port.In8(0) & 0x10;
        for (int i = 0; i < 1000; i++)
        {
            time.Timestamp += 1_000;
            int now = port.In8(0) & 0x10;
            changes += now == last ? 0 : 1;
            last = now;
        }

        changes.Should().Be(1_000_000 / 16_384);
    }

    [Fact]
    public void Port_a_resets_on_the_rise_of_bit_0()
    {
        int resets = 0;
        var port = new SystemControlA("port92", () => resets++);
        port.In8(0).Should().Be(0x02);
        port.Out8(0, 0x03);
        port.Out8(0, 0x03);
        resets.Should().Be(1);
        port.Out8(0, 0x00);
        port.In8(0).Should().Be(0x00);
        port.Out8(0, 0x01);
        resets.Should().Be(2);
    }

    [Fact]
    public void Post_code_port_keeps_the_last_byte()
    {
        var port = new PostCodePort("port80");
        port.Out32(0, 0x44332211);
        port.Code.Should().Be(0x11);
        port.In16(0).Should().Be(0xff11);
        port.Out8(1, 0x99);
        port.Code.Should().Be(0x11);
    }

    [Fact]
    public void Ports_restore_what_they_saved_and_refuse_bits_they_do_not_have()
    {
        var b = new SystemControlB("port61", _time);
        b.Out8(0, 0x0d);
        var b2 = new SystemControlB("port61", _time);
        b2.RestoreState(b.SaveState()).Should().BeTrue();
        (b2.In8(0) & 0x0f).Should().Be(0x0d);
        b2.RestoreState([0x10]).Should().BeFalse();

        var a = new SystemControlA("port92", () => { });
        a.RestoreState([0x00]).Should().BeTrue();
        a.In8(0).Should().Be(0x00);
        a.RestoreState([0x04]).Should().BeFalse();
        a.RestoreState([]).Should().BeFalse();

        var code = new PostCodePort("port80");
        code.RestoreState([0x5a]).Should().BeTrue();
        code.Code.Should().Be(0x5a);
        code.RestoreState([1, 2]).Should().BeFalse();
    }
}
