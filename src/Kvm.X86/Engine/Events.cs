using System.Buffers.Binary;
using Kvm.X86.Execute;
using Kvm.X86.State;

namespace Kvm.X86.Engine;

/// <summary>Where an event comes from; it decides about gate privilege, error codes and flags.</summary>
internal enum EventSource
{
    /// <summary>A fault or trap of the processor.</summary>
    Exception,

    /// <summary>INT n, INT3, INTO: the gate's DPL is checked.</summary>
    Software,

    /// <summary>An external interrupt or NMI.</summary>
    External,
}

/// <summary>
/// Delivery of interrupts and exceptions through the IDT (SDM vol. 3, chapter 6), double faults and shutdown included. RIP
/// is the one to return to.
/// </summary>
internal static class Events
{
    /// <summary>Delivers an event. False: triple fault; the processor is in shutdown. May leave an unsupported fault recorded.</summary>
    public static bool Deliver(ref Cpu cpu, CpuContext context, int vector, EventSource source, bool hasError, uint error)
    {
        for (int depth = 0; ; depth++)
        {
            if (vector == Vector.PageFault && source == EventSource.Exception)
                cpu.Cr2 = cpu.FaultAddress;
            cpu.FaultVector = -1;
            if (TryDeliver(ref cpu, context, vector, source, hasError, error))
            {
                cpu.InterruptShadow = 0;
                return true;
            }

            if (source == EventSource.Software)
                cpu.Rip -= (uint)cpu.FaultLength; // the gate refused it: a fault of the INT instruction itself
            int second = cpu.FaultVector;
            if (second == Fault.UnsupportedVector)
                return true;
            // SDM vol. 3, table 6-5.
            if (source == EventSource.Exception && vector == Vector.DoubleFault || depth > 8)
            {
                cpu.FaultVector = -1;
                cpu.Activity = (int)ActivityState.Shutdown;
                return false;
            }

            bool doubles = source == EventSource.Exception
                && ((IsContributory(vector) && IsContributory(second)) || (vector == Vector.PageFault && (IsContributory(second) || second == Vector.PageFault)));
            source = EventSource.Exception;
            vector = doubles ? Vector.DoubleFault : second;
            hasError = Vector.HasErrorCode(vector) && (cpu.Cr0 & Bits.Cr0Pe) != 0;
            error = doubles ? 0 : cpu.FaultError;
        }
    }

    private static bool IsContributory(int vector) => vector is Vector.DivideError or (>= Vector.InvalidTss and <= Vector.GeneralProtection);

