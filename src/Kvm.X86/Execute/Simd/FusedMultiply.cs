// Invariants: as in Xmm.cs; pointers to locals do not outlive the call.
using System.Runtime.Intrinsics;
using Kvm.X86.Decode;
using Kvm.X86.Float;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

/// <summary>Signs of a fused multiply-add; the addend's may alternate between even and odd elements.</summary>
internal interface IFusedKind
{
    static abstract bool NegateProduct { get; }

    static abstract bool NegateEven { get; }

    static abstract bool NegateOdd { get; }
}

internal readonly struct MultiplyAdd : IFusedKind
{
    public static bool NegateProduct => false;

    public static bool NegateEven => false;

    public static bool NegateOdd => false;
}

internal readonly struct MultiplySubtract : IFusedKind
{
    public static bool NegateProduct => false;

    public static bool NegateEven => true;

    public static bool NegateOdd => true;
}

internal readonly struct NegatedMultiplyAdd : IFusedKind
{
    public static bool NegateProduct => true;

    public static bool NegateEven => false;

    public static bool NegateOdd => false;
}

internal readonly struct NegatedMultiplySubtract : IFusedKind
{
    public static bool NegateProduct => true;

    public static bool NegateEven => true;

    public static bool NegateOdd => true;
}

/// <summary>Odd elements add, even ones subtract.</summary>
internal readonly struct MultiplyAddSubtract : IFusedKind
{
    public static bool NegateProduct => false;

    public static bool NegateEven => true;

    public static bool NegateOdd => false;
}

internal readonly struct MultiplySubtractAdd : IFusedKind
{
    public static bool NegateProduct => false;

    public static bool NegateEven => false;

    public static bool NegateOdd => true;
}

/// <summary>Which operands are multiplied: the digits of the mnemonic.</summary>
internal interface IFusedOrder
{
    /// <summary>From destination, second and third operand to the factors and the addend.</summary>
    static abstract void Arrange(ulong one, ulong two, ulong three, out ulong a, out ulong b, out ulong c);
}

internal readonly struct Order132 : IFusedOrder
{
    public static void Arrange(ulong one, ulong two, ulong three, out ulong a, out ulong b, out ulong c)
    {
        a = one;
        b = three;
        c = two;
    }
}

internal readonly struct Order213 : IFusedOrder
{
    public static void Arrange(ulong one, ulong two, ulong three, out ulong a, out ulong b, out ulong c)
    {
        a = two;
        b = one;
        c = three;
    }
}

internal readonly struct Order231 : IFusedOrder
{
    public static void Arrange(ulong one, ulong two, ulong three, out ulong a, out ulong b, out ulong c)
    {
        a = two;
        b = three;
        c = one;
    }
}

/// <summary>FMA instructions (SDM vol. 1, 14.5).</summary>
internal static unsafe class FusedMultiply
{
    public static nint Scalar<TKind, TOrder, TFormat>() where TKind : struct, IFusedKind where TOrder : struct, IFusedOrder where TFormat : struct, IBinaryFormat =>
        (nint)(delegate*<Cpu*, Op*, bool>)&RunScalar<TKind, TOrder, TFormat>;

    public static nint Packed128<TKind, TOrder, TFormat>() where TKind : struct, IFusedKind where TOrder : struct, IFusedOrder where TFormat : struct, IBinaryFormat =>
        (nint)(delegate*<Cpu*, Op*, bool>)&RunPacked128<TKind, TOrder, TFormat>;

    public static nint Packed256<TKind, TOrder, TFormat>() where TKind : struct, IFusedKind where TOrder : struct, IFusedOrder where TFormat : struct, IBinaryFormat =>
        (nint)(delegate*<Cpu*, Op*, bool>)&RunPacked256<TKind, TOrder, TFormat>;

    private static ulong Element<TKind, TOrder, TFormat>(ulong one, ulong two, ulong three, bool odd, uint mxcsr, ref uint flags)
        where TKind : struct, IFusedKind
        where TOrder : struct, IFusedOrder
        where TFormat : struct, IBinaryFormat
    {
        TOrder.Arrange(one, two, three, out ulong a, out ulong b, out ulong c);
        bool negateAddend = odd ? TKind.NegateOdd : TKind.NegateEven;
        if (typeof(TFormat) == typeof(DoubleFormat))
        {
            double x = HostMath.AsDouble(a), y = HostMath.AsDouble(b), z = HostMath.AsDouble(c);
            double result = Math.FusedMultiplyAdd(TKind.NegateProduct ? -x : x, y, negateAddend ? -z : z);
            if (HostMath.IsFree(mxcsr) && HostMath.IsPlain(x) && HostMath.IsPlain(y) && HostMath.IsPlain(z) && HostMath.IsSafe(result))
                return HostMath.Bits(result);
        }
        else
        {
            float x = HostMath.AsSingle(a), y = HostMath.AsSingle(b), z = HostMath.AsSingle(c);
            float result = MathF.FusedMultiplyAdd(TKind.NegateProduct ? -x : x, y, negateAddend ? -z : z);
            if (HostMath.IsFree(mxcsr) && HostMath.IsPlain(x) && HostMath.IsPlain(y) && HostMath.IsPlain(z) && HostMath.IsSafe(result))
                return HostMath.Bits(result);
        }
        FloatEnvironment environment = FloatEnvironment.FromMxcsr(mxcsr);
        ulong soft = SoftFloat<TFormat>.MultiplyAdd(a, b, c, TKind.NegateProduct, negateAddend, ref environment);
        flags |= environment.Flags;
        return soft;
    }

