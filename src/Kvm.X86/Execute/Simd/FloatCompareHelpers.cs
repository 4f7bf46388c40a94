// Invariants: as in Xmm.cs.
using Kvm.X86.Decode;
using Kvm.X86.Float;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

/// <summary>COMISx and UCOMISx: the order in ZF, PF and CF, the other status flags zero.</summary>
internal static unsafe class FloatCompareHelpers
{
    public static nint Sse<TFormat>(bool signaling) where TFormat : struct, IBinaryFormat => signaling
        ? (nint)(delegate*<Cpu*, Op*, bool>)&Signaling<TFormat> : (nint)(delegate*<Cpu*, Op*, bool>)&Quiet<TFormat>;

    public static nint Vex<TFormat>(bool signaling) where TFormat : struct, IBinaryFormat => signaling
        ? (nint)(delegate*<Cpu*, Op*, bool>)&VexSignaling<TFormat> : (nint)(delegate*<Cpu*, Op*, bool>)&VexQuiet<TFormat>;

    private static bool Signaling<TFormat>(Cpu* cpu, Op* op) where TFormat : struct, IBinaryFormat => Xmm.Ready(cpu) && Compare<TFormat>(cpu, op, true);

    private static bool Quiet<TFormat>(Cpu* cpu, Op* op) where TFormat : struct, IBinaryFormat => Xmm.Ready(cpu) && Compare<TFormat>(cpu, op, false);

    private static bool VexSignaling<TFormat>(Cpu* cpu, Op* op) where TFormat : struct, IBinaryFormat => Xmm.VexReady(cpu) && Compare<TFormat>(cpu, op, true);

    private static bool VexQuiet<TFormat>(Cpu* cpu, Op* op) where TFormat : struct, IBinaryFormat => Xmm.VexReady(cpu) && Compare<TFormat>(cpu, op, false);

    private static bool Compare<TFormat>(Cpu* cpu, Op* op, bool signalQuiet) where TFormat : struct, IBinaryFormat
    {
        ulong source;
        if (!FloatForms.LoadScalar<TFormat>(cpu, op, &source))
            return false;
        FloatEnvironment environment = FloatEnvironment.FromMxcsr(cpu->Mxcsr);
        FloatOrder order = SoftFloatCompare<TFormat>.Compare(FloatForms.Lowest<TFormat>(cpu, op->Reg), source, signalQuiet, ref environment);
        if (environment.Flags != 0 && !FloatForms.Commit(cpu, environment.Flags))
            return false;
        SetFlags(cpu, FlagsOf(order));
        return true;
    }

    /// <summary>ZF, PF, CF as COMISx and FCOMI give them.</summary>
    public static uint FlagsOf(FloatOrder order) => order switch
    {
        FloatOrder.Less => Bits.Cf,
        FloatOrder.Equal => Bits.Zf,
        FloatOrder.Greater => 0,
        _ => Bits.Zf | Bits.Pf | Bits.Cf,
    };

    /// <summary>Sets all six status flags.</summary>
    public static void SetFlags(Cpu* cpu, uint flags)
    {
        cpu->FlagKind = FlagKind.Explicit;
        cpu->Rflags = (cpu->Rflags & ~Bits.StatusFlags) | flags;
    }
}
