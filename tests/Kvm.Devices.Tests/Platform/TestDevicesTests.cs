using Kvm.Devices.Platform;
using Kvm.Devices.Tests.Support;

namespace Kvm.Devices.Tests.Platform;

public sealed class TestDevicesTests
{
    [Fact]
    public void Memory_keeps_every_byte_of_an_access_of_any_width()
    {
        var memory = new TestMemory("test-ports", 8);
        memory.In32(0).Should().Be(0);
        memory.Out32(0, 0x44332211);
        memory.Out8(1, 0x99);
        memory.Out16(2, 0xaabb);
        memory.In32(0).Should().Be(0xaabb9911);
        memory.In16(1).Should().Be(0xbb99);
        memory.In8(3).Should().Be(0xaa);
    }

    [Theory]
    [InlineData(6ul, 0xffff2211u)]
    [InlineData(8ul, 0xffffffffu)]
    [InlineData(ulong.MaxValue, 0xffffffffu)]
    public void Memory_drops_what_reaches_past_its_end_and_reads_ones_there(ulong offset, uint read)
    {
        var memory = new TestMemory("test-ports", 8);
        memory.Out32(offset, 0x44332211);
        memory.In32(offset).Should().Be(read);
        memory.In32(0).Should().Be(0);
    }

    [Fact]
    public void Memory_restores_what_it_saved_and_refuses_another_size()
    {
        var memory = new TestMemory("test-ports", 4);
        memory.Out32(0, 0x12345678);
        byte[] state = memory.SaveState();
        var restored = new TestMemory("test-ports", 4);
        restored.RestoreState(state).Should().BeTrue();
        restored.In32(0).Should().Be(0x12345678);
        restored.RestoreState(state.AsSpan(1).ToArray()).Should().BeFalse();
        restored.RestoreState([.. state, 0]).Should().BeFalse();
        restored.In32(0).Should().Be(0x12345678);
    }

    [Fact]
    public void Interrupt_ports_drive_one_wire_each_by_their_first_byte()
    {
        RecordingLine[] lines = [new(), new(), new()];
        var ports = new TestInterruptPorts("test-interrupts", lines);
        ports.Size.Should().Be(3);
        ports.Out8(1, 1);
        ports.Out16(2, 0x0100);
        lines.Select(l => l.Asserted).Should().Equal(false, true, false);
        ports.In8(1).Should().Be(1);
        ports.In8(2).Should().Be(0);
        ports.Out8(1, 0);
        lines[1].Asserted.Should().BeFalse();
    }

    [Fact]
    public void Interrupt_ports_ignore_wires_they_do_not_have()
    {
        RecordingLine[] lines = [new()];
        var ports = new TestInterruptPorts("test-interrupts", lines);
        ports.Out8(1, 1);
        ports.Out8(ulong.MaxValue, 1);
        lines[0].Asserted.Should().BeFalse();
        ports.In8(1).Should().Be(0);
    }

    [Fact]
    public void Interrupt_ports_restore_levels_onto_their_wires_and_refuse_those_of_others()
    {
        RecordingLine[] lines = [new(), new()];
        var ports = new TestInterruptPorts("test-interrupts", lines);
        ports.RestoreState([2, 0, 0, 0]).Should().BeTrue();
        lines.Select(l => l.Asserted).Should().Equal(false, true);
        ports.SaveState().Should().Equal(2, 0, 0, 0);
        ports.RestoreState([4, 0, 0, 0]).Should().BeFalse();
        ports.RestoreState([]).Should().BeFalse();
        lines.Select(l => l.Asserted).Should().Equal(false, true);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(65537)]
    public void Memory_of_no_or_too_many_bytes_is_refused(int size) =>
        FluentActions.Invoking(() => new TestMemory("test-ports", size)).Should().Throw<ArgumentOutOfRangeException>();
}
