using Kvm.Devices.Block;
using Kvm.Devices.Block.Cache;
using Kvm.Devices.Block.Qcow2;
using Kvm.Devices.Virtio.Block;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Storage;

/// <summary>A disk that was opened.</summary>
/// <param name="Image">Its content; whoever opened it disposes of it, and everything below goes with it.</param>
/// <param name="File">The file that was named.</param>
internal readonly record struct OpenedDisk(IDiskImage Image, HostFile File);

/// <summary>Opens the images of disks, and of the chains of files they are based on where that is allowed.</summary>
internal static class DiskOpener
{
    /// <summary>The most files of a chain.</summary>
    public const int MostFiles = 32;

    /// <summary>Opens and locks a disk's file, and the files it is based on.</summary>
    /// <param name="disk">Which.</param>
    /// <param name="cache">Through what files are read that the disk only reads, if it asks for that (<see cref="DiskConfig.CacheBytes"/>).</param>
    /// <exception cref="VmmException">It, or one of those, cannot be used: one of <see cref="DiskErrors"/>.</exception>
    public static OpenedDisk Open(DiskConfig disk, BlockCache? cache = null)
    {
        var file = OpenFile(disk);
        if (disk.CacheBytes == 0)
            cache = null;
        var shown = disk.ReadOnly ? Shown(file, cache) : file;
        return new OpenedDisk(disk.Format == DiskFormat.Raw ? new RawImage(shown) : OpenQcow2(shown, disk, cache, [FullPath(disk.Path)]), file);
    }

    /// <summary>
    /// An image that other programs left may end where a transfer past the page cache cannot: then it goes through it, until it was written and closed
    /// here once.
    /// </summary>
    private static HostFile OpenFile(DiskConfig disk)
    {
        try
        {
            return HostFile.Open(disk);
        }
        catch (VmmException e) when (e.Error == DiskErrors.BadSize && disk is { Format: DiskFormat.Qcow2, Cache: DiskCache.None })
        {
            return HostFile.Open(disk with { Cache = DiskCache.WriteBack });
        }
    }

    private static IHostFile Shown(HostFile file, BlockCache? cache) => cache is null ? file : cache.Show(file, file.Identity);

    /// <summary>
    /// The cache mode of a disk's device. With <c>cache=unsafe</c> a format with tables is flushed all the same, so that they reach the file and what the
    /// guest flushed outlives this process; the file (<see cref="HostFile"/>) is not.
    /// </summary>
    public static DiskCache CacheOf(DiskConfig disk) => disk is { Cache: DiskCache.Unsafe, Format: not DiskFormat.Raw } ? DiskCache.WriteBack : disk.Cache;

    /// <summary>How an image of <paramref name="disk"/> is opened; its backing files by the same rules.</summary>
    public static Qcow2OpenOptions Options(DiskConfig disk) => Options(disk, null, [FullPath(disk.Path)]);

    /// <summary>An image that was refused, as an error of ours.</summary>
    public static VmmException Refusal(string path, Qcow2Exception e) =>
        new(e.Problem == Qcow2Problem.BackingRefused ? DiskErrors.BackingRefused : DiskErrors.BadImage, $"{VisibleText.Quote(path)}: {e.Message}", e);

    private static Qcow2Image OpenQcow2(IHostFile file, DiskConfig disk, BlockCache? cache, IReadOnlyList<string> chain)
    {
        try
        {
            return Qcow2Image.Open(file, Options(disk, cache, chain));
        }
        catch (Qcow2Exception e)
        {
            throw Refusal(disk.Path, e);
        }
    }

    private static Qcow2OpenOptions Options(DiskConfig disk, BlockCache? cache, IReadOnlyList<string> chain) => new()
    {
        ReadOnly = disk.ReadOnly,
        Codecs = ClusterCodec.Create,
        OpenBacking = disk.AllowBacking ? backing => OpenBacking(backing, disk, cache, chain) : null,
    };

    /// <summary>A backing file is a regular file, or a symbolic link to one, found from the folder of the file that names it; none is in a chain twice.</summary>
    private static IDiskImage OpenBacking(BackingFile backing, DiskConfig above, BlockCache? cache, IReadOnlyList<string> chain)
    {
        string path = Path.GetFullPath(backing.Name, Path.GetDirectoryName(Path.GetFullPath(above.Path)) ?? "/"), name = VisibleText.Quote(path);
        if (chain.Contains(FullPath(path)))
            throw Refused($"its chain of backing files comes back to {name}");
        if (chain.Count == MostFiles)
            throw Refused($"its chain of backing files is longer than {MostFiles}");
        var below = new DiskConfig { Path = path, ReadOnly = true, Cache = above.Cache, AllowBacking = true, Format = FormatOf(backing, name) };
        var file = OpenFile(below);
        if (!file.IsBlockDevice)
            return below.Format == DiskFormat.Raw ? new RawImage(Shown(file, cache)) : OpenQcow2(Shown(file, cache), below, cache, [.. chain, FullPath(path)]);
        file.Dispose();
        throw Refused($"its backing file {name} is a device, not a regular file");
    }

    /// <summary>A file's own name, whatever symbolic link it was found by.</summary>
    public static string FullPath(string path)
    {
        try
        {
            return Path.GetFullPath(File.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName ?? path);
        }
        catch (IOException)
        {
            return Path.GetFullPath(path); // opening it tells what is wrong
        }
        catch (UnauthorizedAccessException)
        {
            return Path.GetFullPath(path);
        }
    }

    private static DiskFormat FormatOf(BackingFile backing, string name) => backing.Format switch
    {
        "raw" => DiskFormat.Raw,
        "qcow2" => DiskFormat.Qcow2,
        // Never by the file's bytes, which may be a guest's.
        null when backing.Name.EndsWith(".qcow2", StringComparison.OrdinalIgnoreCase) => DiskFormat.Qcow2,
        null => throw Refused($"it does not say which format its backing file {name} has (qemu-img rebase -u -b FILE -F FORMAT writes it down)"),
        var format => throw Refused($"its backing file {name} has the format {VisibleText.Quote(format, 20)}; raw and qcow2 are known"),
    };

    private static Qcow2Exception Refused(string message) => new(Qcow2Problem.BackingRefused, message);
}
