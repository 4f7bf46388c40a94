using System.Collections.Concurrent;
using System.Globalization;
using Kvm.Devices.Memory;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Snapshots.Store;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Storage.Tools;

namespace Kvm.Vmm.Snapshots.Backup;

/// <summary>
/// Disks in a store of backups. Each backup stands alone, and takes the room of what is in no other one: chunks are known by their content. Disks are locked
/// meanwhile as by a guest that only reads.
/// </summary>
public static class DiskBackup
{
    private const string RegionPrefix = "disk:";

    /// <summary>Saves disks.</summary>
    /// <param name="store">Where to.</param>
    /// <param name="name">What it is called, of <see cref="BackupName.Of"/>.</param>
    /// <param name="disks">The images.</param>
    /// <param name="options">How it is packed, and when it is made.</param>
    /// <param name="threads">How many, at least 1.</param>
    /// <param name="progress">Told the bytes that are done and all; or null.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="VmmException">A disk cannot be read, a guest writes to it, or the store cannot be written; nothing of the backup is left.</exception>
    /// <exception cref="OperationCanceledException">It was ended.</exception>
    public static void Create(SnapshotStore store, string name, IReadOnlyList<ImageName> disks, SnapshotOptions options, int threads,
        Action<ulong, ulong>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(store);
        ArgumentNullException.ThrowIfNull(disks);
        var images = new List<ToolImage>();
        try
        {
            foreach (var disk in disks)
                images.Add(ToolImage.Open(disk));
            SnapshotRegion[] regions = [.. images.Select((image, i) => RegionOf(NameOf(i), image.Length))];
            using var writer = store.Begin(name, regions, options);
            Copy(images, writer, threads, progress, cancellation);
            writer.Finish(new SnapshotContent { Purpose = SnapshotPurpose.Backup, Producer = "kvmsharp", Disks = [.. images.Select(DiskOf)] });
        }
        finally
        {
            images.ForEach(image => image.Dispose());
        }
    }

    /// <summary>Makes the disks of a backup anew, as files in a folder; nothing is overwritten.</summary>
    /// <param name="backup">The backup; every chunk of it is verified.</param>
    /// <param name="folder">Where to; made if missing.</param>
    /// <param name="threads">How many, at least 1.</param>
    /// <param name="progress">Told the bytes that are done and all; or null.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <returns>The files.</returns>
    /// <exception cref="VmmException">The backup is damaged, or a file cannot be made; what was begun is removed.</exception>
    /// <exception cref="OperationCanceledException">It was ended.</exception>
    public static IReadOnlyList<string> Restore(SnapshotReader backup, string folder, int threads, Action<ulong, ulong>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(backup);
        var paths = PathsOf(backup, folder);
        var images = new Dictionary<int, NewImage>();
        using var buffers = new BufferPool();
        try
        {
            StoreFolder.Guarded(SnapshotErrors.WriteFailed, folder, () => Directory.CreateDirectory(folder));
            foreach (var (region, path) in paths)
                images[region] = NewImage.Begin(new ImageName(path, ImageName.FormatByName(path)), LengthOf(backup, region), new ImageOptions(), force: false);
            backup.ReadAll(static region => !StoredMemory.IsMemory(region), (region, chunk, content) =>
            {
                if (!images.TryGetValue(region, out var image))
                    return;
                ulong position = (ulong)chunk * SnapshotFormat.ChunkSize;
                var buffer = buffers.Take();
                var part = buffer.Buffer.Slice(0, (int)Math.Min((ulong)content.Length, image.Image.Length - position));
                content[..part.Length].CopyTo(part.Span);
                image.Image.Write(position, part);
                buffers.Return(buffer);
            }, threads, progress, cancellation);
            foreach (var image in images.Values)
                image.Finish();
            return [.. paths.Select(p => p.Path)];
        }
        finally
        {
            foreach (var image in images.Values)
                image.Dispose();
        }
    }

    /// <summary>Whether a snapshot holds what was on its disks: a backup of them.</summary>
    /// <param name="reader">Which.</param>
    public static bool HasDisks(SnapshotReader reader)
    {
        ArgumentNullException.ThrowIfNull(reader);
        return reader.Regions.Any(region => region.Name.StartsWith(RegionPrefix, StringComparison.Ordinal));
    }

    /// <summary>A backed up machine's configuration with the disks that <see cref="Restore"/> makes in a folder.</summary>
    /// <param name="config">As it was.</param>
    /// <param name="backup">The backup.</param>
    /// <param name="folder">Where the disks are to be.</param>
    public static VmConfig WithDisks(VmConfig config, SnapshotReader backup, string folder)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(backup);
        var disks = config.Disks.ToArray();
        foreach (var (region, path) in PathsOf(backup, Path.GetFullPath(folder)))
        {
            if (DiskGenerations.IndexOf(backup.Regions[region].Name[RegionPrefix.Length..], config) is { } index)
                disks[index] = disks[index] with { Path = path, Format = DiskConfig.FormatByName(path), AllowBacking = false, CacheBytes = 0, Volume = null };
        }

