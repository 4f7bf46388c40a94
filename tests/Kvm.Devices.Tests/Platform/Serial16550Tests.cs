using System.Text;
using Kvm.Devices.Platform;
using Kvm.Devices.Tests.Support;

namespace Kvm.Devices.Tests.Platform;

public sealed class Serial16550Tests
{
    private const ulong Data = 0, Ier = 1, Iir = 2, Fcr = 2, Lcr = 3, Mcr = 4, Lsr = 5, Msr = 6, Scr = 7;

    private readonly RecordingLine _line = new();
    private readonly RecordingSink _sink = new();
    private readonly Serial16550 _port;

    public Serial16550Tests() => _port = new Serial16550("serial0", _line, _sink);

    [Fact]
    public void Registers_after_reset_read_as_the_data_sheet_says()
    {
        _port.In8(Ier).Should().Be(0);
        _port.In8(Iir).Should().Be(0x01);
        _port.In8(Lcr).Should().Be(0);
        _port.In8(Mcr).Should().Be(0);
        _port.In8(Lsr).Should().Be(0x60);
        _port.In8(Msr).Should().Be(0xb0, "a terminal is present and nothing has changed");
        _line.Asserted.Should().BeFalse();
    }

    [Fact]
    public void Byte_written_to_data_goes_to_the_sink_and_the_transmitter_stays_empty()
    {
        foreach (byte b in "hello"u8)
            _port.Out8(Data, b);

        _sink.Text.Should().Be("hello");
        _port.BytesSent.Should().Be(5);
        _port.In8(Lsr).Should().Be(0x60);
    }

    [Fact]
    public void Scratch_register_keeps_any_value()
    {
        for (int value = 0; value < 256; value++)
        {
            _port.Out8(Scr, value);
            _port.In8(Scr).Should().Be((byte)value);
        }
    }

    [Fact]
    public void Divisor_is_behind_dlab_and_leaves_data_and_ier_alone()
    {
        _port.Out8(Ier, 0x05);
        _port.Out8(Lcr, 0x83);
        _port.Out8(0, 0x34);
        _port.Out8(1, 0x12);
        _port.In8(0).Should().Be(0x34);
        _port.In8(1).Should().Be(0x12);
        _port.Out8(Lcr, 0x03);

        _port.In8(Ier).Should().Be(0x05);
        _sink.Text.Should().BeEmpty();
    }

    [Fact]
    public void Ier_keeps_only_its_four_low_bits()
    {
        _port.Out8(Ier, 0xff);
        _port.In8(Ier).Should().Be(0x0f);
    }

    [Theory]
    [InlineData(0x10, 0x00)]
    [InlineData(0x11, 0x20)] // DTR → DSR
    [InlineData(0x12, 0x10)] // RTS → CTS
    [InlineData(0x14, 0x40)] // OUT1 → RI
    [InlineData(0x18, 0x80)] // OUT2 → DCD
    [InlineData(0x1a, 0x90)] // what Linux's autoconfig asks for
    public void Loopback_shows_modem_control_in_modem_status(int mcr, int lines)
    {
        _port.Out8(Mcr, mcr);
        (_port.In8(Msr) & 0xf0).Should().Be(lines);
    }

    [Fact]
    public void Leaving_loopback_shows_the_terminal_again_with_its_changes()
    {
        _port.Out8(Mcr, 0x10);
        _port.In8(Msr).Should().Be(0x0b, "CTS, DSR and DCD went away");
        _port.Out8(Mcr, 0x00);
        _port.In8(Msr).Should().Be(0xbb);
        _port.In8(Msr).Should().Be(0xb0, "reading clears the deltas");
    }

    [Fact]
    public void Ring_delta_is_set_at_the_end_of_the_ring_only()
    {
        _port.Out8(Mcr, 0x10);
        _port.In8(Msr);
        _port.Out8(Mcr, 0x14);
        _port.In8(Msr).Should().Be(0x40);
        _port.Out8(Mcr, 0x10);
        _port.In8(Msr).Should().Be(0x04);
    }

