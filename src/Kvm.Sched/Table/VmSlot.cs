namespace Kvm.Sched;

/// <summary>One VM in the job table. Times in ns.</summary>
public struct VmSlot
{
    /// <summary>What it was when it arrived.</summary>
    public JobSpec Spec;

    /// <summary>When it arrived.</summary>
    public long Arrival;

    /// <summary>The slot of its first vCPU; the others follow.</summary>
    public int FirstVcpu;

    /// <summary>How many vCPUs have not finished.</summary>
    public int Left;

    /// <summary>CPU time of all its vCPUs.</summary>
    public long Ran;

    /// <summary>Its length as expected, ns of CPU time of each vCPU; <c>sjf</c> and <c>srtf</c>.</summary>
    public long Estimate;

    /// <summary>What it was served of each resource, in seconds of the whole host's; <c>rap</c>.</summary>
    public ResourceVector Served;

    /// <summary>The virtual time at which it goes on; <c>rap</c>.</summary>
    public double Virtual;

    /// <summary>Set while the slot is taken.</summary>
    internal bool InUse;

    internal long Sequence;

    // rap
    internal double VirtualBase;
    internal long ReservationTag;
    internal long Period;
    internal long Budget;
    internal int Active;

    // rrp
    internal bool Started;
    internal int Group;
    internal int GroupNext;
    internal int GroupPrevious;
    internal int WaitNext;
    internal int WaitPrevious;
    internal long WaitingSince;
    internal int Waiting;
}
