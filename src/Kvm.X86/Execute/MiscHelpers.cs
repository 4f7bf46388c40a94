// Invariants: see Alu.cs. The host address given to a 16-byte exchange is aligned and inside one writable page of guest memory.
using System.Buffers.Binary;
using System.Numerics;
using Iced.Intel;
using Kvm.X86.Decode;
using Kvm.X86.Paging;
using Kvm.X86.State;
using Vector = Kvm.X86.State.Vector;

namespace Kvm.X86.Execute;

/// <summary>What fits no other family: wide compare-exchange, random numbers, decimal arithmetic, XLAT, BOUND, ENTER, MONITOR, fences.</summary>
internal static unsafe class MiscHelpers
{
    /// <summary>The family's entry in <see cref="HelperTable"/>.</summary>
    public static nint Resolve(Code code)
    {
        switch (code)
        {
            case Code.Cmpxchg8b_m64: return At(&CompareExchange8);
            case Code.Cmpxchg16b_m128: return At(&CompareExchange16);
            case Code.Pause: return At(&Pause);
            case (>= Code.Lfence and <= Code.Lfence_EF) or (>= Code.Sfence and <= Code.Sfence_FF): return At(&Nothing);
            case >= Code.Mfence and <= Code.Mfence_F7: return At(&Fence);
            case Code.Clflush_m8 or Code.Clflushopt_m8 or Code.Clwb_m8 or Code.Cldemote_m8: return At(&TouchLine);
            case Code.Monitorw or Code.Monitord or Code.Monitorq: return At(&Monitor);
            case Code.Rdrand_r16 or Code.Rdseed_r16: return At(&Random<S16>);
            case Code.Rdrand_r32 or Code.Rdseed_r32: return At(&Random<S32>);
            case Code.Rdrand_r64 or Code.Rdseed_r64: return At(&Random<S64>);
            case Code.Xlat_m8: return At(&Xlat);
            case Code.Enterw_imm16_imm8 or Code.Enterd_imm16_imm8 or Code.Enterq_imm16_imm8: return At(&Enter);
            case Code.Pushaw: return At(&Pusha<S16>);
            case Code.Pushad: return At(&Pusha<S32>);
            case Code.Popaw: return At(&Popa<S16>);
            case Code.Popad: return At(&Popa<S32>);
            case Code.Bound_r16_m1616: return At(&Bound<S16>);
            case Code.Bound_r32_m3232: return At(&Bound<S32>);
            default: return DecimalHelpers.Resolve(code) is var d and not 0 ? d : BmiHelpers.Resolve(code);
        }
    }

    private static nint At(delegate*<Cpu*, Op*, bool> helper) => (nint)helper;

    private static bool Nothing(Cpu* cpu, Op* op) => true;

    /// <summary>A guest that waits for another of its processors should not keep that one's thread from running.</summary>
    private static bool Pause(Cpu* cpu, Op* op)
    {
        if ((++cpu->Pauses & 127) == 0)
            Thread.Yield();
        return true;
    }

    private static bool Fence(Cpu* cpu, Op* op)
    {
        Interlocked.MemoryBarrier();
        return true;
    }

    /// <summary>CLFLUSH and its kin check that the byte can be read; caches are coherent here.</summary>
    private static bool TouchLine(Cpu* cpu, Op* op) => Mem.TryProbe(cpu, op, Ea.Of(cpu, op), 1, false);

    /// <summary>MONITOR checks its byte (DS:rAX, or the overriding segment) as a load.</summary>
    private static bool Monitor(Cpu* cpu, Op* op)
    {
        if (cpu->Cpl != 0)
            return Fault.Undefined(cpu);
        if ((uint)cpu->Gpr[1] != 0)
            return Fault.Protection(cpu);
        ulong offset = op->Code switch { Code.Monitorw => (ushort)cpu->Gpr[0], Code.Monitord => (uint)cpu->Gpr[0], _ => cpu->Gpr[0] };
        if ((cpu->Mode & ModeBits.CodeSize) == 2)
            offset += Simple.SegmentBase(cpu, op->Segment);
        else if (SegmentAccess.Check(cpu, op->Segment, (uint)offset, 1, false))
            offset = (uint)(cpu->Segments[op->Segment & 7].Base + offset);
        else
            return false;
        return Mem.TryProbe(cpu, op, offset, 1, false);
    }

