// Invariants: see Alu.cs. Values pointed to are locals of the caller.
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>The stack in any mode, as PUSH and POP see it.</summary>
internal static unsafe class StackAccess
{
    /// <summary>Which bits of RSP the stack uses.</summary>
    public static ulong Mask(Cpu* cpu) =>
        (cpu->Mode & ModeBits.CodeSize) == 2 ? ulong.MaxValue : (cpu->Mode & ModeBits.BigStack) != 0 ? uint.MaxValue : ushort.MaxValue;

    /// <summary>RSP with its used bits replaced.</summary>
    public static void SetPointer(Cpu* cpu, ulong value)
    {
        ulong mask = Mask(cpu);
        cpu->Gpr[4] = mask == uint.MaxValue ? (uint)value : (cpu->Gpr[4] & ~mask) | (value & mask);
    }

    /// <summary>Linear address of a stack offset, limit-checked outside 64-bit mode.</summary>
    public static bool TryLinear(Cpu* cpu, ulong offset, uint size, bool write, out ulong linear)
    {
        linear = offset;
        if ((cpu->Mode & ModeBits.CodeSize) == 2)
            return true;
        linear = (uint)(cpu->Segments[Seg.Ss].Base + offset);
        return SegmentAccess.Check(cpu, Seg.Ss, (uint)offset, size, write);
    }

    /// <summary>Reads <paramref name="size"/> bytes (2, 4, 8) at RSP + displacement; RSP stays.</summary>
    public static bool TryPeek(Cpu* cpu, Op* op, ulong displacement, int size, out ulong value)
    {
        value = 0;
        ulong read = 0;
        ulong offset = (cpu->Gpr[4] + displacement) & Mask(cpu);
        if (!TryLinear(cpu, offset, (uint)size, false, out ulong linear) || !Mem.TryReadBytes(cpu, op, linear, (byte*)&read, size))
            return false;
        value = read;
        return true;
    }

    /// <summary>Pushes; <paramref name="written"/> bytes are stored (PUSH of a segment register stores 2 of 4).</summary>
    public static bool TryPush(Cpu* cpu, Op* op, ulong value, int size, int written = 0)
    {
        if (!TryPoke(cpu, op, (ulong)-size, value, written == 0 ? size : written))
            return false;
        SetPointer(cpu, cpu->Gpr[4] - (ulong)size);
        return true;
    }

    /// <summary>Writes at RSP + displacement; RSP stays.</summary>
    public static bool TryPoke(Cpu* cpu, Op* op, ulong displacement, ulong value, int size)
    {
        ulong offset = (cpu->Gpr[4] + displacement) & Mask(cpu);
        return TryLinear(cpu, offset, (uint)size, true, out ulong linear) && Mem.TryWriteBytes(cpu, op, linear, (byte*)&value, size);
    }

    /// <summary>Pops.</summary>
    public static bool TryPop(Cpu* cpu, Op* op, int size, out ulong value)
    {
        if (!TryPeek(cpu, op, 0, size, out value))
            return false;
        SetPointer(cpu, cpu->Gpr[4] + (ulong)size);
        return true;
    }

    /// <summary>Writes a general register by operand size.</summary>
    public static void SetRegister(Cpu* cpu, int register, ulong value, int size)
    {
        switch (size)
        {
            case 2: S16.Set(cpu, (nuint)register, (long)value); break;
            case 4: S32.Set(cpu, (nuint)register, (long)value); break;
            default: cpu->Gpr[register] = value; break;
        }
    }
}
