// Invariants: as in Xmm.cs.
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Kvm.X86.Decode;
using Kvm.X86.Float;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

/// <summary>Encodings of floating-point element operations, and how their exceptions end.</summary>
internal static unsafe class FloatForms
{
    public static nint Scalar<T, TFormat>() where T : struct, IFloatOp where TFormat : struct, IBinaryFormat =>
        (nint)(delegate*<Cpu*, Op*, bool>)&RunScalar<T, TFormat>;

    public static nint Packed<T, TFormat>() where T : struct, IFloatOp where TFormat : struct, IBinaryFormat =>
        (nint)(delegate*<Cpu*, Op*, bool>)&RunPacked<T, TFormat>;

    public static nint FastPacked<T, TFormat>() where T : struct, IVectorFloatOp where TFormat : struct, IBinaryFormat =>
        (nint)(delegate*<Cpu*, Op*, bool>)&RunFastPacked<T, TFormat>;

    public static nint VexScalar<T, TFormat>() where T : struct, IFloatOp where TFormat : struct, IBinaryFormat =>
        (nint)(delegate*<Cpu*, Op*, bool>)&RunVexScalar<T, TFormat>;

    public static nint VexPacked128<T, TFormat>() where T : struct, IFloatOp where TFormat : struct, IBinaryFormat =>
        (nint)(delegate*<Cpu*, Op*, bool>)&RunVexPacked128<T, TFormat>;

    public static nint VexPacked256<T, TFormat>() where T : struct, IFloatOp where TFormat : struct, IBinaryFormat =>
        (nint)(delegate*<Cpu*, Op*, bool>)&RunVexPacked256<T, TFormat>;

    /// <summary>
    /// Raises what an instruction found. With an unmasked pre-computation exception among the elements only such are reported
    /// (SDM vol. 1, 11.5.3); with any unmasked exception the answer is false and nothing may be stored: #XM, or #UD without
    /// CR4.OSXMMEXCPT.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Commit(Cpu* cpu, uint flags)
    {
        flags &= FloatFlags.All;
        if ((flags & ~cpu->Mxcsr) == 0)
            return ((flags & ~(cpu->Mxcsr >> 7)) == 0) || Unmasked(cpu, flags);
        return CommitNew(cpu, flags);
    }

    private static bool CommitNew(Cpu* cpu, uint flags)
    {
        if ((flags & ~(cpu->Mxcsr >> 7)) != 0)
            return Unmasked(cpu, flags);
        cpu->Mxcsr |= flags;
        return true;
    }

    private static bool Unmasked(Cpu* cpu, uint flags)
    {
        uint unmasked = flags & ~(cpu->Mxcsr >> 7);
        if ((unmasked & FloatFlags.PreComputation) != 0)
            flags &= FloatFlags.PreComputation;
        cpu->Mxcsr |= flags;
        return Fault.Raise(cpu, (cpu->Cr4 & Bits.Cr4OsXmmExcpt) != 0 ? State.Vector.SimdError : State.Vector.InvalidOpcode);
    }

    /// <summary>The scalar source operand: 32 or 64 bits of a register or of memory.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool LoadScalar<TFormat>(Cpu* cpu, Op* op, ulong* value) where TFormat : struct, IBinaryFormat
    {
        if (typeof(TFormat) == typeof(DoubleFormat))
            return Xmm.Load64(cpu, op, value);
        *value = 0;
        return Xmm.Load32(cpu, op, (uint*)value);
    }

    /// <summary>Element 0 of a register.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Lowest<TFormat>(Cpu* cpu, int number) where TFormat : struct, IBinaryFormat =>
        typeof(TFormat) == typeof(DoubleFormat) ? *(ulong*)Xmm.Low(cpu, number) : *(uint*)Xmm.Low(cpu, number);

    /// <summary>Writes element 0 of a register and leaves the rest.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetLowest<TFormat>(Cpu* cpu, int number, ulong value) where TFormat : struct, IBinaryFormat
    {
        if (typeof(TFormat) == typeof(DoubleFormat))
            *(ulong*)Xmm.Low(cpu, number) = value;
        else
            *(uint*)Xmm.Low(cpu, number) = (uint)value;
    }

    /// <summary>All elements of two 128-bit values.</summary>
    public static Vector128<byte> Elements<T, TFormat>(Vector128<byte> a, Vector128<byte> b, int imm, uint mxcsr, ref uint flags)
        where T : struct, IFloatOp
        where TFormat : struct, IBinaryFormat
    {
        Vector128<byte> result;
        if (typeof(TFormat) == typeof(DoubleFormat))
        {
            ulong* x = (ulong*)&a, y = (ulong*)&b, r = (ulong*)&result;
            r[0] = T.Apply<TFormat>(x[0], y[0], imm, mxcsr, ref flags);
            r[1] = T.Apply<TFormat>(x[1], y[1], imm, mxcsr, ref flags);
        }
        else
        {
            uint* x = (uint*)&a, y = (uint*)&b, r = (uint*)&result;
            for (int i = 0; i < 4; i++)
                r[i] = (uint)T.Apply<TFormat>(x[i], y[i], imm, mxcsr, ref flags);
        }
        return result;
    }

