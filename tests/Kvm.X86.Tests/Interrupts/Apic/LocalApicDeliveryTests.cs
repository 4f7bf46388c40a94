using FsCheck;
using FsCheck.Fluent;
using Kvm.X86.Interrupts;
using static Kvm.X86.Tests.Interrupts.ApicRig;

namespace Kvm.X86.Tests.Interrupts.Apic;

/// <summary>SDM vol. 3, 11.6 and 11.12: interrupt commands, destinations, start-up protocol, local interrupts.</summary>
public sealed class LocalApicDeliveryTests
{
    private const uint Assert = 1 << 14, Level = 1 << 15, LogicalMode = 1 << 11, ToSelf = 1 << 18, ToAll = 2 << 18, ToOthers = 3 << 18;
    private readonly ApicRig _rig = new(4);

    private int[] Holders(byte vector) => [.. Enumerable.Range(0, _rig.Apics.Length).Where(i => _rig.Requested(i, vector))];

    [Theory]
    [InlineData(0u, 0u, new[] { 0 })]
    [InlineData(0u, 2u, new[] { 2 })]
    [InlineData(0u, 0xffu, new[] { 0, 1, 2, 3 })]
    [InlineData(0u, 9u, new int[0])]
    [InlineData(ToSelf, 2u, new[] { 0 })]
    [InlineData(ToAll, 2u, new[] { 0, 1, 2, 3 })]
    [InlineData(ToOthers, 2u, new[] { 1, 2, 3 })]
    public void SDM_11_6_1_A_fixed_IPI_reaches_its_destination_or_shorthand(uint shorthand, uint destination, int[] holders)
    {
        _rig.Ipi(0x61 | Assert | shorthand, destination);
        Holders(0x61).Should().Equal(holders);
        _rig.Read(IcrLow).Should().Be(0x61 | Assert | shorthand);
        _rig.Read(IcrHigh).Should().Be(destination << 24);
    }

    [Theory]
    [InlineData(0x01u, new[] { 0 })]
    [InlineData(0x06u, new[] { 1, 2 })]
    [InlineData(0xffu, new[] { 0, 1, 2, 3 })]
    [InlineData(0xf0u, new int[0])]
    public void SDM_11_6_2_2_Flat_model_takes_any_common_bit(uint destination, int[] holders)
    {
        for (int i = 0; i < 4; i++)
            _rig.Write(i, Ldr, 1u << (24 + i));
        _rig.Ipi(0x61 | LogicalMode, destination);
        Holders(0x61).Should().Equal(holders);
    }

    [Theory]
    [InlineData(0x11u, new[] { 0 })]
    [InlineData(0x13u, new[] { 0, 1 })]
    [InlineData(0x22u, new[] { 3 })]
    [InlineData(0x31u, new int[0])]
    [InlineData(0xf1u, new[] { 0, 2 })]
    [InlineData(0xffu, new[] { 0, 1, 2, 3 })]
    public void SDM_11_6_2_2_Cluster_model_takes_a_common_bit_in_the_same_cluster(uint destination, int[] holders)
    {
        uint[] ids = [0x11, 0x12, 0x21, 0x22];
        for (int i = 0; i < 4; i++)
        {
            _rig.Write(i, Dfr, 0);
            _rig.Read(i, Dfr).Should().Be(0x0fff_ffff);
            _rig.Write(i, Ldr, ids[i] << 24);
        }

        _rig.Ipi(0x61 | LogicalMode, destination);
        Holders(0x61).Should().Equal(holders);
    }

    [Fact]
    public void SDM_11_6_2_4_Lowest_priority_goes_to_one_processor_of_the_lowest_class_in_turn()
    {
        for (int i = 0; i < 4; i++)
            _rig.Write(i, Ldr, 1u << (24 + i));
        _rig.Write(1, Tpr, 0x40);
        var served = new List<int>();
        for (int n = 0; n < 6; n++)
        {
            _rig.Ipi(0x61 | LogicalMode | (1 << 8), 0x0f);
            served.Add(Holders(0x61).Should().ContainSingle().Subject);
            _rig.Apics[served[^1]].AcknowledgeInterrupt();
            _rig.Write(served[^1], Eoi, 0);
        }

        served.Should().Equal(2, 3, 0, 2, 3, 0);
    }

