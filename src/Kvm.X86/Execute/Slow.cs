// Invariants: Cpu.Scratch is ScratchSize bytes: 128 of operand data, then three ops: a header, a copy of the op in hand, a stop.
// RedirectTlb is empty between calls. An op makes at most one memory access, of at most 64 bytes.
using System.Runtime.CompilerServices;
using Kvm.X86.Decode;
using Kvm.X86.Paging;
using Kvm.X86.State;
using Kvm.X86.Translate;

namespace Kvm.X86.Execute;

/// <summary>
/// What a hot handler does when the translation buffer does not let it pass. A plain miss fills the buffer and runs the op again.
/// Everything else (MMIO, ROM, page crossing, pages with code, breakpoints, alignment checks) runs a copy of the op, alone, through
/// a buffer with one entry that leads either to the memory itself or to scratch memory filled before and written back after: so
/// no handler needs a second version of itself.
/// </summary>
internal static unsafe class Slow
{
    public const int ScratchSize = 256;
    private const int OpsOffset = 128, Nothing = -(1 << 30);

    /// <summary>What the op behind the copy returns.</summary>
    public const nint Stopped = 3;

    /// <summary>The buffer lets the access pass now: run the op again.</summary>
    private const nint Again = 4;

    // These end in tail calls, so that the chain of ops goes on without a frame of theirs below it; what they call does the work.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Read(Cpu* cpu, Op* op, ulong at, int size)
    {
        nint result = Access(cpu, op, at, size, AccessKind.Read, false);
        if (result == Again)
            return Hot.Go(cpu, op);
        return result == Stopped ? Hot.Next(cpu, op) : result;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Write(Cpu* cpu, Op* op, ulong at, int size)
    {
        nint result = Access(cpu, op, at, size, AccessKind.Write, false);
        if (result == Again)
            return Hot.Go(cpu, op);
        return result == Stopped ? Hot.Next(cpu, op) : result;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint ReadWrite(Cpu* cpu, Op* op, ulong at, int size)
    {
        nint result = Access(cpu, op, at, size, AccessKind.Write, true);
        if (result == Again)
            return Hot.Go(cpu, op);
        return result == Stopped ? Hot.Next(cpu, op) : result;
    }

    /// <summary>As <see cref="ReadWrite"/>; an access across pages is made under the machine's split lock.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Locked(Cpu* cpu, Op* op, ulong at, int size) => ReadWrite(cpu, op, at, size);

    /// <summary>A load that must prove write access too.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint LoadToModify(Cpu* cpu, Op* op, ulong at, int size)
    {
        nint result = ModifyAccess(cpu, op, at, size);
        if (result == Again)
            return Hot.Go(cpu, op);
        return result == Stopped ? Hot.Next(cpu, op) : result;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static nint ModifyAccess(Cpu* cpu, Op* op, ulong at, int size)
    {
        if (!Mem.TryProbe(cpu, op, at, size, true))
            return HelperCall.LeaveFaulted(cpu, op);
        var entry = Tlb.At(cpu->Tlb, at);
        if (entry->WriteTag == ((at + (ulong)(size - 1)) & ~0xfffUL))
            return Again;
        return ThroughScratch(CpuContext.From(cpu), op, at, size, false, true);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static nint Access(Cpu* cpu, Op* op, ulong at, int size, AccessKind kind, bool reads)
    {
        var context = CpuContext.From(cpu);
        if (!Mem.CheckAlignment(cpu, at, size))
            return HelperCall.LeaveFaulted(cpu, op);
        var entry = Mem.Translate(context, op, at, kind);
        if (entry == null)
            return HelperCall.LeaveFaulted(cpu, op);
        ulong lastPage = (at + (ulong)(size - 1)) & ~0xfffUL;
        bool write = kind == AccessKind.Write;
        if (entry == Tlb.At(cpu->Tlb, at) && (write ? entry->WriteTag : entry->ReadTag) == lastPage)
            return Again;

        bool direct = ((at ^ lastPage) & ~0xfffUL) == 0 && (entry->Info & Tlb.InfoIo) == 0 && !(write && (entry->Info & Tlb.InfoReadOnly) != 0);
        nint result = direct ? ThroughMemory(context, op, at, size, entry, write, reads) : ThroughScratch(context, op, at, size, write, reads);
        if (result != Stopped)
            return result;
        return cpu->LeaveBlock != 0 ? Finish(cpu, op) : Stopped;
    }

    private static nint ThroughMemory(CpuContext context, Op* op, ulong at, int size, TlbEntry* entry, bool write, bool reads)
    {
        ulong physical = (entry->Info & ~0xfffUL) | (at & 0xfff);
        ulong tag = write ? entry->WriteTag : entry->ReadTag;
        nint result = Run(context.Cpu, op, at, size, entry->Addend);
        if (result == HelperCall.Faulted)
            return result;
        if (write)
        {
            context.Written(physical, (uint)size);
            context.Unprotect(entry);
        }

        if ((tag & Tlb.SlowWatch) != 0)
            context.Watch(at, (uint)size, write, reads || !write);
        return result;
    }

    private static nint ThroughScratch(CpuContext context, Op* op, ulong at, int size, bool write, bool reads)
    {
        var cpu = context.Cpu;
        byte* scratch = (byte*)cpu->Scratch;
        bool split = write && reads && context.EnterSplitLock();
        nint result = HelperCall.Faulted;
        if (write && !Mem.TryProbe(cpu, op, at, size, true))
            result = HelperCall.LeaveFaulted(cpu, op);
        else if ((reads || !write) && !Mem.TryReadBytes(cpu, op, at, scratch, size))
            result = HelperCall.LeaveFaulted(cpu, op);
        else
        {
            result = Run(cpu, op, at, size, (nint)scratch - (nint)at);
            if (result != HelperCall.Faulted && write && !Mem.TryWriteBytes(cpu, op, at, scratch, size))
                result = HelperCall.LeaveFaulted(cpu, op);
        }

        if (split)
            context.ExitSplitLock();
        return result;
    }

    /// <summary>Runs a copy of one op with its access led to <c>addend + at</c>. A jump sets RIP and returns to here.</summary>
    private static nint Run(Cpu* cpu, Op* op, ulong at, int size, nint addend)
    {
        nint tlb = cpu->Tlb;
        var entry = Tlb.At(cpu->RedirectTlb, at);
        entry->ReadTag = entry->WriteTag = (at + (ulong)(size - 1)) & ~0xfffUL;
        entry->Addend = addend;
        cpu->Tlb = cpu->RedirectTlb;
        nint result = RunCopy(cpu, op);
        cpu->Tlb = tlb;
        entry->ReadTag = entry->WriteTag = Tlb.Invalid;
        return result;
    }

    private static nint RunCopy(Cpu* cpu, Op* op)
    {
        // Nothing left to run: jumps do not chain out of the copy.
        int left = cpu->Left;
        cpu->Left = Nothing;
        nint result = RunCopy(cpu, op, op->Fn);
        cpu->Left = left + (cpu->Left - Nothing);
        return result;
    }

    private static nint RunCopy(Cpu* cpu, Op* op, nint handler)
    {
        Op* copy = (Op*)(cpu->Scratch + OpsOffset);
        copy[0] = default;
        copy[1] = *op;
        copy[1].Fn = handler;
        copy[2] = new Op { Fn = (nint)(delegate*<Cpu*, Op*, nint>)&Stop, Scale = Op.FirstBit, CodeValue = Op.NoCode };
        nint result = Hot.Go(cpu, copy + 1);
        if (result == HelperCall.Faulted)
            cpu->Left -= Blocks.InstructionsBefore(op);
        return result;
    }

    /// <summary>Leaves the block after the instruction of this op, which may have further ops.</summary>
    private static nint Finish(Cpu* cpu, Op* op)
    {
        while (!op[1].IsFirst)
        {
            op++;
            nint result = RunCopy(cpu, op);
            if (result != Stopped)
                return result;
        }

        return HelperCall.LeaveAfter(cpu, op);
    }

    /// <summary>An access of translated code that no filled translation lets pass: the op alone. Stopped: go on behind it.</summary>
    public static nint Alone(CpuContext context, Op* op, ulong at, int size, AccessForm form, TlbEntry* entry)
    {
        var cpu = context.Cpu;
        bool write = form is AccessForm.Write or AccessForm.ReadWrite;
        nint result;
        if (form == AccessForm.LoadToModify)
            result = ThroughScratch(context, op, at, size, false, true);
        else
        {
            ulong lastPage = (at + (ulong)(size - 1)) & ~0xfffUL;
            bool direct = ((at ^ lastPage) & ~0xfffUL) == 0 && (entry->Info & Tlb.InfoIo) == 0 && !(write && (entry->Info & Tlb.InfoReadOnly) != 0);
            result = direct ? ThroughMemory(context, op, at, size, entry, write, form == AccessForm.ReadWrite) : ThroughScratch(context, op, at, size, write, form == AccessForm.ReadWrite);
        }

        return result == Stopped && cpu->LeaveBlock != 0 ? FinishAlone(cpu, op) : result;
    }

    /// <summary>Runs one op that is no jump by its handler. Stopped: go on behind it.</summary>
    public static nint RunAlone(Cpu* cpu, Op* op)
    {
        nint result = RunCopy(cpu, op, op->Fn);
        if (result == HelperCall.Continue)
            cpu->Left -= Blocks.InstructionsBefore(op); // the copy left, and had nothing before it to count
        return result == Stopped && cpu->LeaveBlock != 0 ? FinishAlone(cpu, op) : result;
    }

    /// <summary>
    /// Leaves a block in translated code after the instruction of this op, which may have further ops. They must take the flags as
    /// they find them: what translated code saved has not the operands that specialised conditions look at.
    /// </summary>
    public static nint FinishAlone(Cpu* cpu, Op* op)
    {
        while (!op[1].IsFirst)
        {
            op++;
            cpu->Attention = -1;
            nint result = RunCopy(cpu, op, HotTable.WithoutProducer(op->Fn));
            if (result != Stopped)
                return result;
        }

        return HelperCall.LeaveAfter(cpu, op);
    }

    private static nint Stop(Cpu* cpu, Op* op) => Stopped;
}
