using System.Buffers.Binary;
using Kvm.X86.Execute;
using Kvm.X86.State;

namespace Kvm.X86.Engine;

/// <summary>
/// Far jumps, calls and returns (SDM vol. 2, JMP, CALL, RET; vol. 3, 5.8). RIP is behind the instruction on entry and at the target
/// on success. Task switches are not executed: they end the run as unsupported.
/// </summary>
internal static class FarTransfers
{
    /// <summary>JMP to selector:offset.</summary>
    public static bool Jump(ref Cpu cpu, CpuContext context, ushort selector, ulong offset)
    {
        if (Segmentation.IsReal(ref cpu))
            return JumpReal(ref cpu, context, selector, offset);
        if (!TryReadTarget(ref cpu, context, selector, out ulong descriptor, out var target))
            return false;
        if (target.IsCodeOrData)
        {
            return CheckCode(ref cpu, target, selector & 3, selector & 0xfffcu) && CheckOffset(ref cpu, target, offset)
                && Enter(ref cpu, context, ref target, cpu.Cpl, offset);
        }

        if (!TryReadGate(ref cpu, context, selector, descriptor, target, out var gate))
            return false;
        if (!TryReadDescriptor(ref cpu, context, gate.Selector, out target) || !CheckCode(ref cpu, target, 0, gate.Selector & 0xfffcu))
            return false;
        return CheckGateTarget(ref cpu, target, gate) && CheckOffset(ref cpu, target, gate.Offset)
            && Enter(ref cpu, context, ref target, cpu.Cpl, gate.Offset);
    }

    /// <summary>CALL to selector:offset, pushing values of <paramref name="size"/> bytes.</summary>
    public static bool Call(ref Cpu cpu, CpuContext context, ushort selector, ulong offset, int size)
    {
        if (Segmentation.IsReal(ref cpu))
            return CallReal(ref cpu, context, selector, offset, size);
        if (!TryReadTarget(ref cpu, context, selector, out ulong descriptor, out var target))
            return false;
        if (target.IsCodeOrData)
        {
            return CheckCode(ref cpu, target, selector & 3, selector & 0xfffcu) && CheckOffset(ref cpu, target, offset)
                && CallSame(ref cpu, context, ref target, offset, size);
        }

        if (!TryReadGate(ref cpu, context, selector, descriptor, target, out var gate)
            || !TryReadDescriptor(ref cpu, context, gate.Selector, out target))
            return false;
        if (!target.IsCode || target.Dpl > cpu.Cpl)
            return Fault.Raise(ref cpu, Vector.GeneralProtection, gate.Selector & 0xfffcu);
        if (!target.IsPresent)
            return Fault.Raise(ref cpu, Vector.SegmentNotPresent, gate.Selector & 0xfffcu);
        if (!CheckGateTarget(ref cpu, target, gate) || !CheckOffset(ref cpu, target, gate.Offset))
            return false;
        bool inner = (target.Type & 4) == 0 && target.Dpl < cpu.Cpl;
        return inner ? CallInner(ref cpu, context, ref target, gate) : CallSame(ref cpu, context, ref target, gate.Offset, gate.Size);
    }

    /// <summary>RETF, releasing <paramref name="release"/> bytes of parameters.</summary>
    public static bool Return(ref Cpu cpu, CpuContext context, int size, ulong release)
    {
        bool wide = Segmentation.Is64(ref cpu);
        var stack = new FrameStack(ref cpu, context, cpu.Segments[Seg.Ss], cpu.Gpr[4], wide, cpu.Cpl);
        if (!stack.TryPop(size, out ulong offset) || !stack.TryPop(size, out ulong popped))
            return false;
        ushort selector = (ushort)popped;
        stack.Skip(release);
        if (Segmentation.IsReal(ref cpu))
        {
            if (!JumpReal(ref cpu, context, selector, offset))
                return false;
            cpu.Gpr[4] = stack.Register(cpu.Gpr[4]);
            return true;
        }

        if (!TryReturnCode(ref cpu, context, selector, offset, out var target))
            return false;
        if ((selector & 3) == cpu.Cpl)
        {
            ulong pointer = stack.Register(cpu.Gpr[4]);
            if (!Enter(ref cpu, context, ref target, cpu.Cpl, offset))
                return false;
            cpu.Gpr[4] = pointer;
            return true;
        }

        if (!stack.TryPop(size, out ulong outerPointer) || !stack.TryPop(size, out popped))
            return false;
        return ReturnOuter(ref cpu, context, ref target, offset, (ushort)popped, outerPointer, release);
    }

