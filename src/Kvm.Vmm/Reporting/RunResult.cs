namespace Kvm.Vmm.Reporting;

/// <summary>Everything known about a run once it has ended; the report (docs/cli.md) is written from it.</summary>
public sealed record RunResult
{
    /// <summary>How the guest ended.</summary>
    public required VmOutcome Outcome { get; init; }

    /// <summary>The full value written to the debug-exit port, where that ended the run.</summary>
    public uint? DebugExitValue { get; init; }

    /// <summary>The signal that ended the run (2 or 15), where one did.</summary>
    public int? Signal { get; init; }

    /// <summary>For people: what happened, where the outcome alone does not say it (registers, the failing instruction).</summary>
    public string? Explanation { get; init; }

    /// <summary>The engine that ran: <c>kvm</c> or <c>soft</c>.</summary>
    public required string Engine { get; init; }

    /// <summary>What is behind KVM: <c>vmx svm pvm unknown none</c>.</summary>
    public required string HostBackend { get; init; }

    /// <summary>Process start to first entry into the guest.</summary>
    public TimeSpan? FirstRun { get; init; }

    /// <summary>Process start to the text of <see cref="VmConfig.ReadyMatch"/> on the console.</summary>
    public TimeSpan? Ready { get; init; }

    /// <summary>CPU time the vCPU threads had used by then, together.</summary>
    public TimeSpan? ReadyCpu { get; init; }

    /// <summary>Process start to the end of the run.</summary>
    public TimeSpan Total { get; init; }

    /// <summary>Exits by reason, all vCPUs together; reasons that never came are left out.</summary>
    public IReadOnlyDictionary<string, long> Exits { get; init; } = new Dictionary<string, long>();

    /// <summary>What the exits went to, and how long they took.</summary>
    public ExitDetailReport ExitDetails { get; init; } = new();

    /// <summary>Instructions completed in user space, by mnemonic.</summary>
    public IReadOnlyDictionary<string, long> Completions { get; init; } = new Dictionary<string, long>();

    /// <summary>One entry for each vCPU.</summary>
    public IReadOnlyList<VcpuReport> Vcpus { get; init; } = [];

    /// <summary>Resident memory of the VMM without guest pages, in bytes.</summary>
    public long VmmRssBytes { get; init; }

    /// <summary>Guest memory that is resident, in bytes.</summary>
    public long GuestResidentBytes { get; init; }

    /// <summary>What a second deterministic run has in common with this one; null for other runs.</summary>
    public DeterminismReport? Determinism { get; init; }

    /// <summary>How addresses were translated; null under KVM.</summary>
    public PagingReport? Paging { get; init; }

    /// <summary>Counters of each device, by device name and counter name.</summary>
    public IReadOnlyDictionary<string, IReadOnlyDictionary<string, long>> Devices { get; init; } =
        new Dictionary<string, IReadOnlyDictionary<string, long>>();

    /// <summary>The process exit code of this result (docs/cli.md, "Exit codes").</summary>
    public int ExitCode => Outcome switch
    {
        VmOutcome.PowerOff or VmOutcome.Reboot or VmOutcome.StoppedByUser => 0,
        VmOutcome.DebugExit => DebugExitValue switch { null or 0 => 0, <= 100 => 20 + (int)DebugExitValue, _ => 120 },
        VmOutcome.Panic => 10,
        VmOutcome.TripleFault => 11,
        VmOutcome.KvmFailed => 12,
        VmOutcome.Timeout => 13,
        VmOutcome.Halted => 14,
        VmOutcome.Watchdog => 15,
        VmOutcome.Hung => 16,
        VmOutcome.Unhealthy => 17,
        VmOutcome.Signalled => 128 + (Signal ?? 15),
        _ => 1,
    };
}

/// <summary>What one vCPU did.</summary>
/// <param name="Index">0 is the boot processor.</param>
/// <param name="CpuTime">CPU time of the vCPU's thread, user and system.</param>
/// <param name="Exits">Returns from the engine to the VMM.</param>
/// <param name="AllocatedBytes">Managed bytes the thread allocated after its first exits; zero in a healthy run.</param>
/// <param name="Instructions">Retired guest instructions, where the engine counts them; else null.</param>
public sealed record VcpuReport(int Index, TimeSpan CpuTime, long Exits, long AllocatedBytes, long? Instructions = null)
{
    /// <summary>How long the vCPU was held back by a scheduler; null where none had a say.</summary>
    public TimeSpan? Waited { get; init; }

    /// <summary>Its exits by reason.</summary>
    public IReadOnlyDictionary<string, long> Reasons { get; init; } = new Dictionary<string, long>();
}

/// <summary>What two deterministic runs of one machine have in common.</summary>
/// <param name="Seed">What random numbers followed from.</param>
/// <param name="Instructions">Retired by all vCPUs.</param>
/// <param name="GuestTime">Guest time at the end: the instructions, and what all vCPUs slept through.</param>
/// <param name="MemoryHash">XXH64 of guest memory, region after region in ascending order, as <c>xxh64:</c> and 16 hexadecimal digits.</param>
public sealed record DeterminismReport(ulong Seed, long Instructions, TimeSpan GuestTime, string MemoryHash = "");
