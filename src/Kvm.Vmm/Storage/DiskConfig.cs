using System.Globalization;
using Kvm.Devices.Block.Cache;
using Kvm.Devices.Block.Scheduling;
using Kvm.Devices.Limits;
using Kvm.Devices.Virtio.Block;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Storage;

/// <summary>How a disk's requests reach its file.</summary>
public enum DiskAio
{
    /// <summary>By pread and pwrite, one after another in each queue, on the thread that runs the queue.</summary>
    Threads,

    /// <summary>By io_uring, as many at once as the guest asks for; where the host has none, as <see cref="Threads"/>.</summary>
    Uring,
}

/// <summary>What a disk's file is.</summary>
public enum DiskFormat
{
    /// <summary>The disk, byte for byte.</summary>
    Raw,

    /// <summary>QEMU's qcow2, version 2 or 3.</summary>
    Qcow2,
}

/// <summary>One disk of a machine, as the user asked for it. Immutable.</summary>
public sealed record DiskConfig
{
    /// <summary>The longest <see cref="Id"/>: what the guest sees of it are 20 characters (virtio 1.2, 5.2.6).</summary>
    public const int MaxIdLength = 20;

    private const int MaxPartUuidLength = 36;

    /// <summary>The file or block device with the disk's content.</summary>
    public required string Path { get; init; }

    /// <summary>The volume of a storage pool that the disk is, as <c>POOL/VOLUME</c>, whose file <see cref="Path"/> is found anew at each start; null for a file.</summary>
    public string? Volume { get; init; }

    /// <summary>Bytes of the volume that <see cref="Path"/> names and that is made where it is not there; null where it names no volume, or one that is there.</summary>
    public ulong? VolumeBytes { get; init; }

    /// <summary>Refuses writes of the guest and opens the file for reading only.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>What is promised of writes that were acknowledged.</summary>
    public DiskCache Cache { get; init; } = DiskCache.WriteBack;

    /// <summary>What the file is: never guessed from its bytes, which a guest may have written.</summary>
    public DiskFormat Format { get; init; }

    /// <summary>The files it is based on, which its own bytes name, may be opened.</summary>
    public bool AllowBacking { get; init; }

    /// <summary>How requests reach the file.</summary>
    public DiskAio Aio { get; init; }

    /// <summary>The most <see cref="Queues"/>.</summary>
    public const int MaxQueues = 16;

    /// <summary>
    /// Request queues, 1 to <see cref="MaxQueues"/>. One is the default: all of a disk's run on one thread or where they are notified, so
    /// that more of them only spare a guest's processors the way through one lock.
    /// </summary>
    public int Queues { get; init; } = 1;

    /// <summary>The disk's serial number, by which guests name it (<c>/dev/disk/by-id/virtio-ID</c>); null is <c>disk</c> and its number.</summary>
    public string? Id { get; init; }

    /// <summary>How fast the guest's requests may come.</summary>
    public IoLimits Limits { get; init; } = IoLimits.None;

    /// <summary>Bytes this disk adds to the memory for blocks of files that are only read: a read-only disk's, and those a disk is based on. 0: none.</summary>
    public long CacheBytes { get; init; }

    /// <summary>In which order requests reach the host; but for <see cref="IoDiscipline.None"/> only with <see cref="DiskAio.Uring"/>.</summary>
    public IoDiscipline Scheduler { get; init; }

    /// <summary>With <see cref="IoDiscipline.Fair"/> the share of the host's disk in relation to others', 1 to <see cref="ScheduledImage.MaxWeight"/>.</summary>
    public int Weight { get; init; } = DefaultWeight;

    /// <summary>The most <see cref="CacheBytes"/>.</summary>
    public const long MostCacheBytes = 64L << 30;

    /// <summary>The share of a disk that says none.</summary>
    public const int DefaultWeight = 100;

    /// <summary>The kernel is told to mount it as its root, whatever else there is.</summary>
    public bool IsRoot { get; init; }

    /// <summary>Of the root: the partition that is mounted, by its UUID (Linux: <c>root=PARTUUID=</c>); null for the whole disk.</summary>
    public string? PartUuid { get; init; }

