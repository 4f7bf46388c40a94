namespace Kvm.Sched;

/// <summary>What a decision asks for.</summary>
public enum DecisionKind : byte
{
    /// <summary>The vCPU runs on the CPU, which nobody is on, for the slice.</summary>
    Run,

    /// <summary>The vCPU stays on its CPU for another slice.</summary>
    Continue,

    /// <summary>The vCPU leaves its CPU; whoever applies that calls <see cref="Scheduler.Parked"/> when it has.</summary>
    Revoke,
}

/// <summary>Why a decision was made; <see cref="DecisionReasons"/> says it in words.</summary>
public enum DecisionReason : byte
{
    /// <summary>Nothing was decided yet.</summary>
    None,

    /// <summary>First in the policy's order, and a CPU was free.</summary>
    First,

    /// <summary>Its slice ended, and nobody goes before it.</summary>
    GoesOn,

    /// <summary>Its slice ended, and another goes before it.</summary>
    SliceEnded,

    /// <summary>Another goes before it by the policy's order, at once.</summary>
    Preempted,

    /// <summary>It may not go on now: its cap is used up, or its CPU went away.</summary>
    Stopped,

    /// <summary>None of the CPUs it may run on can be used now; said of who waits (<see cref="Scheduler.ReasonOf"/>), never of a decision.</summary>
    NoCpu,
}

/// <summary>One decision of a policy.</summary>
/// <param name="Kind">What to do.</param>
/// <param name="Vcpu">With which vCPU, by its slot.</param>
/// <param name="Cpu">On which CPU, by its index in the topology.</param>
/// <param name="Slice">For how long in ns; <see cref="long.MaxValue"/> until it halts or ends. 0 where a vCPU is revoked.</param>
/// <param name="Reason">Why.</param>
public readonly record struct Decision(DecisionKind Kind, int Vcpu, int Cpu, long Slice, DecisionReason Reason);

/// <summary>Reasons in words.</summary>
public static class DecisionReasons
{
    /// <summary>A clause in which "it" is the vCPU.</summary>
    public static string Words(DecisionReason reason) => reason switch
    {
        DecisionReason.First => "it was first in the policy's order when a CPU was free",
        DecisionReason.GoesOn => "its slice ended and nobody went before it",
        DecisionReason.SliceEnded => "its slice ended and another went before it",
        DecisionReason.Preempted => "another went before it by the policy's order",
        DecisionReason.Stopped => "it might not go on: its cap is used up for this period, its gang has not enough CPUs, or its CPU went away",
        DecisionReason.NoCpu => "none of the CPUs it may run on can be used now",
        _ => "others have gone before it since it arrived",
    };
}