    [Fact]
    public void Loopback_returns_data_and_sends_nothing()
    {
        _port.Out8(Mcr, 0x10);
        _port.Out8(Data, 'x');

        _port.In8(Lsr).Should().Be(0x61);
        _port.In8(Data).Should().Be((byte)'x');
        _port.In8(Lsr).Should().Be(0x60);
        _sink.Text.Should().BeEmpty();
    }

    [Fact]
    public void Loopback_of_256_bytes_with_fifo_returns_16_as_linux_size_fifo_expects()
    {
        _port.Out8(Fcr, 0x07);
        _port.Out8(Mcr, 0x10);
        for (int i = 0; i < 256; i++)
            _port.Out8(Data, i);
        (_port.In8(Lsr) & 0x02).Should().Be(0x02, "the FIFO overran");

        int count = 0;
        while ((_port.In8(Lsr) & 1) != 0 && count < 256)
            _port.In8(Data).Should().Be((byte)count++);
        count.Should().Be(16);
    }

    [Fact]
    public void Loopback_without_fifo_keeps_the_newest_byte_and_tells_overrun_once()
    {
        _port.Out8(Mcr, 0x10);
        _port.Out8(Data, 'a');
        _port.Out8(Data, 'b');

        _port.In8(Lsr).Should().Be(0x63);
        _port.In8(Lsr).Should().Be(0x61);
        _port.In8(Data).Should().Be((byte)'b');
    }

    [Fact]
    public void Transmit_interrupt_comes_on_enabling_and_goes_on_reading_iir()
    {
        _port.Out8(Ier, 0x02);
        _line.Asserted.Should().BeTrue();
        _port.In8(Iir).Should().Be(0x02);
        _line.Asserted.Should().BeFalse();
        _port.In8(Iir).Should().Be(0x01);
    }

    [Fact]
    public void Transmit_interrupt_comes_again_on_every_enabling_as_linux_thre_test_expects()
    {
        _port.Out8(Ier, 0x02);
        _port.In8(Iir).Should().Be(0x02);
        _port.Out8(Ier, 0x00);
        _port.Out8(Ier, 0x02);
        _port.In8(Iir).Should().Be(0x02);
        _line.Rises.Should().Be(2);
    }

    [Fact]
    public void Transmit_interrupt_is_not_raised_by_rewriting_ier_with_the_bit_already_set()
    {
        _port.Out8(Ier, 0x02);
        _port.In8(Iir);
        _port.Out8(Ier, 0x02);
        _port.In8(Iir).Should().Be(0x01);
    }

    [Fact]
    public void Transmit_interrupt_comes_again_after_each_byte()
    {
        _port.Out8(Ier, 0x02);
        _port.In8(Iir);
        _port.Out8(Data, 'a');
        _line.Rises.Should().Be(2);
        _port.In8(Iir).Should().Be(0x02);
    }

    [Fact]
    public void Transmit_interrupt_survives_reading_iir_while_a_higher_one_is_reported()
    {
        _port.Out8(Ier, 0x03);
        _port.Receive("a"u8);
        _port.In8(Iir).Should().Be(0x04);
        _port.In8(Data);
        _port.In8(Iir).Should().Be(0x02);
    }

    [Fact]
    public void Received_byte_without_fifo_raises_data_available_until_read()
    {
        _port.Out8(Ier, 0x01);
        _port.Receive("ab"u8).Should().Be(2);

        _line.Asserted.Should().BeTrue();
        _port.In8(Iir).Should().Be(0x04);
        _port.In8(Data).Should().Be((byte)'a');
        _line.Asserted.Should().BeTrue("the second byte follows at once");
        _port.In8(Data).Should().Be((byte)'b');
        _line.Asserted.Should().BeFalse();
    }

