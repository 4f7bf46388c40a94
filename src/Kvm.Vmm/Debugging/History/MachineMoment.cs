using Kvm.Devices.Memory;
using Kvm.Devices.Snapshot;
using Kvm.X86.Engine;

namespace Kvm.Vmm.Debugging.History;

/// <summary>A checkpoint of a deterministic machine: everything but memory whole, and the pages that were written since the one before.</summary>
internal sealed class MachineMoment
{
    private readonly ProcessorMoment[] _processors;
    private readonly byte[][] _devices;
    private readonly byte[][] _chips;
    private readonly (int, ulong, int) _runner;
    private readonly ulong _time;
    private readonly (long Produced, bool SerialHidden) _console;

    private MachineMoment(HistoryParts parts, RunPlace place)
    {
        Place = place;
        _runner = parts.Runner.Turn;
        _time = parts.Clock.Now;
        _console = parts.Console.Position;
        _devices = [.. parts.Devices.Select(Record)];
        _chips = [.. parts.Chips.Parts.Select(Record)];
        _processors = [.. parts.Processors.Select(processor =>
        {
            var moment = new ProcessorMoment();
            processor.Save(moment);
            return moment;
        })];
    }

    /// <summary>Where it is.</summary>
    public RunPlace Place { get; }

    /// <summary>Pages by address, as they are here.</summary>
    public Dictionary<ulong, byte[]> Pages { get; } = [];

    /// <summary>Bytes of them.</summary>
    public long Bytes => (long)Pages.Count * GuestMemory.PageSize;

    /// <summary>Takes everything but memory.</summary>
    public static MachineMoment Take(HistoryParts parts, RunPlace place) => new(parts, place);

    /// <summary>
    /// Puts everything but memory back. Twice: a device that is restored drives its wires, which the chips behind them have not to notice;
    /// the second time no wire moves.
    /// </summary>
    public void Settle(HistoryParts parts)
    {
        for (int pass = 0; pass < 2; pass++)
        {
            parts.Clock.Set(_time);
            for (int n = 0; n < _devices.Length; n++)
                Restore(parts.Devices[n], _devices[n]);
            int chip = 0;
            foreach (var part in parts.Chips.Parts)
                Restore(part, _chips[chip++]);
        }

        for (int n = 0; n < _processors.Length; n++)
            parts.Processors[n].Restore(_processors[n]);
        parts.Runner.Turn = _runner;
        parts.Console.Position = _console;
    }

    /// <summary>Keeps pages as they are now.</summary>
    public void Keep(GuestMemory memory, IEnumerable<ulong> pages)
    {
        foreach (ulong page in pages)
        {
            if (memory.TryReadOnlySlice(page, GuestMemory.PageSize, out var bytes))
                Pages[page] = bytes.ToArray();
        }
    }

    /// <summary>Keeps all pages that are not zero: the first checkpoint.</summary>
    public void KeepAll(GuestMemory memory)
    {
        foreach (var region in memory.Regions.ToArray())
        {
            for (ulong offset = 0; offset < region.Size; offset += GuestMemory.PageSize)
            {
                if (memory.TryReadOnlySlice(region.Start + offset, GuestMemory.PageSize, out var bytes) && bytes.ContainsAnyExcept((byte)0))
                    Pages[region.Start + offset] = bytes.ToArray();
            }
        }
    }

    /// <summary>Takes over the pages of the checkpoint before, which goes: those that are not newer here.</summary>
    public void Inherit(MachineMoment before)
    {
        foreach (var (page, bytes) in before.Pages)
            Pages.TryAdd(page, bytes);
    }

    private static byte[] Record(IStateful part)
    {
        var writer = new StateWriter();
        part.Save(writer);
        return writer.Written.ToArray();
    }

    private static void Restore(IStateful part, byte[] record)
    {
        var reader = new StateReader(record);
        if (!part.TryRestore(ref reader, part.StateVersion))
            throw new InvalidOperationException($"{part.StateName} does not take back what it saved");
    }
}
