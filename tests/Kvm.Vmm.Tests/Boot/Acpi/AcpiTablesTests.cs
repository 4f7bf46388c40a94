using System.Diagnostics;
using System.Text;
using Kvm.Devices.Platform;
using Kvm.Vmm.Boot;
using Kvm.Vmm.Boot.Acpi;

namespace Kvm.Vmm.Tests.Boot.Acpi;

public class AcpiTablesTests
{
    private static readonly AcpiConfig Everything = new()
    {
        Cpus = 3,
        Pci = true,
        PciEcam = true,
        VirtioMmio = [new(new(MachineLayout.VirtioMmioAddress(0), 4096), 20, true), new(new(MachineLayout.VirtioMmioAddress(1), 4096), 21, false)],
    };

    public static TheoryData<string, AcpiConfig> Configs => new()
    {
        { "least", new AcpiConfig { Serial = false, Rtc = false, I8042 = false, Pvpanic = false } },
        { "default", new AcpiConfig() },
        { "generation id", new AcpiConfig { HasGenerationId = true } },
        { "everything", Everything },
        { "many processors", Everything with { Cpus = 254 } },
        { "a few PCI devices", Everything with { PciDevices = 2, PciEcam = false } },
        { "PCI without a device", new AcpiConfig { Pci = true, PciDevices = 0 } },
        { "more than xAPIC can name", Everything with { Cpus = AcpiConfig.MaxCpus } },
    };

    [Theory, MemberData(nameof(Configs))]
    public void Every_table_sums_to_zero_is_aligned_and_is_reached_from_the_RSDP(string name, AcpiConfig config)
    {
        using var m = new TestMemory(16 << 20);
        var placed = AcpiTables.Write(m.Memory, m.Layout, config);

        Encoding.ASCII.GetString(m.Bytes(placed.Rsdp, 8)).Should().Be("RSD PTR ", name);
        (placed.Rsdp % 16).Should().Be(0);
        placed.Rsdp.Should().BeInRange(0xe0000, 0xfffff);
        Sum(m.Bytes(placed.Rsdp, 20)).Should().Be(0);
        Sum(m.Bytes(placed.Rsdp, 36)).Should().Be(0);

        var tables = Walk(m, placed);
        tables.Keys.Should().Contain(["FACP", "APIC", "DSDT", "FACS"]);
        tables.ContainsKey("MCFG").Should().Be(config.PciEcam);
        foreach (var (signature, table) in tables)
        {
            if (signature != "FACS")
                Sum(table).Should().Be(0, signature);
        }

        var area = new AddressRange(MachineLayout.AcpiTables, MachineLayout.AcpiTablesSize);
        placed.Tables.Should().OnlyContain(t => area.Contains(t.Range) && t.Range.Start % 64 == 0);
        for (int i = 1; i < placed.Tables.Count; i++)
            placed.Tables[i].Range.Start.Should().BeGreaterThanOrEqualTo(placed.Tables[i - 1].Range.End);
    }

