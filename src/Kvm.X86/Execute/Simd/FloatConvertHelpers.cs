// Invariants: as in Xmm.cs; pointers to locals do not outlive the call.
using System.Runtime.Intrinsics;
using Kvm.X86.Decode;
using Kvm.X86.Execute.Fpu;
using Kvm.X86.Float;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

/// <summary>A packed conversion: from the source's low bits to 128 bits.</summary>
internal interface IConvert
{
    /// <summary>Bytes of the source: 8 or 16.</summary>
    static abstract int SourceSize { get; }

    /// <summary>The 128-bit result; elements beyond the last are zero.</summary>
    static abstract Vector128<byte> Apply(Vector128<byte> source, uint mxcsr, ref uint flags);
}

internal readonly struct SinglesToDoubles : IConvert
{
    public static int SourceSize => 8;

    public static Vector128<byte> Apply(Vector128<byte> source, uint mxcsr, ref uint flags)
    {
        Vector128<uint> s = source.AsUInt32();
        return Interleave.Join(ConvertElement.Widen(s[0], mxcsr, ref flags), ConvertElement.Widen(s[1], mxcsr, ref flags));
    }
}

internal readonly struct DoublesToSingles : IConvert
{
    public static int SourceSize => 16;

    public static Vector128<byte> Apply(Vector128<byte> source, uint mxcsr, ref uint flags)
    {
        Vector128<ulong> s = source.AsUInt64();
        return Interleave.Join(ConvertElement.Narrow(s[0], mxcsr, ref flags) | (ConvertElement.Narrow(s[1], mxcsr, ref flags) << 32), 0);
    }
}

internal readonly struct IntegersToSingles : IConvert
{
    public static int SourceSize => 16;

    public static Vector128<byte> Apply(Vector128<byte> source, uint mxcsr, ref uint flags)
    {
        Vector128<int> s = source.AsInt32();
        return Vector128.Create(
            (uint)ConvertElement.FromInteger<SingleFormat>(s[0], mxcsr, ref flags), (uint)ConvertElement.FromInteger<SingleFormat>(s[1], mxcsr, ref flags),
            (uint)ConvertElement.FromInteger<SingleFormat>(s[2], mxcsr, ref flags), (uint)ConvertElement.FromInteger<SingleFormat>(s[3], mxcsr, ref flags)).AsByte();
    }
}

internal readonly struct IntegersToDoubles : IConvert
{
    public static int SourceSize => 8;

    public static Vector128<byte> Apply(Vector128<byte> source, uint mxcsr, ref uint flags)
    {
        Vector128<int> s = source.AsInt32();
        return Vector128.Create((double)s[0], s[1]).AsByte();
    }
}

internal readonly struct SinglesToIntegers : IConvert
{
    public static int SourceSize => 16;

    public static Vector128<byte> Apply(Vector128<byte> source, uint mxcsr, ref uint flags) => Convert(source, false, mxcsr, ref flags);

    public static Vector128<byte> Convert(Vector128<byte> source, bool truncate, uint mxcsr, ref uint flags)
    {
        Vector128<uint> s = source.AsUInt32();
        return Vector128.Create(
            (uint)ConvertElement.ToInteger<SingleFormat>(s[0], 32, truncate, mxcsr, ref flags), (uint)ConvertElement.ToInteger<SingleFormat>(s[1], 32, truncate, mxcsr, ref flags),
            (uint)ConvertElement.ToInteger<SingleFormat>(s[2], 32, truncate, mxcsr, ref flags), (uint)ConvertElement.ToInteger<SingleFormat>(s[3], 32, truncate, mxcsr, ref flags)).AsByte();
    }
}

internal readonly struct SinglesToIntegersTruncated : IConvert
{
    public static int SourceSize => 16;

    public static Vector128<byte> Apply(Vector128<byte> source, uint mxcsr, ref uint flags) => SinglesToIntegers.Convert(source, true, mxcsr, ref flags);
}

