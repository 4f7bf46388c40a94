using Kvm.Devices.Snapshot;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Snapshots;

/// <summary>A board's state to and from records: <c>clock</c>, <c>cpuid</c>, <c>chips</c>, and <c>processor0</c> and so on.</summary>
internal static class BoardRecords
{
    private const ushort Version = 1;
    private const string Clock = "clock", Cpuid = "cpuid", Chips = "chips", Processor = "processor";

    /// <summary>Writes the records.</summary>
    public static IEnumerable<SnapshotRecord> Write(BoardState board)
    {
        yield return Record(Clock, writer =>
        {
            writer.U64(board.GuestTime);
            writer.U64(board.TscFrequency);
            writer.U16((ushort)board.Processors.Length);
        });
        yield return Record(Cpuid, writer =>
        {
            writer.U16((ushort)board.Cpuid.Count);
            foreach (var leaf in board.Cpuid)
            {
                writer.U32(leaf.Function);
                writer.U32(leaf.Index);
                writer.Bool(leaf.IsIndexed);
                writer.U32(leaf.Eax);
                writer.U32(leaf.Ebx);
                writer.U32(leaf.Ecx);
                writer.U32(leaf.Edx);
            }
        });
        yield return Record(Chips, writer =>
        {
            writer.Bytes(board.Pic);
            writer.Bytes(board.IoApic);
            writer.Bytes(board.Pit);
        });
        for (int i = 0; i < board.Processors.Length; i++)
        {
            var processor = board.Processors[i];
            yield return Record(NameOf(i), writer => ProcessorRecord.Write(writer, processor));
        }
    }

    /// <summary>Reads the records of a board; what cannot be is in the report, and null then.</summary>
    public static BoardState? Read(RecordSet records, RestoreReport report)
    {
        var board = new BoardState();
        int processors = 0;
        bool good = records.TryRead(Clock, Version, report, (ref StateReader reader, ushort _) =>
        {
            (board.GuestTime, board.TscFrequency, processors) = (reader.U64(), reader.U64(), reader.U16());
            return reader.Complete && board.GuestTime < 1UL << 62 && board.TscFrequency <= 100_000_000_000 && processors is >= 1 and <= VmConfig.MaxCpus;
        });
        good &= records.TryRead(Cpuid, Version, report, (ref StateReader reader, ushort _) => TryReadCpuid(ref reader, board));
        good &= records.TryRead(Chips, Version, report, (ref StateReader reader, ushort _) =>
            reader.TryFill(board.Pic) & reader.TryFill(board.IoApic) & reader.TryFill(board.Pit) && reader.Complete);
        if (!good)
            return null;
        board.Processors = new ProcessorState[processors];
        for (int i = 0; i < processors; i++)
        {
            var processor = board.Processors[i] = new ProcessorState();
            good &= records.TryRead(NameOf(i), Version, report, (ref StateReader reader, ushort _) => ProcessorRecord.TryRead(ref reader, processor));
        }

        return good ? board : null;
    }

    private static bool TryReadCpuid(ref StateReader reader, BoardState board)
    {
        int count = reader.U16();
        if (count is 0 or > BoardState.MostLeaves)
            return false;
        var leaves = new CpuidLeaf[count];
        for (int i = 0; i < count; i++)
            leaves[i] = new CpuidLeaf(reader.U32(), reader.U32(), reader.Bool(), reader.U32(), reader.U32(), reader.U32(), reader.U32());
        board.Cpuid = leaves;
        return reader.Complete;
    }

    private static string NameOf(int processor) => Processor + processor.ToString(System.Globalization.CultureInfo.InvariantCulture);

    private static SnapshotRecord Record(string name, Action<StateWriter> write)
    {
        var writer = new StateWriter();
        write(writer);
        return new SnapshotRecord(name, Version, writer.Written.ToArray());
    }
}
