// Invariants: as in Xmm.cs; pointers to locals do not outlive the call.
using System.Runtime.Intrinsics;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

/// <summary>PMOVSXxx and PMOVZXxx: the low elements widened.</summary>
internal interface IExtend
{
    /// <summary>Source bytes for a 128-bit result: 2, 4 or 8.</summary>
    static abstract int SourceSize { get; }

    /// <summary>The widened low elements.</summary>
    static abstract Vector128<byte> Apply(Vector128<byte> a);
}

internal readonly struct SignBytesToWords : IExtend
{
    public static int SourceSize => 8;

    public static Vector128<byte> Apply(Vector128<byte> a) => Vector128.WidenLower(a.AsSByte()).AsByte();
}

internal readonly struct SignBytesToDoublewords : IExtend
{
    public static int SourceSize => 4;

    public static Vector128<byte> Apply(Vector128<byte> a) => Vector128.WidenLower(Vector128.WidenLower(a.AsSByte())).AsByte();
}

internal readonly struct SignBytesToQuadwords : IExtend
{
    public static int SourceSize => 2;

    public static Vector128<byte> Apply(Vector128<byte> a) => Vector128.WidenLower(Vector128.WidenLower(Vector128.WidenLower(a.AsSByte()))).AsByte();
}

internal readonly struct SignWordsToDoublewords : IExtend
{
    public static int SourceSize => 8;

    public static Vector128<byte> Apply(Vector128<byte> a) => Vector128.WidenLower(a.AsInt16()).AsByte();
}

internal readonly struct SignWordsToQuadwords : IExtend
{
    public static int SourceSize => 4;

    public static Vector128<byte> Apply(Vector128<byte> a) => Vector128.WidenLower(Vector128.WidenLower(a.AsInt16())).AsByte();
}

internal readonly struct SignDoublewordsToQuadwords : IExtend
{
    public static int SourceSize => 8;

    public static Vector128<byte> Apply(Vector128<byte> a) => Vector128.WidenLower(a.AsInt32()).AsByte();
}

internal readonly struct ZeroBytesToWords : IExtend
{
    public static int SourceSize => 8;

    public static Vector128<byte> Apply(Vector128<byte> a) => Vector128.WidenLower(a).AsByte();
}

internal readonly struct ZeroBytesToDoublewords : IExtend
{
    public static int SourceSize => 4;

    public static Vector128<byte> Apply(Vector128<byte> a) => Vector128.WidenLower(Vector128.WidenLower(a)).AsByte();
}

internal readonly struct ZeroBytesToQuadwords : IExtend
{
    public static int SourceSize => 2;

    public static Vector128<byte> Apply(Vector128<byte> a) => Vector128.WidenLower(Vector128.WidenLower(Vector128.WidenLower(a))).AsByte();
}

internal readonly struct ZeroWordsToDoublewords : IExtend
{
    public static int SourceSize => 8;

    public static Vector128<byte> Apply(Vector128<byte> a) => Vector128.WidenLower(a.AsUInt16()).AsByte();
}

internal readonly struct ZeroWordsToQuadwords : IExtend
{
    public static int SourceSize => 4;

    public static Vector128<byte> Apply(Vector128<byte> a) => Vector128.WidenLower(Vector128.WidenLower(a.AsUInt16())).AsByte();
}

internal readonly struct ZeroDoublewordsToQuadwords : IExtend
{
    public static int SourceSize => 8;

    public static Vector128<byte> Apply(Vector128<byte> a) => Vector128.WidenLower(a.AsUInt32()).AsByte();
}

/// <summary>Encodings of widening moves.</summary>
internal static unsafe class ExtendForms
{
    public static nint Sse<T>() where T : struct, IExtend => (nint)(delegate*<Cpu*, Op*, bool>)&RunSse<T>;

    public static nint Vex128<T>() where T : struct, IExtend => (nint)(delegate*<Cpu*, Op*, bool>)&RunVex128<T>;

    public static nint Vex256<T>() where T : struct, IExtend => (nint)(delegate*<Cpu*, Op*, bool>)&RunVex256<T>;

    private static bool Load(Cpu* cpu, Op* op, int size, Vector128<byte>* value)
    {
        *value = default;
        return size switch
        {
            2 => Xmm.Load16(cpu, op, (ushort*)value),
            4 => Xmm.Load32(cpu, op, (uint*)value),
            8 => Xmm.Load64(cpu, op, (ulong*)value),
            _ => Xmm.Load128Unaligned(cpu, op, value),
        };
    }

    private static bool RunSse<T>(Cpu* cpu, Op* op) where T : struct, IExtend
    {
        Vector128<byte> source;
        if (!Xmm.Ready(cpu) || !Load(cpu, op, T.SourceSize, &source))
            return false;
        *Xmm.Low(cpu, op->Reg) = T.Apply(source);
        return true;
    }

    private static bool RunVex128<T>(Cpu* cpu, Op* op) where T : struct, IExtend
    {
        Vector128<byte> source;
        if (!Xmm.VexReady(cpu) || !Load(cpu, op, T.SourceSize, &source))
            return false;
        Xmm.StoreVex128(cpu, op->Reg, T.Apply(source));
        return true;
    }

    private static bool RunVex256<T>(Cpu* cpu, Op* op) where T : struct, IExtend
    {
        Vector128<byte> source;
        if (!Xmm.VexReady(cpu) || !Load(cpu, op, 2 * T.SourceSize, &source))
            return false;
        *Xmm.Low(cpu, op->Reg) = T.Apply(source);
        *Xmm.High(cpu, op->Reg) = T.Apply(ByteShift.Right(source, Vector128<byte>.Zero, T.SourceSize));
        return true;
    }
}