    private static bool TryDeliver(ref Cpu cpu, CpuContext context, int vector, EventSource source, bool hasError, uint error)
    {
        if ((cpu.Cr0 & Bits.Cr0Pe) == 0)
            return DeliverReal(ref cpu, context, vector);
        bool wide = Segmentation.IsLongMode(ref cpu);
        uint external = source == EventSource.Software ? 0u : 1;
        uint gateError = ((uint)vector * 8) | 2 | external;
        uint size = wide ? 16u : 8;
        if ((uint)vector * size + (size - 1) > cpu.Idtr.Limit)
            return Fault.Raise(ref cpu, Vector.GeneralProtection, gateError);
        // INT n in virtual-8086 mode needs IOPL 3 (without VME).
        if (source == EventSource.Software && (cpu.Rflags & Bits.Vm) != 0 && vector != 3 && vector != 4 && (cpu.Rflags & Bits.Iopl) != Bits.Iopl)
            return Fault.Raise(ref cpu, Vector.GeneralProtection);
        Span<byte> bytes = stackalloc byte[16];
        if (!context.TryReadSystem(cpu.Idtr.Base + ((uint)vector * size), bytes[..(int)size]))
            return false;
        ulong low = BinaryPrimitives.ReadUInt64LittleEndian(bytes);
        int type = (int)(low >> 40) & 0x1f;
        bool valid = type is Segmentation.InterruptGate32 or Segmentation.TrapGate32
            || (!wide && type is Segmentation.InterruptGate16 or Segmentation.TrapGate16 or Segmentation.TaskGate);
        if (!valid || (source == EventSource.Software && ((int)(low >> 45) & 3) < cpu.Cpl))
            return Fault.Raise(ref cpu, Vector.GeneralProtection, gateError);
        if ((low & (1UL << 47)) == 0)
            return Fault.Raise(ref cpu, Vector.SegmentNotPresent, gateError);
        if (type == Segmentation.TaskGate)
            return Fault.Unsupported(ref cpu);
        ushort selector = (ushort)(low >> 16);
        if (!TryReadCode(ref cpu, context, selector, external, out var code))
            return false;
        uint flags = FlagsToPush(ref cpu, vector, source);
        bool done = wide
            ? DeliverLong(ref cpu, context, ref code, low, BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]), flags, hasError, error)
            : DeliverProtected(ref cpu, context, ref code, low, type, external, flags, hasError, error);
        if (!done)
            return false;
        uint clear = Bits.Tf | Bits.Nt | Bits.Rf | Bits.Vm | ((type & 1) == 0 ? Bits.If : 0);
        cpu.Rflags &= ~clear;
        context.SelectTlb();
        return true;
    }

    /// <summary>Faults push RF set, so that the instruction is not caught by its own breakpoint when it is restarted.</summary>
    private static uint FlagsToPush(ref Cpu cpu, int vector, EventSource source)
    {
        uint flags = FlagImage.Get(ref cpu);
        bool fault = source == EventSource.Exception && vector is not (Vector.Debug or Vector.Breakpoint or Vector.Overflow or Vector.DoubleFault);
        return fault ? flags | Bits.Rf : flags;
    }

    private static bool TryReadCode(ref Cpu cpu, CpuContext context, ushort selector, uint external, out SegmentRegister code)
    {
        code = default;
        uint error = (selector & 0xfffcu) | external;
        if ((selector & 0xfffc) == 0)
            return Fault.Raise(ref cpu, Vector.GeneralProtection, external);
        if (!Segmentation.TryReadDescriptor(ref cpu, context, selector, Vector.GeneralProtection, error, out ulong descriptor))
            return false;
        code = Segmentation.Parse(descriptor, selector);
        bool wrongSize = Segmentation.IsLongMode(ref cpu) && (!code.IsLong || code.IsBig);
        if (!code.IsCode || code.Dpl > cpu.Cpl || wrongSize)
            return Fault.Raise(ref cpu, Vector.GeneralProtection, error);
        return code.IsPresent || Fault.Raise(ref cpu, Vector.SegmentNotPresent, error);
    }

    private static bool DeliverLong(ref Cpu cpu, CpuContext context, ref SegmentRegister code, ulong low, ulong high, uint flags, bool hasError, uint error)
    {
        int level = (code.Type & 4) != 0 ? cpu.Cpl : code.Dpl, ist = (int)(low >> 32) & 7;
        ulong pointer = cpu.Gpr[4];
        if ((level < cpu.Cpl || ist != 0) && !TaskState.TryStack64(ref cpu, context, level, ist, out pointer))
            return false;
        var old = cpu.Segments[Seg.Ss];
        var stack = new FrameStack(ref cpu, context, old, pointer & ~15UL, true, level);
        if (!stack.TryPush(old.Selector, 8) || !stack.TryPush(cpu.Gpr[4], 8) || !stack.TryPush(flags, 8)
            || !stack.TryPush(cpu.Segments[Seg.Cs].Selector, 8) || !stack.TryPush(cpu.Rip, 8) || (hasError && !stack.TryPush(error, 8)))
            return false;
        ulong target = (low & 0xffff) | ((low >> 32) & 0xffff0000) | (high << 32);
        if (!Modes.IsCanonical(ref cpu, target))
            return Fault.Raise(ref cpu, Vector.GeneralProtection);
        if (!Segmentation.TryMarkAccessed(ref cpu, context, ref code))
            return false;
        if (level < cpu.Cpl)
            cpu.Segments[Seg.Ss] = new SegmentRegister { Selector = (ushort)level, Attributes = (ushort)(SegmentRegister.UnusableBit | (level << 5)) };
        cpu.Gpr[4] = stack.Pointer;
        Segmentation.SetCode(ref cpu, context, code, level);
        cpu.Rip = target;
        return true;
    }

    private static bool DeliverProtected(ref Cpu cpu, CpuContext context, ref SegmentRegister code, ulong low, int type, uint external, uint flags, bool hasError, uint error)
    {
        int size = type >= Segmentation.InterruptGate32 ? 4 : 2;
        int level = (code.Type & 4) != 0 ? cpu.Cpl : code.Dpl;
        bool virtual86 = (cpu.Rflags & Bits.Vm) != 0;
        if (virtual86 && level != 0)
            return Fault.Raise(ref cpu, Vector.GeneralProtection, (code.Selector & 0xfffcu) | external);
        bool inner = level < cpu.Cpl;
        var segment = cpu.Segments[Seg.Ss];
        ulong pointer = cpu.Gpr[4];
        if (inner)
        {
            if (!TaskState.TryStack(ref cpu, context, level, out ushort ss, out uint esp)
                || !TaskState.TryStackSegment(ref cpu, context, ss, level, external, out segment))
                return false;
            pointer = esp;
        }

        var stack = new FrameStack(ref cpu, context, segment, pointer, false, level, (inner ? segment.Selector & 0xfffcu : 0) | external);
        if (virtual86 && !(stack.TryPush(cpu.Segments[Seg.Gs].Selector, size) && stack.TryPush(cpu.Segments[Seg.Fs].Selector, size)
            && stack.TryPush(cpu.Segments[Seg.Ds].Selector, size) && stack.TryPush(cpu.Segments[Seg.Es].Selector, size)))
            return false;
        if (inner && !(stack.TryPush(cpu.Segments[Seg.Ss].Selector, size) && stack.TryPush(cpu.Gpr[4], size)))
            return false;
        if (!stack.TryPush(flags, size) || !stack.TryPush(cpu.Segments[Seg.Cs].Selector, size) || !stack.TryPush(cpu.Rip, size)
            || (hasError && !stack.TryPush(error, size)))
            return false;
        ulong target = (low & 0xffff) | (size == 4 ? (low >> 32) & 0xffff0000 : 0);
        if ((uint)target > code.Limit)
            return Fault.Raise(ref cpu, Vector.GeneralProtection, external);
        if (!Segmentation.TryMarkAccessed(ref cpu, context, ref code))
            return false;
        if (inner)
            cpu.Segments[Seg.Ss] = segment;
        cpu.Gpr[4] = stack.Register(cpu.Gpr[4]);
        if (virtual86)
        {
            cpu.Rflags &= ~Bits.Vm;
            for (int register = Seg.Ds; register <= Seg.Gs; register++)
                cpu.Segments[register] = new SegmentRegister { Attributes = SegmentRegister.UnusableBit };
            cpu.Segments[Seg.Es] = new SegmentRegister { Attributes = SegmentRegister.UnusableBit };
        }

        Segmentation.SetCode(ref cpu, context, code, level);
        cpu.Rip = (uint)target;
        return true;
    }

    private static bool DeliverReal(ref Cpu cpu, CpuContext context, int vector)
    {
        if (((uint)vector * 4) + 3 > cpu.Idtr.Limit)
            return Fault.Raise(ref cpu, Vector.GeneralProtection);
        Span<byte> entry = stackalloc byte[4];
        if (!context.TryReadSystem(cpu.Idtr.Base + ((uint)vector * 4), entry))
            return false;
        var stack = new FrameStack(ref cpu, context, cpu.Segments[Seg.Ss], cpu.Gpr[4], false, 0);
        if (!stack.TryPush(FlagImage.Get(ref cpu), 2) || !stack.TryPush(cpu.Segments[Seg.Cs].Selector, 2) || !stack.TryPush(cpu.Rip, 2))
            return false;
        cpu.Gpr[4] = stack.Register(cpu.Gpr[4]);
        cpu.Rflags &= ~(Bits.If | Bits.Tf | Bits.Ac | Bits.Rf);
        return FarTransfers.JumpReal(ref cpu, context, BinaryPrimitives.ReadUInt16LittleEndian(entry[2..]), BinaryPrimitives.ReadUInt16LittleEndian(entry));
    }
}