internal readonly struct DoublesToIntegers : IConvert
{
    public static int SourceSize => 16;

    public static Vector128<byte> Apply(Vector128<byte> source, uint mxcsr, ref uint flags) => Convert(source, false, mxcsr, ref flags);

    public static Vector128<byte> Convert(Vector128<byte> source, bool truncate, uint mxcsr, ref uint flags)
    {
        Vector128<ulong> s = source.AsUInt64();
        uint low = (uint)ConvertElement.ToInteger<DoubleFormat>(s[0], 32, truncate, mxcsr, ref flags);
        uint high = (uint)ConvertElement.ToInteger<DoubleFormat>(s[1], 32, truncate, mxcsr, ref flags);
        return Interleave.Join(low | ((ulong)high << 32), 0);
    }
}

internal readonly struct DoublesToIntegersTruncated : IConvert
{
    public static int SourceSize => 16;

    public static Vector128<byte> Apply(Vector128<byte> source, uint mxcsr, ref uint flags) => DoublesToIntegers.Convert(source, true, mxcsr, ref flags);
}

/// <summary>Encodings of conversions.</summary>
internal static unsafe class FloatConvertHelpers
{
    public static nint Sse<T>() where T : struct, IConvert => (nint)(delegate*<Cpu*, Op*, bool>)&RunSse<T>;

    public static nint Vex128<T>() where T : struct, IConvert => (nint)(delegate*<Cpu*, Op*, bool>)&RunVex128<T>;

    /// <summary>VEX.256: 256 bits to 256, 128 to 256 or 256 to 128, by the element sizes.</summary>
    public static nint Vex256<T>() where T : struct, IConvert => (nint)(delegate*<Cpu*, Op*, bool>)&RunVex256<T>;

    /// <summary>256 bits of doubles to 128 bits of singles or integers.</summary>
    public static nint Vex256Narrow<T>() where T : struct, IConvert => (nint)(delegate*<Cpu*, Op*, bool>)&RunVex256Narrow<T>;

    private static bool RunSse<T>(Cpu* cpu, Op* op) where T : struct, IConvert
    {
        Vector128<byte> source = default;
        if (!Xmm.Ready(cpu) || !(T.SourceSize == 16 ? Xmm.Load128(cpu, op, &source) : Xmm.Load64(cpu, op, (ulong*)&source)))
            return false;
        uint flags = 0;
        Vector128<byte> result = T.Apply(source, cpu->Mxcsr, ref flags);
        if (!FloatForms.Commit(cpu, flags))
            return false;
        *Xmm.Low(cpu, op->Reg) = result;
        return true;
    }

    private static bool RunVex128<T>(Cpu* cpu, Op* op) where T : struct, IConvert
    {
        Vector128<byte> source = default;
        if (!Xmm.VexReady(cpu) || !(T.SourceSize == 16 ? Xmm.Load128Unaligned(cpu, op, &source) : Xmm.Load64(cpu, op, (ulong*)&source)))
            return false;
        uint flags = 0;
        Vector128<byte> result = T.Apply(source, cpu->Mxcsr, ref flags);
        if (!FloatForms.Commit(cpu, flags))
            return false;
        Xmm.StoreVex128(cpu, op->Reg, result);
        return true;
    }

    private static bool RunVex256<T>(Cpu* cpu, Op* op) where T : struct, IConvert
    {
        Vector128<byte> low, high;
        if (!Xmm.VexReady(cpu))
            return false;
        if (T.SourceSize == 16)
        {
            if (!Xmm.Load256(cpu, op, &low, &high))
                return false;
        }
        else
        {
            if (!Xmm.Load128Unaligned(cpu, op, &low))
                return false;
            high = Vector128.CreateScalar(Interleave.HighHalf(low)).AsByte();
        }
        uint flags = 0;
        low = T.Apply(low, cpu->Mxcsr, ref flags);
        high = T.Apply(high, cpu->Mxcsr, ref flags);
        if (!FloatForms.Commit(cpu, flags))
            return false;
        *Xmm.Low(cpu, op->Reg) = low;
        *Xmm.High(cpu, op->Reg) = high;
        return true;
    }

