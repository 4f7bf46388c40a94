// Invariants: as in Xmm.cs.
using System.Runtime.Intrinsics;
using Kvm.X86.Decode;
using Kvm.X86.Execute.Fpu;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

/// <summary>Encodings of shifts: the count is an immediate byte (operand in ModRM.rm, VEX destination in vvvv) or the low 64 bits of xmm/m128.</summary>
internal static unsafe class ShiftForms
{
    public static nint Sse<T>() where T : struct, IShift => (nint)(delegate*<Cpu*, Op*, bool>)&RunSse<T>;

    public static nint SseImmediate<T>() where T : struct, IShift => (nint)(delegate*<Cpu*, Op*, bool>)&RunSseImmediate<T>;

    public static nint Mmx<T>() where T : struct, IShift => (nint)(delegate*<Cpu*, Op*, bool>)&RunMmx<T>;

    public static nint MmxImmediate<T>() where T : struct, IShift => (nint)(delegate*<Cpu*, Op*, bool>)&RunMmxImmediate<T>;

    public static nint Vex128<T>() where T : struct, IShift => (nint)(delegate*<Cpu*, Op*, bool>)&RunVex128<T>;

    public static nint Vex256<T>() where T : struct, IShift => (nint)(delegate*<Cpu*, Op*, bool>)&RunVex256<T>;

    public static nint Vex128Immediate<T>() where T : struct, IShift => (nint)(delegate*<Cpu*, Op*, bool>)&RunVex128Immediate<T>;

    public static nint Vex256Immediate<T>() where T : struct, IShift => (nint)(delegate*<Cpu*, Op*, bool>)&RunVex256Immediate<T>;

    private static bool RunSse<T>(Cpu* cpu, Op* op) where T : struct, IShift
    {
        Vector128<byte> count;
        if (!Xmm.Ready(cpu) || !Xmm.Load128(cpu, op, &count))
            return false;
        Vector128<byte>* destination = Xmm.Low(cpu, op->Reg);
        *destination = T.Apply(*destination, count.AsUInt64().ToScalar());
        return true;
    }

    private static bool RunSseImmediate<T>(Cpu* cpu, Op* op) where T : struct, IShift
    {
        if (!Xmm.Ready(cpu))
            return false;
        Vector128<byte>* destination = Xmm.Low(cpu, op->Rm);
        *destination = T.Apply(*destination, op->Imm8);
        return true;
    }

    private static bool RunMmx<T>(Cpu* cpu, Op* op) where T : struct, IShift
    {
        ulong count;
        if (!MmxState.Ready(cpu) || !MmxState.Load64(cpu, op, &count))
            return false;
        MmxState.Write(cpu, op->Reg, Shift<T>(cpu->X87[op->Reg].Significand, count));
        return true;
    }

    private static bool RunMmxImmediate<T>(Cpu* cpu, Op* op) where T : struct, IShift
    {
        if (!MmxState.Ready(cpu))
            return false;
        MmxState.Write(cpu, op->Rm, Shift<T>(cpu->X87[op->Rm].Significand, op->Imm8));
        return true;
    }

    private static ulong Shift<T>(ulong value, ulong count) where T : struct, IShift =>
        T.Apply(Vector128.CreateScalar(value).AsByte(), count).AsUInt64().ToScalar();

    private static bool RunVex128<T>(Cpu* cpu, Op* op) where T : struct, IShift
    {
        Vector128<byte> count;
        if (!Xmm.VexReady(cpu) || !Xmm.Load128Unaligned(cpu, op, &count))
            return false;
        Xmm.StoreVex128(cpu, op->Reg, T.Apply(*Xmm.Low(cpu, op->V), count.AsUInt64().ToScalar()));
        return true;
    }

    private static bool RunVex256<T>(Cpu* cpu, Op* op) where T : struct, IShift
    {
        // The count is xmm/m128 for 256-bit data too.
        Vector128<byte> count;
        if (!Xmm.VexReady(cpu) || !Xmm.Load128Unaligned(cpu, op, &count))
            return false;
        *Xmm.Low(cpu, op->Reg) = T.Apply(*Xmm.Low(cpu, op->V), count.AsUInt64().ToScalar());
        *Xmm.High(cpu, op->Reg) = T.Apply(*Xmm.High(cpu, op->V), count.AsUInt64().ToScalar());
        return true;
    }

    private static bool RunVex128Immediate<T>(Cpu* cpu, Op* op) where T : struct, IShift
    {
        if (!Xmm.VexReady(cpu))
            return false;
        Xmm.StoreVex128(cpu, op->V, T.Apply(*Xmm.Low(cpu, op->Rm), op->Imm8));
        return true;
    }

    private static bool RunVex256Immediate<T>(Cpu* cpu, Op* op) where T : struct, IShift
    {
        if (!Xmm.VexReady(cpu))
            return false;
        *Xmm.Low(cpu, op->V) = T.Apply(*Xmm.Low(cpu, op->Rm), op->Imm8);
        *Xmm.High(cpu, op->V) = T.Apply(*Xmm.High(cpu, op->Rm), op->Imm8);
        return true;
    }
}
