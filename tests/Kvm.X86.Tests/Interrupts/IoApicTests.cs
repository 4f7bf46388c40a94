using System.Buffers.Binary;
using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Snapshot;
using Kvm.X86.Interrupts;

namespace Kvm.X86.Tests.Interrupts;

/// <summary>82093AA datasheet, section 3, with the EOI register of version 0x20.</summary>
public sealed class IoApicTests
{
    private const ulong Level = 1 << 15, RemoteIrr = 1 << 14, Mask = 1 << 16, Logical = 1 << 11;
    private readonly Fabric _fabric = new();
    private readonly IoApic _chip;

    public IoApicTests() => _chip = new IoApic(_fabric);

    private sealed class Fabric : IApicFabric
    {
        public readonly List<ApicMessage> Messages = [];
        public bool Accepts = true;

        public bool Deliver(in ApicMessage message)
        {
            Messages.Add(message);
            return Accepts;
        }
    }

    private static uint Read(IoApic chip, ulong offset)
    {
        Span<byte> data = stackalloc byte[4];
        chip.Read(offset, data);
        return BinaryPrimitives.ReadUInt32LittleEndian(data);
    }

    private static void Write(IoApic chip, ulong offset, uint value)
    {
        Span<byte> data = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(data, value);
        chip.Write(offset, data);
    }

    private uint Register(uint index)
    {
        Write(_chip, 0, index);
        return Read(_chip, 0x10);
    }

    private void Register(uint index, uint value)
    {
        Write(_chip, 0, index);
        Write(_chip, 0x10, value);
    }

    private void Route(int pin, ulong entry)
    {
        Register((uint)(0x11 + (2 * pin)), (uint)(entry >> 32));
        Register((uint)(0x10 + (2 * pin)), (uint)entry);
    }

    [Fact]
    public void Section_3_2_Identification_registers()
    {
        Register(1).Should().Be(0x0017_0020);
        Register(0).Should().Be(0);
        Register(0, 0x0500_0000);
        Register(0).Should().Be(0x0500_0000);
        Register(2).Should().Be(0x0500_0000, "the arbitration id follows the id");
        Register(1, 0xffff_ffff);
        Register(1).Should().Be(0x0017_0020);
        Register(0x10).Should().Be((uint)Mask);
        Register(0x40).Should().Be(0, "there is no pin 24");
    }

    [Fact]
    public void Section_3_2_4_An_edge_sends_its_message_once_a_rise()
    {
        Route(5, (2UL << 56) | 0x41);
        _chip.SetPin(5, true);
        _chip.SetPin(5, true);
        _fabric.Messages.Should().Equal(new ApicMessage(2, false, ApicDelivery.Fixed, 0x41));
        _chip.SetPin(5, false);
        _chip.SetPin(5, true);
        _fabric.Messages.Should().HaveCount(2);
    }

    [Fact]
    public void Section_3_2_4_The_message_has_the_entrys_destination_mode_and_trigger()
    {
        Route(3, (0xffUL << 56) | Logical | Level | (1 << 8) | 0x77);
        _chip.SetPin(3, true);
        _fabric.Messages.Should().Equal(new ApicMessage(ApicMessage.Broadcast, true, ApicDelivery.LowestPriority, 0x77, LevelTriggered: true));
    }

    [Fact]
    public void Section_3_2_4_A_masked_edge_is_lost()
    {
        Route(5, Mask | 0x41);
        _chip.SetPin(5, true);
        Route(5, 0x41);
        _fabric.Messages.Should().BeEmpty();
    }

    [Fact]
    public void Section_3_2_4_A_masked_level_is_sent_when_it_is_unmasked()
    {
        Route(5, Mask | Level | 0x41);
        _chip.SetPin(5, true);
        _fabric.Messages.Should().BeEmpty();
        Route(5, Level | 0x41);
        _fabric.Messages.Should().ContainSingle();
        (Register(0x1a) & RemoteIrr).Should().NotBe(0);
    }

    [Fact]
    public void Section_3_2_4_A_level_waits_for_the_EOI_and_is_sent_again_if_still_asserted()
    {
        Route(5, Level | 0x41);
        _chip.SetPin(5, true);
        _chip.SetPin(5, false);
        _chip.SetPin(5, true);
        _fabric.Messages.Should().ContainSingle();
        _chip.EndOfInterrupt(0x42);
        _fabric.Messages.Should().ContainSingle();
        _chip.EndOfInterrupt(0x41);
        _fabric.Messages.Should().HaveCount(2);
        _chip.SetPin(5, false);
        _chip.EndOfInterrupt(0x41);
        _fabric.Messages.Should().HaveCount(2);
        (Register(0x1a) & RemoteIrr).Should().Be(0);
    }

    [Fact]
    public void An_EOI_serves_every_pin_of_the_vector()
    {
        Route(5, Level | 0x41);
        Route(6, Level | 0x41);
        _chip.SetPin(5, true);
        _chip.SetPin(6, true);
        _chip.EndOfInterrupt(0x41);
        _fabric.Messages.Should().HaveCount(4);
    }

    [Fact]
    public void The_EOI_register_ends_an_interrupt_like_a_broadcast()
    {
        Route(5, Level | 0x41);
        _chip.SetPin(5, true);
        _chip.SetPin(5, false);
        Write(_chip, 0x40, 0x41);
        (Register(0x1a) & RemoteIrr).Should().Be(0);
    }

    [Fact]
    public void A_level_nobody_accepts_does_not_wait_for_an_EOI()
    {
        _fabric.Accepts = false;
        Route(5, Level | 0x41);
        _chip.SetPin(5, true);
        (Register(0x1a) & RemoteIrr).Should().Be(0);
    }

