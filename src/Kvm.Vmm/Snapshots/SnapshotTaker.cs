using System.Numerics;
using Kvm.Devices.Memory;
using Kvm.Vmm.Snapshots.Backup;
using Kvm.Vmm.Snapshots.Disks;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Snapshots;

/// <summary>
/// Takes snapshots of one machine into stores: memory is packed while the guest runs, what it writes meanwhile again, and the guest stops only for
/// what is left then, which is copied and packed when it runs again. One thread at a time.
/// </summary>
/// <param name="memory">The machine's memory.</param>
/// <param name="machine">The machine, as far as snapshots use it.</param>
internal sealed class SnapshotTaker(GuestMemory memory, ISnapshotSource machine)
{
    /// <summary>So many chunks are copied in a moment: rounds end there.</summary>
    private const int FewChunks = 256;

    /// <summary>A guest that writes faster than it is packed is stopped after so many rounds.</summary>
    private const int MostRounds = 5;

    private readonly List<GuestRegion> _ranges = StateRecords.RamOf(memory);
    private readonly List<ulong> _pages = [];
    private WrittenChunks? _sinceBase;
    private (string Store, string Name, string Identity)? _base;

    /// <summary>Whether what is written is noted for the next one.</summary>
    public bool IsIncremental => _base is not null;

    /// <summary>Pages that somebody else has taken out of the machine's list; between two snapshots.</summary>
    public void AlsoWritten(IEnumerable<ulong> pages) => _sinceBase?.Add(pages);

    /// <summary>Takes one.</summary>
    /// <exception cref="VmmException">It cannot be written, or the machine not be saved.</exception>
    public SnapshotTaken Take(SnapshotStore store, string name, SnapshotTakeOptions options)
    {
        string? parent = options.Incremental ? ParentIn(store) : null;
        List<GuestRegion> ranges = options.Memory ? _ranges : [];
        SnapshotRegion[] regions = [.. ranges.Select(range => new SnapshotRegion("ram", range.Start, range.Size)), .. options.DiskContents ? DiskContents.RegionsOf(machine.Disks) : []];
        using var writer = store.Begin(name, regions, new SnapshotOptions { Parent = parent, Compression = options.Compression, Created = options.Created });
        using IDisksAtMoment disks = options.DiskContents
            ? new DiskContents(machine, store, writer, ranges.Count, name, options.Threads)
            : new DiskKeeper(options.KeepDisks ? machine.Disks.Where(disk => !disk.Config.ReadOnly) : [], store.Folder, name, writer.Identity);
        try
        {
            var taken = Take(writer, name, parent, options, disks);
            disks.Finish();
            // A backup of disks alone leaves what is noted of memory as it is.
            if (options.Memory)
                (_base, _sinceBase) = (options.Incremental ? (store.Path, name, writer.Identity) : null, options.Incremental ? new WrittenChunks(_ranges) : null);
            return taken;
        }
        catch when (options.Memory)
        {
            // What was written since the last one was taken out of the machine's list, and is in no snapshot.
            (_base, _sinceBase) = (null, null);
            throw;
        }
        finally
        {
            if (options.Memory && _base is null)
                machine.StopDirtyTracking();
        }
    }

    private SnapshotTaken Take(SnapshotWriter writer, string name, string? parent, SnapshotTakeOptions options, IDisksAtMoment disks)
    {
        // What is to be put still, and of an increment all that it is to hold.
        var pending = new WrittenChunks(_ranges);
        var increment = parent is null ? null : _sinceBase;
        if (options.Memory)
            PutMemory(writer, pending, increment, options.Threads);
        disks.Prepare();
        for (int round = 0; round < MostRounds && pending.Count > FewChunks; round++)
        {
            foreach (var chunk in pending.Chunks)
                Put(writer, Copy(chunk, increment));
            pending.Clear();
            Collect(pending, increment);
        }

        List<CopiedChunk> copies = [];
        SnapshotContent? content = null;
        var downtime = machine.StandStill(() =>
        {
            if (options.Memory)
                Collect(pending, increment);
            foreach (var chunk in pending.Chunks)
                copies.Add(Copy(chunk, increment));
            content = disks.Keep(() => machine.Content(options.Memory)) with { Purpose = options.Purpose, Note = options.Note };
        });
        long pages = 0;
        foreach (var copy in copies)
        {
            pages += BitOperations.PopCount(copy.Pages);
            Put(writer, copy);
        }

        disks.Complete();
        writer.Finish(content!);
        return new SnapshotTaken(name, writer.Identity, parent, downtime, pages, writer.StoredBytes) { Disks = disks.Kept, DiskBytes = disks.BytesRead };
    }

