// Invariants: a Cpu* is valid while its CpuContext is; nothing else is dereferenced here.
using System.Numerics;
using System.Runtime.CompilerServices;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>A condition code as a type argument, with the forms it takes after a subtraction and after a logical operation.</summary>
internal interface ICondition
{
    static abstract int Number { get; }

    static abstract bool AfterSub(long a, long b, long r);

    static abstract bool AfterLogic(long r);
}

/// <summary>The value of a condition in the processor's present flags.</summary>
internal unsafe interface ITest
{
    static abstract bool Holds(Cpu* cpu);
}

/// <summary>The last writer was a subtraction or comparison.</summary>
internal unsafe readonly struct AfterSub<TCc> : ITest where TCc : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Holds(Cpu* cpu) => TCc.AfterSub(cpu->FlagA, cpu->FlagB, cpu->FlagResult);
}

/// <summary>The last writer cleared CF and OF (or the condition looks at neither and the flags are not explicit).</summary>
internal unsafe readonly struct AfterLogic<TCc> : ITest where TCc : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Holds(Cpu* cpu) => TCc.AfterLogic(cpu->FlagResult);
}

/// <summary>The last writer is not known at decode time.</summary>
internal unsafe readonly struct AfterAny<TCc> : ITest where TCc : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Holds(Cpu* cpu) => Flags.Test(cpu, TCc.Number);
}

internal readonly struct CcO : ICondition
{
    public static int Number => 0;

    public static bool AfterSub(long a, long b, long r) => ((a ^ b) & (a ^ r)) < 0;

    public static bool AfterLogic(long r) => false;
}

internal readonly struct CcB : ICondition
{
    public static int Number => 2;

    public static bool AfterSub(long a, long b, long r) => (ulong)a < (ulong)b;

    public static bool AfterLogic(long r) => false;
}

internal readonly struct CcE : ICondition
{
    public static int Number => 4;

    public static bool AfterSub(long a, long b, long r) => r == 0;

    public static bool AfterLogic(long r) => r == 0;
}

internal readonly struct CcBe : ICondition
{
    public static int Number => 6;

    public static bool AfterSub(long a, long b, long r) => (ulong)a <= (ulong)b;

    public static bool AfterLogic(long r) => r == 0;
}

internal readonly struct CcS : ICondition
{
    public static int Number => 8;

    public static bool AfterSub(long a, long b, long r) => r < 0;

    public static bool AfterLogic(long r) => r < 0;
}

internal readonly struct CcP : ICondition
{
    public static int Number => 10;

    public static bool AfterSub(long a, long b, long r) => AfterLogic(r);

    public static bool AfterLogic(long r) => (BitOperations.PopCount((byte)r) & 1) == 0;
}

internal readonly struct CcL : ICondition
{
    public static int Number => 12;

    public static bool AfterSub(long a, long b, long r) => a < b;

    public static bool AfterLogic(long r) => r < 0;
}

internal readonly struct CcLe : ICondition
{
    public static int Number => 14;

    public static bool AfterSub(long a, long b, long r) => a <= b;

    public static bool AfterLogic(long r) => r <= 0;
}

/// <summary>The odd-numbered condition: its neighbour negated.</summary>
internal readonly struct Not<TCc> : ICondition where TCc : ICondition
{
    public static int Number => TCc.Number + 1;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterSub(long a, long b, long r) => !TCc.AfterSub(a, b, r);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterLogic(long r) => !TCc.AfterLogic(r);
}