    private static bool CompareExchange8(Cpu* cpu, Op* op)
    {
        long expected = (long)((uint)cpu->Gpr[0] | (cpu->Gpr[2] << 32)), value = (long)((uint)cpu->Gpr[3] | (cpu->Gpr[1] << 32));
        ulong at = Ea.Of(cpu, op);
        long seen;
        if (TryWritable(cpu, op, at, 8, out nint host, out ulong physical, out bool faulted))
        {
            seen = Interlocked.CompareExchange(ref *(long*)host, value, expected);
            CpuContext.From(cpu).Written(physical, 8);
        }
        else
        {
            if (faulted || !Mem.TryProbe(cpu, op, at, 8, true) || !Mem.TryReadBytes(cpu, op, at, (byte*)&seen, 8))
                return false;
            long store = seen == expected ? value : seen;
            if (!Mem.TryWriteBytes(cpu, op, at, (byte*)&store, 8))
                return false;
        }

        if (seen != expected)
        {
            cpu->Gpr[0] = (uint)seen;
            cpu->Gpr[2] = (ulong)seen >> 32;
        }

        return SetZero(cpu, seen == expected);
    }

    private static bool SetZero(Cpu* cpu, bool zero)
    {
        Flags.SetStatus(cpu, (Flags.Status(cpu) & ~Bits.Zf) | (zero ? Bits.Zf : 0));
        return true;
    }

    private static bool CompareExchange16(Cpu* cpu, Op* op)
    {
        ulong at = Ea.Of(cpu, op);
        if (!Mem.RequireAligned(cpu, at, 16))
            return false;
        var expected = new UInt128(cpu->Gpr[2], cpu->Gpr[0]);
        var value = new UInt128(cpu->Gpr[1], cpu->Gpr[3]);
        var seen = expected;
        bool equal;
        if (TryWritable(cpu, op, at, 16, out nint host, out ulong physical, out bool faulted))
        {
            var context = CpuContext.From(cpu);
            equal = context.HostCode != null ? context.HostCode.CompareExchange128(host, ref seen, value) : Unshared(context, host, ref seen, value);
            context.Written(physical, 16);
        }
        else
        {
            if (faulted || !Mem.TryProbe(cpu, op, at, 16, true) || !Mem.TryReadBytes(cpu, op, at, (byte*)&seen, 16))
                return false;
            equal = seen == expected;
            var store = equal ? value : seen;
            if (!Mem.TryWriteBytes(cpu, op, at, (byte*)&store, 16))
                return false;
        }

        if (!equal)
        {
            cpu->Gpr[0] = (ulong)seen;
            cpu->Gpr[2] = (ulong)(seen >> 64);
        }

        return SetZero(cpu, equal);
    }

    /// <summary>Without the host's instruction: right among processors that all come here, which is all there are in tests.</summary>
    private static bool Unshared(CpuContext context, nint host, ref UInt128 expected, UInt128 value)
    {
        context.EnterSplitLock();
        var seen = *(UInt128*)host;
        bool equal = seen == expected;
        if (equal)
            *(UInt128*)host = value;
        expected = seen;
        context.ExitSplitLock();
        return equal;
    }

    /// <summary>The host address of guest RAM inside one page that may be written; false for anything slower, or with a fault.</summary>
    private static bool TryWritable(Cpu* cpu, Op* op, ulong at, uint size, out nint host, out ulong physical, out bool faulted)
    {
        host = 0;
        physical = 0;
        faulted = true;
        if (!Mem.CheckAlignment(cpu, at, (int)size))
            return false;
        var entry = Mem.Translate(CpuContext.From(cpu), op, at, AccessKind.Write);
        faulted = entry == null;
        if (faulted || (at & 0xfff) + size > 4096 || (entry->Info & (Tlb.InfoIo | Tlb.InfoReadOnly)) != 0 || (entry->WriteTag & Tlb.SlowWatch) != 0)
            return false;
        host = entry->Addend + (nint)at;
        physical = (entry->Info & ~0xfffUL) | (at & 0xfff);
        return true;
    }

