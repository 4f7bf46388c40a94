// Invariants: Imm of a direct jump is the address of an op: its own stub, or the first op of a block of the same page and the same
// life of the cache. A jump-cache entry whose upper 16 bits match the key holds the first op of a live block.
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>Where a RIP was last found: 16 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct JumpCacheEntry
{
    public ulong Rip;

    /// <summary>Bits 48–63: the key it is valid under; bits 0–47: the block's first op.</summary>
    public ulong Packed;
}

/// <summary>Control flow inside 64-bit (and flat 32-bit) code.</summary>
internal static unsafe class Branch
{
    public const int JumpCacheEntries = 4096;

    /// <summary>A stub asks the run loop to find its target and link the jump.</summary>
    public const nint Link = 2;

    /// <summary>Takes a direct jump: V instructions are done, Imm is where to go.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Take(Cpu* cpu, Op* op)
    {
        int left = cpu->Left - op->V;
        cpu->Left = left;
        if ((left | cpu->Attention) >= 0)
            return Hot.Go(cpu, (Op*)op->Imm);
        return Leave(cpu, (Op*)op->Imm);
    }

    /// <summary>JMP, and the end of a block that runs on: as <see cref="Take"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Jump(Cpu* cpu, Op* op)
    {
        int left = cpu->Left - op->V;
        cpu->Left = left;
        if ((left | cpu->Attention) >= 0)
            return Hot.Go(cpu, (Op*)op->Imm);
        return Leave(cpu, (Op*)op->Imm);
    }

    private static nint Leave(Cpu* cpu, Op* target)
    {
        SetRip(cpu, target->CodeValue == Op.NoCode ? target->Imm : target->Offset);
        return HelperCall.Continue;
    }

    private static void SetRip(Cpu* cpu, long offset)
    {
        cpu->Rip = (((ulong*)cpu)[Slots.CodeBase] + (ulong)offset) & cpu->RipMask;
    }

    /// <summary>Stub of a jump inside its page: Imm is the target's offset in the page, Disp the way back to the jump in ops.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint LinkStub(Cpu* cpu, Op* op)
    {
        SetRip(cpu, op->Imm);
        cpu->LinkOp = (nint)(op + op->Disp);
        return Link;
    }

    /// <summary>Stub of a jump that leaves its page: Imm is the target relative to the page.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint CrossStub(Cpu* cpu, Op* op) => Dispatch(cpu, ((ulong*)cpu)[Slots.CodeBase] + (ulong)op->Imm);

    /// <summary>Goes on at a RIP by the jump cache, or by the run loop.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static nint Dispatch(Cpu* cpu, ulong rip)
    {
        rip &= cpu->RipMask;
        var entry = JumpEntry(cpu, rip);
        ulong packed = entry->Packed ^ cpu->JumpKey;
        if (entry->Rip == rip && packed >> 48 == 0)
        {
            Op* target = (Op*)packed;
            ((ulong*)cpu)[Slots.CodeBase] = rip - target->Offset;
            return Hot.Go(cpu, target);
        }

        cpu->Rip = rip;
        return HelperCall.Continue;
    }

    /// <summary>The same for a jump whose target is not in its code.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static nint Dispatch(Cpu* cpu, Op* op, ulong rip)
    {
        rip &= cpu->RipMask;
        var entry = JumpEntry(cpu, rip);
        ulong packed = entry->Packed ^ cpu->JumpKey;
        if (entry->Rip == rip && packed >> 48 == 0)
        {
            Op* target = (Op*)packed;
            ((ulong*)cpu)[Slots.CodeBase] = rip - target->Offset;
            return Hot.Go(cpu, target);
        }

        return Arrive(cpu, op, rip);
    }

