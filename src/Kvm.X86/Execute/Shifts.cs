// Invariants: see Alu.cs. Counts are masked to 5 or 6 bits before a shift sees them.
using System.Runtime.CompilerServices;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>A shift or rotate as a type argument: computes and sets flags for a count from 1 to 63.</summary>
internal unsafe interface IShift
{
    static abstract long Do<TSize>(Cpu* cpu, long a, int count) where TSize : ISize;
}

/// <summary>Arithmetic the shifts share.</summary>
internal static class ShiftMath
{
    /// <summary>Zero-extends from a size.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Unsigned<TSize>(long value) where TSize : ISize => TSize.Bytes switch
    {
        1 => (byte)value,
        2 => (ushort)value,
        4 => (uint)value,
        _ => (ulong)value,
    };

    /// <summary>CF and OF at their places.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long CarryOverflow(long carry, long overflow) => (carry & 1) | ((overflow & 1) << 11);
}

internal unsafe readonly struct Shl : IShift
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Do<TSize>(Cpu* cpu, long a, int count) where TSize : ISize
    {
        int bits = TSize.Bytes * 8;
        long r = TSize.Extend(a << count);
        // The last bit out; counts above the size (8 and 16 bits only) shift out zeros.
        long carry = count <= bits ? (long)(ShiftMath.Unsigned<TSize>(a) >> (bits - count)) : 0;
        Flags.SetBits(cpu, r, ShiftMath.CarryOverflow(carry, carry ^ (r < 0 ? 1 : 0)));
        return r;
    }
}

internal unsafe readonly struct Shr : IShift
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Do<TSize>(Cpu* cpu, long a, int count) where TSize : ISize
    {
        ulong u = ShiftMath.Unsigned<TSize>(a);
        long r = TSize.Extend((long)(u >> count));
        // OF is defined for a count of one: the highest bit of the operand.
        Flags.SetBits(cpu, r, ShiftMath.CarryOverflow((long)(u >> (count - 1)), a < 0 && count == 1 ? 1 : 0));
        return r;
    }
}

internal unsafe readonly struct Sar : IShift
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Do<TSize>(Cpu* cpu, long a, int count) where TSize : ISize
    {
        long r = TSize.Extend(a >> count);
        Flags.SetBits(cpu, r, (a >> (count - 1)) & 1);
        return r;
    }
}

/// <summary>Rotates change CF and OF alone.</summary>
internal unsafe readonly struct Rol : IShift
{
    public static long Do<TSize>(Cpu* cpu, long a, int count) where TSize : ISize
    {
        int bits = TSize.Bytes * 8, n = count & (bits - 1);
        ulong u = ShiftMath.Unsigned<TSize>(a);
        long r = n == 0 ? a : TSize.Extend((long)((u << n) | (u >> (bits - n))));
        long carry = r & 1;
        RotateFlags.Set(cpu, carry, carry ^ (r < 0 ? 1 : 0));
        return r;
    }
}

internal unsafe readonly struct Ror : IShift
{
    public static long Do<TSize>(Cpu* cpu, long a, int count) where TSize : ISize
    {
        int bits = TSize.Bytes * 8, n = count & (bits - 1);
        ulong u = ShiftMath.Unsigned<TSize>(a);
        long r = n == 0 ? a : TSize.Extend((long)((u >> n) | (u << (bits - n))));
        long carry = r < 0 ? 1 : 0;
        RotateFlags.Set(cpu, carry, carry ^ (r >> (bits - 2)));
        return r;
    }
}

internal unsafe readonly struct Rcl : IShift
{
    public static long Do<TSize>(Cpu* cpu, long a, int count) where TSize : ISize
    {
        int bits = TSize.Bytes * 8, n = bits < 32 ? count % (bits + 1) : count;
        ulong u = ShiftMath.Unsigned<TSize>(a), carry = (ulong)Flags.Carry(cpu);
        if (n == 0)
            return RotateFlags.Unchanged(cpu, a, (long)carry, (long)carry ^ (a < 0 ? 1 : 0));
        ulong high = n == 1 ? 0 : u >> (bits + 1 - n);
        long r = TSize.Extend((long)((n == 64 ? 0 : u << n) | (carry << (n - 1)) | high));
        long last = (long)(u >> (bits - n)) & 1;
        RotateFlags.Set(cpu, last, last ^ (r < 0 ? 1 : 0));
        return r;
    }
}