    private static bool RunVex256Narrow<T>(Cpu* cpu, Op* op) where T : struct, IConvert
    {
        Vector128<byte> low, high;
        if (!Xmm.VexReady(cpu) || !Xmm.Load256(cpu, op, &low, &high))
            return false;
        uint flags = 0;
        low = T.Apply(low, cpu->Mxcsr, ref flags);
        high = T.Apply(high, cpu->Mxcsr, ref flags);
        if (!FloatForms.Commit(cpu, flags))
            return false;
        Xmm.StoreVex128(cpu, op->Reg, Interleave.Join(Interleave.LowHalf(low), Interleave.LowHalf(high)));
        return true;
    }

    /// <summary>CVTPI2PS, CVTPI2PD: from MMX registers; with a memory operand the x87 is left alone.</summary>
    public static bool MmxToSingles(Cpu* cpu, Op* op)
    {
        ulong source;
        bool register = op->Rm != Op.Memory;
        if (!Xmm.Ready(cpu) || (register && !MmxState.Ready(cpu)) || !MmxState.Load64(cpu, op, &source))
            return false;
        uint flags = 0;
        Vector128<byte> result = IntegersToSingles.Apply(Vector128.CreateScalar(source).AsByte(), cpu->Mxcsr, ref flags);
        if (!FloatForms.Commit(cpu, flags))
            return false;
        *(ulong*)Xmm.Low(cpu, op->Reg) = Interleave.LowHalf(result);
        if (register)
            MmxState.Enter(cpu);
        return true;
    }

    public static bool MmxToDoubles(Cpu* cpu, Op* op)
    {
        ulong source;
        bool register = op->Rm != Op.Memory;
        if (!Xmm.Ready(cpu) || (register && !MmxState.Ready(cpu)) || !MmxState.Load64(cpu, op, &source))
            return false;
        uint flags = 0;
        *Xmm.Low(cpu, op->Reg) = IntegersToDoubles.Apply(Vector128.CreateScalar(source).AsByte(), cpu->Mxcsr, ref flags);
        if (register)
            MmxState.Enter(cpu);
        return true;
    }

    /// <summary>CVTPS2PI and its like: to an MMX register.</summary>
    public static nint ToMmx<T>() where T : struct, IConvert => (nint)(delegate*<Cpu*, Op*, bool>)&RunToMmx<T>;

    /// <summary>Only the low two singles count.</summary>
    public static nint SinglesToMmx(bool truncate) =>
        truncate ? (nint)(delegate*<Cpu*, Op*, bool>)&RunSinglesToMmxTruncated : (nint)(delegate*<Cpu*, Op*, bool>)&RunSinglesToMmx;

    private static bool RunToMmx<T>(Cpu* cpu, Op* op) where T : struct, IConvert
    {
        Vector128<byte> source;
        if (!Xmm.Ready(cpu) || !MmxState.Ready(cpu) || !Xmm.Load128(cpu, op, &source))
            return false;
        return FinishMmx<T>(cpu, op, source);
    }

    private static bool RunSinglesToMmx(Cpu* cpu, Op* op)
    {
        ulong source;
        return Xmm.Ready(cpu) && MmxState.Ready(cpu) && Xmm.Load64(cpu, op, &source)
            && FinishMmx<SinglesToIntegers>(cpu, op, Vector128.CreateScalar(source).AsByte());
    }

    private static bool RunSinglesToMmxTruncated(Cpu* cpu, Op* op)
    {
        ulong source;
        return Xmm.Ready(cpu) && MmxState.Ready(cpu) && Xmm.Load64(cpu, op, &source)
            && FinishMmx<SinglesToIntegersTruncated>(cpu, op, Vector128.CreateScalar(source).AsByte());
    }

    private static bool FinishMmx<T>(Cpu* cpu, Op* op, Vector128<byte> source) where T : struct, IConvert
    {
        uint flags = 0;
        ulong result = Interleave.LowHalf(T.Apply(source, cpu->Mxcsr, ref flags));
        if (!FloatForms.Commit(cpu, flags))
            return false;
        MmxState.Write(cpu, op->Reg, result);
        return true;
    }
}