    [Fact]
    public void Lowest_priority_skips_disabled_processors_and_drops_if_all_are()
    {
        var message = new ApicMessage(ApicMessage.Broadcast, false, ApicDelivery.LowestPriority, 0x61);
        for (int i = 0; i < 3; i++)
            _rig.Write(i, Svr, 0xff);
        _rig.Bus.Deliver(message).Should().BeTrue();
        Holders(0x61).Should().Equal(3);
        _rig.Write(3, Svr, 0xff);
        _rig.Bus.Deliver(message with { Vector = 0x71 }).Should().BeFalse();
    }

    [Theory]
    [InlineData(4u, ToSelf)]
    [InlineData(5u, ToSelf)]
    [InlineData(6u, ToAll)]
    [InlineData(1u, ToAll)]
    public void SDM_table_11_3_Invalid_combinations_of_shorthand_and_mode_are_dropped(uint mode, uint shorthand)
    {
        _rig.Ipi(0x61 | (mode << 8) | shorthand | Assert);
        _rig.Apics.Should().OnlyContain(a => a.Pending == InterruptEvents.None);
    }

    [Fact]
    public void SDM_11_5_3_An_IPI_below_16_is_a_send_error_and_not_sent()
    {
        _rig.Ipi(0x0f, 1);
        _rig.Write(Esr, 0);
        _rig.Read(Esr).Should().Be(1 << 5);
        _rig.Write(1, Esr, 0);
        _rig.Read(1, Esr).Should().Be(0);
    }

    [Fact]
    public void MP_specification_B_4_INIT_SIPI_SIPI_starts_a_processor_once()
    {
        _rig.Write(1, Tpr, 0x33);
        _rig.Ipi(0x500 | Assert | Level, 1);
        _rig.Apics[1].Pending.Should().Be(InterruptEvents.Init);
        _rig.Targets[1].Notified.Should().Be(1);
        _rig.Ipi(0x500 | Level, 1);
        _rig.Apics[1].TakeInit().Should().BeTrue();
        _rig.Apics[1].TakeInit().Should().BeFalse("the de-assertion is not a second INIT");
        _rig.Read(1, Tpr).Should().Be(0);
        _rig.Ipi(0x600 | 0x9a, 1);
        _rig.Ipi(0x600 | 0x9a, 1);
        _rig.Apics[1].TakeStartup().Should().Be(0x9a);
        _rig.Apics[1].TakeStartup().Should().Be(-1);
    }

    [Fact]
    public void A_startup_sent_before_INIT_is_void_and_one_sent_after_survives_it()
    {
        _rig.Ipi(0x611, 1);
        _rig.Ipi(0x500 | Assert, 1);
        _rig.Apics[1].Pending.Should().Be(InterruptEvents.Init);
        _rig.Ipi(0x622, 1);
        _rig.Apics[1].TakeInit().Should().BeTrue();
        _rig.Apics[1].Pending.Should().Be(InterruptEvents.Startup);
        _rig.Apics[1].TakeStartup().Should().Be(0x22);
    }

    [Fact]
    public void SDM_11_4_7_3_INIT_resets_everything_but_id_and_base()
    {
        _rig.Apics[1].TryWriteBase(0xfed0_0000 | (1 << 11)).Should().BeTrue();
        _rig.Send(0x61, level: true, destination: 1);
        _rig.Send(0x41, destination: 1);
        _rig.Apics[1].AcknowledgeInterrupt();
        _rig.Write(1, LvtTimer, 0x41);
        _rig.Write(1, InitialCount, 1000);
        _rig.Write(1, Ldr, 0xff00_0000);
        _rig.Ipi(0x500 | Assert, 1);
        _rig.Apics[1].TakeInit();
        _rig.Apics[1].Pending.Should().Be(InterruptEvents.None);
        _rig.Apics[1].Page.Should().Be(0xfed0_0000);
        _rig.Read(1, Id).Should().Be(1u << 24);
        _rig.Read(1, Svr).Should().Be(0xff);
        _rig.Read(1, Ldr).Should().Be(0);
        _rig.Read(1, Dfr).Should().Be(uint.MaxValue);
        _rig.Read(1, Ppr).Should().Be(0);
        for (uint lvt = LvtTimer; lvt <= LvtError; lvt += 0x10)
            _rig.Read(1, lvt).Should().Be(Masked);
        for (uint bits = Isr; bits < Esr; bits += 0x10)
            _rig.Read(1, bits).Should().Be(0);
        _rig.Timers.NextDeadline.Should().Be(TimerQueue.Never);
    }

