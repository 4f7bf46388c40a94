namespace Kvm.Vmm.Tests;

public class MachineLayoutTests
{
    private const ulong GiB = 1UL << 30;

    [Theory]
    [InlineData(1UL << 20)]
    [InlineData(64UL << 20)]
    [InlineData(3 * GiB)]
    [InlineData((3 * GiB) + 4096)]
    [InlineData(512 * GiB)]
    public void The_memory_map_ascends_without_overlaps_and_its_RAM_lies_in_RAM(ulong size)
    {
        var layout = new MachineLayout(size);
        var map = layout.MemoryMap;
        for (int i = 1; i < map.Count; i++)
            map[i].Range.Start.Should().BeGreaterThanOrEqualTo(map[i - 1].Range.End);
        foreach (var e in map)
        {
            e.Range.Size.Should().NotBe(0);
            if (e.Kind == MemoryKind.Ram)
                layout.Ram.ToArray().Should().Contain(r => r.Contains(e.Range));
        }

        layout.Ram.ToArray().Aggregate(0UL, (sum, r) => sum + r.Size).Should().Be(size);
        ulong usable = map.Where(e => e.Kind == MemoryKind.Ram).Aggregate(0UL, (sum, e) => sum + e.Range.Size);
        usable.Should().Be(size - MachineLayout.Firmware.Size);
    }

    [Fact]
    public void Memory_above_3_GiB_goes_on_at_4_GiB()
    {
        var layout = new MachineLayout(5 * GiB);
        layout.Ram.ToArray().Should().Equal(new AddressRange(0, 3 * GiB), new AddressRange(4 * GiB, 2 * GiB));
        layout.RamEnd.Should().Be(6 * GiB);
        layout.PciMmio64.Start.Should().BeGreaterThanOrEqualTo(layout.RamEnd);
        (layout.PciMmio64.Start % layout.PciMmio64.Size).Should().Be(0);
    }

    [Theory]
    [InlineData(0UL)]
    [InlineData(4095UL)]
    [InlineData((1UL << 20) + 1)]
    [InlineData(1UL << 51)]
    [InlineData(ulong.MaxValue)]
    public void Memory_that_is_zero_odd_or_absurd_is_refused(ulong size) =>
        FluentActions.Invoking(() => new MachineLayout(size)).Should().Throw<ArgumentOutOfRangeException>();

    [Fact]
    public void Nothing_in_the_device_hole_overlaps()
    {
        AddressRange[] all =
        [
            MachineLayout.PciMmio32, MachineLayout.PciEcam, MachineLayout.VirtioMmio, new(MachineLayout.IoApic, 4096),
            new(MachineLayout.Hpet, 4096), new(MachineLayout.LocalApic, 4096), MachineLayout.KvmReserved,
        ];
        AssertDisjoint(all);
        all.Should().OnlyContain(r => r.Start >= MachineLayout.HoleStart && r.End <= MachineLayout.HoleEnd);
    }

    [Fact]
    public void Nothing_below_1_MiB_overlaps_and_all_of_it_is_reserved_or_boot_data()
    {
        AddressRange[] boot =
        [
            new(MachineLayout.BdaEbdaSegment, 2), new(MachineLayout.BdaBaseMemoryKiB, 2), new(MachineLayout.Gdt, 4096),
            new(MachineLayout.StartInfo, MachineLayout.StartInfoSize), new(MachineLayout.ZeroPage, 4096),
            new(MachineLayout.PageTables, (2 + MachineLayout.IdentityMappedGiB) * 4096),
            new(MachineLayout.CommandLine, MachineLayout.CommandLineSize),
        ];
        AddressRange[] firmware =
        [
            new(MachineLayout.Ebda, 1024), new(MachineLayout.AcpiTables, MachineLayout.AcpiTablesSize),
            new(MachineLayout.MpTable, MachineLayout.MpTableSize),
        ];
        AssertDisjoint([.. boot, .. firmware]);
        AddressRange[] kept = [MachineLayout.StartData, MachineLayout.LinuxData, MachineLayout.CommandLineData];
        AssertDisjoint(kept);
        boot.Should().OnlyContain(r => kept.Any(k => k.Contains(r)));
        firmware.Should().OnlyContain(r => MachineLayout.Firmware.Contains(r));
    }

    [Fact]
    public void No_ports_overlap()
    {
        AssertDisjoint(
        [
            new(MachineLayout.I8042Data, 1), new(MachineLayout.I8042Command, 1), new(MachineLayout.Rtc, 2), new(MachineLayout.DebugExit, 4),
            new(MachineLayout.Com1, 8), new(MachineLayout.Pvpanic, 1), new(MachineLayout.AcpiPm1Event, 4), new(MachineLayout.AcpiPm1Control, 2),
            new(MachineLayout.AcpiPmTimer, 4), new(MachineLayout.AcpiReset, 1), new(MachineLayout.AcpiGpe0, MachineLayout.AcpiGpe0Size),
            new(MachineLayout.PciConfig, MachineLayout.PciConfigSize), MachineLayout.PciIo,
        ]);
        var block = new AddressRange(MachineLayout.AcpiBlock, MachineLayout.AcpiBlockSize);
        block.Contains(new(MachineLayout.AcpiPm1Event, 4)).Should().BeTrue();
        block.Contains(new(MachineLayout.AcpiGpe0, MachineLayout.AcpiGpe0Size)).Should().BeTrue();
        block.Contains(new(MachineLayout.AcpiReset, 1)).Should().BeTrue();
    }

    [Fact]
    public void No_interrupt_is_used_twice_and_all_are_pins_of_the_IO_APIC()
    {
        uint[] all =
        [
            MachineLayout.TimerGsi, MachineLayout.KeyboardGsi, MachineLayout.Com1Gsi, MachineLayout.RtcGsi, MachineLayout.SciGsi,
            .. Enumerable.Range(0, 4).Select(pin => MachineLayout.PciGsi(0, pin)),
            .. MachineLayout.VirtioMmioGsis.ToArray().Select(g => (uint)g),
        ];
        all.Should().OnlyHaveUniqueItems().And.OnlyContain(g => g < MachineLayout.IoApicPins);
        MachineLayout.VirtioMmioGsis.Length.Should().Be(MachineLayout.VirtioMmioSlots);
    }

    [Fact]
    public void Ranges_compare_without_wrapping()
    {
        var top = new AddressRange(ulong.MaxValue - 0xfff, 0xfff);
        top.Contains(new(ulong.MaxValue - 1, 1)).Should().BeTrue();
        top.Contains(new(ulong.MaxValue - 1, 2)).Should().BeFalse();
        new AddressRange(0, 0).Overlaps(new(0, 10)).Should().BeFalse();
        new AddressRange(5, 1).Overlaps(new(0, 10)).Should().BeTrue();
    }

    private static void AssertDisjoint(AddressRange[] ranges)
    {
        for (int i = 0; i < ranges.Length; i++)
        {
            for (int j = 0; j < i; j++)
                ranges[i].Overlaps(ranges[j]).Should().BeFalse($"{ranges[i]} and {ranges[j]} are different things");
        }
    }
}
