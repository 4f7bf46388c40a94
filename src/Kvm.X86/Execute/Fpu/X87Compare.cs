// Invariants: as in X87.cs; an Op's Rm is the number of ST(i), 0-7, or memory.
using Kvm.X86.Decode;
using Kvm.X86.Execute.Simd;
using Kvm.X86.Float;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Fpu;

/// <summary>FCOM, FUCOM, FCOMI, FTST, FXAM. An unmasked exception keeps the stack as it is, not the answer.</summary>
internal static unsafe class X87Compare
{
    /// <summary>FCOM, FICOM with memory; <paramref name="pop"/> for the P forms.</summary>
    public static nint Memory<TSource>(bool pop) where TSource : struct, IX87Source => pop
        ? (nint)(delegate*<Cpu*, Op*, bool>)&MemoryPop<TSource> : (nint)(delegate*<Cpu*, Op*, bool>)&MemoryKeep<TSource>;

    private static bool MemoryKeep<TSource>(Cpu* cpu, Op* op) where TSource : struct, IX87Source => RunMemory<TSource>(cpu, op, 0);

    private static bool MemoryPop<TSource>(Cpu* cpu, Op* op) where TSource : struct, IX87Source => RunMemory<TSource>(cpu, op, 1);

    private static bool RunMemory<TSource>(Cpu* cpu, Op* op, int pops) where TSource : struct, IX87Source
    {
        if (!X87.Ready(cpu) || !TSource.TryLoad(cpu, op, out Float80 source, out bool denormal))
            return false;
        FloatEnvironment environment = FloatEnvironment.FromControlWord(cpu->X87Control);
        FloatOrder order = FloatOrder.Unordered;
        if (X87.IsEmpty(cpu, 0))
            environment.Flags = X87.Underflow;
        else
            order = Float80Arithmetic.Compare(X87.Get(cpu, 0), source, signalQuiet: true, denormal, ref environment);
        Finish(cpu, op, environment.Flags, order, pops);
        return true;
    }

    public static bool Ordered(Cpu* cpu, Op* op) => Register(cpu, op, op->Rm, signalQuiet: true, 0);

    public static bool OrderedPop(Cpu* cpu, Op* op) => Register(cpu, op, op->Rm, signalQuiet: true, 1);

    /// <summary>FCOMPP compares with ST(1).</summary>
    public static bool OrderedPopTwice(Cpu* cpu, Op* op) => Register(cpu, op, 1, signalQuiet: true, 2);

    public static bool Unordered(Cpu* cpu, Op* op) => Register(cpu, op, op->Rm, signalQuiet: false, 0);

    public static bool UnorderedPop(Cpu* cpu, Op* op) => Register(cpu, op, op->Rm, signalQuiet: false, 1);

    public static bool UnorderedPopTwice(Cpu* cpu, Op* op) => Register(cpu, op, 1, signalQuiet: false, 2);

    private static bool Register(Cpu* cpu, Op* op, int other, bool signalQuiet, int pops)
    {
        if (!X87.Ready(cpu))
            return false;
        FloatOrder order = Compare(cpu, other, signalQuiet, out uint flags);
        Finish(cpu, op, flags, order, pops);
        return true;
    }

    private static FloatOrder Compare(Cpu* cpu, int other, bool signalQuiet, out uint flags)
    {
        flags = X87.Underflow;
        if (X87.IsEmpty(cpu, 0) || X87.IsEmpty(cpu, other))
            return FloatOrder.Unordered;
        FloatEnvironment environment = FloatEnvironment.FromControlWord(cpu->X87Control);
        FloatOrder order = Float80Arithmetic.Compare(X87.Get(cpu, 0), X87.Get(cpu, other), signalQuiet, false, ref environment);
        flags = environment.Flags;
        return order;
    }

    private static void Finish(Cpu* cpu, Op* op, uint flags, FloatOrder order, int pops)
    {
        X87.Commit(cpu, op, flags);
        X87.SetConditions(cpu, order switch
        {
            FloatOrder.Less => X87.C0,
            FloatOrder.Equal => X87.C3,
            FloatOrder.Greater => 0u,
            _ => (uint)(X87.C0 | X87.C2 | X87.C3),
        });
        if (!X87.MayWrite(cpu, flags))
            return;
        for (; pops > 0; pops--)
            X87.Pop(cpu);
    }

    public static bool OrderedFlags(Cpu* cpu, Op* op) => ToFlags(cpu, op, signalQuiet: true, pop: false);

    public static bool OrderedFlagsPop(Cpu* cpu, Op* op) => ToFlags(cpu, op, signalQuiet: true, pop: true);

    public static bool UnorderedFlags(Cpu* cpu, Op* op) => ToFlags(cpu, op, signalQuiet: false, pop: false);

    public static bool UnorderedFlagsPop(Cpu* cpu, Op* op) => ToFlags(cpu, op, signalQuiet: false, pop: true);

    private static bool ToFlags(Cpu* cpu, Op* op, bool signalQuiet, bool pop)
    {
        if (!X87.Ready(cpu))
            return false;
        FloatOrder order = Compare(cpu, op->Rm, signalQuiet, out uint flags);
        X87.Commit(cpu, op, flags);
        FloatCompareHelpers.SetFlags(cpu, FloatCompareHelpers.FlagsOf(order));
        if (pop && X87.MayWrite(cpu, flags))
            X87.Pop(cpu);
        return true;
    }

    public static bool Test(Cpu* cpu, Op* op)
    {
        if (!X87.Ready(cpu))
            return false;
        FloatEnvironment environment = FloatEnvironment.FromControlWord(cpu->X87Control);
        FloatOrder order = FloatOrder.Unordered;
        if (X87.IsEmpty(cpu, 0))
            environment.Flags = X87.Underflow;
        else
            order = Float80Arithmetic.Compare(X87.Get(cpu, 0), default, signalQuiet: true, false, ref environment);
        Finish(cpu, op, environment.Flags, order, 0);
        return true;
    }

    /// <summary>FXAM: the class in C3, C2, C0, the sign in C1, also of an empty register.</summary>
    public static bool Examine(Cpu* cpu, Op* op)
    {
        if (!X87.Ready(cpu))
            return false;
        Float80 value = X87.Get(cpu, 0);
        uint conditions = X87.IsEmpty(cpu, 0) ? (uint)(X87.C3 | X87.C0) : value.Kind switch
        {
            NumberKind.Unsupported => 0u,
            NumberKind.QuietNaN or NumberKind.SignalingNaN => X87.C0,
            NumberKind.Infinity => X87.C2 | X87.C0,
            NumberKind.Zero => X87.C3,
            _ => value.IsDenormal ? (uint)(X87.C3 | X87.C2) : X87.C2,
        };
        X87.Commit(cpu, op, value.Negative ? (uint)X87.C1 : 0);
        X87.SetConditions(cpu, conditions);
        return true;
    }
}
