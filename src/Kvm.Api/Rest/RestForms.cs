using System.Text.Json;
using System.Text.Json.Serialization;

namespace Kvm.Api.Rest;

/// <summary>A machine to be made.</summary>
/// <param name="Config">Its configuration: what a file of run --config has (docs/cli.md).</param>
/// <param name="Name">Its name; one is made up without.</param>
/// <param name="Restart">When it is started again: no, on-failure, on-failure:N or always.</param>
/// <param name="Autostart">Whether serve starts it.</param>
/// <param name="Shared">In one process with all others made so.</param>
internal sealed record CreateForm(JsonElement Config, string? Name = null, string? Restart = null, bool Autostart = false, bool Shared = false);

/// <summary>How a machine is stopped.</summary>
/// <param name="TimeoutMs">How long its guest may take to power off before it is ended.</param>
internal sealed record StopForm(int TimeoutMs = 30_000);

/// <summary>A snapshot to be taken.</summary>
/// <param name="Vm">Of which running machine.</param>
/// <param name="Name">What it is to be called.</param>
/// <param name="Incremental">Only what was written since its last one.</param>
internal sealed record SnapshotForm(string Vm, string Name, bool Incremental = false);

/// <summary>What the queue keeps of a snapshot to be taken.</summary>
internal sealed record SnapshotArguments(string Name, bool Incremental);

/// <summary>What is known of a machine: what inspect --json shows.</summary>
internal sealed record VmForm(
    int Version, string Id, string Name, DateTimeOffset Created, long Generation, string State, DateTimeOffset Since, ProcessForm? Worker, ProcessForm? Supervisor, string BootId,
    string Ending, string Restart, bool Shared, string Faults, string? Health, string? HealthState, bool RestoresNext, bool? PauseStopsTime, long Restarts, int Failures, DateTimeOffset? RestartAt, bool Autostart, EndForm? End, UsageForm? Usage,
    IReadOnlyList<string> Confinement, IReadOnlyList<string> Parents, OriginForm? Origin, IReadOnlyList<string> Children, JsonElement Config);

/// <summary>What a machine goes on from when it is first started.</summary>
internal sealed record OriginForm(string Snapshot, string Identity, IReadOnlyList<ChangeForm> Changes);

/// <summary>What a machine has otherwise than what it was made from.</summary>
internal sealed record ChangeForm(string What, string From, string To);

/// <summary>A process of the host.</summary>
internal sealed record ProcessForm(int Id, long StartTime);

/// <summary>How a machine's last run ended.</summary>
internal sealed record EndForm(string Outcome, int ExitCode, string How, DateTimeOffset At, string? Explanation, string? ErrorId);

/// <summary>What its last run took.</summary>
internal sealed record UsageForm(double RunMs, double CpuMs, long GuestBytes, long WorkerBytes);

/// <summary>All machines.</summary>
internal sealed record VmListForm(IReadOnlyList<VmForm> Vms, IReadOnlyList<ProblemForm> Problems);

/// <summary>A machine whose record cannot be read.</summary>
internal sealed record ProblemForm(string Name, string ErrorId, string Problem);

/// <summary>What is to be done with a machine, and what has become of it.</summary>
internal sealed record OperationForm(
    string Id, string Vm, string Verb, JsonElement Arguments, string? Key, string State, bool CancelAsked, DateTimeOffset Enqueued, DateTimeOffset? Begun, DateTimeOffset? Ended,
    JsonElement Result, string? ErrorId, string? Error);

/// <summary>Operations.</summary>
internal sealed record OperationListForm(IReadOnlyList<OperationForm> Operations);

/// <summary>A stored snapshot.</summary>
internal sealed record SnapshotInfoForm(string Name, string Identity, DateTimeOffset Created, string? Parent, bool Encrypted, string? Purpose, ulong Bytes, string Note, string? Problem);

/// <summary>Stored snapshots.</summary>
internal sealed record SnapshotListForm(IReadOnlyList<SnapshotInfoForm> Snapshots);

