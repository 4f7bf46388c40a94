// Invariants: Cpu.Extended points to ArchitecturalState.ExtendedSize bytes in XSAVE standard layout, 64-byte aligned, for the life of the
// CpuContext; register numbers in an Op are 0-15 (the decoder's promise).
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

/// <summary>Vector registers, the conditions for using them, and vector operands.</summary>
internal static unsafe class Xmm
{
    /// <summary>Where XMM0 and the upper half of YMM0 lie in the extended area (SDM vol. 1, 13.5.2 and 13.5.3).</summary>
    public const int LowOffset = 160, HighOffset = 576;

    /// <summary>XMM register.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte>* Low(Cpu* cpu, int number) => (Vector128<byte>*)(cpu->Extended + LowOffset + (number << 4));

    /// <summary>Upper half of a YMM register.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte>* High(Cpu* cpu, int number) => (Vector128<byte>*)(cpu->Extended + HighOffset + (number << 4));

    /// <summary>SSE instructions: #UD with CR0.EM or without CR4.OSFXSR, #NM with CR0.TS (SDM vol. 3, 2.5).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Ready(Cpu* cpu) =>
        ((cpu->Cr0 & (Bits.Cr0Em | Bits.Cr0Ts)) | (~cpu->Cr4 & Bits.Cr4OsFxsr)) == 0 || NotReady(cpu);

    /// <summary>VEX instructions: #UD outside protected mode, without CR4.OSXSAVE or both XCR0.SSE and XCR0.AVX; #NM with CR0.TS.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool VexReady(Cpu* cpu) =>
        (((cpu->Cr0 ^ Bits.Cr0Pe) & (Bits.Cr0Ts | Bits.Cr0Pe)) | (~cpu->Cr4 & Bits.Cr4OsXsave) | (~cpu->Xcr0 & 6) | (cpu->Rflags & Bits.Vm)) == 0
        || VexNotReady(cpu);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool NotReady(Cpu* cpu)
    {
        bool undefined = (cpu->Cr0 & Bits.Cr0Em) != 0 || (cpu->Cr4 & Bits.Cr4OsFxsr) == 0;
        return Fault.Raise(cpu, undefined ? State.Vector.InvalidOpcode : State.Vector.DeviceNotAvailable);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool VexNotReady(Cpu* cpu)
    {
        bool undefined = (cpu->Cr4 & Bits.Cr4OsXsave) == 0 || (cpu->Xcr0 & 6) != 6
            || (cpu->Cr0 & Bits.Cr0Pe) == 0 || (cpu->Rflags & Bits.Vm) != 0;
        return Fault.Raise(cpu, undefined ? State.Vector.InvalidOpcode : State.Vector.DeviceNotAvailable);
    }

    /// <summary>xmm/m128 operand of legacy SSE: memory must be aligned.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Load128(Cpu* cpu, Op* op, Vector128<byte>* value)
    {
        if (op->Rm != Op.Memory)
        {
            *value = *Low(cpu, op->Rm);
            return true;
        }
        ulong address = Ea.Of(cpu, op);
        return Mem.RequireAligned(cpu, address, 16) && Mem.TryRead(cpu, op, address, value);
    }

    /// <summary>xmm/m128 operand of MOVUPS and VEX forms: any address.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Load128Unaligned(Cpu* cpu, Op* op, Vector128<byte>* value)
    {
        if (op->Rm != Op.Memory)
        {
            *value = *Low(cpu, op->Rm);
            return true;
        }
        return Mem.TryRead(cpu, op, Ea.Of(cpu, op), value);
    }

    /// <summary>ymm/m256 operand, any address.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Load256(Cpu* cpu, Op* op, Vector128<byte>* low, Vector128<byte>* high)
    {
        if (op->Rm != Op.Memory)
        {
            *low = *Low(cpu, op->Rm);
            *high = *High(cpu, op->Rm);
            return true;
        }
        Vector256<byte> value;
        if (!Mem.TryRead(cpu, op, Ea.Of(cpu, op), &value))
            return false;
        *low = value.GetLower();
        *high = value.GetUpper();
        return true;
    }

    /// <summary>xmm/m64 operand (the low half of a register), any address.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Load64(Cpu* cpu, Op* op, ulong* value)
    {
        if (op->Rm != Op.Memory)
        {
            *value = *(ulong*)Low(cpu, op->Rm);
            return true;
        }
        return Mem.TryRead(cpu, op, Ea.Of(cpu, op), value);
    }

    /// <summary>xmm/m32 operand, any address.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Load32(Cpu* cpu, Op* op, uint* value)
    {
        if (op->Rm != Op.Memory)
        {
            *value = *(uint*)Low(cpu, op->Rm);
            return true;
        }
        return Mem.TryRead(cpu, op, Ea.Of(cpu, op), value);
    }

    /// <summary>xmm/m16 operand, any address.</summary>
    public static bool Load16(Cpu* cpu, Op* op, ushort* value)
    {
        if (op->Rm != Op.Memory)
        {
            *value = *(ushort*)Low(cpu, op->Rm);
            return true;
        }
        return Mem.TryRead(cpu, op, Ea.Of(cpu, op), value);
    }

    /// <summary>r/m32 operand.</summary>
    public static bool LoadGeneral32(Cpu* cpu, Op* op, uint* value)
    {
        if (op->Rm != Op.Memory)
        {
            *value = (uint)((ulong*)cpu)[op->Rm];
            return true;
        }
        return Mem.TryRead(cpu, op, Ea.Of(cpu, op), value);
    }

    /// <summary>r/m64 operand.</summary>
    public static bool LoadGeneral64(Cpu* cpu, Op* op, ulong* value)
    {
        if (op->Rm != Op.Memory)
        {
            *value = ((ulong*)cpu)[op->Rm];
            return true;
        }
        return Mem.TryRead(cpu, op, Ea.Of(cpu, op), value);
    }

    /// <summary>Writes a VEX.128 destination: the upper half of the register becomes zero.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreVex128(Cpu* cpu, int number, Vector128<byte> value)
    {
        *Low(cpu, number) = value;
        *High(cpu, number) = Vector128<byte>.Zero;
    }
}
