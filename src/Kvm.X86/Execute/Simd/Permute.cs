// Invariants: as in Xmm.cs; pointers to locals do not outlive the call.
using System.Runtime.Intrinsics;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

// Shuffles and blends of SSE and SSE4.1 whose control is an immediate or XMM0 (SDM vol. 2, SHUFPS, BLENDPS, PBLENDVB …).

internal readonly struct ShuffleSingles : IImmediateBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b, int imm)
    {
        Vector128<uint> x = a.AsUInt32(), y = b.AsUInt32();
        return Vector128.Create(x[imm & 3], x[(imm >> 2) & 3], y[(imm >> 4) & 3], y[(imm >> 6) & 3]).AsByte();
    }
}

/// <summary>SHUFPD of one 128-bit lane; the upper lane of VEX.256 uses the next two bits, see <see cref="PermuteForms"/>.</summary>
internal readonly struct ShuffleDoubles : IImmediateBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b, int imm) =>
        Interleave.Join(a.AsUInt64()[imm & 1], b.AsUInt64()[(imm >> 1) & 1]);
}

internal readonly struct BlendSingles : IImmediateBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b, int imm)
    {
        Vector128<uint> bits = Vector128.Create(1u, 2, 4, 8);
        Vector128<uint> mask = Vector128.Equals(Vector128.Create((uint)imm) & bits, bits);
        return Vector128.ConditionalSelect(mask.AsByte(), b, a);
    }
}

internal readonly struct BlendDoubles : IImmediateBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b, int imm)
    {
        Vector128<ulong> bits = Vector128.Create(1UL, 2);
        Vector128<ulong> mask = Vector128.Equals(Vector128.Create((ulong)imm) & bits, bits);
        return Vector128.ConditionalSelect(mask.AsByte(), b, a);
    }
}

internal readonly struct BlendWords : IImmediateBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b, int imm)
    {
        Vector128<ushort> bits = Vector128.Create((ushort)1, 2, 4, 8, 16, 32, 64, 128);
        Vector128<ushort> mask = Vector128.Equals(Vector128.Create((ushort)imm) & bits, bits);
        return Vector128.ConditionalSelect(mask.AsByte(), b, a);
    }
}

/// <summary>A choice between two values by the top bits of a third.</summary>
internal interface IBlend
{
    static abstract Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b, Vector128<byte> mask);
}

internal readonly struct VariableBlendBytes : IBlend
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b, Vector128<byte> mask) =>
        Vector128.ConditionalSelect(Vector128.LessThan(mask.AsSByte(), Vector128<sbyte>.Zero).AsByte(), b, a);
}

internal readonly struct VariableBlendSingles : IBlend
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b, Vector128<byte> mask) =>
        Vector128.ConditionalSelect(Vector128.LessThan(mask.AsInt32(), Vector128<int>.Zero).AsByte(), b, a);
}

internal readonly struct VariableBlendDoubles : IBlend
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b, Vector128<byte> mask) =>
        Vector128.ConditionalSelect(Vector128.LessThan(mask.AsInt64(), Vector128<long>.Zero).AsByte(), b, a);
}

/// <summary>Encodings of blends by mask, and of operations whose 256-bit form gives each lane other bits of the immediate.</summary>
internal static unsafe class PermuteForms
{
    /// <summary>The mask is XMM0.</summary>
    public static nint SseBlend<T>() where T : struct, IBlend => (nint)(delegate*<Cpu*, Op*, bool>)&RunSseBlend<T>;

    /// <summary>The mask is the register in the immediate's high nibble.</summary>
    public static nint Vex128Blend<T>() where T : struct, IBlend => (nint)(delegate*<Cpu*, Op*, bool>)&RunVex128Blend<T>;

    public static nint Vex256Blend<T>() where T : struct, IBlend => (nint)(delegate*<Cpu*, Op*, bool>)&RunVex256Blend<T>;

    /// <summary>VSHUFPD: the upper lane uses bits 3:2.</summary>
    public static nint Vex256By2<T>() where T : struct, IImmediateBinary => (nint)(delegate*<Cpu*, Op*, bool>)&RunVex256By2<T>;

    /// <summary>VBLENDPS: the upper lane uses bits 7:4.</summary>
    public static nint Vex256By4<T>() where T : struct, IImmediateBinary => (nint)(delegate*<Cpu*, Op*, bool>)&RunVex256By4<T>;

    /// <summary>VMPSADBW: the upper lane uses bits 5:3.</summary>
    public static nint Vex256By3<T>() where T : struct, IImmediateBinary => (nint)(delegate*<Cpu*, Op*, bool>)&RunVex256By3<T>;

    private static bool RunSseBlend<T>(Cpu* cpu, Op* op) where T : struct, IBlend
    {
        Vector128<byte> source;
        if (!Xmm.Ready(cpu) || !Xmm.Load128(cpu, op, &source))
            return false;
        *Xmm.Low(cpu, op->Reg) = T.Apply(*Xmm.Low(cpu, op->Reg), source, *Xmm.Low(cpu, 0));
        return true;
    }

    private static bool RunVex128Blend<T>(Cpu* cpu, Op* op) where T : struct, IBlend
    {
        Vector128<byte> source;
        if (!Xmm.VexReady(cpu) || !Xmm.Load128Unaligned(cpu, op, &source))
            return false;
        Xmm.StoreVex128(cpu, op->Reg, T.Apply(*Xmm.Low(cpu, op->V), source, *Xmm.Low(cpu, op->Imm8 >> 4)));
        return true;
    }

    private static bool RunVex256Blend<T>(Cpu* cpu, Op* op) where T : struct, IBlend
    {
        Vector128<byte> low, high;
        if (!Xmm.VexReady(cpu) || !Xmm.Load256(cpu, op, &low, &high))
            return false;
        int mask = op->Imm8 >> 4;
        low = T.Apply(*Xmm.Low(cpu, op->V), low, *Xmm.Low(cpu, mask));
        high = T.Apply(*Xmm.High(cpu, op->V), high, *Xmm.High(cpu, mask));
        *Xmm.Low(cpu, op->Reg) = low;
        *Xmm.High(cpu, op->Reg) = high;
        return true;
    }

    private static bool RunVex256By2<T>(Cpu* cpu, Op* op) where T : struct, IImmediateBinary => Run256<T>(cpu, op, 2);

    private static bool RunVex256By3<T>(Cpu* cpu, Op* op) where T : struct, IImmediateBinary => Run256<T>(cpu, op, 3);

    private static bool RunVex256By4<T>(Cpu* cpu, Op* op) where T : struct, IImmediateBinary => Run256<T>(cpu, op, 4);

    private static bool Run256<T>(Cpu* cpu, Op* op, int shift) where T : struct, IImmediateBinary
    {
        Vector128<byte> low, high;
        if (!Xmm.VexReady(cpu) || !Xmm.Load256(cpu, op, &low, &high))
            return false;
        low = T.Apply(*Xmm.Low(cpu, op->V), low, op->Imm8);
        high = T.Apply(*Xmm.High(cpu, op->V), high, op->Imm8 >> shift);
        *Xmm.Low(cpu, op->Reg) = low;
        *Xmm.High(cpu, op->Reg) = high;
        return true;
    }
}
