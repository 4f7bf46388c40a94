using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Bus;
using Kvm.Devices.Interrupts;
using Kvm.Devices.Snapshot;
using Kvm.X86.Interrupts;

namespace Kvm.X86.Tests.Interrupts.Legacy;

/// <summary>8259A datasheet (231468-003), wired as in a PC.</summary>
public sealed class Pic8259Tests
{
    private const ushort Master = 0x20, Slave = 0xa0, Elcr = 0x4d0;
    private readonly Line _output = new();
    private readonly IoBus _ports = new();
    private readonly Pic8259 _pic;

    public Pic8259Tests()
    {
        _pic = new Pic8259(_output);
        _pic.Register(_ports);
        Initialize();
    }

    private sealed class Line : IInterruptLine
    {
        public bool Asserted;

        public void Set(bool asserted) => Asserted = asserted;
    }

    private void Out(ushort port, params byte[] values)
    {
        foreach (byte value in values)
            _ports.Write(port, [value]);
    }

    private byte In(ushort port)
    {
        Span<byte> data = stackalloc byte[1];
        _ports.Read(port, data);
        return data[0];
    }

    /// <summary>The words a PC's firmware writes: vectors 0x08 and 0x70, cascade on IR2, 8086 mode.</summary>
    private void Initialize(byte icw4 = 0x01, byte icw1 = 0x11)
    {
        Out(Master, icw1);
        Out(Master + 1, 0x08, 0x04, icw4);
        Out(Slave, icw1);
        Out(Slave + 1, 0x70, 0x02, icw4);
    }

    private void Pulse(int irq)
    {
        _pic.SetLine(irq, true);
        _pic.SetLine(irq, false);
    }

    private (byte Requests, byte Service) State(ushort chip)
    {
        Out(chip, 0x0a);
        byte requests = In(chip);
        Out(chip, 0x0b);
        return (requests, In(chip));
    }

    [Fact]
    public void Before_initialisation_nothing_interrupts()
    {
        var output = new Line();
        var pic = new Pic8259(output);
        pic.SetLine(0, true);
        output.Asserted.Should().BeFalse();
    }

    [Fact]
    public void An_edge_requests_is_acknowledged_at_its_vector_and_ends_with_EOI()
    {
        Pulse(0);
        _output.Asserted.Should().BeTrue();
        State(Master).Should().Be((1, 0));
        _pic.Acknowledge().Should().Be(0x08);
        _output.Asserted.Should().BeFalse();
        State(Master).Should().Be((0, 1));
        Pulse(0);
        _output.Asserted.Should().BeFalse("IR0 is in service");
        Out(Master, 0x20);
        _output.Asserted.Should().BeTrue();
    }

    [Fact]
    public void A_line_that_stays_high_is_one_edge()
    {
        _pic.SetLine(4, true);
        _pic.Acknowledge().Should().Be(0x0c);
        Out(Master, 0x20);
        _pic.SetLine(4, true);
        _output.Asserted.Should().BeFalse();
    }

    [Fact]
    public void Fully_nested_mode_lets_higher_inputs_interrupt_lower_ones()
    {
        Pulse(4);
        _pic.Acknowledge().Should().Be(0x0c);
        Pulse(5);
        _output.Asserted.Should().BeFalse();
        Pulse(1);
        _output.Asserted.Should().BeTrue();
        _pic.Acknowledge().Should().Be(0x09);
        Out(Master, 0x20);
        State(Master).Service.Should().Be(1 << 4, "a non-specific EOI ends the highest in service");
        Out(Master, 0x20);
        _pic.Acknowledge().Should().Be(0x0d);
    }

    [Fact]
    public void The_slave_comes_through_IR2_and_needs_two_EOIs()
    {
        Pulse(8);
        _pic.Acknowledge().Should().Be(0x70);
        State(Master).Should().Be((0, 4));
        State(Slave).Should().Be((0, 1));
        Pulse(12);
        Out(Slave, 0x20);
        State(Master).Requests.Should().Be(4, "IRQ 12 waits behind the slave");
        _output.Asserted.Should().BeFalse("the master has IR2 in service");
        Out(Master, 0x20);
        _pic.Acknowledge().Should().Be(0x74);
    }

    [Fact]
    public void Slave_inputs_have_priority_over_the_masters_3_to_7()
    {
        Pulse(3);
        Pulse(15);
        _pic.Acknowledge().Should().Be(0x77);
    }

    [Fact]
    public void OCW1_masks_and_shows_the_mask()
    {
        Out(Master + 1, 0xfe);
        Pulse(1);
        _output.Asserted.Should().BeFalse();
        In(Master + 1).Should().Be(0xfe);
        Out(Master + 1, 0x00);
        _output.Asserted.Should().BeTrue("the request was latched");
    }