    /// <summary>RDRAND and RDSEED always have a number ready: CF set, the other flags clear.</summary>
    private static bool Random<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        ulong value;
        CpuContext.From(cpu).FillRandom(new Span<byte>(&value, 8));
        TSize.Set(cpu, op->Rm, (long)value);
        Flags.SetStatus(cpu, Bits.Cf);
        return true;
    }

    /// <summary>AL ← [rBX + AL]; Imm8 is the address size.</summary>
    private static bool Xlat(Cpu* cpu, Op* op)
    {
        ulong offset = cpu->Gpr[3] + (byte)cpu->Gpr[0];
        offset = op->Imm8 switch { 2 => (ushort)offset, 4 => (uint)offset, _ => offset };
        if ((cpu->Mode & ModeBits.CodeSize) == 2)
            offset += Simple.SegmentBase(cpu, op->Segment);
        else if (SegmentAccess.Check(cpu, op->Segment, (uint)offset, 1, false))
            offset = (uint)(cpu->Segments[op->Segment & 7].Base + offset);
        else
            return false;
        byte value;
        if (!Mem.TryRead(cpu, op, offset, &value))
            return false;
        *(byte*)cpu = value;
        return true;
    }

    /// <summary>ENTER: Disp is the size, V the nesting level, Imm8 the operand size.</summary>
    private static bool Enter(Cpu* cpu, Op* op)
    {
        int size = op->Imm8, level = op->V & 31;
        ulong saved = cpu->Gpr[4], frame = 0;
        bool done = StackAccess.TryPush(cpu, op, cpu->Gpr[5], size);
        if (done)
            frame = cpu->Gpr[4];
        for (int n = 1; done && n < level; n++)
        {
            ulong offset = (cpu->Gpr[5] - (ulong)(n * size)) & StackAccess.Mask(cpu), value = 0;
            done = StackAccess.TryLinear(cpu, offset, (uint)size, false, out ulong linear)
                && Mem.TryReadBytes(cpu, op, linear, (byte*)&value, size) && StackAccess.TryPush(cpu, op, value, size);
        }

        if (done && level > 0)
            done = StackAccess.TryPush(cpu, op, frame, size);
        if (done)
        {
            StackAccess.SetPointer(cpu, cpu->Gpr[4] - (uint)op->Disp);
            // The new top must be writable (SDM vol. 2, ENTER).
            done = StackAccess.TryLinear(cpu, cpu->Gpr[4] & StackAccess.Mask(cpu), 1, true, out ulong top) && Mem.TryProbe(cpu, op, top, 1, true);
        }

        if (!done)
        {
            cpu->Gpr[4] = saved;
            return false;
        }

        StackAccess.SetRegister(cpu, 5, frame, size);
        return true;
    }

    private static bool Pusha<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        ulong saved = cpu->Gpr[4];
        for (int n = 0; n < 8; n++)
        {
            ulong value = n == 4 ? saved : cpu->Gpr[n];
            if (StackAccess.TryPush(cpu, op, value, TSize.Bytes))
                continue;
            cpu->Gpr[4] = saved;
            return false;
        }

        return true;
    }

    private static bool Popa<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        ulong* values = stackalloc ulong[8];
        for (int n = 0; n < 8; n++)
        {
            if (!StackAccess.TryPeek(cpu, op, (ulong)(n * TSize.Bytes), TSize.Bytes, out values[7 - n]))
                return false;
        }

        for (int n = 0; n < 8; n++)
        {
            if (n != 4)
                StackAccess.SetRegister(cpu, n, values[n], TSize.Bytes);
        }

        StackAccess.SetPointer(cpu, cpu->Gpr[4] + (8 * (ulong)TSize.Bytes));
        return true;
    }

    private static bool Bound<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        ulong bounds;
        if (!Mem.TryReadBytes(cpu, op, Ea.Of(cpu, op), (byte*)&bounds, TSize.Bytes * 2))
            return false;
        long index = TSize.Get(cpu, op->Reg), low = TSize.Load((nint)(&bounds)), high = TSize.Load((nint)(&bounds) + TSize.Bytes);
        return (index >= low && index <= high) || Fault.Raise(cpu, Vector.BoundRange);
    }
}

