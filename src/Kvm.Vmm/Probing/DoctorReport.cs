namespace Kvm.Vmm.Probing;

/// <summary>How one check of the host came out.</summary>
public enum DoctorStatus
{
    /// <summary>As it should be.</summary>
    Ok,

    /// <summary>Guests run, but something is slower, missing or peculiar.</summary>
    Warning,

    /// <summary>Guests on KVM cannot run because of this.</summary>
    Failed,
}

/// <summary>One check of the host.</summary>
/// <param name="Id">Stable name, for scripts.</param>
/// <param name="Title">Name for people.</param>
/// <param name="Status">How it came out.</param>
/// <param name="Finding">What was found, one line.</param>
public sealed record DoctorCheck(string Id, string Title, DoctorStatus Status, string Finding)
{
    /// <summary>Why it is so, where it is not as it should be.</summary>
    public string? Cause { get; init; }

    /// <summary>What to type or change, where something can be done.</summary>
    public string? Fix { get; init; }
}

/// <summary>A capability of the host's KVM.</summary>
/// <param name="Name">As in the kernel's header.</param>
/// <param name="Value">What KVM answers; 0 is absent, above 1 a size or a mask.</param>
/// <param name="Gives">What it is good for.</param>
/// <param name="Used">True if this program uses it.</param>
public sealed record DoctorCapability(string Name, int Value, string Gives, bool Used);

/// <summary>Whether an engine can run guests here.</summary>
/// <param name="Name"><c>kvm</c> or <c>soft</c>.</param>
/// <param name="Usable">True if it can.</param>
/// <param name="Why">In a few words.</param>
public sealed record DoctorEngine(string Name, bool Usable, string Why);

/// <summary>What tiny guests found out. A member is null where its guest could not run.</summary>
public sealed record DoctorProbes
{
    /// <summary>16-bit real mode runs.</summary>
    public bool? RealMode { get; init; }

    /// <summary>32-bit protected mode without paging runs.</summary>
    public bool? ProtectedMode { get; init; }

    /// <summary>64-bit mode runs.</summary>
    public bool? LongMode { get; init; }

    /// <summary>User mode (CPL 3) in 64-bit mode runs.</summary>
    public bool? UserMode { get; init; }

    /// <summary>From a port write of the guest to this program and back, in microseconds; the median.</summary>
    public double? ExitMicroseconds { get; init; }

    /// <summary>What switches workarounds; null where no guest could run.</summary>
    public HostProfile? Profile { get; init; }
}

/// <summary>Everything <c>doctor</c> found out about this host.</summary>
public sealed record DoctorReport
{
    /// <summary>All checks, in the order a person would look.</summary>
    public required IReadOnlyList<DoctorCheck> Checks { get; init; }

    /// <summary>The engines there are.</summary>
    public required IReadOnlyList<DoctorEngine> Engines { get; init; }

    /// <summary>What <c>--engine auto</c> takes here, or null where nothing can run.</summary>
    public required string? Advice { get; init; }

    /// <summary>Why that one.</summary>
    public required string AdviceReason { get; init; }

    /// <summary>What is behind /dev/kvm: <c>vmx svm pvm unknown none</c>.</summary>
    public required string Backend { get; init; }

    /// <summary>The host is itself a guest of something.</summary>
    public required bool Nested { get; init; }

    /// <summary>KVM's API version, or null without KVM.</summary>
    public int? ApiVersion { get; init; }

    /// <summary>Capabilities by name; empty without KVM.</summary>
    public IReadOnlyList<DoctorCapability> Capabilities { get; init; } = [];

    /// <summary>What tiny guests found out.</summary>
    public DoctorProbes Probes { get; init; } = new();

    /// <summary>The exit code of <c>doctor</c>: 0 if some engine can run guests, else 4.</summary>
    public int ExitCode => Engines.Any(e => e.Usable) ? Vmm.ExitCode.Success : Vmm.ExitCode.HostCannot;
}
