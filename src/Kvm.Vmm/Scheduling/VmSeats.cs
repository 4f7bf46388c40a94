using Kvm.Sched;

namespace Kvm.Vmm.Scheduling;

/// <summary>A VM that asks to be scheduled. Immutable.</summary>
public sealed record SchedulingRequest
{
    /// <summary>For people.</summary>
    public string Name { get; init; } = "guest";

    /// <summary>The process whose threads run it.</summary>
    public int ProcessId { get; init; } = Environment.ProcessId;

    /// <summary>What its policy is told; <see cref="JobSpec.Affinity"/> and <see cref="JobSpec.Class"/> are set from the members below.</summary>
    public JobSpec Job { get; init; } = new();

    /// <summary>The host's CPUs it may run on; empty for all that are scheduled.</summary>
    public IReadOnlyList<int> Affinity { get; init; } = [];

    /// <summary>The longest class.</summary>
    public const int LongestClass = 256;

    /// <summary>The class by which lengths are learned; empty for none: nothing is learned of it then.</summary>
    public string Class { get; init; } = "";

    /// <summary>
    /// The same with what is not said taken from this process: the CPUs it may use, which are all its threads may use; the node of its memory;
    /// the CPU time its cgroups allow, as a cap: beyond it the kernel would stop a vCPU that holds a CPU.
    /// </summary>
    internal SchedulingRequest OfThisProcess() => OfThisProcess(CpuAffinity.Own, HostMemory.Node(), HostCpuQuota.Limit());

    internal SchedulingRequest OfThisProcess(IReadOnlyList<int> cpus, int node, double quota)
    {
        double cap = Job.Cap > 0 ? Math.Min(Job.Cap, quota) : quota;
        return this with
        {
            Affinity = Affinity.Count > 0 ? Affinity : cpus,
            Job = Job with { Node = Job.Node >= 0 ? Job.Node : node, Cap = cap < Job.Vcpus ? cap : Job.Cap },
        };
    }
}

/// <summary>One vCPU at the dispatcher. The dispatcher's thread alone.</summary>
internal sealed class Seat(VmSeats vm, int slot, int index)
{
    public readonly VmSeats Vm = vm;
    public readonly int Slot = slot;
    public readonly int Index = index;
    public IThreadProbe? Probe;

    /// <summary>Its place in the scheduler's table; −1 before it arrived and after it finished.</summary>
    public int Vcpu = -1;

    /// <summary>Its CPU clock when it was last charged, and when that was.</summary>
    public long Clock;
    public long ChargedAt;

    /// <summary>When it was revoked and has not parked since; 0 if it was not.</summary>
    public long RevokedAt;

    /// <summary>Whether it runs before ordinary work until it has parked.</summary>
    public bool Hurries;

    /// <summary>Its CPU clock at the last look, if it slept; −1 if it did not.</summary>
    public long SleepClock = -1;

    /// <summary>When that was first seen.</summary>
    public long SleepSince;

    /// <summary>When it was seen to halt.</summary>
    public long HaltedAt;

    /// <summary>Time between bursts, bursts and what it ran, for records.</summary>
    public long BurstStart;
    public long HaltedTotal;
    public long Halts;
    public long RanTotal;
    public long WaitedTotal;

    /// <summary>How often it was moved, under the policy <c>host</c>.</summary>
    public long Moves;
}

/// <summary>A VM at the dispatcher. The dispatcher's thread alone.</summary>
internal sealed class VmSeats
{
    public VmSeats(SchedulingRequest request, JobSpec job, int firstSlot, long joined)
    {
        Request = request;
        Job = job;
        FirstSlot = firstSlot;
        Joined = joined;
        Seats = [.. Enumerable.Range(0, job.Vcpus).Select(i => new Seat(this, firstSlot + i, i))];
    }

    public SchedulingRequest Request { get; }

    public JobSpec Job { get; }

    public int FirstSlot { get; }

    public long Joined { get; }

    public Seat[] Seats { get; }

    /// <summary>What its devices had done when the policy was told last.</summary>
    public DeviceService Served { get; set; }

    /// <summary>When its vCPUs had all come to the gate; 0 before.</summary>
    public long Arrived { get; set; }
}
