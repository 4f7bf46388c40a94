using FsCheck;
using FsCheck.Fluent;
using Kvm.X86.Interrupts;
using static Kvm.X86.Tests.Interrupts.ApicRig;

namespace Kvm.X86.Tests.Interrupts.Apic;

/// <summary>SDM vol. 3, 11.4 and 11.12: registers through the page and through MSRs, modes.</summary>
public sealed class LocalApicRegisterTests
{
    private readonly ApicRig _rig = new(2, enabled: false);

    [Fact]
    public void SDM_11_4_7_1_Registers_after_power_up()
    {
        _rig.Read(1, Id).Should().Be(1u << 24);
        _rig.Read(VersionRegister).Should().Be(0x0105_0014);
        _rig.Read(Svr).Should().Be(0xff);
        _rig.Read(Dfr).Should().Be(uint.MaxValue);
        for (uint lvt = LvtTimer; lvt <= LvtError; lvt += 0x10)
            _rig.Read(lvt).Should().Be(Masked);
        foreach (uint register in new[] { Tpr, Ppr, Apr, Ldr, Esr, IcrLow, IcrHigh, InitialCount, CurrentCount, Divide })
            _rig.Read(register).Should().Be(0);
        _rig.Apics[0].Base.Should().Be(0xfee0_0900);
        _rig.Apics[1].Base.Should().Be(0xfee0_0800);
    }

    [Theory]
    [InlineData(Tpr, 0xffu)]
    [InlineData(Ldr, 0xff00_0000u)]
    [InlineData(Svr, 0x13ffu)]
    [InlineData(IcrHigh, 0xff00_0000u)]
    [InlineData(LvtTimer, 0x0007_00ffu)]
    [InlineData(LvtThermal, 0x0001_07ffu)]
    [InlineData(LvtPerformance, 0x0001_07ffu)]
    [InlineData(LvtLint0, 0x0001_a7ffu)]
    [InlineData(LvtLint1, 0x0001_a7ffu)]
    [InlineData(LvtError, 0x0001_00ffu)]
    [InlineData(Divide, 0x0000_000bu)]
    public void Registers_keep_the_bits_they_have_and_no_others(uint register, uint kept)
    {
        _rig.Write(Svr, 0x1ff);
        _rig.Write(register, uint.MaxValue);
        _rig.Read(register).Should().Be(kept);
        _rig.Write(register, 0);
        _rig.Read(register).Should().Be(0);
    }

    [Theory]
    [InlineData(Id)]
    [InlineData(VersionRegister)]
    [InlineData(Ppr)]
    [InlineData(Isr)]
    [InlineData(Irr + 0x70)]
    [InlineData(CurrentCount)]
    public void Read_only_registers_ignore_writes_without_error(uint register)
    {
        uint before = _rig.Read(register);
        _rig.Write(register, ~before);
        _rig.Read(register).Should().Be(before);
        _rig.Write(Esr, 0);
        _rig.Read(Esr).Should().Be(0);
    }

    [Theory]
    [InlineData(0x00u)]
    [InlineData(0x40u)]
    [InlineData(0x2f0u)]
    [InlineData(0x3f0u)]
    [InlineData(0xff0u)]
    public void SDM_11_5_3_A_reserved_register_is_an_illegal_address(uint register)
    {
        _rig.Read(register).Should().Be(0);
        _rig.Write(Esr, 0);
        _rig.Read(Esr).Should().Be(1 << 7);
        _rig.Write(register, 1);
        _rig.Write(Esr, 0);
        _rig.Read(Esr).Should().Be(1 << 7);
    }

    [Fact]
    public void SDM_11_4_7_2_Software_disabling_masks_the_LVT_and_keeps_it_masked()
    {
        _rig.Write(Svr, 0x1ff);
        _rig.Write(LvtTimer, 0x41);
        _rig.Write(LvtLint0, 0x700);
        _rig.Write(Svr, 0xff);
        _rig.Read(LvtTimer).Should().Be(0x41 | Masked);
        _rig.Write(LvtLint0, 0x700);
        _rig.Read(LvtLint0).Should().Be(0x700 | Masked);
    }

