namespace Kvm.Sched;

/// <summary>What a vCPU is doing, as far as its policy knows.</summary>
public enum VcpuState : byte
{
    /// <summary>The slot is nobody's.</summary>
    Free,

    /// <summary>Waits for an interrupt: takes no CPU.</summary>
    Halted,

    /// <summary>Could run. It may still be on a CPU, at the end of a slice.</summary>
    Ready,

    /// <summary>Runs.</summary>
    Running,

    /// <summary>Was told to leave its CPU, and has not said that it did.</summary>
    Revoking,

    /// <summary>Has been given a CPU that another vCPU is about to leave.</summary>
    Reserved,

    /// <summary>Has finished; others of its VM have not.</summary>
    Done,
}

/// <summary>One vCPU in the job table. Times in ns.</summary>
public struct VcpuSlot
{
    /// <summary>Its VM's slot.</summary>
    public int Vm;

    /// <summary>Its number in the VM.</summary>
    public int Index;

    /// <summary>The CPU it is on or, in state <see cref="VcpuState.Reserved"/>, will be on; −1 for none.</summary>
    public int Cpu;

    /// <summary>The CPU it ran on last, or −1.</summary>
    public int LastCpu;

    /// <summary>What it is doing.</summary>
    public VcpuState State;

    /// <summary>Whether it starts together with the others of its VM.</summary>
    internal bool InGang;

    /// <summary>Why it was last given, or refused, a CPU.</summary>
    public DecisionReason Reason;

    /// <summary>CPU time it was charged with.</summary>
    public long Ran;

    /// <summary>Time it was ready and had no CPU.</summary>
    public long Waited;

    /// <summary>Since when it waits, where it is ready.</summary>
    public long ReadySince;

    /// <summary>When it began to run.</summary>
    public long RunStart;

    /// <summary>When its slice ends; <see cref="long.MaxValue"/> for one without an end.</summary>
    public long SliceEnd;

    /// <summary>How many slices it was given.</summary>
    public long Slices;

    /// <summary>How often it changed its CPU.</summary>
    public long Migrations;

    /// <summary>The length of its slice as granted, less what is settled.</summary>
    internal long Granted;

    /// <summary>What it was charged with by estimate when it was preempted; settled when it has parked.</summary>
    internal long Provisional;

    /// <summary>Its place among the ready: smaller goes first.</summary>
    internal long Key;

    /// <summary>Decides between equal keys: arrival, file order, index.</summary>
    internal long Tie;

    /// <summary>Which CPUs it may run on, as a class of <see cref="AffinityClasses"/>.</summary>
    internal int Affinity;

    /// <summary>Policies that queue: when it queued last.</summary>
    internal long Sequence;

    /// <summary><c>tsp</c>: its level. Policies that run to the end: how often it used up its limit.</summary>
    internal int Level;

    /// <summary><c>tsp</c>: the last boost its level knows of.</summary>
    internal int Epoch;

    /// <summary><c>tsp</c>: what is left of its slice.</summary>
    internal long SliceLeft;

    /// <summary><c>priority</c>: its effective priority when it was given its CPU. <c>host</c>: the CPU it is bound to.</summary>
    internal long Standing;
}
