using Kvm.Vmm.Bare;

namespace Kvm.Labs.Machine;

/// <summary>What a lab's machine has beyond memory, console and one processor.</summary>
internal sealed record LabSetup
{
    /// <summary>Number of vCPUs.</summary>
    public int Cpus { get; init; } = 1;

    /// <summary>Interrupt chips.</summary>
    public bool Chips { get; init; }

    /// <summary>Changes of what CPUID shows.</summary>
    public IReadOnlyList<CpuidChange> Cpuid { get; init; } = [];

    /// <summary>Model-specific registers that the board keeps.</summary>
    public (uint First, uint Count) MsrWindow { get; init; }

    /// <summary>Keeps account of written pages.</summary>
    public bool TrackWrites { get; init; }

    /// <summary>The software engine translates hot code.</summary>
    public bool Translate { get; init; }

    /// <summary>The software engine translates addresses by shadow page tables.</summary>
    public bool Shadow { get; init; }

    /// <summary>Adds the lab's devices to a board.</summary>
    public Action<LabBoard>? Devices { get; init; }

    /// <summary>Adds devices that know the program's labels.</summary>
    public Action<LabBoard, Assembling.AssembledProgram>? Program { get; init; }
}
