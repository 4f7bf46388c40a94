using Kvm.Sched;
using Kvm.Vmm.Host;
using Kvm.Vmm.Scheduling;
using Kvm.Vmm.Scheduling.Service;

namespace Kvm.Vmm.Configuration;

/// <summary>What a guest is to its scheduler (docs/sched-gate.md). Immutable.</summary>
public sealed record SchedulingSettings
{
    /// <summary>The words for <see cref="MayWait"/>: false, true.</summary>
    public static IReadOnlyList<string> Admissions { get; } = ["refuse", "queue"];

    /// <summary>The words for <see cref="StopOnLoss"/>: false, true.</summary>
    public static IReadOnlyList<string> Losses { get; } = ["run", "stop"];

    /// <summary>One of <see cref="PolicyNames.All"/>; null where none was asked for: the host's own scheduler, alone.</summary>
    public string? Policy { get; init; }

    /// <summary>Higher goes first.</summary>
    public int Priority { get; init; }

    /// <summary>The share under <c>rap</c>, relative to other guests'.</summary>
    public double Weight { get; init; } = 1;

    /// <summary>CPU time from start to end in ns, as declared; 0 where nobody knows.</summary>
    public long Length { get; init; }

    /// <summary>The class by which lengths are learned; empty for one by the name, or where the guest has none, by the kernel.</summary>
    public string Class { get; init; } = "";

    /// <summary>The most CPUs it may use under <c>rap</c>; 0 for no cap.</summary>
    public double Cap { get; init; }

    /// <summary>The CPUs it is to have under <c>rap</c>; 0 for none.</summary>
    public double Reservation { get; init; }

    /// <summary>All its vCPUs run in the same slice, or none.</summary>
    public bool Gang { get; init; }

    /// <summary>Waits where there is no room for it now.</summary>
    public bool MayWait { get; init; }

    /// <summary>Stops the guest when its scheduler dies; else it goes on under the host's own.</summary>
    public bool StopOnLoss { get; init; }

    /// <summary>The rules of a scheduler that has to be started, and that one which runs is compared with.</summary>
    public SchedulerRules Rules { get; init; } = new();

    /// <summary>The request that a machine with these settings makes.</summary>
    public SchedulingRequest RequestFor(VmConfig machine)
    {
        ArgumentNullException.ThrowIfNull(machine);
        return new SchedulingRequest
        {
            Name = machine.Name,
            Affinity = machine.Affinity,
            Class = ClassOf(machine),
            Job = new JobSpec
            {
                Vcpus = machine.Cpus,
                Priority = Priority,
                Weight = Weight,
                Length = Length,
                Cap = Cap,
                Reservation = Reservation,
                Gang = Gang,
                // A device that nobody limits may need anything, which is nothing that could be promised.
                Needs = new ResourceVector(
                    0, machine.MemoryBytes, machine.Disks.Sum(disk => disk.Limits.Bandwidth?.Rate ?? 0), machine.Disks.Sum(disk => disk.Limits.Operations?.Rate ?? 0),
                    machine.Networks.Sum(card => (card.ReceiveLimits.Bandwidth?.Rate ?? 0) + (card.SendLimits.Bandwidth?.Rate ?? 0))),
            },
        };
    }

    /// <summary>A machine's place at a scheduler.</summary>
    /// <param name="machine">The machine.</param>
    /// <param name="notice">Takes messages for people.</param>
    /// <param name="cancel">Ends the wait for a place.</param>
    /// <returns>Null where its policy needs none.</returns>
    /// <exception cref="VmmException">It is not admitted, or there is another policy.</exception>
    /// <exception cref="OperationCanceledException">The wait was ended.</exception>
    public ISchedulerPlace? Join(VmConfig machine, Action<string> notice, CancellationToken cancel)
    {
        if (Policy is not { } policy)
            return null;
        // Under host there is nothing to agree on; where a scheduler is, it places the guest among its own.
        if (policy == "host" && !SchedulerClient.IsThere(Folders.Runtime, CpuAffinity.Own))
            return Dispatcher.JoinAlone(RequestFor(machine));
        return SchedulerClient.Join(new SchedulerWish { Policy = policy, Request = RequestFor(machine), MayWait = MayWait, Rules = Rules, Notice = notice }, cancel);
    }

    /// <summary>Starts the scheduler that <see cref="Join"/> joins, where that is another process and there is none: for a machine whose process may start none.</summary>
    /// <param name="machine">The machine.</param>
    /// <exception cref="VmmException">There is another policy, or no scheduler can be started.</exception>
    public void StartScheduler(VmConfig machine)
    {
        if (Policy is { } policy && policy != "host")
            SchedulerClient.Start(new SchedulerWish { Policy = policy, Request = RequestFor(machine), MayWait = MayWait, Rules = Rules });
    }

    // Guests of one name, or that nobody named with one kernel, are taken to do the same again.
    private string ClassOf(VmConfig machine)
    {
        string name = Class.Length > 0 ? Class : machine.Name != VmConfig.DefaultName ? machine.Name : machine.KernelPath;
        return name.Length > SchedulingRequest.LongestClass ? name[^SchedulingRequest.LongestClass..] : name;
    }
}
