// Invariants: as in Xmm.cs; general register numbers in an Op are 0-15 and Cpu begins with the general registers.
using Kvm.X86.Decode;
using Kvm.X86.Float;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

/// <summary>Scalar conversions: CVTSI2Sx, CVT(T)Sx2SI, CVTSS2SD, CVTSD2SS. In VEX forms the rest of the destination comes from vvvv.</summary>
internal static unsafe class ScalarConvertHelpers
{
    /// <summary>What varies: a type argument, so that each helper is one piece of code.</summary>
    internal interface IMode
    {
        static abstract bool Vex { get; }

        /// <summary>A 64-bit general register or memory operand.</summary>
        static abstract bool Wide { get; }

        static abstract bool Truncate { get; }
    }

    internal readonly struct Legacy32 : IMode
    {
        public static bool Vex => false;

        public static bool Wide => false;

        public static bool Truncate => false;
    }

    internal readonly struct Legacy64 : IMode
    {
        public static bool Vex => false;

        public static bool Wide => true;

        public static bool Truncate => false;
    }

    internal readonly struct Legacy32Truncate : IMode
    {
        public static bool Vex => false;

        public static bool Wide => false;

        public static bool Truncate => true;
    }

    internal readonly struct Legacy64Truncate : IMode
    {
        public static bool Vex => false;

        public static bool Wide => true;

        public static bool Truncate => true;
    }

    internal readonly struct Vex32 : IMode
    {
        public static bool Vex => true;

        public static bool Wide => false;

        public static bool Truncate => false;
    }

    internal readonly struct Vex64 : IMode
    {
        public static bool Vex => true;

        public static bool Wide => true;

        public static bool Truncate => false;
    }

    internal readonly struct Vex32Truncate : IMode
    {
        public static bool Vex => true;

        public static bool Wide => false;

        public static bool Truncate => true;
    }

    internal readonly struct Vex64Truncate : IMode
    {
        public static bool Vex => true;

        public static bool Wide => true;

        public static bool Truncate => true;
    }

    public static nint FromInteger<TFormat, TMode>() where TFormat : struct, IBinaryFormat where TMode : struct, IMode =>
        (nint)(delegate*<Cpu*, Op*, bool>)&RunFromInteger<TFormat, TMode>;

    public static nint ToInteger<TFormat, TMode>() where TFormat : struct, IBinaryFormat where TMode : struct, IMode =>
        (nint)(delegate*<Cpu*, Op*, bool>)&RunToInteger<TFormat, TMode>;

    /// <summary>CVTSS2SD.</summary>
    public static nint Widen<TMode>() where TMode : struct, IMode => (nint)(delegate*<Cpu*, Op*, bool>)&RunWiden<TMode>;

    /// <summary>CVTSD2SS.</summary>
    public static nint Narrow<TMode>() where TMode : struct, IMode => (nint)(delegate*<Cpu*, Op*, bool>)&RunNarrow<TMode>;

    private static bool Ready<TMode>(Cpu* cpu) where TMode : struct, IMode => TMode.Vex ? Xmm.VexReady(cpu) : Xmm.Ready(cpu);

    private static bool RunFromInteger<TFormat, TMode>(Cpu* cpu, Op* op) where TFormat : struct, IBinaryFormat where TMode : struct, IMode
    {
        ulong source = 0;
        if (!Ready<TMode>(cpu) || !(TMode.Wide ? Xmm.LoadGeneral64(cpu, op, &source) : Xmm.LoadGeneral32(cpu, op, (uint*)&source)))
            return false;
        uint flags = 0;
        ulong result = ConvertElement.FromInteger<TFormat>(TMode.Wide ? (long)source : (int)source, cpu->Mxcsr, ref flags);
        return Store<TFormat, TMode>(cpu, op, result, flags);
    }

    private static bool RunToInteger<TFormat, TMode>(Cpu* cpu, Op* op) where TFormat : struct, IBinaryFormat where TMode : struct, IMode
    {
        ulong source;
        if (!Ready<TMode>(cpu) || !FloatForms.LoadScalar<TFormat>(cpu, op, &source))
            return false;
        uint flags = 0;
        ulong result = ConvertElement.ToInteger<TFormat>(source, TMode.Wide ? 64 : 32, TMode.Truncate, cpu->Mxcsr, ref flags);
        if (flags != 0 && !FloatForms.Commit(cpu, flags))
            return false;
        ((ulong*)cpu)[op->Reg] = TMode.Wide ? result : (uint)result;
        return true;
    }

    private static bool RunWiden<TMode>(Cpu* cpu, Op* op) where TMode : struct, IMode
    {
        ulong source;
        if (!Ready<TMode>(cpu) || !FloatForms.LoadScalar<SingleFormat>(cpu, op, &source))
            return false;
        uint flags = 0;
        ulong result = ConvertElement.Widen(source, cpu->Mxcsr, ref flags);
        return Store<DoubleFormat, TMode>(cpu, op, result, flags);
    }

    private static bool RunNarrow<TMode>(Cpu* cpu, Op* op) where TMode : struct, IMode
    {
        ulong source;
        if (!Ready<TMode>(cpu) || !FloatForms.LoadScalar<DoubleFormat>(cpu, op, &source))
            return false;
        uint flags = 0;
        ulong result = ConvertElement.Narrow(source, cpu->Mxcsr, ref flags);
        return Store<SingleFormat, TMode>(cpu, op, result, flags);
    }

    private static bool Store<TFormat, TMode>(Cpu* cpu, Op* op, ulong result, uint flags) where TFormat : struct, IBinaryFormat where TMode : struct, IMode
    {
        if (flags != 0 && !FloatForms.Commit(cpu, flags))
            return false;
        if (TMode.Vex)
            Xmm.StoreVex128(cpu, op->Reg, *Xmm.Low(cpu, op->V));
        FloatForms.SetLowest<TFormat>(cpu, op->Reg, result);
        return true;
    }
}
