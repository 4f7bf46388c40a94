using System.Buffers.Binary;
using Kvm.Devices.Snapshot;
using Kvm.X86.Interrupts;
using static Kvm.X86.Tests.Interrupts.ApicRig;

namespace Kvm.X86.Tests.Interrupts.Apic;

public sealed class LocalApicStateTests
{
    private static ApicRig Busy()
    {
        var rig = new ApicRig(2);
        rig.Advance(1_000_000);
        rig.Write(1, Tpr, 0x20);
        rig.Write(1, Ldr, 0x0200_0000);
        rig.Send(0x71, level: true, destination: 1);
        rig.Apics[1].AcknowledgeInterrupt();
        rig.Send(0x91, destination: 1);
        rig.Send(0x31, destination: 1);
        rig.Write(1, Divide, 0b1011);
        rig.Write(1, LvtTimer, 0xe0 | Periodic);
        rig.Write(1, InitialCount, 300_000);
        rig.Write(1, LvtLint0, 0x700);
        rig.Write(1, IcrHigh, 0x0300_0000);
        rig.Apics[1].Receive(ApicDelivery.Nmi, 0, false);
        rig.Apics[1].Receive(ApicDelivery.Startup, 0x9a, false);
        rig.Advance(100_000);
        return rig;
    }

    private static byte[] Saved(LocalApic part)
    {
        var writer = new StateWriter();
        part.Save(writer);
        return writer.Written.ToArray();
    }

    [Fact]
    public void A_saved_APIC_goes_on_where_it_was()
    {
        var from = Busy();
        byte[] record = Saved(from.Apics[1]);
        var to = new ApicRig(2);
        to.Clock.Set(from.Clock.Now);
        var reader = new StateReader(record);
        to.Apics[1].TryRestore(ref reader, 1).Should().BeTrue();

        Saved(to.Apics[1]).Should().Equal(record);
        to.Targets[1].Notified.Should().BePositive();
        to.Apics[1].Pending.Should().Be(from.Apics[1].Pending);
        to.Apics[1].TakeStartup().Should().Be(0x9a);
        to.Apics[1].AcknowledgeInterrupt().Should().Be(0x91);
        to.Write(1, Eoi, 0);
        var eois = new Eois();
        to.Apics[1].Connect(eois, null);
        to.Write(1, Eoi, 0);
        eois.Vectors.Should().Equal(0x71);
        to.Apics[1].AcknowledgeInterrupt().Should().Be(0x31);
        to.Timers.NextDeadline.Should().Be(1_300_000);
        to.Read(1, CurrentCount).Should().Be(200_000);
    }

    [Fact]
    public void An_armed_TSC_deadline_survives()
    {
        var from = new ApicRig();
        from.Write(LvtTimer, 0xe0 | Deadline);
        from.Apic.WriteTscDeadline(777_000);
        byte[] record = Saved(from.Apic);
        var to = new ApicRig();
        var reader = new StateReader(record);
        to.Apic.TryRestore(ref reader, 1).Should().BeTrue();
        to.Apic.TscDeadline.Should().Be(777_000);
        to.Advance(777_000);
        to.Apic.AcknowledgeInterrupt().Should().Be(0xe0);
    }

    [Fact]
    public void A_record_that_is_short_long_another_processors_or_impossible_changes_nothing()
    {
        byte[] good = Saved(Busy().Apics[1]);
        byte[] impossible = [.. good];
        BinaryPrimitives.WriteUInt64LittleEndian(impossible, 0xfee0_0400);
        foreach (byte[] record in new[] { good[..^1], [.. good, 0], [], impossible, Saved(Busy().Apics[0]) })
        {
            var rig = new ApicRig(2);
            byte[] before = Saved(rig.Apics[1]);
            var reader = new StateReader(record);
            rig.Apics[1].TryRestore(ref reader, 1).Should().BeFalse();
            Saved(rig.Apics[1]).Should().Equal(before);
        }
    }

    [Fact]
    public void Any_bytes_as_a_record_never_throw_and_leave_a_working_APIC()
    {
        byte[] good = Saved(Busy().Apics[1]);
        var random = new Random(1);
        for (int i = 0; i < 2000; i++)
        {
            byte[] record = [.. good];
            for (int n = random.Next(1, 40); n > 0; n--)
                record[random.Next(record.Length)] = (byte)random.Next();
            var rig = new ApicRig(2);
            var reader = new StateReader(record);
            rig.Apics[1].TryRestore(ref reader, 1);
            rig.Advance(1_000_000);
            for (int n = 0; n < 300; n++)
            {
                rig.Apics[1].AcknowledgeInterrupt().Should().BeOneOf([-1, .. Enumerable.Range(16, 240)]);
                rig.Write(1, Eoi, 0);
            }
        }
    }

    [Fact]
    public void The_KVM_layout_has_each_register_at_its_offset_and_the_count_goes_on()
    {
        var from = Busy();
        byte[] page = new byte[LocalApic.KvmStateSize];
        from.Apics[1].SaveKvmState(page);
        uint At(uint register) => BinaryPrimitives.ReadUInt32LittleEndian(page.AsSpan((int)register));
        At(Id).Should().Be(1u << 24);
        At(Tpr).Should().Be(0x20);
        At(Isr + 0x30).Should().Be(1u << 17);
        At(Irr + 0x40).Should().Be(1u << 17);
        At(CurrentCount).Should().Be(200_000);
        At(Eoi).Should().Be(0);

        var to = new ApicRig(2);
        to.Clock.Set(5);
        to.Apics[1].TryLoadKvmState(page).Should().BeTrue();
        to.Timers.NextDeadline.Should().Be(200_005);
        byte[] again = new byte[LocalApic.KvmStateSize];
        to.Apics[1].SaveKvmState(again);
        again.Should().Equal(page);
        to.Apics[0].TryLoadKvmState(page).Should().BeFalse("it is processor 1's");
        to.Apics[1].TryLoadKvmState(page.AsSpan(1)).Should().BeFalse("it is too short");
    }

    [Theory]
    [InlineData(false, 1u << 24)]
    [InlineData(true, 1u)]
    public void In_x2APIC_mode_the_id_is_where_the_VMs_capability_says(bool wide, uint id)
    {
        var rig = new ApicRig(2);
        rig.EnterX2(1);
        byte[] page = new byte[LocalApic.KvmStateSize];
        rig.Apics[1].SaveKvmState(page, wide);
        BinaryPrimitives.ReadUInt32LittleEndian(page.AsSpan((int)Id)).Should().Be(id);
        rig.Apics[1].TryLoadKvmState(page, wide).Should().BeTrue();
    }
}
