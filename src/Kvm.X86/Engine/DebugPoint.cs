namespace Kvm.X86.Engine;

/// <summary>What a debugger waits for at a <see cref="DebugPoint"/>.</summary>
public enum DebugPointKind
{
    /// <summary>The instruction that begins there is about to be executed.</summary>
    Execute,

    /// <summary>A byte of it was written.</summary>
    Write,

    /// <summary>A byte of it was read.</summary>
    Read,

    /// <summary>A byte of it was read or written.</summary>
    Access,
}

/// <summary>A breakpoint or watchpoint of a debugger's, unseen by the guest: in every address space and at every privilege level.</summary>
/// <param name="Kind">What for.</param>
/// <param name="Address">Linear address.</param>
/// <param name="Length">Bytes watched, from 1; not looked at for <see cref="DebugPointKind.Execute"/>.</param>
public readonly record struct DebugPoint(DebugPointKind Kind, ulong Address, uint Length = 1)
{
    /// <summary>Most bytes of one point; more are cut.</summary>
    public const uint MostBytes = 1 << 20;
}

/// <summary>Why a processor stopped for its debugger.</summary>
public enum DebugCause
{
    /// <summary>It made the step it was asked for.</summary>
    Step,

    /// <summary>It is at an <see cref="DebugPointKind.Execute"/> point, whose instruction is the next one.</summary>
    Breakpoint,

    /// <summary>The instruction behind it accessed a watched byte.</summary>
    Watchpoint,
}

/// <summary>A stop of a processor for its debugger.</summary>
/// <param name="Cause">Why.</param>
/// <param name="Point">The point that was hit, of a breakpoint or watchpoint.</param>
public readonly record struct DebugHit(DebugCause Cause, DebugPoint Point = default);
