using Kvm.Devices.Snapshot;
using Kvm.X86.State;

namespace Kvm.Vmm.Snapshots;

/// <summary>A processor's record, field by field. What is read is a state that a processor can be in (<see cref="StateRules"/>).</summary>
internal static class ProcessorRecord
{
    public static void Write(StateWriter writer, ProcessorState processor)
    {
        var state = processor.Registers;
        foreach (ulong value in state.Gpr)
            writer.U64(value);
        writer.U64(state.Rip);
        writer.U64(state.Rflags);
        foreach (var segment in state.Segments)
            Write(writer, segment);
        Write(writer, state.Ldtr);
        Write(writer, state.Tr);
        Write(writer, state.Gdtr);
        Write(writer, state.Idtr);
        foreach (ulong value in (ReadOnlySpan<ulong>)[state.Cr0, state.Cr2, state.Cr3, state.Cr4, state.Cr8, state.Efer, state.Xcr0])
            writer.U64(value);
        foreach (ulong value in state.Dr)
            writer.U64(value);
        writer.U64(state.Dr6);
        writer.U64(state.Dr7);
        WriteMsrs(writer, state.Msr);
        writer.Bytes(state.Extended);
        writer.Bool(state.InterruptShadow);
        writer.Bool(state.NmiMasked);
        writer.Bool(state.NmiPending);
        writer.U16((ushort)(state.PendingVector + 1));
        writer.Bool(state.PendingHasErrorCode);
        writer.U32(state.PendingErrorCode);
        writer.U8((byte)state.Activity);
        writer.Bytes(processor.Lapic);
        writer.U64(processor.TscDeadline);
        writer.Bool(processor.InitPending);
        writer.U16((ushort)(processor.StartupVector + 1));
        writer.U16((ushort)processor.Msrs.Count);
        foreach (var (index, value) in processor.Msrs)
        {
            writer.U32(index);
            writer.U64(value);
        }
    }

    public static bool TryRead(ref StateReader reader, ProcessorState processor)
    {
        var state = processor.Registers;
        Read(ref reader, state.Gpr);
        (state.Rip, state.Rflags) = (reader.U64(), reader.U64());
        for (int i = 0; i < state.Segments.Length; i++)
            state.Segments[i] = ReadSegment(ref reader);
        (state.Ldtr, state.Tr) = (ReadSegment(ref reader), ReadSegment(ref reader));
        (state.Gdtr, state.Idtr) = (ReadTable(ref reader), ReadTable(ref reader));
        (state.Cr0, state.Cr2, state.Cr3, state.Cr4) = (reader.U64(), reader.U64(), reader.U64(), reader.U64());
        (state.Cr8, state.Efer, state.Xcr0) = (reader.U64(), reader.U64(), reader.U64());
        Read(ref reader, state.Dr);
        (state.Dr6, state.Dr7) = (reader.U64(), reader.U64());
        ReadMsrs(ref reader, state.Msr);
        bool whole = reader.TryFill(state.Extended);
        (state.InterruptShadow, state.NmiMasked, state.NmiPending) = (reader.Bool(), reader.Bool(), reader.Bool());
        state.PendingVector = reader.U16() - 1;
        (state.PendingHasErrorCode, state.PendingErrorCode) = (reader.Bool(), reader.U32());
        state.Activity = (ActivityState)reader.U8();
        whole &= reader.TryFill(processor.Lapic);
        (processor.TscDeadline, processor.InitPending, processor.StartupVector) = (reader.U64(), reader.Bool(), reader.U16() - 1);
        return whole && TryReadOthers(ref reader, processor) && processor.StartupVector <= byte.MaxValue && StateRules.IsPossible(state);
    }

    private static bool TryReadOthers(ref StateReader reader, ProcessorState processor)
    {
        int count = reader.U16();
        if (count > ProcessorState.MostMsrs)
            return false;
        var msrs = new (uint Index, ulong Value)[count];
        for (int i = 0; i < count; i++)
        {
            msrs[i] = (reader.U32(), reader.U64());
            if (i > 0 && msrs[i].Index <= msrs[i - 1].Index)
                return false;
        }

        processor.Msrs = msrs;
        return reader.Complete;
    }

    private static void WriteMsrs(StateWriter writer, MsrState msr)
    {
        foreach (ulong value in (ReadOnlySpan<ulong>)[msr.Star, msr.Lstar, msr.Cstar, msr.Fmask, msr.KernelGsBase, msr.SysenterCs, msr.SysenterEsp, msr.SysenterEip,
            msr.Pat, msr.TscAux, msr.Tsc, msr.TscAdjust, msr.ApicBase, msr.MiscEnable, msr.Xss, msr.SpecCtrl, msr.DebugCtl, msr.MtrrDefType])
        {
            writer.U64(value);
        }

        foreach (ulong value in msr.MtrrFixed)
            writer.U64(value);
        foreach (ulong value in msr.MtrrVariable)
            writer.U64(value);
    }

    private static void ReadMsrs(ref StateReader reader, MsrState msr)
    {
        (msr.Star, msr.Lstar, msr.Cstar, msr.Fmask, msr.KernelGsBase) = (reader.U64(), reader.U64(), reader.U64(), reader.U64(), reader.U64());
        (msr.SysenterCs, msr.SysenterEsp, msr.SysenterEip) = (reader.U64(), reader.U64(), reader.U64());
        (msr.Pat, msr.TscAux, msr.Tsc, msr.TscAdjust, msr.ApicBase) = (reader.U64(), reader.U64(), reader.U64(), reader.U64(), reader.U64());
        (msr.MiscEnable, msr.Xss, msr.SpecCtrl, msr.DebugCtl, msr.MtrrDefType) = (reader.U64(), reader.U64(), reader.U64(), reader.U64(), reader.U64());
        Read(ref reader, msr.MtrrFixed);
        Read(ref reader, msr.MtrrVariable);
    }

    private static void Write(StateWriter writer, in SegmentRegister segment)
    {
        writer.U64(segment.Base);
        writer.U32(segment.Limit);
        writer.U16(segment.Selector);
        writer.U16(segment.Attributes);
    }

    private static SegmentRegister ReadSegment(ref StateReader reader) =>
        new() { Base = reader.U64(), Limit = reader.U32(), Selector = reader.U16(), Attributes = reader.U16() };

    private static void Write(StateWriter writer, in DescriptorTable table)
    {
        writer.U64(table.Base);
        writer.U16(table.Limit);
    }

    private static DescriptorTable ReadTable(ref StateReader reader) => new() { Base = reader.U64(), Limit = reader.U16() };

    private static void Read(ref StateReader reader, ulong[] to)
    {
        for (int i = 0; i < to.Length; i++)
            to[i] = reader.U64();
    }
}
