using System.Buffers.Binary;
using Kvm.Devices.Bus;
using Kvm.Devices.Interrupts;
using Kvm.Devices.Snapshot;
using Kvm.X86.Interrupts;

namespace Kvm.X86.Tests.Interrupts.Board;

public sealed class ChipSetTests : IDisposable
{
    private readonly TestMemory _memory = new();
    private readonly ManualGuestClock _clock = new();
    private readonly IoBus _ports = new();
    private readonly IoBus _mmio = new();
    private readonly ChipSet _board;

    public ChipSetTests()
    {
        _board = Make(2);
        _board.Register(_ports, _mmio);
    }

    public void Dispose() => _memory.Dispose();

    private ChipSet Make(int processors, bool legacy = true) =>
        new(new ChipSetOptions { Clock = _clock, Memory = _memory.Memory, Processors = processors, Legacy = legacy });

    private void Out(ushort port, params byte[] values)
    {
        foreach (byte value in values)
            _ports.Write(port, [value]);
    }

    private void Route(int pin, uint low, uint high = 0)
    {
        byte[] data = new byte[4];
        foreach (var (index, value) in new[] { (0x11 + (2 * pin), high), (0x10 + (2 * pin), low) })
        {
            BinaryPrimitives.WriteInt32LittleEndian(data, index);
            _mmio.Write(IoApic.DefaultBase, data);
            BinaryPrimitives.WriteUInt32LittleEndian(data, value);
            _mmio.Write(IoApic.DefaultBase + 0x10, data);
        }
    }

    private void InitializePic()
    {
        Out(0x20, 0x11);
        Out(0x21, 0x08, 0x04, 0x01);
        Out(0xa0, 0x11);
        Out(0xa1, 0x70, 0x02, 0x01);
    }

    private void Tick()
    {
        Out(0x43, 0x34);
        Out(0x40, 0xa9, 0x04);
        _clock.AdvanceTo(_board.Timers.NextDeadline);
        _board.Timers.Advance();
    }

    [Fact]
    public void The_PIT_reaches_the_first_processor_through_8259_and_virtual_wire()
    {
        InitializePic();
        Tick();
        _board.Processors[1].Pending.Should().Be(InterruptEvents.None);
        _board.Processors[0].Pending.Should().Be(InterruptEvents.ExternalInterrupt);
        _board.Processors[0].AcknowledgeInterrupt().Should().Be(0x08);
        _board.Processors[0].Pending.Should().Be(InterruptEvents.None);
    }

    [Fact]
    public void The_PIT_is_on_pin_2_of_the_IO_APIC()
    {
        Route(2, 0x30, 1u << 24);
        Tick();
        _board.Processors[1].AcknowledgeInterrupt().Should().Be(0x30);
    }

    [Fact]
    public void An_ISA_interrupt_reaches_both_controllers_and_one_above_15_only_the_IO_APIC()
    {
        InitializePic();
        Route(4, 0x34);
        Route(20, 0x44);
        _board.Connect(4).Set(true);
        _board.Processors[0].AcknowledgeInterrupt().Should().Be(0x0c, "INTR comes first");
        _board.Processors[0].AcknowledgeInterrupt().Should().Be(0x34);
        _board.Connect(20).Set(true);
        _board.Processors[0].AcknowledgeInterrupt().Should().Be(0x44);
        _board.Processors[0].Pending.Should().Be(InterruptEvents.None);
    }

    [Fact]
    public void A_shared_level_falls_when_the_last_device_lets_go()
    {
        Route(20, 0x44 | (1 << 15));
        var one = _board.Connect(20);
        var two = _board.Connect(20);
        one.Set(true);
        two.Set(true);
        two.Set(true);
        var chips = _board.Processors[0];
        chips.AcknowledgeInterrupt().Should().Be(0x44);
        one.Set(false);
        chips.WriteApicPage(0xb0, new byte[4]);
        chips.AcknowledgeInterrupt().Should().Be(0x44, "the second device still asserts");
        two.Set(false);
        chips.WriteApicPage(0xb0, new byte[4]);
        chips.AcknowledgeInterrupt().Should().Be(-1);
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(24)]
    public void There_are_24_wires(int gsi) =>
        _board.Invoking(b => b.Connect(gsi)).Should().Throw<ArgumentOutOfRangeException>();

    [Theory]
    [InlineData(0, 24)]
    [InlineData(256, 24)]
    [InlineData(1, 15)]
    [InlineData(1, 121)]
    public void Impossible_boards_are_refused(int processors, int pins) =>
        FluentActions.Invoking(() => new ChipSet(new ChipSetOptions { Clock = _clock, Memory = _memory.Memory, Processors = processors, IoApicPins = pins }))
            .Should().Throw<ArgumentOutOfRangeException>();

    [Fact]
    public void Without_legacy_chips_only_the_IO_APIC_is_there()
    {
        var board = Make(1, legacy: false);
        var ports = new IoBus();
        board.Register(ports, new IoBus());
        ports.Read(0x21, new byte[1]);
        ports.UnclaimedAccesses.Should().Be(1);
        board.Pic.Should().BeNull();
        board.Pit.Should().BeNull();
        board.Connect(4).Set(true);
        board.Processors[0].Pending.Should().Be(InterruptEvents.None);
    }

