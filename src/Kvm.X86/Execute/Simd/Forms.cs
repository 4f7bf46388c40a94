// Invariants: as in Xmm.cs; pointers to locals do not outlive the call.
using System.Runtime.Intrinsics;
using Kvm.X86.Decode;
using Kvm.X86.Execute.Fpu;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

/// <summary>An operation on two 128-bit values, lane by lane in 128 bits: the same for every encoding.</summary>
internal interface IBinary
{
    static abstract Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b);
}

/// <summary>An operation on one 128-bit value.</summary>
internal interface IUnary
{
    static abstract Vector128<byte> Apply(Vector128<byte> a);
}

/// <summary>An operation on two values with an immediate byte. The immediate is as encoded.</summary>
internal interface IImmediateBinary
{
    static abstract Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b, int imm);
}

/// <summary>An operation on one value with an immediate byte.</summary>
internal interface IImmediateUnary
{
    static abstract Vector128<byte> Apply(Vector128<byte> a, int imm);
}

/// <summary>An operation on two 64-bit MMX values whose layout differs from that of its 128-bit namesake.</summary>
internal interface IMmxBinary
{
    static abstract ulong Apply(ulong a, ulong b);
}

/// <summary>
/// The encodings of an operation as helpers: legacy SSE (destination is the first source, memory aligned), MMX, VEX.128 and VEX.256.
/// </summary>
internal static unsafe class Forms
{
    public static nint Sse<T>() where T : struct, IBinary => (nint)(delegate*<Cpu*, Op*, bool>)&RunSse<T>;

    public static nint Mmx<T>() where T : struct, IBinary => (nint)(delegate*<Cpu*, Op*, bool>)&RunMmx<T>;

    public static nint Mmx64<T>() where T : struct, IMmxBinary => (nint)(delegate*<Cpu*, Op*, bool>)&RunMmx64<T>;

    public static nint Vex128<T>() where T : struct, IBinary => (nint)(delegate*<Cpu*, Op*, bool>)&RunVex128<T>;

    public static nint Vex256<T>() where T : struct, IBinary => (nint)(delegate*<Cpu*, Op*, bool>)&RunVex256<T>;

    public static nint SseUnary<T>() where T : struct, IUnary => (nint)(delegate*<Cpu*, Op*, bool>)&RunSseUnary<T>;

    public static nint MmxUnary<T>() where T : struct, IUnary => (nint)(delegate*<Cpu*, Op*, bool>)&RunMmxUnary<T>;

    public static nint Vex128Unary<T>() where T : struct, IUnary => (nint)(delegate*<Cpu*, Op*, bool>)&RunVex128Unary<T>;

    public static nint Vex256Unary<T>() where T : struct, IUnary => (nint)(delegate*<Cpu*, Op*, bool>)&RunVex256Unary<T>;

    public static nint SseImmediate<T>() where T : struct, IImmediateBinary => (nint)(delegate*<Cpu*, Op*, bool>)&RunSseImmediate<T>;

    public static nint Vex128Immediate<T>() where T : struct, IImmediateBinary => (nint)(delegate*<Cpu*, Op*, bool>)&RunVex128Immediate<T>;

    public static nint Vex256Immediate<T>() where T : struct, IImmediateBinary => (nint)(delegate*<Cpu*, Op*, bool>)&RunVex256Immediate<T>;

    public static nint SseImmediateUnary<T>() where T : struct, IImmediateUnary => (nint)(delegate*<Cpu*, Op*, bool>)&RunSseImmediateUnary<T>;

    public static nint Vex128ImmediateUnary<T>() where T : struct, IImmediateUnary => (nint)(delegate*<Cpu*, Op*, bool>)&RunVex128ImmediateUnary<T>;

    public static nint Vex256ImmediateUnary<T>() where T : struct, IImmediateUnary => (nint)(delegate*<Cpu*, Op*, bool>)&RunVex256ImmediateUnary<T>;

    private static bool RunSse<T>(Cpu* cpu, Op* op) where T : struct, IBinary
    {
        Vector128<byte> source;
        if (!Xmm.Ready(cpu) || !Xmm.Load128(cpu, op, &source))
            return false;
        Vector128<byte>* destination = Xmm.Low(cpu, op->Reg);
        *destination = T.Apply(*destination, source);
        return true;
    }

    private static bool RunMmx<T>(Cpu* cpu, Op* op) where T : struct, IBinary
    {
        ulong source;
        if (!MmxState.Ready(cpu) || !MmxState.Load64(cpu, op, &source))
            return false;
        ulong destination = cpu->X87[op->Reg].Significand;
        Vector128<byte> result = T.Apply(Vector128.CreateScalar(destination).AsByte(), Vector128.CreateScalar(source).AsByte());
        MmxState.Write(cpu, op->Reg, result.AsUInt64().ToScalar());
        return true;
    }

    private static bool RunMmx64<T>(Cpu* cpu, Op* op) where T : struct, IMmxBinary
    {
        ulong source;
        if (!MmxState.Ready(cpu) || !MmxState.Load64(cpu, op, &source))
            return false;
        MmxState.Write(cpu, op->Reg, T.Apply(cpu->X87[op->Reg].Significand, source));
        return true;
    }

