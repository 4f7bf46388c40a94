// Invariants: MMX register numbers in an Op are 0-7 (the decoder's promise); a Cpu* is valid while its CpuContext is.
using System.Runtime.CompilerServices;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Fpu;

/// <summary>MMX registers as they alias the x87 (SDM vol. 3, 12.2): every MMX instruction but EMMS makes TOP zero and all tags valid.</summary>
internal static unsafe class MmxState
{
    /// <summary>#UD with CR0.EM, #NM with CR0.TS, #MF when an x87 exception is pending.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Ready(Cpu* cpu) =>
        ((cpu->Cr0 & (Bits.Cr0Em | Bits.Cr0Ts)) | (cpu->X87Status & (uint)X87.ErrorSummary)) == 0 || NotReady(cpu);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool NotReady(Cpu* cpu)
    {
        if ((cpu->Cr0 & Bits.Cr0Em) != 0)
            return Fault.Undefined(cpu);
        if ((cpu->Cr0 & Bits.Cr0Ts) != 0)
            return Fault.Raise(cpu, State.Vector.DeviceNotAvailable);
        return X87.RaisePending(cpu);
    }

    /// <summary>mm/m64 operand.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Load64(Cpu* cpu, Op* op, ulong* value)
    {
        if (op->Rm != Op.Memory)
        {
            *value = cpu->X87[op->Rm].Significand;
            return true;
        }
        return Mem.TryRead(cpu, op, Ea.Of(cpu, op), value);
    }

    /// <summary>Writes an MMX register: exponent and sign become ones.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Write(Cpu* cpu, int number, ulong value)
    {
        cpu->X87[number].Significand = value;
        cpu->X87[number].SignExponent = 0xFFFF;
        Enter(cpu);
    }

    /// <summary>What an MMX instruction does to the x87 besides its result.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Enter(Cpu* cpu)
    {
        cpu->X87Top = 0;
        cpu->X87Valid = 0xFF;
    }
}
