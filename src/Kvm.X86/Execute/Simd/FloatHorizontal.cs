// Invariants: as in Xmm.cs; pointers to locals do not outlive the call.
using System.Runtime.Intrinsics;
using Kvm.X86.Decode;
using Kvm.X86.Float;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

/// <summary>A floating-point operation on two 128-bit values that is not element by element.</summary>
internal interface IFloatVector
{
    static abstract Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b, int imm, uint mxcsr, ref uint flags);
}

internal readonly struct HorizontalAddSingles : IFloatVector
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b, int imm, uint mxcsr, ref uint flags) =>
        FloatForms.Elements<AddFloat, SingleFormat>(Horizontal.EvenDoublewords(a, b).AsByte(), Horizontal.OddDoublewords(a, b).AsByte(), 0, mxcsr, ref flags);
}

internal readonly struct HorizontalSubtractSingles : IFloatVector
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b, int imm, uint mxcsr, ref uint flags) =>
        FloatForms.Elements<SubtractFloat, SingleFormat>(Horizontal.EvenDoublewords(a, b).AsByte(), Horizontal.OddDoublewords(a, b).AsByte(), 0, mxcsr, ref flags);
}

internal readonly struct HorizontalAddDoubles : IFloatVector
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b, int imm, uint mxcsr, ref uint flags) =>
        FloatForms.Elements<AddFloat, DoubleFormat>(UnpackLowQuadwords.Apply(a, b), UnpackHighQuadwords.Apply(a, b), 0, mxcsr, ref flags);
}

internal readonly struct HorizontalSubtractDoubles : IFloatVector
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b, int imm, uint mxcsr, ref uint flags) =>
        FloatForms.Elements<SubtractFloat, DoubleFormat>(UnpackLowQuadwords.Apply(a, b), UnpackHighQuadwords.Apply(a, b), 0, mxcsr, ref flags);
}

/// <summary>ADDSUBPS: even elements subtract, odd ones add.</summary>
internal readonly struct AddSubtractSingles : IFloatVector
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b, int imm, uint mxcsr, ref uint flags)
    {
        Vector128<uint> x = a.AsUInt32(), y = b.AsUInt32();
        return Vector128.Create(
            (uint)SubtractFloat.Apply<SingleFormat>(x[0], y[0], 0, mxcsr, ref flags), (uint)AddFloat.Apply<SingleFormat>(x[1], y[1], 0, mxcsr, ref flags),
            (uint)SubtractFloat.Apply<SingleFormat>(x[2], y[2], 0, mxcsr, ref flags), (uint)AddFloat.Apply<SingleFormat>(x[3], y[3], 0, mxcsr, ref flags)).AsByte();
    }
}

internal readonly struct AddSubtractDoubles : IFloatVector
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b, int imm, uint mxcsr, ref uint flags)
    {
        Vector128<ulong> x = a.AsUInt64(), y = b.AsUInt64();
        return Interleave.Join(
            SubtractFloat.Apply<DoubleFormat>(x[0], y[0], 0, mxcsr, ref flags), AddFloat.Apply<DoubleFormat>(x[1], y[1], 0, mxcsr, ref flags));
    }
}

/// <summary>DPPS: products chosen by the high half of the immediate, summed in pairs, stored where the low half says.</summary>
internal readonly struct DotProductSingles : IFloatVector
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b, int imm, uint mxcsr, ref uint flags)
    {
        Vector128<uint> x = a.AsUInt32(), y = b.AsUInt32();
        ulong p0 = Product(x[0], y[0], imm & 0x10, mxcsr, ref flags), p1 = Product(x[1], y[1], imm & 0x20, mxcsr, ref flags);
        ulong p2 = Product(x[2], y[2], imm & 0x40, mxcsr, ref flags), p3 = Product(x[3], y[3], imm & 0x80, mxcsr, ref flags);
        if (DotProduct.Stops(flags, mxcsr))
            return default;
        ulong low = AddFloat.Apply<SingleFormat>(p0, p1, 0, mxcsr, ref flags), high = AddFloat.Apply<SingleFormat>(p2, p3, 0, mxcsr, ref flags);
        if (DotProduct.Stops(flags, mxcsr))
            return default;
        uint sum = (uint)AddFloat.Apply<SingleFormat>(low, high, 0, mxcsr, ref flags);
        return Vector128.Create((imm & 1) != 0 ? sum : 0, (imm & 2) != 0 ? sum : 0, (imm & 4) != 0 ? sum : 0, (imm & 8) != 0 ? sum : 0).AsByte();
    }

    private static ulong Product(uint a, uint b, int chosen, uint mxcsr, ref uint flags) =>
        chosen == 0 ? 0 : MultiplyFloat.Apply<SingleFormat>(a, b, 0, mxcsr, ref flags);
}