    /// <summary>Puts all of memory, or of an increment nothing; what was written until now is left.</summary>
    private void PutMemory(SnapshotWriter writer, WrittenChunks pending, WrittenChunks? increment, int threads)
    {
        machine.StartDirtyTracking();
        Collect(pending, increment);
        if (increment is not null)
        {
            // Others may have told of some before.
            pending.Add(increment);
            return;
        }

        pending.Clear();
        writer.PutAll(_ranges.Count, Read, threads);
        Collect(pending, increment);
    }

    private void Collect(WrittenChunks pending, WrittenChunks? increment)
    {
        _pages.Clear();
        machine.CollectDirty(_pages);
        pending.Add(_pages);
        increment?.Add(_pages);
    }

    private string? ParentIn(SnapshotStore store)
    {
        if (_base is not { } known || known.Store != store.Path || _sinceBase is null)
            return null;
        try
        {
            using var reader = store.Read(known.Name);
            return reader.Identity == known.Identity && reader.LevelCount < SnapshotFormat.MostLevels ? known.Name : null;
        }
        catch (VmmException)
        {
            // Removed, renamed or damaged meanwhile: this one stands alone.
            return null;
        }
    }

    private void Read(int region, long chunk, Span<byte> to) =>
        memory.TryRead(_ranges[region].Start + ((ulong)chunk * SnapshotFormat.ChunkSize), to);

    /// <summary>Copies a chunk, or of an increment's what was written since the snapshot it is based on.</summary>
    private CopiedChunk Copy((int Region, long Chunk) chunk, WrittenChunks? increment)
    {
        ushort mask = increment?[chunk] ?? ushort.MaxValue;
        ulong start = (ulong)chunk.Chunk * SnapshotFormat.ChunkSize;
        int count = (int)(Math.Min(SnapshotFormat.ChunkSize, _ranges[chunk.Region].Size - start) / SnapshotFormat.PageSize);
        mask &= (ushort)((1 << count) - 1);
        byte[] content = GC.AllocateUninitializedArray<byte>(BitOperations.PopCount(mask) * SnapshotFormat.PageSize);
        int at = 0;
        for (int pages = mask; pages != 0; pages &= pages - 1, at += SnapshotFormat.PageSize)
        {
            ulong page = (ulong)BitOperations.TrailingZeroCount(pages) * SnapshotFormat.PageSize;
            memory.TryRead(_ranges[chunk.Region].Start + start + page, content.AsSpan(at, SnapshotFormat.PageSize));
        }

        return new CopiedChunk(chunk.Region, chunk.Chunk, mask, content, BitOperations.PopCount(mask) == count);
    }

    private static void Put(SnapshotWriter writer, in CopiedChunk copy)
    {
        if (copy.IsWhole)
            writer.PutChunk(copy.Region, copy.Chunk, copy.Content);
        else
            writer.PutPages(copy.Region, copy.Chunk, copy.Pages, copy.Content);
    }

    /// <summary>Pages of a chunk.</summary>
    private readonly record struct CopiedChunk(int Region, long Chunk, ushort Pages, byte[] Content, bool IsWhole);
}

/// <summary>A machine as its snapshots see it.</summary>
internal interface ISnapshotSource
{
    /// <summary>As <see cref="VirtualMachine.StartDirtyTracking"/>.</summary>
    void StartDirtyTracking();

    /// <summary>As <see cref="VirtualMachine.StopDirtyTracking"/>.</summary>
    void StopDirtyTracking();

    /// <summary>As <see cref="VirtualMachine.CollectDirty"/>.</summary>
    void CollectDirty(ICollection<ulong> pages);

    /// <summary>Does something while the machine is paused; it goes on afterwards unless it was paused before. Tells how long it stood still.</summary>
    TimeSpan StandStill(Action what);

    /// <summary>The disks.</summary>
    IReadOnlyList<MachineDisk> Disks { get; }

    /// <summary>What belongs to a snapshot besides memory; while the machine is paused.</summary>
    /// <param name="state">With the records of the machine's parts.</param>
    SnapshotContent Content(bool state);
}