    /// <summary>Checks CS for a return (RETF, IRET) to the level its RPL names, and the offset against it.</summary>
    public static bool TryReturnCode(ref Cpu cpu, CpuContext context, ushort selector, ulong offset, out SegmentRegister target)
    {
        target = default;
        uint error = selector & 0xfffcu;
        if (error == 0)
            return Fault.Raise(ref cpu, Vector.GeneralProtection);
        if (!TryReadDescriptor(ref cpu, context, selector, out target))
            return false;
        int rpl = selector & 3;
        bool conforming = (target.Type & 4) != 0;
        if (!target.IsCode || rpl < cpu.Cpl || (conforming ? target.Dpl > rpl : target.Dpl != rpl) || IsBadLong(ref cpu, target))
            return Fault.Raise(ref cpu, Vector.GeneralProtection, error);
        if (!target.IsPresent)
            return Fault.Raise(ref cpu, Vector.SegmentNotPresent, error);
        return CheckOffset(ref cpu, target, offset);
    }

    /// <summary>Completes a return to an outer level with the stack popped from the inner one.</summary>
    public static bool ReturnOuter(ref Cpu cpu, CpuContext context, ref SegmentRegister target, ulong offset, ushort ss, ulong pointer, ulong release)
    {
        int cpl = target.Selector & 3;
        if (!TryOuterStack(ref cpu, context, target, ss, cpl, out var stackSegment)
            || !Segmentation.TryMarkAccessed(ref cpu, context, ref target))
            return false;
        Segmentation.SetCode(ref cpu, context, target, cpl);
        cpu.Segments[Seg.Ss] = stackSegment;
        Modes.Update(ref cpu, context);
        bool wide = Segmentation.Is64(ref cpu);
        ulong mask = wide ? ulong.MaxValue : stackSegment.IsBig ? uint.MaxValue : ushort.MaxValue;
        pointer += release;
        cpu.Gpr[4] = mask == ushort.MaxValue ? (cpu.Gpr[4] & ~mask) | (pointer & mask) : pointer & mask;
        cpu.Rip = wide ? offset : (uint)offset;
        Segmentation.DropPrivilegedData(ref cpu);
        return true;
    }

    /// <summary>SS of the level returned to: may be null in 64-bit mode below level 3.</summary>
    public static bool TryOuterStack(ref Cpu cpu, CpuContext context, in SegmentRegister code, ushort ss, int cpl, out SegmentRegister segment)
    {
        segment = new SegmentRegister { Selector = ss, Attributes = (ushort)(SegmentRegister.UnusableBit | (cpl << 5)) };
        if ((ss & 0xfffc) == 0)
        {
            bool allowed = Segmentation.IsLongMode(ref cpu) && code.IsLong && cpl != 3 && (ss & 3) == cpl;
            return allowed || Fault.Raise(ref cpu, Vector.GeneralProtection);
        }

        if (!Segmentation.TryReadDescriptor(ref cpu, context, ss, Vector.GeneralProtection, out ulong descriptor))
            return false;
        segment = Segmentation.Parse(descriptor, ss);
        return Segmentation.CheckStack(ref cpu, segment, ss, cpl, Vector.GeneralProtection)
            && Segmentation.TryMarkAccessed(ref cpu, context, ref segment);
    }

    /// <summary>Real mode and virtual-8086 mode: CS = selector · 16.</summary>
    public static bool JumpReal(ref Cpu cpu, CpuContext context, ushort selector, ulong offset)
    {
        ref var cs = ref cpu.Segments[Seg.Cs];
        if ((uint)offset > cs.Limit && (uint)offset > 0xffff)
            return Fault.Raise(ref cpu, Vector.GeneralProtection);
        cs.Selector = selector;
        cs.Base = (ulong)selector << 4;
        cpu.Rip = (uint)offset;
        Modes.Update(ref cpu, context);
        return true;
    }