    [Theory]
    [InlineData(5)]
    [InlineData(9)]
    public void A_level_that_went_away_is_IR7_without_service(int irq)
    {
        Out(Elcr, 0x20);
        Out(Elcr + 1, 0x02);
        _pic.SetLine(irq, true);
        _pic.SetLine(irq, false);
        _output.Asserted.Should().BeFalse();
        _pic.Acknowledge().Should().Be(0x0f);
        State(Master).Service.Should().Be(0);
    }

    [Fact]
    public void ELCR_makes_an_input_follow_its_line_until_it_falls()
    {
        Out(Elcr, 0xff);
        Out(Elcr + 1, 0xff);
        In(Elcr).Should().Be(0xf8);
        In(Elcr + 1).Should().Be(0xde);
        _pic.SetLine(11, true);
        _pic.Acknowledge().Should().Be(0x73);
        Out(Slave, 0x20);
        Out(Master, 0x20);
        _output.Asserted.Should().BeTrue("the line is still high");
        _pic.SetLine(11, false);
        _output.Asserted.Should().BeFalse();
    }

    [Fact]
    public void ICW1_level_mode_makes_all_inputs_levels()
    {
        Initialize(icw1: 0x19);
        _pic.SetLine(0, true);
        _pic.Acknowledge();
        Out(Master, 0x20);
        _output.Asserted.Should().BeTrue();
    }

    [Fact]
    public void Specific_EOI_ends_the_named_input()
    {
        Pulse(4);
        _pic.Acknowledge();
        Pulse(1);
        _pic.Acknowledge();
        Out(Master, 0x64);
        State(Master).Service.Should().Be(1 << 1);
    }

    [Fact]
    public void Automatic_EOI_leaves_nothing_in_service()
    {
        Initialize(icw4: 0x03);
        Pulse(4);
        _pic.Acknowledge().Should().Be(0x0c);
        State(Master).Service.Should().Be(0);
    }

    [Fact]
    public void Rotation_on_EOI_gives_the_served_input_the_lowest_priority()
    {
        Pulse(1);
        _pic.Acknowledge();
        Out(Master, 0xa0);
        Pulse(1);
        Pulse(3);
        _pic.Acknowledge().Should().Be(0x0b);
    }

    [Fact]
    public void Rotation_on_automatic_EOI_takes_turns()
    {
        Initialize(icw4: 0x03);
        Out(Master, 0x80);
        Pulse(0);
        Pulse(1);
        _pic.Acknowledge().Should().Be(0x08);
        Pulse(0);
        _pic.Acknowledge().Should().Be(0x09);
        Out(Master, 0x00);
        Pulse(1);
        _pic.Acknowledge().Should().Be(0x08, "after IR1 the order begins at IR2, and stays so");
        Pulse(2 + 1);
        _pic.Acknowledge().Should().Be(0x0b);
    }

    [Fact]
    public void Set_priority_names_the_lowest_input()
    {
        Out(Master, 0xc0 | 5);
        Pulse(0);
        Pulse(6);
        _pic.Acknowledge().Should().Be(0x0e);
    }

    [Fact]
    public void Special_mask_mode_lets_lower_inputs_interrupt_a_masked_service()
    {
        Pulse(4);
        _pic.Acknowledge();
        Out(Master + 1, 1 << 4);
        Pulse(6);
        _output.Asserted.Should().BeFalse();
        Out(Master, 0x68);
        _output.Asserted.Should().BeTrue();
        _pic.Acknowledge().Should().Be(0x0e);
        Out(Master, 0x20);
        State(Master).Service.Should().Be(1 << 4, "a masked in-service bit is not cleared by a non-specific EOI");
        Out(Master, 0x48);
        Out(Master, 0x20);
        State(Master).Service.Should().Be(0);
    }

    [Fact]
    public void Special_fully_nested_mode_lets_the_slaves_higher_inputs_through()
    {
        Initialize(icw4: 0x11);
        Pulse(12);
        _pic.Acknowledge().Should().Be(0x74);
        Pulse(8);
        _output.Asserted.Should().BeTrue();
        _pic.Acknowledge().Should().Be(0x70);
    }

    [Fact]
    public void Polling_reads_acknowledge_the_request()
    {
        Pulse(3);
        Out(Master, 0x0c);
        In(Master).Should().Be(0x83);
        State(Master).Service.Should().Be(1 << 3);
        Out(Master, 0x0c);
        In(Master).Should().Be(0, "nothing waits");
    }

    [Fact]
    public void Initialisation_without_ICW4_or_in_single_mode_skips_those_words()
    {
        Out(Master, 0x12);
        Out(Master + 1, 0x40, 0xaa);
        In(Master + 1).Should().Be(0xaa, "the word after ICW2 is OCW1");
        Out(Master, 0x10);
        Out(Master + 1, 0x48, 0x04, 0x55);
        In(Master + 1).Should().Be(0x55, "the word after ICW3 is OCW1");
    }

