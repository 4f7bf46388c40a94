using Kvm.Devices.Memory;

namespace Kvm.X86.Interrupts;

/// <summary>What a <see cref="ChipSet"/> is made of.</summary>
public sealed record ChipSetOptions
{
    /// <summary>Most processors of a machine: APIC ids 0 to 254, as 255 is broadcast to xAPICs, I/O APIC and MSIs.</summary>
    public const int MaximumProcessors = 255;

    /// <summary>The machine's time.</summary>
    public required GuestClock Clock { get; init; }

    /// <summary>Guest memory, where kvmclock writes its pages.</summary>
    public required GuestMemory Memory { get; init; }

    /// <summary>Number of processors, 1 to <see cref="MaximumProcessors"/>.</summary>
    public int Processors { get; init; } = 1;

    /// <summary>The wall clock kvmclock's start time is taken from; a fixed one in deterministic mode.</summary>
    public TimeProvider WallClock { get; init; } = TimeProvider.System;

    /// <summary>True to have the 8259s and the 8254; without them the machine has only APICs.</summary>
    public bool Legacy { get; init; } = true;

    /// <summary>Pins of the I/O APIC, 16 to 120; 24 is what guests expect.</summary>
    public int IoApicPins { get; init; } = IoApic.DefaultPins;

    /// <summary>True to start as firmware would leave the local APICs: see <see cref="LocalApic.SetVirtualWire"/>.</summary>
    public bool VirtualWire { get; init; } = true;
}
