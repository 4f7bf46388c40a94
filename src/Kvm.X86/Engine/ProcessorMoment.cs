using Kvm.X86.State;

namespace Kvm.X86.Engine;

/// <summary>All that a processor of a deterministic machine goes on from: its state, and what it counts by.</summary>
public sealed class ProcessorMoment
{
    /// <summary>The architectural state.</summary>
    public ArchitecturalState State { get; } = new();

    /// <summary>Instructions retired.</summary>
    public ulong Instructions { get; internal set; }

    /// <summary>Exceptions and interrupts delivered.</summary>
    public ulong Deliveries { get; internal set; }

    internal ulong Halts { get; set; }

    internal ulong Random { get; set; }

    internal bool Resting { get; set; }

    internal bool InsideRepeat { get; set; }
}