    [Fact]
    public void Initialisation_clears_mask_service_and_edges()
    {
        Pulse(1);
        _pic.Acknowledge();
        Pulse(3);
        Out(Master + 1, 0xff);
        Initialize();
        State(Master).Should().Be((0, 0));
        In(Master + 1).Should().Be(0);
    }

    [Fact]
    public void A_16_bit_write_reaches_both_ports()
    {
        _ports.Write(Master, [0x11, 0x20]);
        Out(Master + 1, 0x04, 0x01);
        Pulse(0);
        _pic.Acknowledge().Should().Be(0x20);
    }

    [Fact]
    public void The_cascade_and_inputs_that_do_not_exist_have_no_wire()
    {
        _pic.SetLine(2, true);
        _pic.SetLine(16, true);
        _pic.SetLine(-1, true);
        _output.Asserted.Should().BeFalse();
    }

    [Fact]
    public void Any_sequence_of_ports_and_lines_never_throws_and_an_output_means_an_unmasked_request()
    {
        Prop.ForAll(ArbMap.Default.ArbFor<ushort[]>(), acts =>
        {
            var output = new Line();
            var ports = new IoBus();
            var pic = new Pic8259(output);
            pic.Register(ports);
            foreach (ushort act in acts)
            {
                byte value = (byte)act;
                int port = act >> 8 & 7;
                if (port < 6)
                    ports.Write(port switch { 0 => 0x20u, 1 => 0x21u, 2 => 0xa0u, 3 => 0xa1u, 4 => 0x4d0u, _ => 0x4d1u }, [value]);
                else if (port == 6)
                    pic.SetLine(value & 31, (value & 32) != 0);
                else if ((value & 1) != 0)
                    pic.Acknowledge();
                else
                    ports.Read((value & 2) != 0 ? 0x20u : 0xa0u, new byte[1]);

                byte[] state = new byte[Pic8259.KvmStateSize];
                pic.SaveKvmState(state);
                if (output.Asserted && (state[1] & ~state[2]) == 0)
                    return false;
            }

            return true;
        }).QuickCheckThrowOnFailure();
    }

    [Fact]
    public void A_saved_pair_goes_on_where_it_was()
    {
        Out(Elcr, 0x20);
        Pulse(12);
        Pulse(1);
        _pic.Acknowledge();
        _pic.SetLine(5, true);
        var writer = new StateWriter();
        _pic.Save(writer);
        byte[] record = writer.Written.ToArray();

        var output = new Line();
        var other = new Pic8259(output);
        var reader = new StateReader(record);
        other.TryRestore(ref reader, 1).Should().BeTrue();
        var again = new StateWriter();
        other.Save(again);
        again.Written.ToArray().Should().Equal(record);
        output.Asserted.Should().BeFalse("IR1 is in service");
        var ports = new IoBus();
        other.Register(ports);
        ports.Write(Master, [0x20]);
        output.Asserted.Should().BeTrue();
        other.Acknowledge().Should().Be(0x74);

        foreach (byte[] bad in new[] { record[..^1], [.. record, 0], [] })
        {
            var broken = new StateReader(bad);
            other.TryRestore(ref broken, 1).Should().BeFalse();
        }
    }

    [Fact]
    public void The_KVM_layout_has_the_fields_of_struct_kvm_pic_state()
    {
        Out(Elcr, 0x20);
        Out(Master + 1, 0x80);
        Pulse(1);
        _pic.Acknowledge();
        _pic.SetLine(3, true);
        byte[] state = new byte[Pic8259.KvmStateSize];
        _pic.SaveKvmState(state);
        state[..16].Should().Equal(
            0x08 /* last_irr */, 0x08 /* irr */, 0x80 /* imr */, 0x02 /* isr */, 0 /* priority_add */, 0x08 /* irq_base */,
            0 /* read_reg_select */, 0 /* poll */, 0 /* special_mask */, 0 /* init_state */, 0 /* auto_eoi */,
            0 /* rotate_on_auto_eoi */, 0 /* special_fully_nested_mode */, 1 /* init4 */, 0x20 /* elcr */, 0xf8 /* elcr_mask */);
        _pic.TryLoadKvmState(state.AsSpan(1)).Should().BeFalse();
    }

    [Fact]
    public void An_interrupt_with_its_EOI_allocates_nothing()
    {
        byte[] eoi = [0x20];
        void Round()
        {
            _pic.SetLine(9, true);
            _pic.Acknowledge();
            _pic.SetLine(9, false);
            _ports.Write(Slave, eoi);
            _ports.Write(Master, eoi);
        }

        Round();
        Allocation.Of(_ => Round(), 10_000).Should().Be(0);
    }
}
