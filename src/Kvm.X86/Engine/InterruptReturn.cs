using Kvm.X86.Execute;
using Kvm.X86.State;

namespace Kvm.X86.Engine;

/// <summary>IRET in every mode (SDM vol. 2). A return to another task is not executed: it ends the run as unsupported.</summary>
internal static class InterruptReturn
{
    /// <summary>Executes IRET with operands of <paramref name="size"/> bytes.</summary>
    public static bool Execute(ref Cpu cpu, CpuContext context, int size)
    {
        bool done = (cpu.Cr0 & Bits.Cr0Pe) == 0 ? Real(ref cpu, context, size)
            : (cpu.Rflags & Bits.Vm) != 0 ? Virtual86(ref cpu, context, size)
            : Protected(ref cpu, context, size);
        if (done)
        {
            if (cpu.NmiMasked != 0)
                context.Chips?.MergeNmis();
            cpu.NmiMasked = 0;
            Interlocked.MemoryBarrier(); // IRET serialises
            if ((cpu.Rflags & Bits.Tf) != 0)
                cpu.Attention = -1;
            context.LookForEvents();
            context.SelectTlb();
        }

        return done;
    }

    private static bool Real(ref Cpu cpu, CpuContext context, int size)
    {
        var stack = new FrameStack(ref cpu, context, cpu.Segments[Seg.Ss], cpu.Gpr[4], false, cpu.Cpl);
        if (!stack.TryPop(size, out ulong offset) || !stack.TryPop(size, out ulong selector) || !stack.TryPop(size, out ulong flags)
            || !FarTransfers.JumpReal(ref cpu, context, (ushort)selector, offset))
            return false;
        cpu.Gpr[4] = stack.Register(cpu.Gpr[4]);
        // VM, VIF and VIP keep their values.
        FlagImage.Replace(ref cpu, (uint)flags, size == 2 ? 0x7fd5u : 0x257fd5u);
        return true;
    }

    /// <summary>In virtual-8086 mode IOPL 3 is needed, and IOPL itself stays.</summary>
    private static bool Virtual86(ref Cpu cpu, CpuContext context, int size)
    {
        if ((cpu.Rflags & Bits.Iopl) != Bits.Iopl)
            return Fault.Raise(ref cpu, Vector.GeneralProtection);
        var stack = new FrameStack(ref cpu, context, cpu.Segments[Seg.Ss], cpu.Gpr[4], false, 3);
        if (!stack.TryPop(size, out ulong offset) || !stack.TryPop(size, out ulong selector) || !stack.TryPop(size, out ulong flags)
            || !FarTransfers.JumpReal(ref cpu, context, (ushort)selector, offset))
            return false;
        cpu.Gpr[4] = stack.Register(cpu.Gpr[4]);
        FlagImage.Replace(ref cpu, (uint)flags, (size == 2 ? 0x7fd5u : 0x257fd5u) & ~Bits.Iopl);
        return true;
    }

    private static bool Protected(ref Cpu cpu, CpuContext context, int size)
    {
        bool longMode = Segmentation.IsLongMode(ref cpu);
        if ((cpu.Rflags & Bits.Nt) != 0)
            return longMode ? Fault.Raise(ref cpu, Vector.GeneralProtection) : Fault.Unsupported(ref cpu);
        bool wide = Segmentation.Is64(ref cpu);
        var stack = new FrameStack(ref cpu, context, cpu.Segments[Seg.Ss], cpu.Gpr[4], wide, cpu.Cpl);
        if (!stack.TryPop(size, out ulong offset) || !stack.TryPop(size, out ulong selector) || !stack.TryPop(size, out ulong flags))
            return false;
        if (!longMode && size == 4 && ((uint)flags & Bits.Vm) != 0 && cpu.Cpl == 0)
            return ToVirtual86(ref cpu, context, ref stack, offset, (ushort)selector, (uint)flags);
        if (!FarTransfers.TryReturnCode(ref cpu, context, (ushort)selector, offset, out var target))
            return false;
        int cpl = cpu.Cpl, iopl = (int)(cpu.Rflags & Bits.Iopl) >> 12;
        uint change = Change(cpl, iopl, size);
        if (!wide && (selector & 3) == (ulong)cpl)
        {
            if (!Segmentation.TryMarkAccessed(ref cpu, context, ref target))
                return false;
            cpu.Gpr[4] = stack.Register(cpu.Gpr[4]);
            Segmentation.SetCode(ref cpu, context, target, cpl);
            cpu.Rip = Segmentation.Is64(ref cpu) ? offset : (uint)offset;
        }
        else
        {
            // From 64-bit mode SS:RSP is always popped.
            if (!stack.TryPop(size, out ulong pointer) || !stack.TryPop(size, out ulong ss)
                || !FarTransfers.ReturnOuter(ref cpu, context, ref target, offset, (ushort)ss, pointer, 0))
                return false;
        }

        FlagImage.Replace(ref cpu, (uint)flags, change);
        return true;
    }

    /// <summary>Flags IRET may change by level: IOPL at level 0, IF where IOPL allows.</summary>
    private static uint Change(int cpl, int iopl, int size)
    {
        uint change = Bits.StatusFlags | Bits.Tf | Bits.Df | Bits.Nt;
        if (size > 2)
            change |= Bits.Rf | Bits.Ac | Bits.Id;
        if (cpl <= iopl)
            change |= Bits.If;
        if (cpl == 0)
            change |= Bits.Iopl | (size > 2 ? Bits.Vif | Bits.Vip : 0);
        return change;
    }

    private static bool ToVirtual86(ref Cpu cpu, CpuContext context, ref FrameStack stack, ulong offset, ushort selector, uint flags)
    {
        Span<ulong> popped = stackalloc ulong[6]; // ESP SS ES DS FS GS
        foreach (ref ulong value in popped)
        {
            if (!stack.TryPop(4, out value))
                return false;
        }

        FlagImage.Replace(ref cpu, flags, uint.MaxValue);
        cpu.Rflags |= Bits.Vm;
        cpu.Cpl = 3;
        SetVirtual86(ref cpu, Seg.Cs, selector);
        SetVirtual86(ref cpu, Seg.Ss, (ushort)popped[1]);
        SetVirtual86(ref cpu, Seg.Es, (ushort)popped[2]);
        SetVirtual86(ref cpu, Seg.Ds, (ushort)popped[3]);
        SetVirtual86(ref cpu, Seg.Fs, (ushort)popped[4]);
        SetVirtual86(ref cpu, Seg.Gs, (ushort)popped[5]);
        cpu.Gpr[4] = (uint)popped[0];
        cpu.Rip = (ushort)offset;
        Modes.Update(ref cpu, context);
        return true;
    }

    private static void SetVirtual86(ref Cpu cpu, int register, ushort selector) => cpu.Segments[register] = new SegmentRegister
    {
        Selector = selector,
        Base = (ulong)selector << 4,
        Limit = 0xffff,
        Attributes = 0xf3,
    };
}