    private static bool CallReal(ref Cpu cpu, CpuContext context, ushort selector, ulong offset, int size)
    {
        var stack = new FrameStack(ref cpu, context, cpu.Segments[Seg.Ss], cpu.Gpr[4], false, cpu.Cpl);
        if (!stack.TryPush(cpu.Segments[Seg.Cs].Selector, size) || !stack.TryPush(cpu.Rip, size))
            return false;
        if (!JumpReal(ref cpu, context, selector, offset))
            return false;
        cpu.Gpr[4] = stack.Register(cpu.Gpr[4]);
        return true;
    }

    private static bool CallSame(ref Cpu cpu, CpuContext context, ref SegmentRegister target, ulong offset, int size)
    {
        var stack = new FrameStack(ref cpu, context, cpu.Segments[Seg.Ss], cpu.Gpr[4], Segmentation.IsLongMode(ref cpu) && target.IsLong, cpu.Cpl);
        if (!stack.TryPush(cpu.Segments[Seg.Cs].Selector, size) || !stack.TryPush(cpu.Rip, size))
            return false;
        ulong pointer = stack.Register(cpu.Gpr[4]);
        if (!Enter(ref cpu, context, ref target, cpu.Cpl, offset))
            return false;
        cpu.Gpr[4] = pointer;
        return true;
    }

    /// <summary>Through a call gate to an inner level: new stack from the TSS, parameters copied (not in long mode).</summary>
    private static bool CallInner(ref Cpu cpu, CpuContext context, ref SegmentRegister target, in Gate gate)
    {
        int level = target.Dpl;
        SegmentRegister segment;
        ulong pointer;
        if (gate.Size == 8)
        {
            segment = new SegmentRegister { Selector = (ushort)level, Attributes = (ushort)(SegmentRegister.UnusableBit | (level << 5)) };
            if (!TaskState.TryStack64(ref cpu, context, level, 0, out pointer))
                return false;
        }
        else
        {
            if (!TaskState.TryStack(ref cpu, context, level, out ushort ss, out uint esp)
                || !TaskState.TryStackSegment(ref cpu, context, ss, level, 0, out segment))
                return false;
            pointer = esp;
        }

        var old = new FrameStack(ref cpu, context, cpu.Segments[Seg.Ss], cpu.Gpr[4], false, cpu.Cpl);
        var stack = new FrameStack(ref cpu, context, segment, pointer, gate.Size == 8, level, segment.Selector & 0xfffcu);
        if (!stack.TryPush(cpu.Segments[Seg.Ss].Selector, gate.Size) || !stack.TryPush(cpu.Gpr[4], gate.Size))
            return false;
        Span<ulong> parameters = stackalloc ulong[32];
        int count = gate.Size == 8 ? 0 : gate.Parameters;
        for (int n = 0; n < count; n++)
        {
            if (!old.TryPop(gate.Size, out parameters[n]))
                return false;
        }

        for (int n = count - 1; n >= 0; n--)
        {
            if (!stack.TryPush(parameters[n], gate.Size))
                return false;
        }

        if (!stack.TryPush(cpu.Segments[Seg.Cs].Selector, gate.Size) || !stack.TryPush(cpu.Rip, gate.Size)
            || !Segmentation.TryMarkAccessed(ref cpu, context, ref target))
            return false;
        ulong register = stack.Register(cpu.Gpr[4]);
        cpu.Segments[Seg.Ss] = segment;
        cpu.Gpr[4] = register;
        Segmentation.SetCode(ref cpu, context, target, level);
        cpu.Rip = gate.Offset;
        return true;
    }

    private struct Gate
    {
        public ushort Selector;
        public ulong Offset;
        public int Size;
        public int Parameters;
    }

    private static bool TryReadTarget(ref Cpu cpu, CpuContext context, ushort selector, out ulong descriptor, out SegmentRegister target)
    {
        descriptor = 0;
        target = default;
        if ((selector & 0xfffc) == 0)
            return Fault.Raise(ref cpu, Vector.GeneralProtection);
        if (!Segmentation.TryReadDescriptor(ref cpu, context, selector, Vector.GeneralProtection, out descriptor))
            return false;
        target = Segmentation.Parse(descriptor, selector);
        return true;
    }

    private static bool TryReadDescriptor(ref Cpu cpu, CpuContext context, ushort selector, out SegmentRegister segment)
    {
        segment = default;
        if ((selector & 0xfffc) == 0)
            return Fault.Raise(ref cpu, Vector.GeneralProtection);
        if (!Segmentation.TryReadDescriptor(ref cpu, context, selector, Vector.GeneralProtection, out ulong descriptor))
            return false;
        segment = Segmentation.Parse(descriptor, selector);
        return true;
    }

