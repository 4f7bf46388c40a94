// Invariants: see Alu.cs. RunEnd has set RIP behind the instruction; a helper that jumps replaces it.
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>Helpers the decoder asks for by what they do instead of by instruction.</summary>
internal enum BranchHelper
{
    Jcc, Jmp, JmpRegister, JmpFar, JmpFarMemory, Call, CallRegister, CallFar, CallFarMemory, Ret, Push, PushSegment, Pop, PopSegment,
    PeekStack, DropStack, Leave, Loop, LoopEqual, LoopNotEqual, JumpCounterZero, Undefined, TooLong, StoreSegment,
}

/// <summary>
/// Branches and stack operations in the modes where limits, 16-bit pointers or segment bases matter. Disp is a direct target
/// relative to the page, Imm8 the operand size in bytes.
/// </summary>
internal static unsafe class BranchHelpers
{
    /// <summary>The helper's address.</summary>
    public static nint Address(BranchHelper helper) => helper switch
    {
        BranchHelper.Jcc => At(&Jcc),
        BranchHelper.Jmp => At(&Jmp),
        BranchHelper.JmpRegister => At(&JmpRegister),
        BranchHelper.JmpFar => At(&FarHelpers.JmpFar),
        BranchHelper.JmpFarMemory => At(&FarHelpers.JmpFarMemory),
        BranchHelper.Call => At(&Call),
        BranchHelper.CallRegister => At(&CallRegister),
        BranchHelper.CallFar => At(&FarHelpers.CallFar),
        BranchHelper.CallFarMemory => At(&FarHelpers.CallFarMemory),
        BranchHelper.Ret => At(&Ret),
        BranchHelper.Push => At(&Push),
        BranchHelper.PushSegment => At(&PushSegment),
        BranchHelper.Pop => At(&Pop),
        BranchHelper.PopSegment => At(&PopSegment),
        BranchHelper.PeekStack => At(&PeekStack),
        BranchHelper.DropStack => At(&DropStack),
        BranchHelper.Leave => At(&Leave),
        BranchHelper.Loop => At(&Loop),
        BranchHelper.LoopEqual => At(&LoopEqual),
        BranchHelper.LoopNotEqual => At(&LoopNotEqual),
        BranchHelper.JumpCounterZero => At(&JumpCounterZero),
        BranchHelper.TooLong => At(&TooLong),
        BranchHelper.StoreSegment => At(&StoreSegment),
        _ => At(&Undefined),
    };

    private static nint At(delegate*<Cpu*, Op*, bool> helper) => (nint)helper;

    private static bool Undefined(Cpu* cpu, Op* op) => Fault.Undefined(cpu);

    private static bool StoreSegment(Cpu* cpu, Op* op) => SegmentHelpers.StoreWord(cpu, op, cpu->Segments[op->Reg & 7].Selector);

    private static bool TooLong(Cpu* cpu, Op* op) => Fault.Protection(cpu);

    /// <summary>Sets RIP after checking CS's limit (64-bit mode: that the address is canonical).</summary>
    public static bool TryJump(Cpu* cpu, ulong rip)
    {
        if ((cpu->Mode & ModeBits.CodeSize) == 2)
        {
            if (!Mem.IsCanonical(cpu, rip))
                return Fault.Protection(cpu);
        }
        else
        {
            rip = (uint)rip;
            if (rip > cpu->Segments[Seg.Cs].Limit)
                return Fault.Protection(cpu);
        }

        cpu->Rip = rip;
        return true;
    }

    /// <summary>A direct target: with 16-bit operands (bit 0 of Scale) IP wraps at 64 KiB.</summary>
    private static ulong Target(Cpu* cpu, Op* op)
    {
        ulong rip = cpu->Gpr[Slots.CodeBase] + (ulong)(long)op->Disp;
        return IsBranch16(op) ? (ushort)rip : rip;
    }

    private static bool IsBranch16(Op* op) => (op->Scale & 1) != 0;

    private static bool Jcc(Cpu* cpu, Op* op) => !Flags.Test(cpu, op->Imm8) || TryJump(cpu, Target(cpu, op));

    private static bool Jmp(Cpu* cpu, Op* op) => TryJump(cpu, Target(cpu, op));

    private static bool JmpRegister(Cpu* cpu, Op* op) => TryJump(cpu, Cut(cpu->Gpr[op->Reg], op->Imm8));

