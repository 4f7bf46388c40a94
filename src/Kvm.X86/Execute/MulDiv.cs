// Invariants: see Alu.cs.
using System.Runtime.CompilerServices;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>MUL, IMUL, DIV, IDIV. The source of the one-operand forms is Rm, a register or slot.</summary>
internal static unsafe class MulDiv<TSize> where TSize : ISize
{
    /// <summary>reg ← reg · reg, truncated.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint RegReg(Cpu* cpu, Op* op)
    {
        TSize.Set(cpu, op->Reg, Truncated(cpu, TSize.Get(cpu, op->Reg), TSize.Get(cpu, op->Rm)));
        return Hot.Next(cpu, op);
    }

    /// <summary>reg ← reg · imm, truncated.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint RegRegImm(Cpu* cpu, Op* op)
    {
        TSize.Set(cpu, op->Reg, Truncated(cpu, TSize.Get(cpu, op->Rm), op->Imm));
        return Hot.Next(cpu, op);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static long Truncated(Cpu* cpu, long a, long b)
    {
        long low, high;
        if (TSize.Bytes == 8)
        {
            high = Math.BigMul(a, b, out low);
            Overflow(cpu, low, high != low >> 63);
            return low;
        }

        long product = a * b;
        low = TSize.Extend(product);
        Overflow(cpu, low, low != product);
        return low;
    }

    /// <summary>CF = OF = the product does not fit; the rest is undefined, and taken from the low half as the hardware does.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Overflow(Cpu* cpu, long low, bool overflow) => Flags.SetBits(cpu, low, overflow ? Bits.Cf | Bits.Of : 0);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Mul(Cpu* cpu, Op* op)
    {
        ulong b = ShiftMath.Unsigned<TSize>(TSize.Get(cpu, op->Rm)), a = ShiftMath.Unsigned<TSize>(TSize.Get(cpu, 0));
        if (TSize.Bytes == 8)
        {
            ulong high = Math.BigMul(a, b, out ulong low);
            ((ulong*)cpu)[0] = low;
            ((ulong*)cpu)[2] = high;
            Overflow(cpu, (long)low, high != 0);
        }
        else
        {
            ulong product = a * b;
            Store(cpu, (long)product);
            Overflow(cpu, TSize.Extend((long)product), product >> (TSize.Bytes * 8) != 0);
        }

        return Hot.Next(cpu, op);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Imul(Cpu* cpu, Op* op)
    {
        long b = TSize.Get(cpu, op->Rm), a = TSize.Get(cpu, 0);
        if (TSize.Bytes == 8)
        {
            long high = Math.BigMul(a, b, out long low);
            ((long*)cpu)[0] = low;
            ((long*)cpu)[2] = high;
            Overflow(cpu, low, high != low >> 63);
        }
        else
        {
            long product = a * b;
            Store(cpu, product);
            Overflow(cpu, TSize.Extend(product), TSize.Extend(product) != product);
        }

        return Hot.Next(cpu, op);
    }

    private static void Store(Cpu* cpu, long product)
    {
        if (TSize.Bytes == 1)
        {
            S16.Set(cpu, 0, product);
            return;
        }

        TSize.Set(cpu, 0, product);
        TSize.Set(cpu, 2, product >> (TSize.Bytes * 8));
    }

    public static nint Div(Cpu* cpu, Op* op)
    {
        ulong d = ShiftMath.Unsigned<TSize>(TSize.Get(cpu, op->Rm));
        UInt128 n = Dividend(cpu);
        if (d == 0 || n / d > ShiftMath.Unsigned<TSize>(-1))
        {
            Fault.Raise(cpu, Vector.DivideError);
            return HelperCall.LeaveFaulted(cpu, op);
        }

        Results(cpu, (long)(ulong)(n / d), (long)(ulong)(n % d));
        return Hot.Next(cpu, op);
    }

    public static nint Idiv(Cpu* cpu, Op* op)
    {
        long d = TSize.Get(cpu, op->Rm);
        int unused = 128 - (TSize.Bytes * 16);
        Int128 n = (Int128)(Dividend(cpu) << unused) >> unused;
        // Int128.MinValue / −1 would not fit: it only arises for 64 bits, and is an overflow anyway.
        if (d == 0 || (d == -1 && n == Int128.MinValue) || n / d != TSize.Extend((long)(n / d)))
        {
            Fault.Raise(cpu, Vector.DivideError);
            return HelperCall.LeaveFaulted(cpu, op);
        }

        Results(cpu, (long)(n / d), (long)(n % d));
        return Hot.Next(cpu, op);
    }

    private static UInt128 Dividend(Cpu* cpu)
    {
        ulong low = ShiftMath.Unsigned<TSize>(TSize.Get(cpu, 0));
        return TSize.Bytes switch
        {
            1 => (UInt128)(ushort)S16.Get(cpu, 0),
            8 => new UInt128(((ulong*)cpu)[2], low),
            _ => (UInt128)((ShiftMath.Unsigned<TSize>(TSize.Get(cpu, 2)) << (TSize.Bytes * 8)) | low),
        };
    }

    private static void Results(Cpu* cpu, long quotient, long remainder)
    {
        if (TSize.Bytes == 1)
        {
            S16.Set(cpu, 0, (byte)quotient | ((remainder & 0xff) << 8));
            return;
        }

        TSize.Set(cpu, 0, quotient);
        TSize.Set(cpu, 2, remainder);
    }

    /// <summary>DIV of 32 or 64 bits whose dividend fits 64: what compilers emit.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint DivShort(Cpu* cpu, Op* op)
    {
        ulong d = ShiftMath.Unsigned<TSize>(TSize.Get(cpu, op->Rm)), a = ShiftMath.Unsigned<TSize>(TSize.Get(cpu, 0));
        if (TSize.Get(cpu, 2) == 0 && d != 0)
        {
            ulong q = a / d;
            TSize.Set(cpu, 0, (long)q);
            TSize.Set(cpu, 2, (long)(a - (q * d)));
            return Hot.Next(cpu, op);
        }

        return Div(cpu, op);
    }
}
