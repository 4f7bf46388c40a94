using System.Globalization;

namespace Kvm.Sched.Policies;

/// <summary>Why a vCPU queues.</summary>
internal enum ReadyReason
{
    /// <summary>Its VM is new.</summary>
    Arrived,

    /// <summary>It was halted.</summary>
    Woken,

    /// <summary>It used its slice up.</summary>
    SliceEnded,

    /// <summary>It was running, and another goes before it.</summary>
    Preempted,
}

/// <summary>
/// The rule of a policy: who is first among the ready, for how long, and whom that stops. A function of the job table, the topology and
/// the time it is given: no thread, file, clock or random number. What it keeps besides the table is an index over it, changed by the
/// same events. The mechanics (<see cref="Scheduler"/>) are the same for all.
/// </summary>
internal abstract class Policy(PolicySettings settings)
{
    protected PolicySettings Settings { get; } = settings;

    protected JobTable Table { get; private set; } = null!;

    protected CpuTopology Topology { get; private set; } = null!;

    /// <summary>Whether who arrives can stop who runs.</summary>
    public virtual bool IsPreemptive => false;

    /// <summary>Whether each ready vCPU waits for one CPU.</summary>
    public virtual bool Binds => false;

    /// <summary>When <see cref="Tick"/> is to be called though nothing happens; <see cref="long.MaxValue"/> for never.</summary>
    public virtual long NextTimer => long.MaxValue;

    /// <summary>The mean error of learned lengths as a part of the lengths; null where none was learned.</summary>
    public virtual double? EstimateError => null;

    public virtual void Attach(JobTable table, CpuTopology topology) => (Table, Topology) = (table, topology);

    /// <summary>A VM is in the table; its vCPUs are not ready yet.</summary>
    public virtual void Arrived(int vm, long now)
    {
    }

    /// <summary>All vCPUs of a VM have finished.</summary>
    public virtual void Departed(int vm, long now)
    {
    }

    /// <summary>A vCPU queues: gives it its place.</summary>
    public abstract void Enter(int vcpu, ReadyReason reason, long now);

    /// <summary>A vCPU that was revoked has left its CPU: it queues at the place it had.</summary>
    public abstract void Return(int vcpu, long now);

    /// <summary>A vCPU leaves the queue: to a CPU, or because it halted or is being revoked.</summary>
    public abstract void Leave(int vcpu);

    /// <summary>A vCPU that had left the queue for a CPU halts or finishes.</summary>
    public virtual void Stopped(int vcpu, long now)
    {
    }

    /// <summary>The first ready vCPU that may run on one of these CPUs, or −1.</summary>
    public abstract int Best(CpuSet open, long now);

    /// <summary>The CPU a ready vCPU is bound to, where <see cref="Binds"/>.</summary>
    public virtual int BoundTo(int vcpu) => -1;

    /// <summary>The slice of a vCPU that has just left the queue for a CPU.</summary>
    public abstract long Grant(int vcpu, long now);

    /// <summary>A vCPU was charged with CPU time.</summary>
    public virtual void Ran(int vcpu, long ran, long now)
    {
    }

    /// <summary>The VM was served bytes or operations by a device.</summary>
    public virtual void Served(int vm, in ResourceVector amount)
    {
    }

    /// <summary>Preemptive policies: the place of a running vCPU among the running; the one with the largest is stopped first.</summary>
    public virtual long RunningKey(int vcpu) => 0;

    /// <summary>Preemptive policies: whether a ready vCPU stops a running one.</summary>
    public virtual bool Preempts(int ready, int running, long now) => false;

    /// <summary>What the policy knows of a vCPU, in words.</summary>
    public abstract string Describe(int vcpu, long now);

    /// <summary>ns as milliseconds.</summary>
    protected static string InMs(double ns) => (ns / 1e6).ToString("0.###", CultureInfo.InvariantCulture) + " ms";

    /// <summary>Time has passed.</summary>
    public virtual void Tick(long now)
    {
    }
}
