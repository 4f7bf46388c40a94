using Kvm.Devices.Platform;
using Kvm.Devices.Tests.Support;

namespace Kvm.Devices.Tests.Platform;

public sealed class I8042Tests
{
    private const ulong Data = I8042.DataOffset, Command = I8042.CommandOffset;

    private readonly RecordingLine _line = new();
    private readonly I8042 _controller;
    private int _resets;

    public I8042Tests() => _controller = new I8042("i8042", () => _resets++, _line);

    [Fact]
    public void Command_0xfe_resets_once()
    {
        _controller.CommandPort.Out8(0, 0xfe);
        _resets.Should().Be(1);
    }

    [Theory]
    [InlineData(0xf0, 1)]
    [InlineData(0xf1, 0)]
    [InlineData(0xfc, 1)]
    [InlineData(0xff, 0)]
    public void Pulse_resets_when_bit_0_is_low(int command, int resets)
    {
        _controller.Out8(Command, command);
        _resets.Should().Be(resets);
    }

    [Fact]
    public void Output_port_with_bit_0_low_resets()
    {
        _controller.Out8(Command, 0xd1);
        _controller.Out8(Data, 0x03);
        _resets.Should().Be(0);
        _controller.Out8(Command, 0xd1);
        _controller.Out8(Data, 0x02);
        _resets.Should().Be(1);
    }

    [Theory]
    [InlineData(0xaa, 0x55)]
    [InlineData(0xab, 0x00)]
    [InlineData(0xa9, 0x01)]
    [InlineData(0xc0, 0x80)]
    [InlineData(0xd0, 0x03)]
    [InlineData(0x20, 0x74)]
    [InlineData(0x21, 0x00)]
    public void Command_is_answered_at_once(int command, int answer)
    {
        _controller.Out8(Command, command);
        (_controller.In8(Command) & 0x03).Should().Be(0x01, "output is full and input is empty");
        _controller.In8(Data).Should().Be((byte)answer);
        (_controller.In8(Command) & 0x01).Should().Be(0);
    }

    [Fact]
    public void Control_byte_written_reads_back()
    {
        _controller.Out8(Command, 0x60);
        _controller.Out8(Data, 0x65);
        _controller.Out8(Command, 0x20);
        _controller.In8(Data).Should().Be(0x65);
    }

    [Theory]
    [InlineData(0xad, 0x10, 0x10)]
    [InlineData(0xae, 0x10, 0x00)]
    [InlineData(0xa7, 0x20, 0x20)]
    [InlineData(0xa8, 0x20, 0x00)]
    public void Enable_and_disable_commands_show_in_the_control_byte(int command, int mask, int expected)
    {
        _controller.Out8(Command, command);
        _controller.Out8(Command, 0x20);
        (_controller.In8(Data) & mask).Should().Be(expected);
    }

    [Fact]
    public void Status_says_not_locked_and_system_flag()
    {
        _controller.In8(Command).Should().Be(0x14);
        _controller.Out8(Command, 0xae);
        _controller.In8(Command).Should().Be(0x1c, "the last byte was a command");
    }

    [Fact]
    public void Auxiliary_loop_answers_without_the_auxiliary_mark_so_drivers_see_no_mouse_port()
    {
        _controller.Out8(Command, 0xd3);
        _controller.Out8(Data, 0x5a);
        (_controller.In8(Command) & 0x21).Should().Be(0x01);
        _controller.In8(Data).Should().Be(0x5a);
    }

    [Fact]
    public void Byte_to_the_absent_keyboard_is_answered_with_a_timeout_and_interrupt_1()
    {
        _controller.Out8(Command, 0x60);
        _controller.Out8(Data, 0x45);
        _controller.Out8(Data, 0xf2);

        _line.Asserted.Should().BeTrue();
        (_controller.In8(Command) & 0x61).Should().Be(0x41);
        _controller.In8(Data).Should().Be(0xfe);
        _line.Asserted.Should().BeFalse();
    }

    [Theory]
    [InlineData(0xed, new byte[] { 0xfa })]
    [InlineData(0xff, new byte[] { 0xfa, 0xaa })]
    [InlineData(0xf2, new byte[] { 0xfa, 0xab, 0x83 })]
    public void Byte_to_a_keyboard_is_acknowledged_with_an_edge_of_interrupt_1_for_each_byte_of_the_answer(int command, byte[] answer)
    {
        var controller = WithKeyboard();
        controller.Out8(Data, command);
        Taken(controller).Should().Equal(answer);
        _line.Rises.Should().Be(answer.Length);
        _line.Asserted.Should().BeFalse();
    }