    [Fact]
    public void Remote_IRR_is_read_only_and_cleared_by_making_the_pin_edge_triggered()
    {
        Route(5, Level | RemoteIrr | Mask | 0x41);
        (Register(0x1a) & RemoteIrr).Should().Be(0);
        Route(5, Level | 0x41);
        _chip.SetPin(5, true);
        Route(5, Level | Mask | 0x41);
        (Register(0x1a) & RemoteIrr).Should().NotBe(0);
        Route(5, Mask | 0x41);
        (Register(0x1a) & RemoteIrr).Should().Be(0);
    }

    [Fact]
    public void Polarity_does_not_invert_a_logical_level()
    {
        Route(5, Level | (1 << 13) | 0x41);
        _fabric.Messages.Should().BeEmpty();
        _chip.SetPin(5, true);
        _fabric.Messages.Should().ContainSingle();
    }

    [Fact]
    public void Writing_a_route_tells_the_listener_and_the_same_route_again_does_not()
    {
        int changes = 0;
        _chip.RoutesChanged = () => changes++;
        Register(0x1a, 0x41);
        Register(0x1a, 0x41);
        changes.Should().Be(1);
        IoApic.MessageOf(_chip.Entry(5)).Vector.Should().Be(0x41);
    }

    [Fact]
    public void Pins_that_do_not_exist_are_ignored()
    {
        _chip.SetPin(-1, true);
        _chip.SetPin(24, true);
        _chip.Entry(24).Should().Be(Mask);
        _fabric.Messages.Should().BeEmpty();
    }

    [Fact]
    public void Narrow_and_odd_accesses_do_no_harm()
    {
        _chip.Write(0, [0x10]);
        _chip.Write(0x10, [0x41]);
        Read(_chip, 0x10).Should().Be((uint)Mask, "half a register cannot be written");
        Span<byte> data = stackalloc byte[8];
        _chip.Read(0x10, data);
        data.ToArray().Should().Equal(0, 0, 1, 0, 0, 0, 0, 0);
        _chip.Read(0x11, data);
        data.ToArray().Should().AllBeEquivalentTo(0);
    }

    [Fact]
    public void Any_sequence_of_accesses_and_lines_never_throws_and_keeps_remote_IRR_to_levels()
    {
        Prop.ForAll(ArbMap.Default.ArbFor<(byte, uint)[]>(), acts =>
        {
            var chip = new IoApic(new Fabric());
            foreach (var (act, value) in acts)
            {
                switch (act & 3)
                {
                    case 0:
                        Write(chip, 0, value & 0x4f);
                        break;
                    case 1:
                        Write(chip, act > 128 ? 0x10u : value & 0xfff, value);
                        break;
                    case 2:
                        chip.SetPin((int)value, act > 128);
                        break;
                    default:
                        chip.EndOfInterrupt((byte)value);
                        break;
                }
            }

            return Enumerable.Range(0, chip.Pins).All(p => (chip.Entry(p) & (Level | RemoteIrr)) != RemoteIrr);
        }).QuickCheckThrowOnFailure();
    }

    [Fact]
    public void A_saved_chip_goes_on_where_it_was_and_the_KVM_layout_agrees()
    {
        Route(5, (3UL << 56) | Level | 0x41);
        Register(0, 0x0200_0000);
        _chip.SetPin(5, true);
        _chip.SetPin(9, true);
        var writer = new StateWriter();
        _chip.Save(writer);
        byte[] record = writer.Written.ToArray();

        var fabric = new Fabric();
        var other = new IoApic(fabric);
        var reader = new StateReader(record);
        other.TryRestore(ref reader, 1).Should().BeTrue();
        other.EndOfInterrupt(0x41);
        fabric.Messages.Should().ContainSingle();

        byte[] kvm = new byte[IoApic.KvmStateSize];
        _chip.SaveKvmState(kvm);
        kvm.Length.Should().Be(216);
        BinaryPrimitives.ReadUInt32LittleEndian(kvm.AsSpan(12)).Should().Be(2);
        BinaryPrimitives.ReadUInt32LittleEndian(kvm.AsSpan(16)).Should().Be((1 << 5) | (1 << 9));
        BinaryPrimitives.ReadUInt64LittleEndian(kvm.AsSpan(24 + 40)).Should().Be((3UL << 56) | Level | RemoteIrr | 0x41);
        var third = new IoApic(new Fabric());
        third.TryLoadKvmState(kvm).Should().BeTrue();
        byte[] again = new byte[IoApic.KvmStateSize];
        third.SaveKvmState(again);
        again.Should().Equal(kvm);

        foreach (byte[] bad in new[] { record[..^1], [.. record, 0], [] })
        {
            var broken = new StateReader(bad);
            third.TryRestore(ref broken, 1).Should().BeFalse();
        }
    }

    [Fact]
    public void An_interrupt_with_its_EOI_allocates_nothing()
    {
        var rig = new ApicRig();
        var chip = new IoApic(rig.Bus);
        rig.Apic.Connect(chip, null);
        Write(chip, 0, 0x1a);
        Write(chip, 0x10, (uint)Level | 0x41);
        void Round()
        {
            chip.SetPin(5, true);
            rig.Apic.AcknowledgeInterrupt();
            chip.SetPin(5, false);
            rig.Write(ApicRig.Eoi, 0);
        }

        Round();
        Allocation.Of(_ => Round(), 10_000).Should().Be(0);
    }
}
