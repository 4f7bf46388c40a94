using System.Buffers.Binary;
using Kvm.X86.Execute;
using Kvm.X86.State;

namespace Kvm.X86.Engine;

/// <summary>The stacks a task-state segment names (SDM vol. 3, 8.2 and 8.7).</summary>
internal static class TaskState
{
    /// <summary>SS and ESP of a level from a 16- or 32-bit TSS; #TS if they lie outside.</summary>
    public static bool TryStack(ref Cpu cpu, CpuContext context, int level, out ushort selector, out uint pointer)
    {
        ref var tr = ref cpu.Segments[Seg.Tr];
        bool wide = (tr.Type & 8) != 0;
        uint offset = wide ? 4 + (8 * (uint)level) : 2 + (4 * (uint)level);
        uint size = wide ? 8u : 4;
        selector = 0;
        pointer = 0;
        if (tr.IsUnusable || offset + (size - 1) > tr.Limit)
            return Fault.Raise(ref cpu, Vector.InvalidTss, tr.Selector & 0xfffcu);
        Span<byte> bytes = stackalloc byte[8];
        if (!context.TryReadSystem(tr.Base + offset, bytes[..(int)size]))
            return false;
        pointer = wide ? BinaryPrimitives.ReadUInt32LittleEndian(bytes) : BinaryPrimitives.ReadUInt16LittleEndian(bytes);
        selector = BinaryPrimitives.ReadUInt16LittleEndian(bytes[(wide ? 4 : 2)..]);
        return true;
    }

    /// <summary>RSP of a level (0–2), or of an interrupt stack (IST 1–7), from a 64-bit TSS.</summary>
    public static bool TryStack64(ref Cpu cpu, CpuContext context, int level, int ist, out ulong pointer)
    {
        ref var tr = ref cpu.Segments[Seg.Tr];
        uint offset = ist != 0 ? 28 + (8 * (uint)ist) : 4 + (8 * (uint)level);
        pointer = 0;
        if (tr.IsUnusable || offset + 7 > tr.Limit)
            return Fault.Raise(ref cpu, Vector.InvalidTss, tr.Selector & 0xfffcu);
        Span<byte> bytes = stackalloc byte[8];
        if (!context.TryReadSystem(tr.Base + offset, bytes))
            return false;
        pointer = BinaryPrimitives.ReadUInt64LittleEndian(bytes);
        return Modes.IsCanonical(ref cpu, pointer) || Fault.Raise(ref cpu, Vector.StackFault);
    }

    /// <summary>Reads and checks the stack segment of an inner level; errors are #TS with its selector.</summary>
    public static bool TryStackSegment(ref Cpu cpu, CpuContext context, ushort selector, int level, uint external, out SegmentRegister segment)
    {
        segment = default;
        uint error = (selector & 0xfffcu) | external;
        if ((selector & 0xfffc) == 0)
            return Fault.Raise(ref cpu, Vector.InvalidTss, error);
        if (!Segmentation.TryReadDescriptor(ref cpu, context, selector, Vector.InvalidTss, error, out ulong descriptor))
            return false;
        segment = Segmentation.Parse(descriptor, selector);
        if ((selector & 3) != level || segment.Dpl != level || !segment.IsWritable)
            return Fault.Raise(ref cpu, Vector.InvalidTss, error);
        return segment.IsPresent || Fault.Raise(ref cpu, Vector.StackFault, error);
    }
}
