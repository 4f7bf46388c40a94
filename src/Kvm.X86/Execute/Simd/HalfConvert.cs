// Invariants: as in Xmm.cs; pointers to locals do not outlive the call.
using System.Runtime.Intrinsics;
using Kvm.X86.Decode;
using Kvm.X86.Float;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

/// <summary>VCVTPH2PS and VCVTPS2PH. Half denormals count whatever DAZ and FTZ say (SDM vol. 1, 14.4.1).</summary>
internal static unsafe class HalfConvert
{
    public static bool Widen128(Cpu* cpu, Op* op)
    {
        ulong source;
        if (!Xmm.VexReady(cpu) || !Xmm.Load64(cpu, op, &source))
            return false;
        uint flags = 0;
        Vector128<byte> result = Widen(source, cpu->Mxcsr, ref flags);
        if (!FloatForms.Commit(cpu, flags))
            return false;
        Xmm.StoreVex128(cpu, op->Reg, result);
        return true;
    }

    public static bool Widen256(Cpu* cpu, Op* op)
    {
        Vector128<byte> source;
        if (!Xmm.VexReady(cpu) || !Xmm.Load128Unaligned(cpu, op, &source))
            return false;
        uint flags = 0;
        Vector128<byte> low = Widen(Interleave.LowHalf(source), cpu->Mxcsr, ref flags), high = Widen(Interleave.HighHalf(source), cpu->Mxcsr, ref flags);
        if (!FloatForms.Commit(cpu, flags))
            return false;
        *Xmm.Low(cpu, op->Reg) = low;
        *Xmm.High(cpu, op->Reg) = high;
        return true;
    }

    private static Vector128<byte> Widen(ulong halves, uint mxcsr, ref uint flags)
    {
        Vector128<byte> result;
        uint* elements = (uint*)&result;
        FloatEnvironment environment = FloatEnvironment.FromMxcsr(mxcsr);
        environment.DenormalsAreZero = false;
        for (int i = 0; i < 4; i++)
            elements[i] = (uint)SoftFloatConvert.Convert<HalfFormat, SingleFormat>((ushort)(halves >> (16 * i)), ref environment);
        // A half denormal is exact and no denormal operand.
        flags |= environment.Flags & ~FloatFlags.Denormal;
        return result;
    }

    public static bool Narrow128(Cpu* cpu, Op* op)
    {
        if (!Xmm.VexReady(cpu))
            return false;
        uint flags = 0;
        ulong result = Narrow(*Xmm.Low(cpu, op->Reg), op->Imm8, cpu->Mxcsr, ref flags);
        if (op->Rm != Op.Memory)
        {
            if (!FloatForms.Commit(cpu, flags))
                return false;
            Xmm.StoreVex128(cpu, op->Rm, Vector128.CreateScalar(result).AsByte());
            return true;
        }
        ulong address = Ea.Of(cpu, op);
        return Mem.TryProbe(cpu, op, address, 8, write: true) && FloatForms.Commit(cpu, flags) && Mem.TryWrite(cpu, op, address, result);
    }

    public static bool Narrow256(Cpu* cpu, Op* op)
    {
        if (!Xmm.VexReady(cpu))
            return false;
        uint flags = 0;
        ulong low = Narrow(*Xmm.Low(cpu, op->Reg), op->Imm8, cpu->Mxcsr, ref flags), high = Narrow(*Xmm.High(cpu, op->Reg), op->Imm8, cpu->Mxcsr, ref flags);
        Vector128<byte> result = Interleave.Join(low, high);
        if (op->Rm != Op.Memory)
        {
            if (!FloatForms.Commit(cpu, flags))
                return false;
            Xmm.StoreVex128(cpu, op->Rm, result);
            return true;
        }
        ulong address = Ea.Of(cpu, op);
        return Mem.TryProbe(cpu, op, address, 16, write: true) && FloatForms.Commit(cpu, flags) && Mem.TryWrite(cpu, op, address, result);
    }

    private static ulong Narrow(Vector128<byte> singles, int imm, uint mxcsr, ref uint flags)
    {
        FloatEnvironment environment = FloatEnvironment.FromMxcsr(mxcsr);
        if ((imm & 4) == 0)
            environment.Rounding = (uint)imm & 3;
        environment.FlushToZero = false;
        ulong result = 0;
        for (int i = 0; i < 4; i++)
            result |= SoftFloatConvert.Convert<SingleFormat, HalfFormat>(singles.AsUInt32()[i], ref environment) << (16 * i);
        flags |= environment.Flags;
        return result;
    }
}
