using System.Buffers.Binary;
using System.Text;
using Kvm.Devices.Memory;

namespace Kvm.Vmm.Boot.Acpi;

/// <summary>Builds the ACPI tables of a machine and writes them to <see cref="MachineLayout.AcpiTables"/>.</summary>
public static class AcpiTables
{
    private const int HeaderSize = 36;
    private const int ChecksumOffset = 9;
    private const int RsdpSize = 36;
    private const int Alignment = 64; // what the FACS wants; enough for the others

    /// <summary>Writes all tables.</summary>
    /// <param name="memory">Guest memory, with RAM below 1 MiB.</param>
    /// <param name="layout">The machine's layout.</param>
    /// <param name="config">What to describe.</param>
    /// <returns>Where they are; <see cref="AcpiPlacement.Rsdp"/> goes to <see cref="BootRequest.RsdpAddress"/>.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The number of processors is not 1 to <see cref="AcpiConfig.MaxCpus"/>, or that of PCI devices not 0 to 32.</exception>
    /// <exception cref="LoadException">Guest memory does not hold the area (KVM0116).</exception>
    public static AcpiPlacement Write(GuestMemory memory, MachineLayout layout, AcpiConfig config)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(layout);
        ArgumentNullException.ThrowIfNull(config);
        ArgumentOutOfRangeException.ThrowIfLessThan(config.Cpus, 1, nameof(config));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(config.Cpus, AcpiConfig.MaxCpus, nameof(config));
        ArgumentOutOfRangeException.ThrowIfNegative(config.PciDevices, nameof(config));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(config.PciDevices, 32, nameof(config));
        if (!memory.TrySlice(MachineLayout.AcpiTables, (int)(MachineLayout.GenerationId - MachineLayout.AcpiTables), out var area))
            throw LoadException.NotOfFile(LoadErrors.MemoryTooSmall, "ACPI tables", $"0x{MachineLayout.AcpiTables:x} is not RAM");

        var build = new Builder(area);
        int rsdp = build.Reserve(RsdpSize, "RSD PTR ");
        uint facs = build.AddBare("FACS", FixedTables.Facs);
        uint dsdt = build.Add("DSDT", 2, w => Dsdt.Write(w, config, layout));
        List<uint> listed =
        [
            build.Add("FACP", 6, w => FixedTables.Fadt(w, config, facs, dsdt)),
            build.Add("APIC", 5, w => FixedTables.Madt(w, config)),
        ];
        if (config is { Pci: true, PciEcam: true })
            listed.Add(build.Add("MCFG", 1, FixedTables.Mcfg));
        uint rsdt = build.Add("RSDT", 1, w => listed.ForEach(w.DWord));
        uint xsdt = build.Add("XSDT", 1, w => listed.ForEach(t => w.QWord(t)));
        WriteRsdp(area.Slice(rsdp, RsdpSize), rsdt, xsdt);
        return new AcpiPlacement(MachineLayout.AcpiTables + (ulong)rsdp, build.Tables);
    }

    /// <summary>ACPI 6.5, 5.2.5.3: two checksums, of the first 20 bytes and of all.</summary>
    private static void WriteRsdp(Span<byte> rsdp, uint rsdt, uint xsdt)
    {
        rsdp.Clear();
        "RSD PTR "u8.CopyTo(rsdp);
        "KVMSHP"u8.CopyTo(rsdp[9..]);
        rsdp[15] = 2; // revision
        BinaryPrimitives.WriteUInt32LittleEndian(rsdp[16..], rsdt);
        BinaryPrimitives.WriteInt32LittleEndian(rsdp[20..], RsdpSize);
        BinaryPrimitives.WriteUInt64LittleEndian(rsdp[24..], xsdt);
        rsdp[8] = Checksum(rsdp[..20]);
        rsdp[32] = Checksum(rsdp);
    }

    private static byte Checksum(ReadOnlySpan<byte> bytes)
    {
        byte sum = 0;
        foreach (byte b in bytes)
            sum = unchecked((byte)(sum + b));
        return unchecked((byte)-sum);
    }

    /// <summary>Puts tables one after the other into the area.</summary>
    private ref struct Builder(Span<byte> area)
    {
        private readonly Span<byte> _area = area;
        private int _next;

        /// <summary>What was added.</summary>
        public List<AcpiTable> Tables { get; } = [];

        /// <summary>Sets room aside and returns its offset.</summary>
        public int Reserve(int size, string name)
        {
            int at = _next;
            if (size > _area.Length - at)
                throw new InvalidOperationException($"the ACPI tables do not fit into {_area.Length} bytes");
            _next = Math.Min((at + size + (Alignment - 1)) & ~(Alignment - 1), _area.Length);
            Tables.Add(new(name, new(MachineLayout.AcpiTables + (ulong)at, (ulong)size)));
            return at;
        }

        /// <summary>Adds a table that brings its own header.</summary>
        public uint AddBare(string signature, Action<AmlWriter> write)
        {
            var w = new AmlWriter();
            write(w);
            int at = Reserve(w.Length, signature);
            w.Written.CopyTo(_area[at..]);
            return (uint)MachineLayout.AcpiTables + (uint)at;
        }

        /// <summary>Adds a table behind a header (5.2.6).</summary>
        public uint Add(string signature, byte revision, Action<AmlWriter> write)
        {
            var w = new AmlWriter();
            write(w);
            int size = HeaderSize + w.Length;
            int at = Reserve(size, signature);
            var table = _area.Slice(at, size);
            Encoding.ASCII.GetBytes(signature, table);
            BinaryPrimitives.WriteInt32LittleEndian(table[4..], size);
            table[8] = revision;
            table[ChecksumOffset] = 0;
            "KVMSHPKVMSHARP"u8.CopyTo(table[10..]); // OEM, and its table
            BinaryPrimitives.WriteUInt32LittleEndian(table[24..], 1); // OEM revision
            "KVMS"u8.CopyTo(table[28..]); // creator
            BinaryPrimitives.WriteUInt32LittleEndian(table[32..], 1);
            w.Written.CopyTo(table[HeaderSize..]);
            table[ChecksumOffset] = Checksum(table);
            return (uint)MachineLayout.AcpiTables + (uint)at;
        }
    }
}