    [Fact]
    public void Narrow_reads_give_the_bytes_of_a_register_and_wide_or_odd_ones_nothing_more()
    {
        Span<byte> data = stackalloc byte[8];
        data.Fill(0xaa);
        _rig.Apic.ReadPage(VersionRegister, data);
        data.ToArray().Should().Equal(0x14, 0, 5, 1, 0, 0, 0, 0);
        _rig.Apic.ReadPage(VersionRegister + 2, data[..1]);
        data[0].Should().Be(5);
        _rig.Apic.ReadPage(VersionRegister + 3, data[..2]);
        data[..2].ToArray().Should().Equal(1, 0);
        _rig.Apic.ReadPage(VersionRegister + 4, data[..4]);
        data[..4].ToArray().Should().Equal(0, 0, 0, 0);
    }

    [Theory]
    [InlineData(Tpr, 1)]
    [InlineData(Tpr, 2)]
    [InlineData(Tpr, 8)]
    [InlineData(Tpr + 1, 4)]
    [InlineData(Tpr + 4, 4)]
    [InlineData(0x1000u + Tpr, 4)]
    public void SDM_11_4_1_Only_aligned_32_bit_writes_count(uint offset, int width)
    {
        byte[] data = [0x40, 0, 0, 0, 0, 0, 0, 0];
        _rig.Apic.WritePage(offset, data.AsSpan(0, width));
        _rig.Read(Tpr).Should().Be(0);
    }

    [Fact]
    public void Any_access_to_the_page_and_any_MSR_never_throws()
    {
        Prop.ForAll(ArbMap.Default.ArbFor<(ushort, byte, ulong)[]>(), accesses =>
        {
            var rig = new ApicRig(2);
            Span<byte> data = stackalloc byte[8];
            foreach (var (where, how, value) in accesses)
            {
                BitConverter.TryWriteBytes(data, value);
                int width = 1 + (how & 7);
                switch (how >> 4 & 3)
                {
                    case 0:
                        rig.Apic.WritePage(where & 0xfffu, data[..width]);
                        break;
                    case 1:
                        rig.Apic.ReadPage(where & 0xfffu, data[..width]);
                        break;
                    case 2:
                        rig.Apic.TryWriteX2(0x800u + (byte)where, how > 200 ? value : value & 0x7ff);
                        rig.Apic.TryReadX2(0x800u + (byte)where, out _);
                        break;
                    default:
                        rig.Apic.TryWriteBase(how > 128 ? value : LocalApic.DefaultBase | (value & 0xd00));
                        rig.Apic.WriteTscDeadline(value);
                        break;
                }

                rig.Advance((ulong)where << 4);
                rig.Apic.AcknowledgeInterrupt();
            }

            return true;
        }).QuickCheckThrowOnFailure();
    }

    [Theory]
    [InlineData(0xc00u, true)]
    [InlineData(0x800u, true)]
    [InlineData(0x000u, true)]
    [InlineData(0x400u, false)]
    [InlineData(0xa00u, false)]
    [InlineData(0x801u, false)]
    public void SDM_figure_11_27_From_xAPIC(uint bits, bool allowed) =>
        _rig.Apic.TryWriteBase(LocalApic.DefaultBase | bits).Should().Be(allowed);

    [Theory]
    [InlineData(0xc00u, true)]
    [InlineData(0x800u, false)]
    [InlineData(0x000u, true)]
    [InlineData(0x400u, false)]
    public void SDM_figure_11_27_From_x2APIC(uint bits, bool allowed)
    {
        _rig.EnterX2();
        _rig.Apic.TryWriteBase(LocalApic.DefaultBase | bits).Should().Be(allowed);
    }

    [Theory]
    [InlineData(0xc00u, false)]
    [InlineData(0x800u, true)]
    [InlineData(0x000u, true)]
    public void SDM_figure_11_27_From_disabled(uint bits, bool allowed)
    {
        _rig.Apic.TryWriteBase(LocalApic.DefaultBase).Should().BeTrue();
        _rig.Apic.TryWriteBase(LocalApic.DefaultBase | bits).Should().Be(allowed);
    }