    [Fact]
    public void An_NMI_IPI_waits_until_it_is_taken()
    {
        _rig.Ipi(0x400 | ToOthers);
        _rig.Apics[0].Pending.Should().Be(InterruptEvents.None);
        _rig.Apics[2].Pending.Should().Be(InterruptEvents.Nmi);
        _rig.Apics[2].TakeNmi().Should().BeTrue();
        _rig.Apics[2].TakeNmi().Should().BeFalse();
    }

    [Theory]
    [InlineData(2u)]
    [InlineData(3u)]
    [InlineData(7u)]
    public void Delivery_modes_without_meaning_for_an_IPI_never_throw(uint mode)
    {
        _rig.Invoking(r => r.Ipi(0x61 | (mode << 8), 1)).Should().NotThrow();
        Holders(0x61).Should().BeEmpty();
    }

    [Fact]
    public void SDM_11_5_1_The_8259s_reach_the_processor_through_LINT0_in_ExtINT_mode()
    {
        var pic = new Controller(0x08);
        _rig.Apic.Connect(null, pic);
        _rig.Apic.SetExternalLine(true);
        _rig.Apic.Pending.Should().Be(InterruptEvents.None, "LINT0 is masked after reset");
        _rig.Write(LvtLint0, 0x700);
        _rig.Apic.Pending.Should().Be(InterruptEvents.ExternalInterrupt);
        _rig.Targets[0].Notified.Should().Be(1);
        _rig.Apic.AcknowledgeInterrupt().Should().Be(0x08);
        pic.Cycles.Should().Be(1);
        _rig.Read(Ppr).Should().Be(0, "INTR is not in service in the APIC");
        _rig.Apic.SetExternalLine(false);
        _rig.Apic.Pending.Should().Be(InterruptEvents.None);
        _rig.Apic.AcknowledgeInterrupt().Should().Be(-1);
        pic.Cycles.Should().Be(1);
    }

    [Fact]
    public void SDM_11_4_3_A_hardware_disabled_APIC_leaves_INTR_and_NMI_to_the_pins()
    {
        _rig.Apic.TryWriteBase(LocalApic.DefaultBase).Should().BeTrue();
        _rig.Apic.Connect(null, new Controller(0x70));
        _rig.Apic.SetExternalLine(true);
        _rig.Apic.AcknowledgeInterrupt().Should().Be(0x70);
        _rig.Apic.SetLint1(true);
        _rig.Apic.TakeNmi().Should().BeTrue();
        _rig.Send(0x61).Should().BeFalse();
        _rig.Apic.Page.Should().Be(ulong.MaxValue);
    }

    [Fact]
    public void LINT0_in_fixed_mode_interrupts_at_its_vector_on_the_rise()
    {
        _rig.Write(LvtLint0, 0x31);
        _rig.Apic.SetExternalLine(true);
        _rig.Apic.AcknowledgeInterrupt().Should().Be(0x31);
        _rig.Write(Eoi, 0);
        _rig.Apic.SetExternalLine(true);
        _rig.Apic.AcknowledgeInterrupt().Should().Be(-1);
    }

    [Fact]
    public void SDM_6_7_1_NMIs_that_wait_together_are_two_and_those_that_came_while_blocked_one()
    {
        var nmi = new ApicMessage(0, false, ApicDelivery.Nmi, 0);
        for (int i = 0; i < 3; i++)
            _rig.Bus.Deliver(nmi).Should().BeTrue();
        _rig.Apic.TakeNmi().Should().BeTrue();
        _rig.Apic.TakeNmi().Should().BeTrue();
        _rig.Apic.TakeNmi().Should().BeFalse();

        _rig.Bus.Deliver(nmi).Should().BeTrue();
        _rig.Bus.Deliver(nmi).Should().BeTrue();
        _rig.Apic.MergeNmis();
        _rig.Apic.TakeNmi().Should().BeTrue();
        _rig.Apic.TakeNmi().Should().BeFalse();
        _rig.Apic.Pending.Should().Be(InterruptEvents.None);
    }

