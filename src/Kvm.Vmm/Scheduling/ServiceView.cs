using Kvm.Sched;

namespace Kvm.Vmm.Scheduling;

/// <summary>A guest that waits to be admitted.</summary>
/// <param name="Name">For people.</param>
/// <param name="ProcessId">Its process.</param>
/// <param name="Job">What it asks for.</param>
/// <param name="Waited">Since when, in ns.</param>
/// <param name="Position">1 for the next.</param>
/// <param name="Why">The reason.</param>
public sealed record QueuedGuest(string Name, int ProcessId, JobSpec Job, long Waited, int Position, string Why);

/// <summary>What stands in front of a dispatcher, for the table.</summary>
/// <param name="Waiting">VMs in the queue.</param>
/// <param name="Memory">Bytes promised.</param>
/// <param name="Vcpus">vCPUs promised.</param>
/// <param name="Limits">What may be promised.</param>
/// <param name="ProcessId">The scheduler's process.</param>
/// <param name="NoRealTime">Why the dispatcher is no thread of real time; null where it is one.</param>
public sealed record ServiceView(int Waiting, double Memory, int Vcpus, AdmissionLimits Limits, int ProcessId, string? NoRealTime)
{
    /// <summary>The first of those that wait, in their order; at most 1,000.</summary>
    public IReadOnlyList<QueuedGuest> Queue { get; init; } = [];

    /// <summary>The CPUs that the cgroups of the scheduler's process may use; infinite without a limit.</summary>
    public double CpuQuota { get; init; } = double.PositiveInfinity;
}
