using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Virtio;

namespace Kvm.Api.Firecracker;

/// <summary>What has been said of a microVM so far. Immutable.</summary>
internal sealed record MicroVmSettings
{
    /// <summary>Firecracker's machine where nothing was said: one processor, 128 MiB, devices as registers in memory.</summary>
    public static RunSettings Default { get; } = new()
    {
        Machine = new VmConfig { KernelPath = "", MemoryBytes = 128UL << 20, Virtio = VirtioTransport.Mmio, LimitsMayChange = true, Keyboard = true },
    };

    /// <summary>The machine and its console.</summary>
    public RunSettings Run { get; init; } = Default;

    /// <summary>Something of the machine was configured: no snapshot can be loaded any more.</summary>
    public bool IsConfigured { get; init; }

    /// <summary><c>boot_args</c> were given.</summary>
    public bool HasBootArgs { get; init; }

    /// <summary><c>track_dirty_pages</c> as it was given.</summary>
    public bool TracksDirtyPages { get; init; }

    /// <summary><c>huge_pages</c> as they were given.</summary>
    public string HugePages { get; init; } = "None";

    /// <summary><c>free_page_reporting</c> as it was given.</summary>
    public bool ReportsFreePages { get; init; }

    /// <summary>Metadata are served at network cards.</summary>
    public bool ServesMetadata { get; init; }

    /// <summary>The metadata, a JSON object; null where there are none yet.</summary>
    public string? Metadata { get; init; }

    /// <summary>The logger as it was configured; null where it was not.</summary>
    public LoggerBody? Logger { get; init; }

    /// <summary>The metrics as they were configured; null where they were not.</summary>
    public MetricsBody? Metrics { get; init; }

    /// <summary>The machine.</summary>
    public VmConfig Machine => Run.Machine;

    /// <summary>The same with another machine, which is configured from then on.</summary>
    public MicroVmSettings With(RunSettings run) => this with { Run = run, IsConfigured = true };

    /// <summary>The machine to start, with the metadata that it serves.</summary>
    public RunSettings ToStart() => Run with
    {
        Machine = Machine with { Metadata = ServesMetadata ? Machine.Metadata! with { Json = Metadata } : null },
    };
}