/// <summary>DPPD.</summary>
internal readonly struct DotProductDoubles : IFloatVector
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b, int imm, uint mxcsr, ref uint flags)
    {
        Vector128<ulong> x = a.AsUInt64(), y = b.AsUInt64();
        ulong low = (imm & 0x10) == 0 ? 0 : MultiplyFloat.Apply<DoubleFormat>(x[0], y[0], 0, mxcsr, ref flags);
        ulong high = (imm & 0x20) == 0 ? 0 : MultiplyFloat.Apply<DoubleFormat>(x[1], y[1], 0, mxcsr, ref flags);
        if (DotProduct.Stops(flags, mxcsr))
            return default;
        ulong sum = AddFloat.Apply<DoubleFormat>(low, high, 0, mxcsr, ref flags);
        return Interleave.Join((imm & 1) != 0 ? sum : 0, (imm & 2) != 0 ? sum : 0);
    }
}

/// <summary>Dot products raise exceptions step by step: an unmasked one ends them (SDM vol. 2, DPPS).</summary>
internal static class DotProduct
{
    public static bool Stops(uint flags, uint mxcsr) => (flags & ~(mxcsr >> 7) & FloatFlags.All) != 0;
}

/// <summary>Encodings of <see cref="IFloatVector"/> operations.</summary>
internal static unsafe class FloatVectorForms
{
    public static nint Sse<T>() where T : struct, IFloatVector => (nint)(delegate*<Cpu*, Op*, bool>)&RunSse<T>;

    public static nint Vex128<T>() where T : struct, IFloatVector => (nint)(delegate*<Cpu*, Op*, bool>)&RunVex128<T>;

    public static nint Vex256<T>() where T : struct, IFloatVector => (nint)(delegate*<Cpu*, Op*, bool>)&RunVex256<T>;

    private static bool RunSse<T>(Cpu* cpu, Op* op) where T : struct, IFloatVector
    {
        Vector128<byte> source;
        if (!Xmm.Ready(cpu) || !Xmm.Load128(cpu, op, &source))
            return false;
        uint flags = 0;
        Vector128<byte> result = T.Apply(*Xmm.Low(cpu, op->Reg), source, op->Imm8, cpu->Mxcsr, ref flags);
        if (!FloatForms.Commit(cpu, flags))
            return false;
        *Xmm.Low(cpu, op->Reg) = result;
        return true;
    }

    private static bool RunVex128<T>(Cpu* cpu, Op* op) where T : struct, IFloatVector
    {
        Vector128<byte> source;
        if (!Xmm.VexReady(cpu) || !Xmm.Load128Unaligned(cpu, op, &source))
            return false;
        uint flags = 0;
        Vector128<byte> result = T.Apply(*Xmm.Low(cpu, op->V), source, op->Imm8, cpu->Mxcsr, ref flags);
        if (!FloatForms.Commit(cpu, flags))
            return false;
        Xmm.StoreVex128(cpu, op->Reg, result);
        return true;
    }

    private static bool RunVex256<T>(Cpu* cpu, Op* op) where T : struct, IFloatVector
    {
        Vector128<byte> low, high;
        if (!Xmm.VexReady(cpu) || !Xmm.Load256(cpu, op, &low, &high))
            return false;
        uint flags = 0;
        low = T.Apply(*Xmm.Low(cpu, op->V), low, op->Imm8, cpu->Mxcsr, ref flags);
        high = T.Apply(*Xmm.High(cpu, op->V), high, op->Imm8, cpu->Mxcsr, ref flags);
        if (!FloatForms.Commit(cpu, flags))
            return false;
        *Xmm.Low(cpu, op->Reg) = low;
        *Xmm.High(cpu, op->Reg) = high;
        return true;
    }
}