    /// <summary>The whole vector by host arithmetic where that is certain to be right.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryHost<T, TFormat>(Vector128<byte> a, Vector128<byte> b, uint mxcsr, out Vector128<byte> result)
        where T : struct, IVectorFloatOp
        where TFormat : struct, IBinaryFormat
    {
        result = default;
        if (!HostMath.IsFree(mxcsr))
            return false;
        if (typeof(TFormat) == typeof(DoubleFormat))
        {
            Vector128<double> r = T.Host(a.AsDouble(), b.AsDouble());
            result = r.AsByte();
            return HostMath.ArePlain(a.AsDouble()) && HostMath.ArePlain(b.AsDouble()) && HostMath.AreSafe(r);
        }
        Vector128<float> single = T.Host(a.AsSingle(), b.AsSingle());
        result = single.AsByte();
        return HostMath.ArePlain(a.AsSingle()) && HostMath.ArePlain(b.AsSingle()) && HostMath.AreSafe(single);
    }

    private static bool RunScalar<T, TFormat>(Cpu* cpu, Op* op) where T : struct, IFloatOp where TFormat : struct, IBinaryFormat
    {
        ulong source;
        if (!Xmm.Ready(cpu) || !LoadScalar<TFormat>(cpu, op, &source))
            return false;
        uint flags = 0;
        ulong result = T.Apply<TFormat>(Lowest<TFormat>(cpu, op->Reg), source, op->Imm8, cpu->Mxcsr, ref flags);
        if (flags != 0 && !Commit(cpu, flags))
            return false;
        SetLowest<TFormat>(cpu, op->Reg, result);
        return true;
    }

    private static bool RunVexScalar<T, TFormat>(Cpu* cpu, Op* op) where T : struct, IFloatOp where TFormat : struct, IBinaryFormat
    {
        ulong source;
        if (!Xmm.VexReady(cpu) || !LoadScalar<TFormat>(cpu, op, &source))
            return false;
        uint flags = 0;
        ulong result = T.Apply<TFormat>(Lowest<TFormat>(cpu, op->V), source, op->Imm8, cpu->Mxcsr, ref flags);
        if (flags != 0 && !Commit(cpu, flags))
            return false;
        Xmm.StoreVex128(cpu, op->Reg, *Xmm.Low(cpu, op->V));
        SetLowest<TFormat>(cpu, op->Reg, result);
        return true;
    }

    private static bool RunPacked<T, TFormat>(Cpu* cpu, Op* op) where T : struct, IFloatOp where TFormat : struct, IBinaryFormat
    {
        Vector128<byte> source;
        if (!Xmm.Ready(cpu) || !Xmm.Load128(cpu, op, &source))
            return false;
        uint flags = 0;
        Vector128<byte> result = Elements<T, TFormat>(*Xmm.Low(cpu, op->Reg), source, op->Imm8, cpu->Mxcsr, ref flags);
        if (!Commit(cpu, flags))
            return false;
        *Xmm.Low(cpu, op->Reg) = result;
        return true;
    }

    private static bool RunFastPacked<T, TFormat>(Cpu* cpu, Op* op) where T : struct, IVectorFloatOp where TFormat : struct, IBinaryFormat
    {
        Vector128<byte> source;
        if (!Xmm.Ready(cpu) || !Xmm.Load128(cpu, op, &source))
            return false;
        if (TryHost<T, TFormat>(*Xmm.Low(cpu, op->Reg), source, cpu->Mxcsr, out Vector128<byte> result))
        {
            *Xmm.Low(cpu, op->Reg) = result;
            return true;
        }
        uint flags = 0;
        result = Elements<T, TFormat>(*Xmm.Low(cpu, op->Reg), source, 0, cpu->Mxcsr, ref flags);
        if (!Commit(cpu, flags))
            return false;
        *Xmm.Low(cpu, op->Reg) = result;
        return true;
    }

    private static bool RunVexPacked128<T, TFormat>(Cpu* cpu, Op* op) where T : struct, IFloatOp where TFormat : struct, IBinaryFormat
    {
        Vector128<byte> source;
        if (!Xmm.VexReady(cpu) || !Xmm.Load128Unaligned(cpu, op, &source))
            return false;
        uint flags = 0;
        Vector128<byte> result = Elements<T, TFormat>(*Xmm.Low(cpu, op->V), source, op->Imm8, cpu->Mxcsr, ref flags);
        if (!Commit(cpu, flags))
            return false;
        Xmm.StoreVex128(cpu, op->Reg, result);
        return true;
    }

    private static bool RunVexPacked256<T, TFormat>(Cpu* cpu, Op* op) where T : struct, IFloatOp where TFormat : struct, IBinaryFormat
    {
        Vector128<byte> low, high;
        if (!Xmm.VexReady(cpu) || !Xmm.Load256(cpu, op, &low, &high))
            return false;
        uint flags = 0;
        low = Elements<T, TFormat>(*Xmm.Low(cpu, op->V), low, op->Imm8, cpu->Mxcsr, ref flags);
        high = Elements<T, TFormat>(*Xmm.High(cpu, op->V), high, op->Imm8, cpu->Mxcsr, ref flags);
        if (!Commit(cpu, flags))
            return false;
        *Xmm.Low(cpu, op->Reg) = low;
        *Xmm.High(cpu, op->Reg) = high;
        return true;
    }
}