internal unsafe readonly struct Rcr : IShift
{
    public static long Do<TSize>(Cpu* cpu, long a, int count) where TSize : ISize
    {
        int bits = TSize.Bytes * 8, n = bits < 32 ? count % (bits + 1) : count;
        ulong u = ShiftMath.Unsigned<TSize>(a), carry = (ulong)Flags.Carry(cpu);
        if (n == 0)
            return RotateFlags.Unchanged(cpu, a, (long)carry, (a >> (bits - 1)) ^ (a >> (bits - 2)));
        ulong high = n == 1 ? 0 : u << (bits + 1 - n);
        long r = TSize.Extend((long)((u >> n) | (carry << (bits - n)) | high));
        RotateFlags.Set(cpu, (long)(u >> (n - 1)) & 1, (r >> (bits - 1)) ^ (r >> (bits - 2)));
        return r;
    }
}

internal static unsafe class RotateFlags
{
    public static void Set(Cpu* cpu, long carry, long overflow) => Flags.SetStatus(cpu,
        (Flags.Status(cpu) & ~(Bits.Cf | Bits.Of)) | (uint)ShiftMath.CarryOverflow(carry, overflow));

    public static long Unchanged(Cpu* cpu, long value, long carry, long overflow)
    {
        Set(cpu, carry, overflow);
        return value;
    }
}

/// <summary>Shifts and rotates of a register (or slot).</summary>
internal static unsafe class Shift<TShift, TSize> where TShift : IShift where TSize : ISize
{
    private const int WideMask = 63, NarrowMask = 31;

    /// <summary>By an immediate that is not zero once masked.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint RegImm(Cpu* cpu, Op* op)
    {
        TSize.Set(cpu, op->Reg, TShift.Do<TSize>(cpu, TSize.Get(cpu, op->Reg), (int)op->Imm));
        return Hot.Next(cpu, op);
    }

    /// <summary>By CL; a count of zero leaves the flags.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint RegCl(Cpu* cpu, Op* op)
    {
        int count = (int)((ulong*)cpu)[1] & (TSize.Bytes == 8 ? WideMask : NarrowMask);
        long a = TSize.Get(cpu, op->Reg);
        TSize.Set(cpu, op->Reg, count == 0 ? a : TShift.Do<TSize>(cpu, a, count));
        return Hot.Next(cpu, op);
    }
}

/// <summary>SHLD and SHRD: Reg ← Reg shifted, filled from Rm, by Imm (or CL if Imm is negative).</summary>
internal static unsafe class DoubleShift<TSize> where TSize : ISize
{
    public static nint Left(Cpu* cpu, Op* op)
    {
        int bits = TSize.Bytes * 8, count = Count(cpu, op);
        long a = TSize.Get(cpu, op->Reg);
        ulong u = ShiftMath.Unsigned<TSize>(a), fill = ShiftMath.Unsigned<TSize>(TSize.Get(cpu, op->Rm));
        if (count == 0)
        {
            TSize.Set(cpu, op->Reg, a);
            return Hot.Next(cpu, op);
        }

        // 16-bit counts above 16 are undefined; like the hardware, take fill:dest as one 32-bit value going round.
        int width = bits == 16 ? 32 : bits;
        ulong wide = bits == 16 ? (u << 16) | fill : u;
        long r = bits == 16
            ? TSize.Extend((long)(((wide << count) | (wide >> (32 - count))) >> 16))
            : TSize.Extend((long)((u << count) | (fill >> (width - count))));
        long carry = (long)(wide >> (width - count)) & 1;
        Flags.SetBits(cpu, r, ShiftMath.CarryOverflow(carry, (r < 0 ? 1 : 0) ^ (a < 0 ? 1 : 0)));
        TSize.Set(cpu, op->Reg, r);
        return Hot.Next(cpu, op);
    }

    public static nint Right(Cpu* cpu, Op* op)
    {
        int bits = TSize.Bytes * 8, count = Count(cpu, op);
        long a = TSize.Get(cpu, op->Reg);
        ulong u = ShiftMath.Unsigned<TSize>(a), fill = ShiftMath.Unsigned<TSize>(TSize.Get(cpu, op->Rm));
        if (count == 0)
        {
            TSize.Set(cpu, op->Reg, a);
            return Hot.Next(cpu, op);
        }

        ulong wide = bits == 16 ? u | (fill << 16) : u;
        long r = bits == 16
            ? TSize.Extend((long)((wide >> count) | (wide << (32 - count))))
            : TSize.Extend((long)((u >> count) | (fill << (bits - count))));
        Flags.SetBits(cpu, r, ShiftMath.CarryOverflow((long)(wide >> (count - 1)), (r < 0 ? 1 : 0) ^ (a < 0 ? 1 : 0)));
        TSize.Set(cpu, op->Reg, r);
        return Hot.Next(cpu, op);
    }

    private static int Count(Cpu* cpu, Op* op) =>
        (int)(op->Imm < 0 ? (long)((ulong*)cpu)[1] : op->Imm) & (TSize.Bytes == 8 ? 63 : 31);
}
