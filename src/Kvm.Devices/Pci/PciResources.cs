namespace Kvm.Devices.Pci;

/// <summary>
/// The addresses and interrupts a machine has for its PCI functions, given away before the guest starts because no firmware does it. Larger
/// registers first, each at a multiple of its size, so that nothing is lost to alignment.
/// </summary>
public sealed class PciResources
{
    private readonly Window _ports;
    private readonly Window _memory32;
    private readonly Window _memory64;
    private readonly Func<int, int, byte> _interrupt;

    /// <summary>Takes the windows, each as first address and bytes.</summary>
    /// <param name="ports">For I/O registers.</param>
    /// <param name="memory32">For memory below 4 GiB.</param>
    /// <param name="memory64">For 64-bit memory.</param>
    /// <param name="interrupt">The interrupt number of a device's pin: device 0 to 31, pin 0 to 3 for INTA to INTD.</param>
    public PciResources((ulong Start, ulong Size) ports, (ulong Start, ulong Size) memory32, (ulong Start, ulong Size) memory64, Func<int, int, byte> interrupt)
    {
        ArgumentNullException.ThrowIfNull(interrupt);
        (_ports, _memory32, _memory64) = (new Window(ports), new Window(memory32), new Window(memory64));
        _interrupt = interrupt;
    }

    internal void Assign(ReadOnlySpan<PciFunction?> functions)
    {
        var registers = new List<(PciConfigSpace Config, int Index, PciBarKind Kind, ulong Size)>();
        for (int slot = 0; slot < functions.Length; slot++)
        {
            if (functions[slot]?.Config is not { } config)
                continue;
            for (int bar = 0; bar < PciConfigSpace.BarCount; bar++)
            {
                if (config.TryGetBarSize(bar, out var kind, out ulong size))
                    registers.Add((config, bar, kind, size));
            }

            // The register means nothing to the device: guests without ACPI or an MP table read it.
            int pin = config.U16(PciConfigSpace.InterruptLine) >> 8;
            if (pin != 0)
                config.SetU16(PciConfigSpace.InterruptLine, (ushort)(pin << 8 | _interrupt(slot >> 3, pin - 1)));
        }

        foreach (var (config, index, kind, size) in registers.OrderByDescending(r => r.Size))
        {
            config.SetBarAddress(index, WindowOf(kind).Take(size));
            ushort decode = kind == PciBarKind.Io ? PciConfigSpace.CommandIo : PciConfigSpace.CommandMemory;
            config.SetU16(PciConfigSpace.Command, (ushort)(config.U16(PciConfigSpace.Command) | decode));
        }
    }

    private Window WindowOf(PciBarKind kind) => kind switch
    {
        PciBarKind.Io => _ports,
        PciBarKind.Memory32 => _memory32,
        _ => _memory64,
    };

    private sealed class Window((ulong Start, ulong Size) range)
    {
        private ulong _used;

        public ulong Take(ulong size)
        {
            ulong skip = unchecked(0 - (range.Start + _used)) & size - 1;
            if (skip > range.Size - _used || size > range.Size - _used - skip)
                throw new InvalidOperationException($"{size} bytes at a multiple of that do not fit into what is left of {range.Start:x}+{range.Size:x}");
            _used += skip + size;
            return range.Start + _used - size;
        }
    }
}
