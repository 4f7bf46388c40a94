using Kvm.Devices.Block.Qcow2;
using Kvm.Vmm.Snapshots.Disks;
using Kvm.Vmm.Snapshots.Store;
using Kvm.Vmm.Storage.Tools;

namespace Kvm.Vmm.Snapshots.Backup;

/// <summary>
/// The content of a running machine's disks, as it was at one moment, in a backup: of a disk that was backed up before only what was changed since is read, the rest is
/// what that backup has. The guest stands still only for the moment itself, and when it begins to be watched.
/// </summary>
/// <param name="machine">The machine.</param>
/// <param name="store">The store.</param>
/// <param name="writer">The backup.</param>
/// <param name="firstRegion">The number of the first disk's region in it.</param>
/// <param name="name">What it is called.</param>
/// <param name="threads">Threads that pack.</param>
internal sealed class DiskContents(ISnapshotSource machine, SnapshotStore store, SnapshotWriter writer, int firstRegion, string name, int threads) : IDisksAtMoment
{
    private readonly List<Part> _parts = [];
    private readonly MomentReader _reader = new();
    private bool _finished;

    /// <inheritdoc/>
    public IReadOnlyList<DiskKept> Kept => [];

    /// <summary>Bytes that are read from the disks.</summary>
    public long BytesRead => _parts.Sum(part => part.Moment.Needed * SnapshotFormat.ChunkSize);

    /// <summary>The regions of disks' content.</summary>
    public static IEnumerable<SnapshotRegion> RegionsOf(IReadOnlyList<MachineDisk> disks) => disks.Select(disk => DiskBackup.RegionOf(disk.Name, disk.Image.Length));

    /// <inheritdoc/>
    public void Prepare()
    {
        if (machine.Disks.Any(disk => disk.Watch is null))
            machine.StandStill(() => machine.Disks.ToList().ForEach(disk => disk.BeginWatch()));
        foreach (var disk in machine.Disks)
        {
            var region = DiskBackup.RegionOf(disk.Name, disk.Image.Length);
            var part = new Part(disk, region, new DiskMoment(_reader, disk.Image, region, firstRegion + _parts.Count));
            _parts.Add(part);
            _reader.Add(part.Moment);
            using var reader = BaseOf(disk.Watch!);
            if (reader is null || !TryRefer(part, reader))
                NeedAll(part);
        }
    }

    /// <inheritdoc/>
    public SnapshotContent Keep(Func<SnapshotContent> content)
    {
        foreach (var part in _parts)
        {
            part.Before = part.Disk.Watch!.Begin(part.Moment);
            part.Moment.Need(part.Before);
        }

        return content() with { Disks = [.. _parts.Select(part => new SnapshotDisk(part.Disk.Name, part.Disk.Path, "", part.Disk.Image.Length))] };
    }

    /// <inheritdoc/>
    public void Complete() => ParallelItems.Run(Enumerable.Range(0, threads), threads, (_, _) => _reader.Read(writer.PutChunk), CancellationToken.None);

    /// <inheritdoc/>
    public void Finish()
    {
        _finished = true;
        foreach (var part in _parts)
            part.Disk.Watch!.Base = new BackupBase(store.Path, name, writer.Identity);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var part in _parts)
        {
            if (!_finished && part.Before is { } before)
                part.Disk.Watch!.Add(before);
            part.Disk.Watch!.End();
        }

        _reader.Dispose();
    }

    /// <summary>The backup that is known to have all but what was changed since; null where there is none, or not any more.</summary>
    private SnapshotReader? BaseOf(DiskWatch watch)
    {
        if (watch.Base is not { } known || known.Store != store.Path)
            return null;
        try
        {
            var reader = store.Read(known.Name);
            if (reader.Identity == known.Identity)
                return reader;
            reader.Dispose();
        }
        catch (VmmException)
        {
            // Removed, damaged, or of another key: all is read.
        }

        return null;
    }

    /// <summary>Says of each block that was not changed what the last backup says. What is changed until the moment is read then, and takes its place.</summary>
    private bool TryRefer(Part part, SnapshotReader reader)
    {
        int number = reader.Regions.ToList().IndexOf(part.Region);
        if (number < 0)
            return false;
        for (long block = 0; block < part.Region.ChunkCount; block++)
        {
            if (part.Disk.Watch!.IsChanged(block))
                continue;
            var (whole, patches) = reader.Resolve(number, block);
            if (patches > 0 || !writer.TryPutReference(part.Moment.Number, block, whole))
                part.Moment.Need(block);
        }

        return true;
    }

    /// <summary>All but what the image says is zeros. What is written there until the moment is among the changes.</summary>
    private static void NeedAll(Part part)
    {
        var disk = part.Disk;
        var image = ToolImage.Of(new ImageName(disk.Path, ImageFormat.Raw), disk.Image.Current, disk.File);
        for (ulong position = 0; position < image.Length;)
        {
            var extent = image.Map(position);
            position = extent.Position + extent.Length;
            for (ulong block = extent.Position / SnapshotFormat.ChunkSize; extent.Kind != ExtentKind.Zero && block * SnapshotFormat.ChunkSize < position; block++)
                part.Moment.Need((long)block);
        }
    }

    private sealed class Part(MachineDisk disk, SnapshotRegion region, DiskMoment moment)
    {
        public MachineDisk Disk { get; } = disk;

        public SnapshotRegion Region { get; } = region;

        public DiskMoment Moment { get; } = moment;

        /// <summary>What was changed before the moment; null before that.</summary>
        public ulong[]? Before { get; set; }
    }
}
