using Kvm.Devices.Interrupts;
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

    /// <summary>Where the local APICs are if they are not here but in KVM (its split irqchip); the board then has no <see cref="ChipSet.Processors"/>.</summary>
    public ExternalApics? ExternalApics { get; init; }

    /// <summary>True to start as firmware would leave the local APICs: see <see cref="LocalApic.SetVirtualWire"/>.</summary>
    public bool VirtualWire { get; init; } = true;
}

/// <summary>Local APICs somewhere else, which the board's other chips interrupt.</summary>
/// <param name="Fabric">Takes the I/O APIC's and MSIs' messages; their EOIs come back through <see cref="IoApic.EndOfInterrupt"/>.</param>
/// <param name="Interrupt">The 8259s' INTR: while asserted, whoever can take an interrupt calls <see cref="Pic8259.Acknowledge"/>. Called with a chip's lock held: it must not call back.</param>
public sealed record ExternalApics(IApicFabric Fabric, IInterruptLine Interrupt);