    [Theory]
    [InlineData(0x45, new byte[] { 0x1d, 0x38, 0xe0, 0x53, 0xe0, 0xd3, 0xb8, 0x9d })]
    [InlineData(0x05, new byte[] { 0x14, 0x11, 0xe0, 0x71, 0xe0, 0xf0, 0x71, 0xf0, 0x11, 0xf0, 0x14 })]
    public void Ctrl_Alt_Del_is_typed_in_the_scan_codes_that_the_driver_chose(int control, byte[] codes)
    {
        var controller = WithKeyboard(control);
        controller.PressCtrlAltDel();
        Taken(controller).Should().Equal(codes);
        _line.Rises.Should().Be(codes.Length);
    }

    [Fact]
    public void Keys_wait_while_the_keyboard_is_off_and_what_finds_no_room_is_not_typed()
    {
        var controller = WithKeyboard();
        controller.Out8(Command, 0xad);
        for (int i = 0; i < 5; i++)
            controller.PressCtrlAltDel();
        Taken(controller).Should().BeEmpty();
        controller.Out8(Command, 0xae);
        Taken(controller).Should().HaveCount(16, "two times eight are waiting at most");
    }

    [Fact]
    public void A_controller_without_a_keyboard_types_nothing()
    {
        _controller.PressCtrlAltDel();
        (_controller.In8(Command) & 0x01).Should().Be(0);
    }

    private I8042 WithKeyboard(int control = 0x45)
    {
        var controller = new I8042("i8042", () => _resets++, _line, hasKeyboard: true);
        controller.Out8(Command, 0x60);
        controller.Out8(Data, control);
        return controller;
    }

    private static List<byte> Taken(I8042 controller)
    {
        List<byte> bytes = [];
        while ((controller.In8(Command) & 0x01) != 0)
            bytes.Add((byte)controller.In8(Data));
        return bytes;
    }

    [Fact]
    public void Byte_to_the_absent_mouse_is_answered_as_the_mouse_without_interrupt_1()
    {
        _controller.Out8(Command, 0x60);
        _controller.Out8(Data, 0x45);
        _controller.Out8(Command, 0xd4);
        _controller.Out8(Data, 0xf2);

        _line.Asserted.Should().BeFalse();
        (_controller.In8(Command) & 0x61).Should().Be(0x61);
        _controller.In8(Data).Should().Be(0xfe);
    }

    [Fact]
    public void Interrupt_stays_low_while_the_control_byte_forbids_it()
    {
        _controller.Out8(Command, 0xaa);
        _line.Rises.Should().Be(0);
    }

    [Fact]
    public void A20_gate_shows_in_the_output_port()
    {
        _controller.Out8(Command, 0xdd);
        _controller.Out8(Command, 0xd0);
        _controller.In8(Data).Should().Be(0x01);
        _controller.Out8(Command, 0xdf);
        _controller.Out8(Command, 0xd0);
        _controller.In8(Data).Should().Be(0x03);
    }

    [Fact]
    public void Offsets_without_a_register_read_as_ones_and_ignore_writes()
    {
        _controller.Out8(1, 0xfe);
        _controller.Out8(5, 0xfe);
        _controller.In8(1).Should().Be(0xff);
        _controller.In8(5).Should().Be(0xff);
        _resets.Should().Be(0);
    }

    [Fact]
    public void Restored_controller_still_awaits_the_data_byte_of_a_command()
    {
        _controller.Out8(Command, 0x60);
        byte[] record = _controller.SaveState();
        var other = new I8042("i8042", () => { });
        other.RestoreState(record).Should().BeTrue();
        other.Out8(Data, 0x47);
        other.Out8(Command, 0x20);
        other.In8(Data).Should().Be(0x47);
    }

    [Theory]
    [InlineData(1, 0x02)] // output port that holds the machine in reset
    [InlineData(2, 0x82)] // status bits that are never stored
    [InlineData(4, 0x20)] // a command that takes no data
    public void Record_with_an_impossible_field_is_refused(int position, byte value)
    {
        byte[] record = _controller.SaveState();
        record[position] = value;
        _controller.RestoreState(record).Should().BeFalse();
        _controller.RestoreState(record.AsSpan(1)).Should().BeFalse();
    }
}