/// <summary>AAA, AAS, AAM, AAD, DAA, DAS (SDM vol. 2).</summary>
internal static unsafe class DecimalHelpers
{
    /// <summary>The helper's address, or 0.</summary>
    public static nint Resolve(Code code) => code switch
    {
        Code.Aaa => (nint)(delegate*<Cpu*, Op*, bool>)&Aaa,
        Code.Aas => (nint)(delegate*<Cpu*, Op*, bool>)&Aas,
        Code.Aam_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&Aam,
        Code.Aad_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&Aad,
        Code.Daa => (nint)(delegate*<Cpu*, Op*, bool>)&Daa,
        Code.Das => (nint)(delegate*<Cpu*, Op*, bool>)&Das,
        _ => 0,
    };

    private static uint Result(byte value) =>
        (value == 0 ? Bits.Zf : 0) | ((value & 0x80) != 0 ? Bits.Sf : 0) | ((BitOperations.PopCount(value) & 1) == 0 ? Bits.Pf : 0);

    private static bool Aaa(Cpu* cpu, Op* op) => Adjust(cpu, 0x106);

    private static bool Aas(Cpu* cpu, Op* op) => Adjust(cpu, -0x106);

    private static bool Adjust(Cpu* cpu, int by)
    {
        ushort ax = (ushort)cpu->Gpr[0];
        bool adjust = (ax & 15) > 9 || (Flags.Status(cpu) & Bits.Af) != 0;
        if (adjust)
            ax = (ushort)(ax + by);
        ax &= 0xff0f;
        S16.Set(cpu, 0, ax);
        Flags.SetStatus(cpu, Result((byte)ax) | (adjust ? Bits.Af | Bits.Cf : 0));
        return true;
    }

    private static bool Aam(Cpu* cpu, Op* op)
    {
        if (op->Imm8 == 0)
            return Fault.Raise(cpu, Vector.DivideError);
        byte al = (byte)cpu->Gpr[0];
        S16.Set(cpu, 0, ((al / op->Imm8) << 8) | (al % op->Imm8));
        Flags.SetStatus(cpu, Result((byte)(al % op->Imm8)));
        return true;
    }

    private static bool Aad(Cpu* cpu, Op* op)
    {
        ushort ax = (ushort)cpu->Gpr[0];
        byte al = (byte)((ax & 0xff) + ((ax >> 8) * op->Imm8));
        S16.Set(cpu, 0, al);
        Flags.SetStatus(cpu, Result(al));
        return true;
    }

    private static bool Daa(Cpu* cpu, Op* op) => Decimal(cpu, 1);

    private static bool Das(Cpu* cpu, Op* op) => Decimal(cpu, -1);

    private static bool Decimal(Cpu* cpu, int sign)
    {
        uint flags = Flags.Status(cpu), result = 0;
        byte old = (byte)cpu->Gpr[0], al = old;
        if ((al & 15) > 9 || (flags & Bits.Af) != 0)
        {
            int sum = al + (6 * sign);
            result |= Bits.Af | (sum is > 0xff or < 0 ? Bits.Cf : 0) | (flags & Bits.Cf);
            al = (byte)sum;
        }

        if (old > 0x99 || (flags & Bits.Cf) != 0)
        {
            al = (byte)(al + (0x60 * sign));
            result |= Bits.Cf;
        }
        else if (sign > 0)
            result &= ~Bits.Cf;
        *(byte*)cpu = al;
        Flags.SetStatus(cpu, result | Result(al));
        return true;
    }
}