    /// <summary>
    /// Understands a disk as the command line writes it: <c>FILE[,size=SIZE][,readonly][,format=raw|qcow2][,backing=allow][,cache=MODE][,aio=threads|uring][,queues=N][,id=TEXT][,bps=SIZE][,iops=N][,bps-burst=SIZE][,iops-burst=N][,scheduler=NAME][,weight=N][,cache-size=SIZE]</c>; a comma of the file's name
    /// is written twice.
    /// </summary>
    /// <param name="text">The text.</param>
    /// <param name="disk">The disk, where the text describes one.</param>
    /// <returns>What is wrong with the text, or null.</returns>
    public static string? Parse(string text, out DiskConfig disk)
    {
        ArgumentNullException.ThrowIfNull(text);
        string[] parts = text.Replace(",,", "\0", StringComparison.Ordinal).Split(',');
        disk = new DiskConfig { Path = parts[0].Replace('\0', ',') };
        if (disk.Path.Length == 0)
            return "names no file";
        disk = disk with { Format = FormatByName(disk.Path) };
        var limits = new LimitText("iops");
        foreach (string part in parts[1..])
        {
            switch (part.Split('=', 2))
            {
                case ["ro" or "readonly"]:
                    disk = disk with { ReadOnly = true };
                    break;
                case ["size", var size] when SizeText.TryParse(size, out ulong bytes) && bytes is > 0 and <= 1UL << 60:
                    disk = disk with { VolumeBytes = bytes };
                    break;
                case ["root"]:
                    disk = disk with { IsRoot = true };
                    break;
                case ["format", var format] when SettingNames.IndexOf(SettingNames.DiskFormats, format) is >= 0 and var index:
                    disk = disk with { Format = (DiskFormat)index };
                    break;
                case ["format", var format]:
                    return $"has the format {VisibleText.Quote(format, 20)}, not one of {string.Join(", ", SettingNames.DiskFormats)}";
                case ["backing", SettingNames.Backing]:
                    disk = disk with { AllowBacking = true };
                    break;
                case ["cache", var cache] when SettingNames.IndexOf(SettingNames.Caches, cache) is >= 0 and var index:
                    disk = disk with { Cache = (DiskCache)index };
                    break;
                case ["cache", var cache]:
                    return $"has the cache mode {VisibleText.Quote(cache, 20)}, not one of {string.Join(", ", SettingNames.Caches)}";
                case ["aio", var aio] when SettingNames.IndexOf(SettingNames.Aios, aio) is >= 0 and var index:
                    disk = disk with { Aio = (DiskAio)index };
                    break;
                case ["aio", var aio]:
                    return $"has the aio engine {VisibleText.Quote(aio, 20)}, not one of {string.Join(", ", SettingNames.Aios)}";
                case ["queues", var queues] when int.TryParse(queues, NumberStyles.None, CultureInfo.InvariantCulture, out int count):
                    disk = disk with { Queues = count };
                    break;
                case ["id", var id]:
                    disk = disk with { Id = id };
                    break;
                case ["scheduler", var scheduler] when SettingNames.IndexOf(SettingNames.Disciplines, scheduler) is >= 0 and var index:
                    disk = disk with { Scheduler = (IoDiscipline)index };
                    break;
                case ["scheduler", var scheduler]:
                    return $"has the scheduler {VisibleText.Quote(scheduler, 20)}, not one of {string.Join(", ", SettingNames.Disciplines)}";
                case ["cache-size", var size] when SizeText.TryParse(size, out ulong bytes) && bytes <= MostCacheBytes:
                    disk = disk with { CacheBytes = (long)bytes };
                    break;
                case ["weight", var weight] when int.TryParse(weight, NumberStyles.None, CultureInfo.InvariantCulture, out int share):
                    disk = disk with { Weight = share };
                    break;
                case [var limit, var value] when limits.Knows(limit):
                    if (!limits.TrySet(limit, value))
                        return $"has the limit {VisibleText.Quote(part, 40)}; {limits.Form}";
                    break;
                default:
                    return $"has the part {VisibleText.Quote(part, 40)}, not one of size=SIZE, readonly, root, format=FORMAT, backing=allow, cache=MODE, aio=ENGINE, queues=N, id=TEXT, bps=SIZE, iops=N, bps-burst=SIZE, iops-burst=N, scheduler=NAME, weight=N, cache-size=SIZE";
            }
        }

        if (limits.Problem is { } problem)
            return problem;
        disk = disk with { Limits = limits.Limits };
        return disk.Problem();
    }

    /// <summary>The format where nobody says it: by the file's name, never by its first bytes, which are the guest's.</summary>
    internal static DiskFormat FormatByName(string path) =>
        path.EndsWith(".qcow2", StringComparison.OrdinalIgnoreCase) ? DiskFormat.Qcow2 : DiskFormat.Raw;

    /// <summary>What is wrong with the disk, or null.</summary>
    internal string? Problem()
    {
        if (Path.Length == 0 || Path.Contains('\0', StringComparison.Ordinal))
            return "names no file";
        if (PartUuid is { } partition && (partition.Length is 0 or > MaxPartUuidLength || !partition.All(c => char.IsAsciiHexDigit(c) || c == '-')))
            return $"has the partition {VisibleText.Quote(partition, 40)}; a UUID is 1 to {MaxPartUuidLength} hexadecimal digits and dashes";
        if (Queues is < 1 or > MaxQueues)
            return $"has {Queues} queues; a disk has 1 to {MaxQueues}";
        if (Scheduler != IoDiscipline.None && Aio != DiskAio.Uring)
            return $"has scheduler={SettingNames.Of(Scheduler)} without aio=uring: requests that go one after another have no order to choose";
        if (CacheBytes is < 0 or > MostCacheBytes || CacheBytes % BlockCache.MinBytes != 0)
            return $"has a cache of {CacheBytes} bytes; caches have 1 to {MostCacheBytes / BlockCache.MinBytes} whole MiB";
        if (CacheBytes != 0 && (Aio != DiskAio.Threads || !(ReadOnly || AllowBacking)))
            return "has cache-size, but nothing that is only read through it: that takes readonly or backing=allow, and aio=threads";
        if (Weight is < 1 or > ScheduledImage.MaxWeight)
            return $"has the weight {Weight}; weights are 1 to {ScheduledImage.MaxWeight}";
        return Id is null || (Id.Length is > 0 and <= MaxIdLength && Id.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.'))
            ? null
            : $"has the id {VisibleText.Quote(Id, 40)}; ids are 1 to {MaxIdLength} letters, digits, dashes, dots or underscores";
    }
}