    [Theory]
    [InlineData(0x01, 1)]
    [InlineData(0x41, 4)]
    [InlineData(0x81, 8)]
    [InlineData(0xc1, 14)]
    public void Fifo_below_its_trigger_level_reports_timeout_and_at_it_data(int fcr, int trigger)
    {
        _port.Out8(Fcr, fcr);
        _port.Out8(Ier, 0x01);
        for (int count = 1; count <= 16; count++)
        {
            _port.Receive("x"u8);
            _port.In8(Iir).Should().Be((byte)(count >= trigger ? 0xc4 : 0xcc), "{0} bytes wait", count);
        }
    }

    [Fact]
    public void Overrun_raises_line_status_before_all_others_and_reading_lsr_ends_it()
    {
        _port.Out8(Mcr, 0x10);
        _port.Out8(Ier, 0x0f);
        _port.Out8(Data, 'a');
        _port.Out8(Data, 'b');
        _port.In8(Iir).Should().Be(0x06);
        _port.In8(Lsr);
        _port.In8(Iir).Should().Be(0x04);
    }

    [Fact]
    public void Modem_change_raises_the_lowest_interrupt_until_msr_is_read()
    {
        _port.Out8(Ier, 0x08);
        _port.Out8(Mcr, 0x10);
        _line.Asserted.Should().BeTrue();
        _port.In8(Iir).Should().Be(0x00);
        _port.In8(Msr);
        _port.In8(Iir).Should().Be(0x01);
        _line.Asserted.Should().BeFalse();
    }

    [Fact]
    public void Iir_shows_fifos_enabled_and_fcr_bits_without_bit_0_are_ignored()
    {
        _port.Out8(Fcr, 0x01);
        _port.In8(Iir).Should().Be(0xc1);
        _port.Out8(Fcr, 0xc6);
        _port.In8(Iir).Should().Be(0x01);
    }

    [Fact]
    public void Fifo_reset_empties_the_receiver_of_an_open_port()
    {
        _port.Out8(Mcr, 0x03);
        _port.Out8(Fcr, 0x01);
        _port.Receive(Encoding.ASCII.GetBytes(new string('x', 20)));
        _port.Out8(Fcr, 0x03);

        int left = 0;
        for (; (_port.In8(Lsr) & 1) != 0; left++)
            _port.In8(Data);
        left.Should().Be(4, "the FIFO's 16 were thrown away, the rest had not been sent yet");
    }

    [Fact]
    public void Input_piped_before_the_driver_opens_the_port_survives_its_resets_and_reads()
    {
        _port.Receive("ls\n"u8);
        // What Linux's 8250 driver does: probe in loopback, restore MCR, clear FIFOs, read every register, then open.
        _port.Out8(Mcr, 0x1a);
        _port.Out8(Mcr, 0x00);
        _port.Out8(Fcr, 0x01);
        _port.Out8(Fcr, 0x07);
        _port.Out8(Fcr, 0x00);
        foreach (ulong register in new[] { Lsr, Data, Iir, Msr })
            _port.In8(register);
        _port.Out8(Fcr, 0x01);
        _line.Asserted.Should().BeFalse();
        _port.Out8(Ier, 0x05);

        _line.Asserted.Should().BeTrue();
        _port.In8(Data).Should().Be((byte)'l');
        _port.In8(Data).Should().Be((byte)'s');
        _port.In8(Data).Should().Be((byte)'\n');
    }

    [Fact]
    public void Polling_guest_that_never_wrote_mcr_receives()
    {
        _port.Receive("q"u8);
        _port.In8(Lsr).Should().Be(0x61);
        _port.In8(Data).Should().Be((byte)'q');
    }