    [Fact]
    public void A_reset_board_is_as_good_as_a_new_one()
    {
        var saved = Saved(_board);
        InitializePic();
        Tick();
        Route(20, 0x44 | (1 << 15));
        _board.Connect(20).Set(true);
        _board.Processors[1].TryWriteMsr(0x3b, 77);
        _board.Processors[1].TryWriteMsr(0x1b, 0xfee0_0c00);
        _board.Processors[1].TryWriteMsr(0x4b56_4d01, 0x1001);
        Saved(_board).Should().NotEqual(saved);
        _board.Connect(20).Set(false);
        _board.Reset();
        _board.Processors[0].Pending.Should().Be(InterruptEvents.None);
        _board.Timers.NextDeadline.Should().Be(TimerQueue.Never);
        var other = Make(2);
        other.Connect(20).Set(true);
        Saved(_board).Should().Equal(Saved(other));
    }

    private static List<string> Saved(ChipSet board) => [.. board.Parts.Select(part =>
    {
        var writer = new StateWriter();
        part.Save(writer);
        return part.StateName + " " + Convert.ToHexString(writer.Written);
    })];

    private sealed class Kvm : IApicFabric, IInterruptLine
    {
        public readonly List<ApicMessage> Messages = [];
        public bool Interrupt;

        public bool Deliver(in ApicMessage message)
        {
            Messages.Add(message);
            return true;
        }

        public void Set(bool asserted) => Interrupt = asserted;
    }

    [Fact]
    public void With_local_APICs_elsewhere_messages_and_INTR_go_there_and_EOIs_come_back()
    {
        var kvm = new Kvm();
        var board = new ChipSet(new ChipSetOptions { Clock = _clock, Memory = _memory.Memory, Processors = 4, ExternalApics = new ExternalApics(kvm, kvm) });
        board.Processors.Length.Should().Be(0);
        board.Pic!.TryLoadKvmState([.. new byte[5], 0x08, .. new byte[26]]).Should().BeTrue();
        board.IoApic.Write(0, [0x1a]);
        board.IoApic.Write(0x10, [0x41, 0x80, 0, 0]);
        board.Connect(5).Set(true);
        kvm.Interrupt.Should().BeTrue();
        board.Pic.Acknowledge().Should().Be(0x0d);
        board.Msi.Send(0xfee0_3000, 0x55);
        board.IoApic.EndOfInterrupt(0x41);
        kvm.Messages.Select(m => (m.Destination, m.Vector)).Should().Equal((0u, (byte)0x41), (3u, (byte)0x55), (0u, (byte)0x41));
        MsiRouter.Encode(kvm.Messages[0]).Should().Be((0xfee0_0000UL, 0xc041u));
        board.NotifyResumed();
        board.Parts.Select(p => p.StateName).Should().Equal("apic-bus", "ioapic", "pic", "pit");
    }

    [Fact]
    public void The_first_processor_is_the_bootstrap_processor()
    {
        _board.Processors[0].IsBootstrapProcessor.Should().BeTrue();
        _board.Processors[1].IsBootstrapProcessor.Should().BeFalse();
        _board.Processors[1].TryReadMsr(0x1b, out ulong apicBase).Should().BeTrue();
        apicBase.Should().Be(0xfee0_0800);
    }

    [Fact]
    public void MSRs_of_the_chips_go_to_their_chips()
    {
        var chips = _board.Processors[0];
        chips.TryWriteMsr(0x1b, 0xfee0_0d00).Should().BeTrue();
        chips.ApicPage.Should().Be(ulong.MaxValue);
        chips.TryWriteMsr(0x832, 0x400e0).Should().BeTrue();
        chips.TryWriteMsr(0x6e0, 500).Should().BeTrue();
        chips.TryReadMsr(0x6e0, out ulong deadline).Should().BeTrue();
        deadline.Should().Be(500);
        chips.TryWriteMsr(0x808, 0x40).Should().BeTrue();
        chips.TaskPriorityClass.Should().Be(4);
        chips.TryReadMsr(0x8ff, out _).Should().BeFalse();
    }

    [Fact]
    public void A_whole_board_is_saved_and_restored()
    {
        InitializePic();
        Out(0x43, 0x34);
        Out(0x40, 0xa9, 0x04);
        Route(20, 0x44 | (1 << 15));
        _board.Connect(20).Set(true);
        _board.Connect(4).Set(true);
        _board.Processors[1].TryWriteMsr(0x3b, 77);
        _clock.Advance(300_000);
        var saved = new Dictionary<string, byte[]>();
        foreach (var part in _board.Parts)
        {
            var writer = new StateWriter();
            part.Save(writer);
            saved.Add(part.StateName, writer.Written.ToArray());
        }

        var other = Make(2);
        foreach (var part in other.Parts)
        {
            var reader = new StateReader(saved[part.StateName]);
            part.TryRestore(ref reader, part.StateVersion).Should().BeTrue(part.StateName);
            var writer = new StateWriter();
            part.Save(writer);
            writer.Written.ToArray().Should().Equal(saved[part.StateName]);
        }

        other.Timers.NextDeadline.Should().Be(_board.Timers.NextDeadline);
        other.Processors[0].AcknowledgeInterrupt().Should().Be(0x0c);
        other.Processors[0].AcknowledgeInterrupt().Should().Be(0x44);
        other.Processors[1].ReadTsc().Should().Be(300_077);
    }

    [Fact]
    public void A_device_interrupt_through_both_controllers_allocates_nothing()
    {
        InitializePic();
        Route(4, 0x34);
        var line = _board.Connect(4);
        byte[] eoi = [0x20], zero = new byte[4];
        void Round()
        {
            line.Set(true);
            line.Set(false);
            _board.Processors[0].AcknowledgeInterrupt();
            _board.Processors[0].AcknowledgeInterrupt();
            _ports.Write(0x20, eoi);
            _board.Processors[0].WriteApicPage(0xb0, zero);
        }

        Round();
        Allocation.Of(_ => Round(), 10_000).Should().Be(0);
    }
}