    [SkippableTheory, MemberData(nameof(Configs))]
    public void The_reference_compiler_takes_every_table_apart_and_together_again(string name, AcpiConfig config)
    {
        Skip.IfNot(OnPath("iasl"), "iasl (package acpica-tools) is not installed");
        using var m = new TestMemory(16 << 20);
        var tables = Walk(m, AcpiTables.Write(m.Memory, m.Layout, config));
        string folder = Directory.CreateTempSubdirectory("kvmsharp-acpi").FullName;
        try
        {
            foreach (var (signature, table) in tables)
            {
                File.WriteAllBytes(Path.Combine(folder, $"{signature}.aml"), table);
                var (code, output) = Run(folder, "", "iasl", "-d", $"{signature}.aml");
                code.Should().Be(0, $"{name}: {output}");
                output.Should().NotContainAny(["Error", "**** ", "Invalid", "Incorrect checksum", "Could not"]);
            }

            var (compiled, log) = Run(folder, "", "iasl", "-oa", "DSDT.dsl");
            compiled.Should().Be(0, $"{name}: {log}");
            log.Should().Contain("0 Errors, 0 Warnings");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public void The_FADT_names_the_fixed_hardware_where_the_device_has_it()
    {
        using var m = new TestMemory(16 << 20);
        byte[] fadt = Walk(m, AcpiTables.Write(m.Memory, m.Layout, new AcpiConfig()))["FACP"];
        fadt.Length.Should().Be(276);
        U32(fadt, 56).Should().Be(MachineLayout.AcpiBlock + (uint)AcpiPm.EventOffset);
        U32(fadt, 64).Should().Be(MachineLayout.AcpiBlock + (uint)AcpiPm.ControlOffset);
        U32(fadt, 76).Should().Be(MachineLayout.AcpiBlock + (uint)AcpiPm.TimerOffset);
        U32(fadt, 80).Should().Be(MachineLayout.AcpiBlock + (uint)AcpiPm.Gpe0Offset);
        fadt[88..94].Should().Equal(4, 2, 0, 4, 4, 0);
        BitConverter.ToUInt16(fadt, 46).Should().Be((ushort)MachineLayout.SciGsi);
        U32(fadt, 48).Should().Be(0, "there is no SMI command port: ACPI is always on");
        fadt[108].Should().Be(Rtc.CenturyRegister);
        BitConverter.ToUInt16(fadt, 109).Should().Be(0b111, "legacy devices, 8042, no VGA; MSI and CMOS RTC are there");
        U32(fadt, 112).Should().Be(0x565, "WBINVD, C1, no sleep button, no fixed RTC wake, 32-bit timer, reset register");
        fadt[116..120].Should().Equal(1, 8, 0, 1);
        BitConverter.ToUInt64(fadt, 120).Should().Be(MachineLayout.AcpiBlock + (ulong)AcpiPm.ResetOffset);
        fadt[128].Should().Be(AcpiPm.ResetValue);
    }

    [Fact]
    public void Without_a_keyboard_controller_and_RTC_the_FADT_says_so()
    {
        using var m = new TestMemory(16 << 20);
        byte[] fadt = Walk(m, AcpiTables.Write(m.Memory, m.Layout, new AcpiConfig { I8042 = false, Rtc = false }))["FACP"];
        BitConverter.ToUInt16(fadt, 109).Should().Be(0b10_0101);
        fadt[108].Should().Be(0);
    }

    [Theory]
    [InlineData(1, 1, 0)]
    [InlineData(255, 255, 0)]
    [InlineData(300, 255, 45)]
    public void The_MADT_lists_processors_above_254_as_x2APIC(int cpus, int local, int x2)
    {
        using var m = new TestMemory(16 << 20);
        byte[] madt = Walk(m, AcpiTables.Write(m.Memory, m.Layout, new AcpiConfig { Cpus = cpus }))["APIC"];
        U32(madt, 36).Should().Be((uint)MachineLayout.LocalApic);
        var entries = new List<byte[]>();
        for (int at = 44; at < madt.Length; at += madt[at + 1])
            entries.Add(madt[at..(at + madt[at + 1])]);

        entries.Count(e => e[0] == 0).Should().Be(local);
        entries.Count(e => e[0] == 9).Should().Be(x2);
        entries.Count(e => e[0] == 0xa).Should().Be(x2 > 0 ? 1 : 0);
        entries.Where(e => e[0] == 0).Select(e => e[3]).Should().OnlyHaveUniqueItems();
        entries.Where(e => e[0] == 9).Select(e => U32(e, 4)).Should().Equal(Enumerable.Range(255, x2).Select(i => (uint)i));
        entries.Single(e => e[0] == 1).Should().Equal(1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0);
        entries.Where(e => e[0] == 2).Should().BeEquivalentTo(new[]
        {
            new byte[] { 2, 10, 0, 0, 2, 0, 0, 0, 0, 0 },
            [2, 10, 0, 9, 9, 0, 0, 0, 0xd, 0],
        });
        entries.Single(e => e[0] == 4).Should().Equal(4, 6, 0xff, 0, 0, 1);
    }

    [Fact]
    public void The_MCFG_covers_the_ECAM()
    {
        using var m = new TestMemory(16 << 20);
        byte[] mcfg = Walk(m, AcpiTables.Write(m.Memory, m.Layout, Everything))["MCFG"];
        BitConverter.ToUInt64(mcfg, 44).Should().Be(MachineLayout.PciEcam.Start);
        mcfg[52..56].Should().Equal(0, 0, 0, 255);
        mcfg.Length.Should().Be(60);
    }

    [Fact]
    public void The_DSDT_has_soft_off_and_the_devices_asked_for_only()
    {
        using var m = new TestMemory(16 << 20);
        string all = Encoding.Latin1.GetString(Walk(m, AcpiTables.Write(m.Memory, m.Layout, Everything))["DSDT"]);
        all.Should().Contain("_S5_").And.Contain("COM1").And.Contain("RTC0").And.Contain("KBD0").And.Contain("QEMU0001")
            .And.Contain("PCI0").And.Contain("_PRT").And.Contain("LNRO0005").And.Contain("VR01").And.Contain("C002").And.NotContain("C003");
        string least = Encoding.Latin1.GetString(Walk(m, AcpiTables.Write(m.Memory, m.Layout, new AcpiConfig { Serial = false, Rtc = false, I8042 = false, Pvpanic = false }))["DSDT"]);
        least.Should().Contain("_S5_").And.Contain("C000").And.NotContainAny(["COM1", "RTC0", "KBD0", "QEMU0001", "PCI0", "LNRO0005"]);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-1)]
    [InlineData(AcpiConfig.MaxCpus + 1)]
    public void A_number_of_processors_out_of_range_is_refused(int cpus)
    {
        using var m = new TestMemory(16 << 20);
        FluentActions.Invoking(() => AcpiTables.Write(m.Memory, m.Layout, new AcpiConfig { Cpus = cpus })).Should().Throw<ArgumentOutOfRangeException>();
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(33)]
    public void A_number_of_PCI_devices_out_of_range_is_refused(int devices)
    {
        using var m = new TestMemory(16 << 20);
        FluentActions.Invoking(() => AcpiTables.Write(m.Memory, m.Layout, new AcpiConfig { PciDevices = devices })).Should().Throw<ArgumentOutOfRangeException>();
    }

    [SkippableFact]
    public void The_reference_interpreter_loads_the_namespace_and_finds_routes_and_resources()
    {
        Skip.IfNot(OnPath("acpiexec"), "acpiexec (package acpica-tools) is not installed");
        using var m = new TestMemory(16 << 20);
        string folder = Directory.CreateTempSubdirectory("kvmsharp-acpi").FullName;
        try
        {
            File.WriteAllBytes(Path.Combine(folder, "DSDT.aml"), Walk(m, AcpiTables.Write(m.Memory, m.Layout, Everything))["DSDT"]);
            const string commands = "execute \\_S5\nresources \\_SB.PCI0\nresources \\_SB.COM1\nresources \\_SB.VR01\nquit\n";
            var (code, output) = Run(folder, commands, "acpiexec", "DSDT.aml");
            code.Should().Be(0, output);
            // It also tries to set what it read, for which there is no method: those lines do not count.
            string lines = string.Join('\n', output.Split('\n').Where(l => !l.StartsWith("AcpiSetCurrentResources", StringComparison.Ordinal)));
            lines.Should().NotContainAny(["ACPI Error", "ACPI Warning", "AE_"]);
            lines.Should().Contain("Evaluation of \\_S5 returned object");
            lines.Should().MatchRegex(@"Address : 000000000001FFFF\s+Pin : 00000000\s+Source : \[NULL NAMESTRING\]\s+Source Index : 00000011");
            lines.Should().MatchRegex(@"Address Minimum : C0000000\s").And.MatchRegex(@"Address Minimum : 03F8\s");
            lines.Should().MatchRegex(@"Triggering : Level\s+Polarity : ActiveHigh\s+Sharing : Exclusive[^|]{0,200}Dword00 : 00000015");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public void Memory_without_the_firmware_area_is_refused()
    {
        using var m = new TestMemory(0xe0000);
        FluentActions.Invoking(() => AcpiTables.Write(m.Memory, m.Layout, new AcpiConfig())).Should().Throw<LoadException>()
            .Which.Error.Should().Be(LoadErrors.MemoryTooSmall);
    }

    /// <summary>All tables by signature, found as a guest does: RSDP, XSDT and RSDT alike, then the FADT's.</summary>
    private static Dictionary<string, byte[]> Walk(TestMemory m, AcpiPlacement placed)
    {
        byte[] xsdt = Table(m, m.U64(placed.Rsdp + 24)), rsdt = Table(m, m.U32(placed.Rsdp + 16));
        var listed = Enumerable.Range(0, (xsdt.Length - 36) / 8).Select(i => BitConverter.ToUInt64(xsdt, 36 + (i * 8))).ToArray();
        Enumerable.Range(0, (rsdt.Length - 36) / 4).Select(i => (ulong)U32(rsdt, 36 + (i * 4))).Should().Equal(listed);
        var result = new Dictionary<string, byte[]> { ["XSDT"] = xsdt, ["RSDT"] = rsdt };
        foreach (ulong address in listed)
        {
            byte[] table = Table(m, address);
            result.Add(Encoding.ASCII.GetString(table, 0, 4), table);
        }

        result.Add("FACS", Table(m, U32(result["FACP"], 36)));
        result.Add("DSDT", Table(m, U32(result["FACP"], 40)));
        BitConverter.ToUInt64(result["FACP"], 140).Should().Be(U32(result["FACP"], 40));
        return result;
    }

    private static byte[] Table(TestMemory m, ulong address) => m.Bytes(address, (int)m.U32(address + 4));

    private static int Sum(byte[] bytes) => bytes.Sum(b => b) & 0xff;

    private static uint U32(byte[] bytes, int at) => BitConverter.ToUInt32(bytes, at);

    private static bool OnPath(string program) => (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Any(p => File.Exists(Path.Combine(p, program)));

    private static (int Code, string Output) Run(string folder, string input, string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { WorkingDirectory = folder, RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
        using var process = Process.Start(start)!;
        process.StandardInput.Write(input);
        process.StandardInput.Close();
        var error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output + error.Result);
    }
}