    [Fact]
    public void LINT1_in_NMI_mode_gives_one_NMI_a_rise()
    {
        _rig.Write(LvtLint1, 0x400);
        _rig.Apic.SetLint1(true);
        _rig.Apic.SetLint1(true);
        _rig.Apic.TakeNmi().Should().BeTrue();
        _rig.Apic.TakeNmi().Should().BeFalse();
        _rig.Apic.SetLint1(false);
        _rig.Apic.SetLint1(true);
        _rig.Apic.TakeNmi().Should().BeTrue();
    }

    [Fact]
    public void An_ExtINT_message_runs_one_acknowledge_cycle()
    {
        var pic = new Controller(0x30);
        _rig.Apic.Connect(null, pic);
        _rig.Bus.Deliver(new ApicMessage(0, false, ApicDelivery.External, 0)).Should().BeTrue();
        _rig.Apic.AcknowledgeInterrupt().Should().Be(0x30);
        _rig.Apic.Pending.Should().Be(InterruptEvents.None);
    }

    [Fact]
    public void SDM_11_12_10_x2APIC_logical_ids_follow_from_the_id()
    {
        var rig = new ApicRig(18);
        for (int i = 0; i < 18; i++)
            rig.EnterX2(i);
        rig.Apics[17].TryReadX2(0x80d, out ulong ldr).Should().BeTrue();
        ldr.Should().Be(0x0001_0002);
        rig.Apics[0].TryWriteX2(0x830, (0x0001_0003UL << 32) | LogicalMode | 0x61).Should().BeTrue();
        Enumerable.Range(0, 18).Where(i => Irr3(rig, i)).Should().Equal(16, 17);
    }

    [Fact]
    public void SDM_11_12_9_x2APIC_commands_carry_32_bit_destinations()
    {
        var rig = new ApicRig(3);
        rig.EnterX2();
        rig.Apic.TryWriteX2(0x830, (2UL << 32) | 0x61).Should().BeTrue();
        rig.Apic.TryWriteX2(0x830, (0xffUL << 32) | 0x71).Should().BeTrue();
        Enumerable.Range(1, 2).Where(i => rig.Requested(i, 0x61)).Should().Equal(2);
        Enumerable.Range(1, 2).Where(i => rig.Requested(i, 0x71)).Should().BeEmpty("0xff is processor 255 here, not everyone");
        rig.Apic.TryWriteX2(0x830, (0xffff_ffffUL << 32) | 0x71).Should().BeTrue();
        Enumerable.Range(1, 2).Where(i => rig.Requested(i, 0x71)).Should().Equal(1, 2);
        rig.Apic.TryReadX2(0x830, out ulong icr).Should().BeTrue();
        icr.Should().Be(0xffff_ffff_0000_0071);
    }

    [Fact]
    public void SDM_11_12_11_The_self_IPI_register_interrupts_oneself()
    {
        var rig = new ApicRig(2);
        rig.EnterX2();
        rig.Apic.TryWriteX2(0x83f, 0x61).Should().BeTrue();
        rig.Apic.AcknowledgeInterrupt().Should().Be(0x61);
        rig.Apics[1].Pending.Should().Be(InterruptEvents.None);
    }

    [Fact]
    public void A_storm_of_any_commands_never_throws_and_stays_in_the_machine()
    {
        Prop.ForAll(ArbMap.Default.ArbFor<(uint, uint)[]>(), commands =>
        {
            var rig = new ApicRig(3);
            foreach (var (low, high) in commands)
            {
                rig.Write(IcrHigh, high);
                rig.Write(IcrLow, low);
            }

            return rig.Apics.All(a => (a.Pending & ~(InterruptEvents.Maskable | InterruptEvents.Nmi | InterruptEvents.SecondNmi | InterruptEvents.Init | InterruptEvents.Startup)) == 0);
        }).QuickCheckThrowOnFailure();
    }

    private static bool Irr3(ApicRig rig, int cpu) =>
        rig.Apics[cpu].TryReadX2(0x823, out ulong bits) && (bits & 2) != 0;
}
