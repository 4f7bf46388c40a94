// Invariants: see Alu.cs.
using System.Runtime.CompilerServices;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>SETcc, CMOVcc and Jcc on a condition of the present flags.</summary>
internal static unsafe class Conditional<TTest> where TTest : ITest
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Set(Cpu* cpu, Op* op)
    {
        S8.Set(cpu, op->Reg, TTest.Holds(cpu) ? 1 : 0);
        return Hot.Next(cpu, op);
    }

    /// <summary>A 32-bit destination is cleared above bit 31 whether it moves or not.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Move<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        TSize.Set(cpu, op->Reg, TSize.Get(cpu, TTest.Holds(cpu) ? op->Rm : op->Reg));
        return Hot.Next(cpu, op);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Jump(Cpu* cpu, Op* op)
    {
        if (TTest.Holds(cpu))
            return Branch.Take(cpu, op);
        return Hot.Next(cpu, op);
    }
}

/// <summary>CMP or TEST and the Jcc behind it as one op: link in Imm, immediate in Disp.</summary>
internal static unsafe class Fused<TAlu, TSize, TCc> where TAlu : IAlu where TSize : ISize where TCc : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint RegReg(Cpu* cpu, Op* op)
    {
        long a = TSize.Get(cpu, op->Reg), b = TSize.Get(cpu, op->Rm);
        long r = TAlu.Do<TSize>(cpu, a, b);
        if (typeof(TAlu) == typeof(Test) ? TCc.AfterLogic(r) : TCc.AfterSub(a, b, r))
            return Branch.Take(cpu, op);
        return Hot.Next(cpu, op);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint RegImm(Cpu* cpu, Op* op)
    {
        long a = TSize.Get(cpu, op->Reg), b = op->Disp;
        long r = TAlu.Do<TSize>(cpu, a, b);
        if (typeof(TAlu) == typeof(Test) ? TCc.AfterLogic(r) : TCc.AfterSub(a, b, r))
            return Branch.Take(cpu, op);
        return Hot.Next(cpu, op);
    }
}
