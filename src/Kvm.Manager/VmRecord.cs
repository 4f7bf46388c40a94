using System.Text;
using Kvm.Manager.Faults;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;

namespace Kvm.Manager;

/// <summary>How a guest's last run ended.</summary>
/// <param name="Outcome">As in reports (docs/cli.md, "Report"), or <c>worker-died</c>.</param>
/// <param name="ExitCode">The program's exit code for it.</param>
/// <param name="How">Who ended it: <c>guest</c>; <c>stop</c>, it powered off when asked; <c>stop-timeout</c>, it did not and was ended; <c>kill</c>; <c>failure</c>.</param>
/// <param name="At">When.</param>
public sealed record VmEnd(string Outcome, int ExitCode, string How, DateTimeOffset At)
{
    /// <summary>What happened, for people; null where the outcome says it.</summary>
    public string? Explanation { get; init; }

    /// <summary>The id of the error (docs/errors.md), or null.</summary>
    public string? ErrorId { get; init; }
}

/// <summary>What a machine's last run, or the runs until now, took of the host.</summary>
/// <param name="RunMs">Time from start to end.</param>
/// <param name="CpuMs">CPU time of its vCPUs.</param>
/// <param name="GuestBytes">Guest memory that the host had given at the end.</param>
/// <param name="WorkerBytes">Resident memory of its process without that.</param>
public sealed record VmUsage(double RunMs, double CpuMs, long GuestBytes, long WorkerBytes);

/// <summary>What is asked of a machine that is ending.</summary>
public enum EndRequest
{
    /// <summary>Nothing: it ends by itself.</summary>
    None,

    /// <summary>It was asked to power off.</summary>
    Stop,

    /// <summary>It was asked to power off, did not, and is ended.</summary>
    StopTimeout,

    /// <summary>It is ended.</summary>
    Kill,
}

/// <summary>How a machine is run that is made. Immutable.</summary>
public sealed record CreateOptions
{
    /// <summary>When it is started again.</summary>
    public RestartPolicy Restart { get; init; }

    /// <summary>What is done about its faults.</summary>
    public FaultRules Faults { get; init; } = FaultRules.Default;

    /// <summary>How its guest's health is found out; null: nobody asks.</summary>
    public HealthCheck? Health { get; init; }

    /// <summary>In one process with all other such machines, instead of one of its own.</summary>
    public bool Shared { get; init; }

    /// <summary>Whether <c>serve</c> starts it when it begins.</summary>
    public bool Autostart { get; init; }

    /// <summary>What it is made from: ids of machines, which then have it among their <see cref="VmRecord.Children"/>, and of snapshots.</summary>
    public IReadOnlyList<string> Parents { get; init; } = [];
}

/// <summary>
/// A machine's control block: all that is known of it. One record, kept in one file (<see cref="VmStore"/>). Immutable; who holds the
/// machine's lock replaces it.
/// </summary>
public sealed record VmRecord
{
    /// <summary>The version that this program writes, and the latest it reads.</summary>
    public const int CurrentVersion = 1;

    /// <summary>32 hexadecimal digits that no other machine has.</summary>
    public required string Id { get; init; }

    /// <summary>Its name.</summary>
    public required string Name { get; init; }

    /// <summary>When it was made.</summary>
    public required DateTimeOffset Created { get; init; }

    /// <summary>How often it was started.</summary>
    public long Generation { get; init; }

    /// <summary>What it does.</summary>
    public VmState State { get; init; }

    /// <summary>Since when.</summary>
    public DateTimeOffset Since { get; init; }

    /// <summary>The process that runs its guest; null where none does.</summary>
    public HostProcess? Worker { get; init; }

    /// <summary>The process that starts it again; null where none does.</summary>
    public HostProcess? Supervisor { get; init; }

    /// <summary>The boot of the host in which those are processes.</summary>
    public string BootId { get; init; } = "";

    /// <summary>What it is asked while it ends.</summary>
    public EndRequest Ending { get; init; }

    /// <summary>When it is started again.</summary>
    public RestartPolicy Restart { get; init; }

    /// <summary>Whether <c>serve</c> starts it when it begins.</summary>
    public bool Autostart { get; init; }

    /// <summary>Whether it runs in a process that has other machines too.</summary>
    public bool Shared { get; init; }

    /// <summary>What is done about its faults.</summary>
    public FaultRules Faults { get; init; } = FaultRules.Default;

    /// <summary>How its guest's health is found out; null where nobody asks.</summary>
    public HealthCheck? Health { get; init; }

    /// <summary>What was found out: <c>healthy</c>, <c>unhealthy</c>; null before that and where nobody asks.</summary>
    public string? HealthState { get; init; }

    /// <summary>Whether guest time stands still while it is paused, or jumps when it goes on; null before its first run.</summary>
    public bool? PauseStopsTime { get; init; }

    /// <summary>Whether its next run goes on from its last snapshot.</summary>
    public bool RestoresNext { get; init; }

    /// <summary>Whether somebody stays to start it again.</summary>
    public bool IsSupervised => !Shared && (Restart.When != RestartWhen.No || Faults.StartsAgain);

    /// <summary>How often it was started again without being asked to.</summary>
    public long Restarts { get; init; }

    /// <summary>How often in a row it failed.</summary>
    public int Failures { get; init; }

    /// <summary>When it is to be started again; null where it is not.</summary>
    public DateTimeOffset? RestartAt { get; init; }

    /// <summary>How its last run ended; null before that.</summary>
    public VmEnd? End { get; init; }

    /// <summary>What its last run took; null before that.</summary>
    public VmUsage? Usage { get; init; }

    /// <summary>What its process gave up before its guest ran: <c>landlock</c>, <c>seccomp</c>, <c>no-new-privileges</c>, <c>no-core</c>.</summary>
    public IReadOnlyList<string> Confinement { get; init; } = [];

    /// <summary>What it was made from: ids of machines and snapshots.</summary>
    public IReadOnlyList<string> Parents { get; init; } = [];

    /// <summary>The snapshot that it goes on from when it is first started; null for a machine that boots.</summary>
    public Cloning.VmOrigin? Origin { get; init; }

    /// <summary>What was made from it.</summary>
    public IReadOnlyList<string> Children { get; init; } = [];

    /// <summary>Its configuration, as <see cref="ConfigFile"/> writes it: whatever the guest sees is fixed after the first boot.</summary>
    public required string Config { get; init; }

    /// <summary>Whether it fails whenever it is started.</summary>
    public bool IsInCrashLoop => State == VmState.Crashed && Failures >= RestartPolicy.CrashLoop;

    /// <summary>What <see cref="Config"/> is for a machine of these settings.</summary>
    public static string ConfigOf(RunSettings settings) => ConfigFile.Write(settings).TrimEnd();

    /// <summary>The configuration, understood.</summary>
    /// <exception cref="Kvm.Vmm.VmmException">It cannot be: written by a later version.</exception>
    public RunSettings Settings() => ConfigFile.Parse(Encoding.UTF8.GetBytes(Config), $"the configuration of {Name}");
}