    private static bool RunVex128<T>(Cpu* cpu, Op* op) where T : struct, IBinary
    {
        Vector128<byte> source;
        if (!Xmm.VexReady(cpu) || !Xmm.Load128Unaligned(cpu, op, &source))
            return false;
        Xmm.StoreVex128(cpu, op->Reg, T.Apply(*Xmm.Low(cpu, op->V), source));
        return true;
    }

    private static bool RunVex256<T>(Cpu* cpu, Op* op) where T : struct, IBinary
    {
        Vector128<byte> low, high;
        if (!Xmm.VexReady(cpu) || !Xmm.Load256(cpu, op, &low, &high))
            return false;
        *Xmm.Low(cpu, op->Reg) = T.Apply(*Xmm.Low(cpu, op->V), low);
        *Xmm.High(cpu, op->Reg) = T.Apply(*Xmm.High(cpu, op->V), high);
        return true;
    }

    private static bool RunSseUnary<T>(Cpu* cpu, Op* op) where T : struct, IUnary
    {
        Vector128<byte> source;
        if (!Xmm.Ready(cpu) || !Xmm.Load128(cpu, op, &source))
            return false;
        *Xmm.Low(cpu, op->Reg) = T.Apply(source);
        return true;
    }

    private static bool RunMmxUnary<T>(Cpu* cpu, Op* op) where T : struct, IUnary
    {
        ulong source;
        if (!MmxState.Ready(cpu) || !MmxState.Load64(cpu, op, &source))
            return false;
        MmxState.Write(cpu, op->Reg, T.Apply(Vector128.CreateScalar(source).AsByte()).AsUInt64().ToScalar());
        return true;
    }

    private static bool RunVex128Unary<T>(Cpu* cpu, Op* op) where T : struct, IUnary
    {
        Vector128<byte> source;
        if (!Xmm.VexReady(cpu) || !Xmm.Load128Unaligned(cpu, op, &source))
            return false;
        Xmm.StoreVex128(cpu, op->Reg, T.Apply(source));
        return true;
    }

    private static bool RunVex256Unary<T>(Cpu* cpu, Op* op) where T : struct, IUnary
    {
        Vector128<byte> low, high;
        if (!Xmm.VexReady(cpu) || !Xmm.Load256(cpu, op, &low, &high))
            return false;
        *Xmm.Low(cpu, op->Reg) = T.Apply(low);
        *Xmm.High(cpu, op->Reg) = T.Apply(high);
        return true;
    }

    private static bool RunSseImmediate<T>(Cpu* cpu, Op* op) where T : struct, IImmediateBinary
    {
        Vector128<byte> source;
        if (!Xmm.Ready(cpu) || !Xmm.Load128(cpu, op, &source))
            return false;
        Vector128<byte>* destination = Xmm.Low(cpu, op->Reg);
        *destination = T.Apply(*destination, source, op->Imm8);
        return true;
    }

    private static bool RunVex128Immediate<T>(Cpu* cpu, Op* op) where T : struct, IImmediateBinary
    {
        Vector128<byte> source;
        if (!Xmm.VexReady(cpu) || !Xmm.Load128Unaligned(cpu, op, &source))
            return false;
        Xmm.StoreVex128(cpu, op->Reg, T.Apply(*Xmm.Low(cpu, op->V), source, op->Imm8));
        return true;
    }

    private static bool RunVex256Immediate<T>(Cpu* cpu, Op* op) where T : struct, IImmediateBinary
    {
        Vector128<byte> low, high;
        if (!Xmm.VexReady(cpu) || !Xmm.Load256(cpu, op, &low, &high))
            return false;
        *Xmm.Low(cpu, op->Reg) = T.Apply(*Xmm.Low(cpu, op->V), low, op->Imm8);
        *Xmm.High(cpu, op->Reg) = T.Apply(*Xmm.High(cpu, op->V), high, op->Imm8);
        return true;
    }

    private static bool RunSseImmediateUnary<T>(Cpu* cpu, Op* op) where T : struct, IImmediateUnary
    {
        Vector128<byte> source;
        if (!Xmm.Ready(cpu) || !Xmm.Load128(cpu, op, &source))
            return false;
        *Xmm.Low(cpu, op->Reg) = T.Apply(source, op->Imm8);
        return true;
    }

    private static bool RunVex128ImmediateUnary<T>(Cpu* cpu, Op* op) where T : struct, IImmediateUnary
    {
        Vector128<byte> source;
        if (!Xmm.VexReady(cpu) || !Xmm.Load128Unaligned(cpu, op, &source))
            return false;
        Xmm.StoreVex128(cpu, op->Reg, T.Apply(source, op->Imm8));
        return true;
    }

    private static bool RunVex256ImmediateUnary<T>(Cpu* cpu, Op* op) where T : struct, IImmediateUnary
    {
        Vector128<byte> low, high;
        if (!Xmm.VexReady(cpu) || !Xmm.Load256(cpu, op, &low, &high))
            return false;
        *Xmm.Low(cpu, op->Reg) = T.Apply(low, op->Imm8);
        *Xmm.High(cpu, op->Reg) = T.Apply(high, op->Imm8);
        return true;
    }
}