    /// <summary>Reads a call gate; anything else is #GP, but TSSs and task gates, which are not supported.</summary>
    private static bool TryReadGate(ref Cpu cpu, CpuContext context, ushort selector, ulong descriptor, in SegmentRegister parsed, out Gate gate)
    {
        gate = default;
        bool wide = Segmentation.IsLongMode(ref cpu);
        uint error = selector & 0xfffcu;
        int type = parsed.Type;
        if (!wide && type is Segmentation.Tss16 or Segmentation.Tss32 or Segmentation.TaskGate && parsed.Dpl >= cpu.Cpl && parsed.Dpl >= (selector & 3))
            return parsed.IsPresent ? Fault.Unsupported(ref cpu) : Fault.Raise(ref cpu, Vector.SegmentNotPresent, error);
        if (type != Segmentation.CallGate32 && (type != Segmentation.CallGate16 || wide))
            return Fault.Raise(ref cpu, Vector.GeneralProtection, error);
        if (parsed.Dpl < cpu.Cpl || parsed.Dpl < (selector & 3))
            return Fault.Raise(ref cpu, Vector.GeneralProtection, error);
        if (!parsed.IsPresent)
            return Fault.Raise(ref cpu, Vector.SegmentNotPresent, error);
        gate.Selector = (ushort)(descriptor >> 16);
        gate.Parameters = (int)(descriptor >> 32) & 31;
        gate.Size = wide ? 8 : type == Segmentation.CallGate32 ? 4 : 2;
        gate.Offset = (descriptor & 0xffff) | (gate.Size == 2 ? 0 : (descriptor >> 32) & 0xffff0000);
        if (!wide)
            return true;
        if (!Segmentation.TryAddress(ref cpu, selector, 16, out ulong address))
            return Fault.Raise(ref cpu, Vector.GeneralProtection, error);
        Span<byte> high = stackalloc byte[8];
        if (!context.TryReadSystem(address + 8, high))
            return false;
        ulong upper = BinaryPrimitives.ReadUInt64LittleEndian(high);
        gate.Offset |= upper << 32;
        return ((upper >> 40) & 0x1f) == 0 || Fault.Raise(ref cpu, Vector.GeneralProtection, error);
    }

    /// <summary>A 64-bit gate leads to 64-bit code.</summary>
    private static bool CheckGateTarget(ref Cpu cpu, in SegmentRegister target, in Gate gate) =>
        gate.Size != 8 || (target.IsLong && !target.IsBig) || Fault.Raise(ref cpu, Vector.GeneralProtection, gate.Selector & 0xfffcu);

    /// <summary>Long mode has no segment that is both long and 32-bit.</summary>
    private static bool IsBadLong(ref Cpu cpu, in SegmentRegister s) => Segmentation.IsLongMode(ref cpu) && s.IsLong && s.IsBig;

    private static bool CheckCode(ref Cpu cpu, in SegmentRegister target, int rpl, uint error)
    {
        bool conforming = (target.Type & 4) != 0;
        if (!target.IsCode || IsBadLong(ref cpu, target) || (conforming ? target.Dpl > cpu.Cpl : rpl > cpu.Cpl || target.Dpl != cpu.Cpl))
            return Fault.Raise(ref cpu, Vector.GeneralProtection, error);
        return target.IsPresent || Fault.Raise(ref cpu, Vector.SegmentNotPresent, error);
    }

    /// <summary>The offset must be inside the segment, or canonical in 64-bit code.</summary>
    private static bool CheckOffset(ref Cpu cpu, in SegmentRegister target, ulong offset)
    {
        bool inside = Segmentation.IsLongMode(ref cpu) && target.IsLong
            ? Modes.IsCanonical(ref cpu, offset)
            : (uint)offset <= target.Limit;
        return inside || Fault.Raise(ref cpu, Vector.GeneralProtection);
    }

    private static bool Enter(ref Cpu cpu, CpuContext context, ref SegmentRegister target, int cpl, ulong offset)
    {
        if (!Segmentation.TryMarkAccessed(ref cpu, context, ref target))
            return false;
        Segmentation.SetCode(ref cpu, context, target, cpl);
        cpu.Rip = Segmentation.Is64(ref cpu) ? offset : (uint)offset;
        return true;
    }
}