    [Fact]
    public void Full_queue_refuses_the_rest_and_tells_when_half_is_free()
    {
        int notices = 0;
        _port.InputSpaceAvailable += () => notices++;
        _port.Receive(new byte[Serial16550.InputCapacity + 10]).Should().Be(Serial16550.InputCapacity);
        _port.Receive("x"u8).Should().Be(0);

        for (int i = 0; i < Serial16550.InputCapacity / 2 - 1; i++)
            _port.In8(Data);
        notices.Should().Be(0);
        _port.In8(Data);
        notices.Should().Be(1);
        while ((_port.In8(Lsr) & 1) != 0)
            _port.In8(Data);
        notices.Should().Be(1, "nothing was refused since");
        _port.BytesReceived.Should().Be(Serial16550.InputCapacity);
    }

    [Fact]
    public void Queue_that_refused_nothing_gives_no_notice()
    {
        int notices = 0;
        _port.InputSpaceAvailable += () => notices++;
        _port.Receive(new byte[Serial16550.InputCapacity]);
        while ((_port.In8(Lsr) & 1) != 0)
            _port.In8(Data);
        notices.Should().Be(0);
    }

    [Fact]
    public void Wide_write_reaches_consecutive_registers()
    {
        _port.Out32(Scr, 0x11223344);
        _port.In8(Scr).Should().Be(0x44);
        _port.Out16(Lcr, 0x1b03);
        _port.In8(Lcr).Should().Be(0x03);
        _port.In8(Mcr).Should().Be(0x1b);
    }

    [Fact]
    public void Wide_read_past_the_last_register_gives_ones()
    {
        _port.Out8(Scr, 0x5a);
        _port.In32(Scr).Should().Be(0xffffff5a);
        _port.In32(ulong.MaxValue).Should().Be(0xffffffff);
    }

    [Fact]
    public void Restored_port_goes_on_where_the_saved_one_stopped()
    {
        _port.Out8(Fcr, 0x81);
        _port.Out8(Ier, 0x07);
        _port.Out8(Scr, 0x42);
        _port.Receive("typed ahead"u8);
        byte[] record = _port.SaveState();

        var line = new RecordingLine();
        var other = new Serial16550("serial0", line, _sink);
        other.RestoreState(record).Should().BeTrue();

        line.Asserted.Should().BeTrue();
        other.In8(Iir).Should().Be(0xc4);
        other.In8(Scr).Should().Be(0x42);
        foreach (byte b in "typed ahead"u8)
            other.In8(Data).Should().Be(b);
        other.In8(Iir).Should().Be(0xc2);
    }

    [Fact]
    public void Truncated_or_prolonged_record_is_refused_and_changes_nothing()
    {
        _port.Out8(Scr, 0x42);
        _port.Receive("abc"u8);
        byte[] record = _port.SaveState();
        var other = new Serial16550("serial0", new RecordingLine(), _sink);
        byte[] before = other.SaveState();

        for (int length = 0; length < record.Length; length++)
            other.RestoreState(record.AsSpan(0, length)).Should().BeFalse("{0} of {1} bytes are there", length, record.Length);
        other.RestoreState([.. record, 0]).Should().BeFalse();
        other.RestoreState(record, 2).Should().BeFalse();
        other.SaveState().Should().Equal(before);
    }

    [Theory]
    [InlineData(0, 0x10)] // IER
    [InlineData(2, 0x20)] // MCR
    [InlineData(3, 0x01)] // LSR errors
    [InlineData(9, 0x02)] // trigger level
    public void Record_with_an_impossible_field_is_refused(int position, byte value)
    {
        byte[] record = _port.SaveState();
        record[position] = value;
        _port.RestoreState(record).Should().BeFalse();
    }

    [Fact]
    public void Constructor_without_a_part_throws()
    {
        FluentActions.Invoking(() => new Serial16550("", _line, _sink)).Should().Throw<ArgumentException>();
        FluentActions.Invoking(() => new Serial16550("s", null!, _sink)).Should().Throw<ArgumentNullException>();
        FluentActions.Invoking(() => new Serial16550("s", _line, null!)).Should().Throw<ArgumentNullException>();
    }
}