        return config with { Disks = disks };
    }

    private static void Copy(List<ToolImage> images, SnapshotWriter writer, int threads, Action<ulong, ulong>? progress, CancellationToken cancellation)
    {
        ulong all = 0, done = 0;
        foreach (var image in images)
            all += image.Length;
        using var buffers = new BufferPool();
        ParallelItems.Run(ChunksOf(images), threads, (item, codec) =>
        {
            var buffer = buffers.Take();
            var part = buffer.Buffer.Slice(0, item.Length);
            images[item.Disk].Read((ulong)item.Chunk * SnapshotFormat.ChunkSize, part);
            writer.PutChunk(item.Disk, item.Chunk, part.Span);
            buffers.Return(buffer);
            progress?.Invoke(Interlocked.Add(ref done, (ulong)item.Length), all);
        }, cancellation);
    }

    /// <summary>The chunks that may hold something else than zeros: ranges that the images say are zeros are passed over.</summary>
    private static IEnumerable<(int Disk, long Chunk, int Length)> ChunksOf(List<ToolImage> images)
    {
        for (int disk = 0; disk < images.Count; disk++)
        {
            var image = images[disk];
            var region = RegionOf("", image.Length);
            long next = 0;
            for (ulong position = 0; position < image.Length;)
            {
                var extent = image.Map(position);
                position = extent.Position + extent.Length;
                if (extent.Kind == Devices.Block.Qcow2.ExtentKind.Zero)
                    continue;
                next = Math.Max(next, (long)(extent.Position / SnapshotFormat.ChunkSize));
                for (; (ulong)next * SnapshotFormat.ChunkSize < position; next++)
                    yield return (disk, next, region.ChunkLength(next));
            }
        }
    }

    /// <summary>The region of a disk's content.</summary>
    internal static SnapshotRegion RegionOf(string name, ulong length) => new(RegionPrefix + name, 0, Rounded(length));

    private static string NameOf(int disk) => string.Create(CultureInfo.InvariantCulture, $"disk{disk}");

    private static ulong Rounded(ulong length) => Math.Max((length + SnapshotFormat.PageSize - 1) / SnapshotFormat.PageSize, 1) * SnapshotFormat.PageSize;

    private static SnapshotDisk DiskOf(ToolImage image, int number)
    {
        string path = Path.GetFullPath(image.Name.Path);
        return new SnapshotDisk(NameOf(number), path, File.GetLastWriteTimeUtc(path).ToString("O", CultureInfo.InvariantCulture), image.Length);
    }

    private static ulong LengthOf(SnapshotReader backup, int region) => backup.Content.Disks.First(d => RegionPrefix + d.Name == backup.Regions[region].Name).Length;

    /// <summary>The disks' regions and files. A file's name is the one it had, if that cannot lead elsewhere and is not taken; else a number.</summary>
    private static List<(int Region, string Path)> PathsOf(SnapshotReader backup, string folder)
    {
        var paths = new List<(int Region, string Path)>();
        var names = new HashSet<string>();
        for (int region = 0; region < backup.Regions.Count; region++)
        {
            var disk = backup.Content.Disks.FirstOrDefault(d => RegionPrefix + d.Name == backup.Regions[region].Name);
            if (disk is null)
                continue;
            if (disk.Length > backup.Regions[region].Length || backup.Regions[region].Start != 0)
                throw new VmmException(SnapshotErrors.Damaged, $"{backup.Name}: {VisibleText.Quote(disk.Name, 40)} is longer than what was saved of it");
            string name = Path.GetFileName(disk.Path);
            if (!ManifestText.IsName(name) || !names.Add(name))
                name = string.Create(CultureInfo.InvariantCulture, $"disk{region}.img");
            paths.Add((region, Path.Combine(folder, name)));
        }

        return paths.Count > 0 ? paths : throw new VmmException(SnapshotErrors.NotFound, $"{backup.Name} holds no disk: it is a snapshot, not a backup");
    }

    private sealed class BufferPool : IDisposable
    {
        private readonly ConcurrentBag<AlignedBuffer> _free = [];

        public AlignedBuffer Take() => _free.TryTake(out var buffer) ? buffer : new AlignedBuffer(SnapshotFormat.ChunkSize);

        public void Return(AlignedBuffer buffer) => _free.Add(buffer);

        public void Dispose()
        {
            foreach (var buffer in _free)
                buffer.Dispose();
        }
    }
}
