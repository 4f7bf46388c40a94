// Invariants: see Alu.cs.
using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>MOV, and the loads and stores other instructions are made of.</summary>
internal static unsafe class Mov<TSize> where TSize : ISize
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint RegReg(Cpu* cpu, Op* op)
    {
        TSize.Set(cpu, op->Reg, TSize.Get(cpu, op->Rm));
        return Hot.Next(cpu, op);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint RegImm(Cpu* cpu, Op* op)
    {
        TSize.Set(cpu, op->Reg, op->Imm);
        return Hot.Next(cpu, op);
    }

    /// <summary>reg ← [mem].</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Load<TAddress>(Cpu* cpu, Op* op) where TAddress : IAddress
    {
        ulong at = TAddress.Of(cpu, op);
        var entry = Tlb.At(cpu->Tlb, at);
        if (Tlb.Hits<TSize>(entry->ReadTag, at))
        {
            TSize.Set(cpu, op->Reg, TSize.Load(entry->Addend + (nint)at));
            return Hot.Next(cpu, op);
        }

        return Slow.Read(cpu, op, at, TSize.Bytes);
    }

    /// <summary>[mem] ← reg.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Store<TAddress>(Cpu* cpu, Op* op) where TAddress : IAddress
    {
        ulong at = TAddress.Of(cpu, op);
        var entry = Tlb.At(cpu->Tlb, at);
        if (Tlb.Hits<TSize>(entry->WriteTag, at))
        {
            TSize.Store(entry->Addend + (nint)at, TSize.Get(cpu, op->Reg));
            return Hot.Next(cpu, op);
        }

        return Slow.Write(cpu, op, at, TSize.Bytes);
    }

    /// <summary>[mem] ← imm.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint StoreImm<TAddress>(Cpu* cpu, Op* op) where TAddress : IAddress
    {
        ulong at = TAddress.Of(cpu, op);
        var entry = Tlb.At(cpu->Tlb, at);
        if (Tlb.Hits<TSize>(entry->WriteTag, at))
        {
            TSize.Store(entry->Addend + (nint)at, op->Imm);
            return Hot.Next(cpu, op);
        }

        return Slow.Write(cpu, op, at, TSize.Bytes);
    }

    /// <summary>Slot Reg ← [mem], having made sure that a store to the same place will not fault.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint LoadToModify(Cpu* cpu, Op* op)
    {
        ulong at = Ea.Of(cpu, op);
        var entry = Tlb.At(cpu->Tlb, at);
        if (Tlb.Hits<TSize>(entry->WriteTag, at))
        {
            TSize.Set(cpu, op->Reg, TSize.Load(entry->Addend + (nint)at));
            return Hot.Next(cpu, op);
        }

        return Slow.LoadToModify(cpu, op, at, TSize.Bytes);
    }

    /// <summary>XCHG of registers.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Exchange(Cpu* cpu, Op* op)
    {
        long a = TSize.Get(cpu, op->Reg);
        TSize.Set(cpu, op->Reg, TSize.Get(cpu, op->Rm));
        TSize.Set(cpu, op->Rm, a);
        return Hot.Next(cpu, op);
    }
}

/// <summary>MOVSX, MOVSXD, CBW family.</summary>
internal static unsafe class MovSx<TFrom, TTo> where TFrom : ISize where TTo : ISize
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint RegReg(Cpu* cpu, Op* op)
    {
        TTo.Set(cpu, op->Reg, TFrom.Get(cpu, op->Rm));
        return Hot.Next(cpu, op);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Load<TAddress>(Cpu* cpu, Op* op) where TAddress : IAddress
    {
        ulong at = TAddress.Of(cpu, op);
        var entry = Tlb.At(cpu->Tlb, at);
        if (Tlb.Hits<TFrom>(entry->ReadTag, at))
        {
            TTo.Set(cpu, op->Reg, TFrom.Load(entry->Addend + (nint)at));
            return Hot.Next(cpu, op);
        }

        return Slow.Read(cpu, op, at, TFrom.Bytes);
    }
}

