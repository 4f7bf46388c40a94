// Invariants: a Cpu* is the block CpuContext allocated and owns; it is valid while the context is.
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>Records faults in the processor; the run loop (or the stepper's caller) delivers them. Nothing is thrown.</summary>
internal static unsafe class Fault
{
    /// <summary>
    /// Records an exception at the current instruction. Call before anything architectural has changed. Always false, so
    /// that a helper can <c>return Fault.Raise(…)</c>.
    /// </summary>
    public static bool Raise(ref Cpu cpu, int vector, uint errorCode = 0)
    {
        cpu.FaultVector = vector;
        cpu.FaultError = errorCode;
        cpu.FaultIsTrap = 0;
        cpu.FaultSource = 0;
        return false;
    }

    /// <inheritdoc cref="Raise(ref Cpu, int, uint)"/>
    public static bool Raise(Cpu* cpu, int vector, uint errorCode = 0) => Raise(ref *cpu, vector, errorCode);

    /// <summary>Records a page fault at a linear address.</summary>
    public static bool RaisePage(ref Cpu cpu, ulong linear, uint errorCode)
    {
        cpu.FaultAddress = linear;
        return Raise(ref cpu, Vector.PageFault, errorCode);
    }

    /// <summary>"Vector" of what this engine does not do: task switches. Ends the run with an explanation.</summary>
    public const int UnsupportedVector = -2;

    /// <summary>"Vector" of code that is not entered by blocks because a debugger's breakpoint is on its page.</summary>
    public const int BreakpointPage = -3;

    /// <summary>Records that the instruction is beyond this engine.</summary>
    public static bool Unsupported(ref Cpu cpu) => Raise(ref cpu, UnsupportedVector);

    /// <summary>#UD.</summary>
    public static bool Undefined(Cpu* cpu) => Raise(ref *cpu, Vector.InvalidOpcode);

    /// <summary>#GP with an error code (0 or a selector).</summary>
    public static bool Protection(Cpu* cpu, uint errorCode = 0) => Raise(ref *cpu, Vector.GeneralProtection, errorCode);
}