    private static Vector128<byte> Elements<TKind, TOrder, TFormat>(Vector128<byte> one, Vector128<byte> two, Vector128<byte> three, uint mxcsr, ref uint flags)
        where TKind : struct, IFusedKind
        where TOrder : struct, IFusedOrder
        where TFormat : struct, IBinaryFormat
    {
        Vector128<byte> result;
        if (typeof(TFormat) == typeof(DoubleFormat))
        {
            ulong* x = (ulong*)&one, y = (ulong*)&two, z = (ulong*)&three, r = (ulong*)&result;
            for (int i = 0; i < 2; i++)
                r[i] = Element<TKind, TOrder, TFormat>(x[i], y[i], z[i], (i & 1) != 0, mxcsr, ref flags);
        }
        else
        {
            uint* x = (uint*)&one, y = (uint*)&two, z = (uint*)&three, r = (uint*)&result;
            for (int i = 0; i < 4; i++)
                r[i] = (uint)Element<TKind, TOrder, TFormat>(x[i], y[i], z[i], (i & 1) != 0, mxcsr, ref flags);
        }
        return result;
    }

    private static bool RunScalar<TKind, TOrder, TFormat>(Cpu* cpu, Op* op)
        where TKind : struct, IFusedKind
        where TOrder : struct, IFusedOrder
        where TFormat : struct, IBinaryFormat
    {
        ulong third;
        if (!Xmm.VexReady(cpu) || !FloatForms.LoadScalar<TFormat>(cpu, op, &third))
            return false;
        uint flags = 0;
        ulong result = Element<TKind, TOrder, TFormat>(
            FloatForms.Lowest<TFormat>(cpu, op->Reg), FloatForms.Lowest<TFormat>(cpu, op->V), third, false, cpu->Mxcsr, ref flags);
        if (flags != 0 && !FloatForms.Commit(cpu, flags))
            return false;
        FloatForms.SetLowest<TFormat>(cpu, op->Reg, result);
        *Xmm.High(cpu, op->Reg) = Vector128<byte>.Zero;
        return true;
    }

    private static bool RunPacked128<TKind, TOrder, TFormat>(Cpu* cpu, Op* op)
        where TKind : struct, IFusedKind
        where TOrder : struct, IFusedOrder
        where TFormat : struct, IBinaryFormat
    {
        Vector128<byte> third;
        if (!Xmm.VexReady(cpu) || !Xmm.Load128Unaligned(cpu, op, &third))
            return false;
        uint flags = 0;
        Vector128<byte> result = Elements<TKind, TOrder, TFormat>(*Xmm.Low(cpu, op->Reg), *Xmm.Low(cpu, op->V), third, cpu->Mxcsr, ref flags);
        if (!FloatForms.Commit(cpu, flags))
            return false;
        Xmm.StoreVex128(cpu, op->Reg, result);
        return true;
    }

    private static bool RunPacked256<TKind, TOrder, TFormat>(Cpu* cpu, Op* op)
        where TKind : struct, IFusedKind
        where TOrder : struct, IFusedOrder
        where TFormat : struct, IBinaryFormat
    {
        Vector128<byte> low, high;
        if (!Xmm.VexReady(cpu) || !Xmm.Load256(cpu, op, &low, &high))
            return false;
        uint flags = 0;
        low = Elements<TKind, TOrder, TFormat>(*Xmm.Low(cpu, op->Reg), *Xmm.Low(cpu, op->V), low, cpu->Mxcsr, ref flags);
        high = Elements<TKind, TOrder, TFormat>(*Xmm.High(cpu, op->Reg), *Xmm.High(cpu, op->V), high, cpu->Mxcsr, ref flags);
        if (!FloatForms.Commit(cpu, flags))
            return false;
        *Xmm.Low(cpu, op->Reg) = low;
        *Xmm.High(cpu, op->Reg) = high;
        return true;
    }
}