    /// <summary>
    /// Goes on, by the run loop, at a RIP from a register or from memory that the jump cache does not know. One that is not canonical
    /// is refused: the jump itself raises #GP(0) and has changed nothing (SDM vol. 2, CALL, JMP and RET).
    /// </summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static nint Arrive(Cpu* cpu, Op* op, ulong rip)
    {
        rip &= cpu->RipMask;
        if (Mem.IsCanonical(cpu, rip))
        {
            cpu->Rip = rip;
            return HelperCall.Continue;
        }

        if (op->Fn == (nint)(delegate*<Cpu*, Op*, nint>)&CallRegister)
            ((ulong*)cpu)[4] += 8;
        else if (op->Fn == (nint)(delegate*<Cpu*, Op*, nint>)&Ret)
            ((ulong*)cpu)[4] -= (ulong)op->Imm;
        cpu->Left += op->V; // counted already
        Fault.Protection(cpu);
        return HelperCall.LeaveFaulted(cpu, op);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static JumpCacheEntry* JumpEntry(Cpu* cpu, ulong rip) =>
        (JumpCacheEntry*)cpu->JumpCache + ((rip ^ (rip >> 12)) & (JumpCacheEntries - 1));

    /// <summary>JMP reg (or slot).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint JumpRegister(Cpu* cpu, Op* op)
    {
        ulong rip = ((ulong*)cpu)[(nuint)op->Reg];
        int left = cpu->Left - op->V;
        cpu->Left = left;
        if ((left | cpu->Attention) >= 0)
            return Dispatch(cpu, op, rip);
        return Arrive(cpu, op, rip);
    }

    /// <summary>CALL rel32: pushes the return address (Disp is its offset in the page), then as JMP.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Call(Cpu* cpu, Op* op)
    {
        ulong at = ((ulong*)cpu)[4] - 8;
        var entry = Tlb.At(cpu->Tlb, at);
        if (Tlb.Hits<S64>(entry->WriteTag, at))
        {
            *(ulong*)(entry->Addend + (nint)at) = ((ulong*)cpu)[Slots.CodeBase] + (ulong)(long)op->Disp;
            ((ulong*)cpu)[4] = at;
            return Take(cpu, op);
        }

        return Slow.Write(cpu, op, at, 8);
    }

    /// <summary>CALL reg (or slot).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint CallRegister(Cpu* cpu, Op* op)
    {
        ulong at = ((ulong*)cpu)[4] - 8, rip = ((ulong*)cpu)[(nuint)op->Reg];
        var entry = Tlb.At(cpu->Tlb, at);
        if (Tlb.Hits<S64>(entry->WriteTag, at))
        {
            *(ulong*)(entry->Addend + (nint)at) = ((ulong*)cpu)[Slots.CodeBase] + (ulong)(long)op->Disp;
            ((ulong*)cpu)[4] = at;
            return Return(cpu, op, rip);
        }

        return Slow.Write(cpu, op, at, 8);
    }

    /// <summary>RET; Imm is what the immediate form adds to RSP, plus 8.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Ret(Cpu* cpu, Op* op)
    {
        ulong at = ((ulong*)cpu)[4];
        var entry = Tlb.At(cpu->Tlb, at);
        if (Tlb.Hits<S64>(entry->ReadTag, at))
        {
            ((ulong*)cpu)[4] = at + (ulong)op->Imm;
            return Return(cpu, op, *(ulong*)(entry->Addend + (nint)at));
        }

        return Slow.Read(cpu, op, at, 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static nint Return(Cpu* cpu, Op* op, ulong rip)
    {
        int left = cpu->Left - op->V;
        cpu->Left = left;
        if ((left | cpu->Attention) >= 0)
            return Dispatch(cpu, op, rip);
        return Arrive(cpu, op, rip);
    }
}

/// <summary>PUSH and POP of 64-bit mode.</summary>
internal static unsafe class Stack64
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Push(Cpu* cpu, Op* op)
    {
        ulong at = ((ulong*)cpu)[4] - 8;
        var entry = Tlb.At(cpu->Tlb, at);
        if (Tlb.Hits<S64>(entry->WriteTag, at))
        {
            *(ulong*)(entry->Addend + (nint)at) = ((ulong*)cpu)[(nuint)op->Reg];
            ((ulong*)cpu)[4] = at;
            return Hot.Next(cpu, op);
        }

        return Slow.Write(cpu, op, at, 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint PushImm(Cpu* cpu, Op* op)
    {
        ulong at = ((ulong*)cpu)[4] - 8;
        var entry = Tlb.At(cpu->Tlb, at);
        if (Tlb.Hits<S64>(entry->WriteTag, at))
        {
            *(long*)(entry->Addend + (nint)at) = op->Imm;
            ((ulong*)cpu)[4] = at;
            return Hot.Next(cpu, op);
        }

        return Slow.Write(cpu, op, at, 8);
    }

    /// <summary>POP; POP RSP keeps the value read.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Pop(Cpu* cpu, Op* op)
    {
        ulong at = ((ulong*)cpu)[4];
        var entry = Tlb.At(cpu->Tlb, at);
        if (Tlb.Hits<S64>(entry->ReadTag, at))
        {
            ((ulong*)cpu)[4] = at + 8;
            ((ulong*)cpu)[(nuint)op->Reg] = *(ulong*)(entry->Addend + (nint)at);
            return Hot.Next(cpu, op);
        }

        return Slow.Read(cpu, op, at, 8);
    }

    /// <summary>LEAVE: RSP ← RBP, POP RBP.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Leave(Cpu* cpu, Op* op)
    {
        ulong at = ((ulong*)cpu)[5];
        var entry = Tlb.At(cpu->Tlb, at);
        if (Tlb.Hits<S64>(entry->ReadTag, at))
        {
            ((ulong*)cpu)[5] = *(ulong*)(entry->Addend + (nint)at);
            ((ulong*)cpu)[4] = at + 8;
            return Hot.Next(cpu, op);
        }

        return Slow.Read(cpu, op, at, 8);
    }
}