    private static ulong Cut(ulong value, int size) => size switch { 2 => (ushort)value, 4 => (uint)value, _ => value };

    private static bool Call(Cpu* cpu, Op* op) => CallTo(cpu, op, Target(cpu, op));

    private static bool CallRegister(Cpu* cpu, Op* op) => CallTo(cpu, op, Cut(cpu->Gpr[op->Reg], op->Imm8));

    private static bool CallTo(Cpu* cpu, Op* op, ulong target)
    {
        ulong next = cpu->Rip;
        if (!TryJump(cpu, target))
            return false;
        if (StackAccess.TryPush(cpu, op, next, op->Imm8))
            return true;
        cpu->Rip = next;
        return false;
    }

    private static bool Ret(Cpu* cpu, Op* op)
    {
        ulong next = cpu->Rip;
        if (!StackAccess.TryPeek(cpu, op, 0, op->Imm8, out ulong target) || !TryJump(cpu, target))
        {
            cpu->Rip = next;
            return false;
        }

        StackAccess.SetPointer(cpu, cpu->Gpr[4] + op->Imm8 + (ulong)(long)op->Disp);
        return true;
    }

    private static bool Push(Cpu* cpu, Op* op) => StackAccess.TryPush(cpu, op, cpu->Gpr[op->Reg], op->Imm8);

    private static bool PushSegment(Cpu* cpu, Op* op) =>
        StackAccess.TryPush(cpu, op, cpu->Segments[op->Reg & 7].Selector, op->Imm8, op->Imm8 == 4 ? 2 : op->Imm8);

    private static bool Pop(Cpu* cpu, Op* op)
    {
        if (!StackAccess.TryPop(cpu, op, op->Imm8, out ulong value))
            return false;
        StackAccess.SetRegister(cpu, op->Reg, value, op->Imm8);
        return true;
    }

    private static bool PopSegment(Cpu* cpu, Op* op)
    {
        if (!StackAccess.TryPeek(cpu, op, 0, op->Imm8, out ulong value))
            return false;
        // The stack of the pop is the one before SS changes.
        ulong mask = StackAccess.Mask(cpu), pointer = cpu->Gpr[4] + op->Imm8;
        if (!SegmentHelpers.TryLoad(cpu, op->Reg, (ushort)value))
            return false;
        cpu->Gpr[4] = mask == uint.MaxValue ? (uint)pointer : (cpu->Gpr[4] & ~mask) | (pointer & mask);
        return true;
    }

    private static bool PeekStack(Cpu* cpu, Op* op)
    {
        if (!StackAccess.TryPeek(cpu, op, 0, op->Imm8, out ulong value))
            return false;
        cpu->Gpr[Slots.Temp] = value;
        return true;
    }

    private static bool DropStack(Cpu* cpu, Op* op)
    {
        StackAccess.SetPointer(cpu, cpu->Gpr[4] + op->Imm8);
        return true;
    }

    private static bool Leave(Cpu* cpu, Op* op)
    {
        ulong saved = cpu->Gpr[4];
        StackAccess.SetPointer(cpu, cpu->Gpr[5]);
        if (StackAccess.TryPop(cpu, op, op->Imm8, out ulong frame))
        {
            StackAccess.SetRegister(cpu, 5, frame, op->Imm8);
            return true;
        }

        cpu->Gpr[4] = saved;
        return false;
    }

    private static bool Loop(Cpu* cpu, Op* op) => LoopIf(cpu, op, true);

    private static bool LoopEqual(Cpu* cpu, Op* op) => LoopIf(cpu, op, Flags.Test(cpu, 4));

    private static bool LoopNotEqual(Cpu* cpu, Op* op) => LoopIf(cpu, op, Flags.Test(cpu, 5));

    private static bool LoopIf(Cpu* cpu, Op* op, bool condition)
    {
        ulong counter = Cut(cpu->Gpr[1] - 1, op->Imm8);
        if (counter != 0 && condition && !TryJump(cpu, Target(cpu, op)))
            return false;
        StackAccess.SetRegister(cpu, 1, counter, op->Imm8);
        return true;
    }

    private static bool JumpCounterZero(Cpu* cpu, Op* op) => Cut(cpu->Gpr[1], op->Imm8) != 0 || TryJump(cpu, Target(cpu, op));
}