/// <summary>MOVZX.</summary>
internal static unsafe class MovZx<TFrom, TTo> where TFrom : ISize where TTo : ISize
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static long Zero(long value) => TFrom.Bytes == 1 ? (byte)value : (ushort)value;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint RegReg(Cpu* cpu, Op* op)
    {
        TTo.Set(cpu, op->Reg, Zero(TFrom.Get(cpu, op->Rm)));
        return Hot.Next(cpu, op);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Load<TAddress>(Cpu* cpu, Op* op) where TAddress : IAddress
    {
        ulong at = TAddress.Of(cpu, op);
        var entry = Tlb.At(cpu->Tlb, at);
        if (Tlb.Hits<TFrom>(entry->ReadTag, at))
        {
            TTo.Set(cpu, op->Reg, Zero(TFrom.Load(entry->Addend + (nint)at)));
            return Hot.Next(cpu, op);
        }

        return Slow.Read(cpu, op, at, TFrom.Bytes);
    }
}

/// <summary>Handlers without operand kinds to speak of.</summary>
internal static unsafe class Simple
{
    /// <summary>LEA with 32- or 64-bit address and result.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Lea<TSize, TAddress>(Cpu* cpu, Op* op) where TSize : ISize where TAddress : IAddress
    {
        TSize.Set(cpu, op->Reg, (long)TAddress.Of(cpu, op));
        return Hot.Next(cpu, op);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Nop(Cpu* cpu, Op* op) => Hot.Next(cpu, op);

    /// <summary>XOR r,r and SUB r,r of 32 or 64 bits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Clear(Cpu* cpu, Op* op)
    {
        ((ulong*)cpu)[(nuint)op->Reg] = 0;
        Flags.SetLogic(cpu, 0);
        return Hot.Next(cpu, op);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Cdq(Cpu* cpu, Op* op)
    {
        ((ulong*)cpu)[2] = (uint)(*(int*)cpu >> 31);
        return Hot.Next(cpu, op);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Cqo(Cpu* cpu, Op* op)
    {
        ((long*)cpu)[2] = *(long*)cpu >> 63;
        return Hot.Next(cpu, op);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Cwd(Cpu* cpu, Op* op)
    {
        S16.Set(cpu, 2, *(short*)cpu >> 15);
        return Hot.Next(cpu, op);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Bswap32(Cpu* cpu, Op* op)
    {
        S32.Set(cpu, op->Reg, BinaryPrimitives.ReverseEndianness((int)S32.Get(cpu, op->Reg)));
        return Hot.Next(cpu, op);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Bswap64(Cpu* cpu, Op* op)
    {
        S64.Set(cpu, op->Reg, BinaryPrimitives.ReverseEndianness(S64.Get(cpu, op->Reg)));
        return Hot.Next(cpu, op);
    }

    /// <summary>
    /// Address micro-op where only a 64-bit segment base is to be added (FS, GS) or 32 bits of address kept: slot Address ←
    /// (base + index + disp), cut to 32 bits if V is set, plus the base of the segment.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint AddressLong(Cpu* cpu, Op* op)
    {
        ulong offset = Ea.Of(cpu, op);
        if (op->V != 0)
            offset = (uint)offset;
        ((ulong*)cpu)[Slots.Address] = offset + SegmentBase(cpu, op->Segment);
        return Hot.Next(cpu, op);
    }

    /// <summary>Base in 64-bit mode: zero but for FS and GS.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong SegmentBase(Cpu* cpu, int segment) => segment >= Seg.Fs ? cpu->Segments[segment & 7].Base : 0;

    /// <summary>Slot Temp ← CodeBase + Imm: RIP-relative addresses whose displacement does not fit an op.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint FarAddress(Cpu* cpu, Op* op)
    {
        ((ulong*)cpu)[Slots.Address] = ((ulong*)cpu)[Slots.CodeBase] + (ulong)op->Imm;
        return Hot.Next(cpu, op);
    }
}
