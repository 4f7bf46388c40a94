namespace Kvm.Vmm.Virtio;

/// <summary>A memory balloon, as the user asked for it. Immutable.</summary>
public sealed record BalloonConfig
{
    /// <summary>What the guest is asked to give at its start, in bytes; 0 asks for nothing.</summary>
    public ulong TargetBytes { get; init; }

    /// <summary>The guest may take pages back when it runs out of memory, without asking.</summary>
    public bool DeflateOnOom { get; init; } = true;

    /// <summary>Every so many seconds the guest is asked how its memory is used; 0 leaves it at what it says by itself when its driver starts.</summary>
    public ushort StatisticsSeconds { get; init; }
}

/// <summary>How a guest finds its virtio devices.</summary>
public enum VirtioTransport
{
    /// <summary>As functions of PCI bus 0: what stock kernels look for.</summary>
    Pci,

    /// <summary>As registers in memory, named by ACPI.</summary>
    Mmio,

    /// <summary>As functions of PCI bus 0 that drivers from before virtio 1.0 find too.</summary>
    Transitional,
}