    [Fact]
    public void The_page_follows_the_base_and_goes_away_in_x2APIC_mode()
    {
        _rig.Apic.Page.Should().Be(0xfee0_0000);
        _rig.Apic.TryWriteBase(0x1_2345_6000 | (1 << 11)).Should().BeTrue();
        _rig.Apic.Page.Should().Be(0x1_2345_6000);
        _rig.Apic.TryWriteBase(1UL << 52 | (1 << 11)).Should().BeFalse("bit 52 is reserved");
        _rig.EnterX2();
        _rig.Apic.Page.Should().Be(ulong.MaxValue);
    }

    [Fact]
    public void SDM_11_12_1_x2APIC_registers_do_not_exist_in_xAPIC_mode()
    {
        _rig.Apic.TryReadX2(0x802, out _).Should().BeFalse();
        _rig.Apic.TryWriteX2(0x808, 0).Should().BeFalse();
    }

    [Theory]
    [InlineData(0x802u, true, false)]
    [InlineData(0x803u, true, false)]
    [InlineData(0x808u, true, true)]
    [InlineData(0x809u, false, false)]
    [InlineData(0x80au, true, false)]
    [InlineData(0x80bu, false, true)]
    [InlineData(0x80cu, false, false)]
    [InlineData(0x80du, true, false)]
    [InlineData(0x80eu, false, false)]
    [InlineData(0x80fu, true, true)]
    [InlineData(0x810u, true, false)]
    [InlineData(0x827u, true, false)]
    [InlineData(0x828u, true, true)]
    [InlineData(0x82fu, false, false)]
    [InlineData(0x830u, true, true)]
    [InlineData(0x831u, false, false)]
    [InlineData(0x832u, true, true)]
    [InlineData(0x837u, true, true)]
    [InlineData(0x838u, true, true)]
    [InlineData(0x839u, true, false)]
    [InlineData(0x83eu, true, true)]
    [InlineData(0x83fu, false, true)]
    [InlineData(0x840u, false, false)]
    [InlineData(0x8ffu, false, false)]
    public void SDM_table_11_6_Access_to_x2APIC_registers(uint msr, bool readable, bool writable)
    {
        _rig.EnterX2();
        _rig.Apic.TryReadX2(msr, out _).Should().Be(readable);
        _rig.Apic.TryWriteX2(msr, msr == 0x83f ? 0x41u : 0u).Should().Be(writable);
    }

    [Theory]
    [InlineData(0x808u, 0x100UL)]
    [InlineData(0x80bu, 1UL)]
    [InlineData(0x80fu, 0x400UL)]
    [InlineData(0x828u, 1UL)]
    [InlineData(0x830u, 0x10_0000UL)]
    [InlineData(0x832u, 0x100UL)]
    [InlineData(0x837u, 1UL << 32)]
    [InlineData(0x838u, 1UL << 32)]
    [InlineData(0x83eu, 4UL)]
    [InlineData(0x83fu, 0x100UL)]
    public void SDM_11_12_1_2_Reserved_bits_are_refused(uint msr, ulong value)
    {
        _rig.EnterX2();
        _rig.Apic.TryWriteX2(msr, value).Should().BeFalse();
    }

    [Fact]
    public void An_x2APIC_EOI_ends_the_interrupt()
    {
        _rig.EnterX2();
        _rig.Apic.TryWriteX2(0x80f, 0x1ff);
        _rig.Apic.TryReadX2(0x802, out ulong id);
        id.Should().Be(0);
        _rig.Send(0x41);
        _rig.Apic.AcknowledgeInterrupt();
        _rig.Apic.TryWriteX2(0x80b, 0).Should().BeTrue();
        _rig.Apic.TryReadX2(0x812, out ulong isr);
        isr.Should().Be(0);
    }

    [Fact]
    public void Virtual_wire_lets_the_8259s_and_NMI_through_on_the_first_processor_only()
    {
        foreach (var apic in _rig.Apics)
            apic.SetVirtualWire();
        _rig.Read(0, LvtLint0).Should().Be(0x700);
        _rig.Read(1, LvtLint0).Should().Be(Masked);
        _rig.Read(1, LvtLint1).Should().Be(0x400);
        _rig.Read(Svr).Should().Be(0x1ff);
    }
}
