// Invariants: as in X87.cs.
using Kvm.X86.Decode;
using Kvm.X86.Execute.Simd;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Fpu;

/// <summary>x87 control instructions, and MXCSR.</summary>
internal static unsafe class ControlHelpers
{
    /// <summary>FWAIT: #NM only with CR0.MP and CR0.TS together.</summary>
    public static bool Wait(Cpu* cpu, Op* op)
    {
        const ulong both = Bits.Cr0Mp | Bits.Cr0Ts;
        if ((cpu->Cr0 & both) == both)
            return Fault.Raise(cpu, State.Vector.DeviceNotAvailable);
        return (cpu->X87Status & X87.ErrorSummary) == 0 || X87.RaisePending(cpu);
    }

    /// <summary>FNOP, and FNENI, FNDISI, FNSETPM, which do nothing since the 80387.</summary>
    public static bool Nothing(Cpu* cpu, Op* op) => X87.Ready(cpu);

    public static bool NothingNoWait(Cpu* cpu, Op* op) => X87.Available(cpu);

    public static bool Initialize(Cpu* cpu, Op* op)
    {
        if (!X87.Available(cpu))
            return false;
        X87.Initialize(cpu);
        return true;
    }

    /// <summary>FNCLEX: exceptions, SF, ES and B; the condition codes stay.</summary>
    public static bool ClearExceptions(Cpu* cpu, Op* op)
    {
        if (!X87.Available(cpu))
            return false;
        cpu->X87Status &= X87.Conditions;
        return true;
    }

    public static bool LoadControl(Cpu* cpu, Op* op)
    {
        ushort value;
        if (!X87.Ready(cpu) || !Mem.TryRead(cpu, op, Ea.Of(cpu, op), &value))
            return false;
        X87.SetControlWord(cpu, value);
        return true;
    }

    public static bool StoreControl(Cpu* cpu, Op* op) =>
        X87.Available(cpu) && Mem.TryWrite(cpu, op, Ea.Of(cpu, op), cpu->X87Control);

    public static bool StoreStatus(Cpu* cpu, Op* op) =>
        X87.Available(cpu) && Mem.TryWrite(cpu, op, Ea.Of(cpu, op), X87.StatusWord(cpu));

    public static bool StoreStatusAx(Cpu* cpu, Op* op)
    {
        if (!X87.Available(cpu))
            return false;
        *(ushort*)cpu = X87.StatusWord(cpu);
        return true;
    }

    public static bool LoadMxcsr(Cpu* cpu, Op* op)
    {
        uint value;
        if (!Xmm.Ready(cpu) || !Mem.TryRead(cpu, op, Ea.Of(cpu, op), &value))
            return false;
        return SetMxcsr(cpu, value);
    }

    public static bool StoreMxcsr(Cpu* cpu, Op* op) =>
        Xmm.Ready(cpu) && Mem.TryWrite(cpu, op, Ea.Of(cpu, op), cpu->Mxcsr);

    public static bool VexLoadMxcsr(Cpu* cpu, Op* op)
    {
        uint value;
        if (!Xmm.VexReady(cpu) || !Mem.TryRead(cpu, op, Ea.Of(cpu, op), &value))
            return false;
        return SetMxcsr(cpu, value);
    }

    public static bool VexStoreMxcsr(Cpu* cpu, Op* op) =>
        Xmm.VexReady(cpu) && Mem.TryWrite(cpu, op, Ea.Of(cpu, op), cpu->Mxcsr);

    /// <summary>
    /// Bits of MXCSR that may be set. State that came from a host's KVM carries that host's mask (SDM vol. 1, 11.6.6); this engine
    /// itself has all sixteen bits, denormals-are-zeros included.
    /// </summary>
    public static uint MxcsrMask(Cpu* cpu)
    {
        uint mask = *(uint*)(cpu->Extended + 28);
        return mask == 0 ? 0xFFFF : mask;
    }

    private static bool SetMxcsr(Cpu* cpu, uint value)
    {
        if ((value & ~MxcsrMask(cpu)) != 0)
            return Fault.Protection(cpu);
        cpu->Mxcsr = value;
        return true;
    }
}
