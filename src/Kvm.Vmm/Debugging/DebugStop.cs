using Kvm.X86.Engine;

namespace Kvm.Vmm.Debugging;

/// <summary>Why a machine stands still.</summary>
public enum DebugStopReason
{
    /// <summary>Somebody asked for it, or it has not begun.</summary>
    Requested,

    /// <summary>The step that was asked for is made.</summary>
    Step,

    /// <summary>A vCPU is at a breakpoint; its instruction is the next one.</summary>
    Breakpoint,

    /// <summary>The instruction behind a vCPU accessed watched bytes.</summary>
    Watchpoint,

    /// <summary>The guest has ended, and will not go on.</summary>
    Ended,

    /// <summary>A vCPU cannot go on: a triple fault, or what its engine cannot do. Going on ends the guest; a machine that keeps its past can go back.</summary>
    Fault,

    /// <summary>There is no past before this: the machine is where its history begins.</summary>
    HistoryEnd,
}

/// <summary>A stop of a whole machine.</summary>
/// <param name="Reason">Why.</param>
/// <param name="Vcpu">The vCPU that brought it about; 0 where none did.</param>
/// <param name="Point">The point that was hit, of a breakpoint or watchpoint.</param>
public readonly record struct DebugStop(DebugStopReason Reason, int Vcpu = 0, DebugPoint Point = default);

/// <summary>What a vCPU is to do when a machine goes on.</summary>
public enum VcpuResume
{
    /// <summary>Stand still.</summary>
    Stay,

    /// <summary>Make one step, which stops the machine.</summary>
    Step,

    /// <summary>Run.</summary>
    Run,
}
