using Kvm.Vmm;

namespace Kvm.Testing;

/// <summary>A guest to be started. Immutable; <c>with</c> makes another one of it.</summary>
public sealed record GuestOptions
{
    /// <summary>A name for people, for artefacts and in a <see cref="Network"/>: letters, digits and dashes.</summary>
    public string Name { get; init; } = "guest";

    /// <summary>Kernel and initial RAM disk; null for <see cref="GuestImage.Small"/>.</summary>
    public GuestImage? Image { get; init; }

    /// <summary>Added to the kernel command line.</summary>
    public string Append { get; init; } = "";

    /// <summary>Number of vCPUs.</summary>
    public int Cpus { get; init; } = 1;

    /// <summary>Guest memory in bytes, a multiple of 1 MiB.</summary>
    public ulong MemoryBytes { get; init; } = 128UL << 20;

    /// <summary>What runs the guest's instructions; the host's best where nothing is said.</summary>
    public EngineChoice Engine { get; init; } = EngineChoice.Auto;

    /// <summary>The guest must run natively on KVM: where it cannot, starting it is a <see cref="GuestUnavailableException"/> with doctor's sentence.</summary>
    public bool RequiresKvm { get; init; }

    /// <summary>Files that the guest finds in its root file system from its first instruction on.</summary>
    public IReadOnlyList<GuestFile> Files { get; init; } = [];

    /// <summary>
    /// Modules that are loaded before the agent starts, in this order: names of modules of <see cref="GuestImage.ModulesPath"/>, or paths of files that end in <c>.ko</c>. What they need of the
    /// kernel's is loaded before them, and before that what the agent needs. A guest that cannot load one powers off.
    /// </summary>
    public IReadOnlyList<string> Modules { get; init; } = [];

    /// <summary>The network it is at, by its <see cref="Name"/>; null for none.</summary>
    public GuestNetwork? Network { get; init; }

    /// <summary>How long the guest may take until its agent answers.</summary>
    public TimeSpan StartTimeout { get; init; } = TimeSpan.FromMinutes(2);

    /// <summary>Has the last word on the machine: disks, further cards, anything. Its sockets and its name must stay.</summary>
    public Func<VmConfig, VmConfig>? Configure { get; init; }
}