/// <summary>A stored snapshot, closely looked at.</summary>
internal sealed record SnapshotDetailsForm(
    SnapshotInfoForm Snapshot, IReadOnlyList<string> Chain, string Producer, string Engine, ulong LogicalBytes, ulong ZeroBytes, ulong StoredBytes, ulong SharedBytes, double DedupeRatio, double CompressionRatio);

/// <summary>A storage pool to be made.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Folders">Its folders, by paths from the root.</param>
/// <param name="Quota">Bytes that its volumes may come to take; any number without.</param>
internal sealed record PoolForm(string Name, IReadOnlyList<string> Folders, ulong? Quota = null);

/// <summary>A volume to be made: by a size, or as a clone.</summary>
/// <param name="Name">Its name in the pool.</param>
/// <param name="Size">Bytes of the disk.</param>
/// <param name="From">The volume, or VOLUME@SNAPSHOT, of the same pool that it is cloned from.</param>
internal sealed record VolumeForm(string Name, ulong? Size = null, string? From = null);

/// <summary>A snapshot of a volume.</summary>
/// <param name="Name">Its name, without the volume's.</param>
internal sealed record VolumeSnapshotForm(string Name);

/// <summary>A storage pool as it is.</summary>
internal sealed record PoolStateForm(
    string Name, string Id, ulong? Quota, ulong Promised, ulong Real, ulong Capacity, ulong Free, int Pending, IReadOnlyList<FolderForm> Folders, IReadOnlyList<VolumeStateForm> Volumes, IReadOnlyList<string> Problems);

/// <summary>A folder of a pool.</summary>
internal sealed record FolderForm(string Path, ulong Free, ulong Total, string? Problem);

/// <summary>A volume or a snapshot of one.</summary>
internal sealed record VolumeStateForm(string Name, string File, string Format, ulong Size, ulong Allocated, int Files, int References, DateTimeOffset Created, string? Problem);

/// <summary>Storage pools.</summary>
internal sealed record PoolListForm(IReadOnlyList<PoolStateForm> Pools, IReadOnlyList<ProblemForm> Problems);

/// <summary>Whether a network is started with the host.</summary>
/// <param name="On">It is.</param>
internal sealed record NetworkAutostartForm(bool On = true);

/// <summary>A network as it is. Leases and counters: null where it does not run, and in lists.</summary>
internal sealed record NetworkForm(
    string Name, string State, string? Subnet, bool Autostart, long Generation, DateTimeOffset Since, int Process, string? Problem, IReadOnlyList<NetworkLeaseForm>? Leases, JsonElement? Counters);

/// <summary>Who has an address of a network; for ever where no seconds are left.</summary>
internal sealed record NetworkLeaseForm(string Name, string Mac, string Address, bool Static, long? SecondsLeft, bool Attached);

/// <summary>Networks.</summary>
internal sealed record NetworkListForm(IReadOnlyList<NetworkForm> Networks);

/// <summary>The tables of this user's schedulers: what sched show --json shows.</summary>
internal sealed record ScheduleForm(IReadOnlyList<JsonElement> Schedulers);

/// <summary>The program.</summary>
internal sealed record VersionForm(string Version, string Runtime, bool AheadOfTime, int ProcessId);

/// <summary>What requests bring and answers have.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(CreateForm))]
[JsonSerializable(typeof(StopForm))]
[JsonSerializable(typeof(SnapshotForm))]
[JsonSerializable(typeof(SnapshotArguments))]
[JsonSerializable(typeof(VmListForm))]
[JsonSerializable(typeof(OperationListForm))]
[JsonSerializable(typeof(SnapshotListForm))]
[JsonSerializable(typeof(SnapshotDetailsForm))]
[JsonSerializable(typeof(PoolForm))]
[JsonSerializable(typeof(PoolListForm))]
[JsonSerializable(typeof(VolumeForm))]
[JsonSerializable(typeof(VolumeSnapshotForm))]
[JsonSerializable(typeof(NetworkAutostartForm))]
[JsonSerializable(typeof(NetworkListForm))]
[JsonSerializable(typeof(IReadOnlyList<NetworkLeaseForm>))]
[JsonSerializable(typeof(ScheduleForm))]
[JsonSerializable(typeof(VersionForm))]
internal sealed partial class RestJson : JsonSerializerContext;
