using Kvm.Devices.Block;
using Kvm.Devices.Block.Qcow2;
using Kvm.Devices.Memory;
using Kvm.Devices.Virtio.Block;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Storage.Tools;

/// <summary>An image that is open for a tool, locked as by a guest.</summary>
internal sealed class ToolImage : IDisposable
{
    private ToolImage(ImageName name, IDiskImage image, HostFile file) => (Name, Image, File) = (name, image, file);

    public ImageName Name { get; }

    public IDiskImage Image { get; }

    public HostFile File { get; }

    public Qcow2Image? Qcow2 => Image as Qcow2Image;

    public ulong Length => Image.Length;

    /// <summary>Opens an image.</summary>
    /// <param name="name">Which.</param>
    /// <param name="writable">To be changed; else other readers may have it as well.</param>
    /// <param name="alone">Without the files it is based on.</param>
    /// <param name="odd">Though a raw file ends within a sector, which is not the disk's then.</param>
    /// <exception cref="VmmException">It cannot be opened; tells why.</exception>
    public static ToolImage Open(ImageName name, bool writable = false, bool alone = false, bool odd = false)
    {
        if (name.IsForeign)
            throw new VmmException(DiskToolErrors.NeedsQemuImg, $"{VisibleText.Quote(name.Path)} has the format {ImageName.Of(name.Format)}; only convert reads it");
        var disk = Config(name) with { ReadOnly = !writable };
        if (alone)
        {
            var options = DiskOpener.Options(disk) with { WithoutBacking = true };
            var own = HostFile.Open(disk);
            return new ToolImage(name, Wrapped(name.Path, () => Qcow2Image.Open(own, options)), own);
        }

        var (image, file) = DiskOpener.Open(disk);
        var opened = new ToolImage(name, image, file);
        ulong length = file.Length;
        if (name.Format == ImageFormat.Raw && length % IDiskImage.SectorSize != 0 && !odd)
        {
            opened.Dispose();
            throw new VmmException(DiskErrors.BadSize, $"{VisibleText.Quote(name.Path)}: {length} bytes, no whole number of sectors; the end would be lost");
        }

        return opened;
    }

    /// <summary>The disk an image is, as a machine would be given it.</summary>
    public static DiskConfig Config(ImageName name) => new()
    {
        Path = name.Path,
        Format = name.Format == ImageFormat.Raw ? DiskFormat.Raw : DiskFormat.Qcow2,
        AllowBacking = name.AllowBacking,
        // What is made or changed as a whole is flushed as a whole, where that matters, and not at each table.
        Cache = DiskCache.WriteBack,
    };

    /// <summary>Does what may refuse an image, as an error of ours.</summary>
    public static T Wrapped<T>(string path, Func<T> action)
    {
        try
        {
            return action();
        }
        catch (Qcow2Exception e)
        {
            throw Error(path, e);
        }
    }

    /// <summary>An image that was refused, or could not be changed.</summary>
    public static VmmException Error(string path, Qcow2Exception e) => e.Problem switch
    {
        Qcow2Problem.HostFailed => new VmmException(DiskToolErrors.WriteFailed, $"{VisibleText.Quote(path)}: {e.Message}", e),
        Qcow2Problem.Unsupported => new VmmException(DiskToolErrors.CannotBe, $"{VisibleText.Quote(path)}: {e.Message}", e),
        _ => DiskOpener.Refusal(path, e),
    };

    /// <summary>What the disk is made of from a position on: the longest range of one kind that is known of, up to the end at most.</summary>
    public DiskExtent Map(ulong position)
    {
        ulong rest = Length - position;
        if (Qcow2 is { } qcow2)
        {
            // Bounded, so that whoever is asked to stop can.
            if (qcow2.TryMap(position, Math.Min(rest, 1UL << 40), out var extent) != DiskResult.Done || extent.Length == 0)
                throw ReadError(position);
            return extent;
        }

        var (start, end) = File.FindData(position);
        return start > position
            ? new DiskExtent(position, Math.Min(start - position, rest), ExtentKind.Zero, 0, null)
            : new DiskExtent(position, Math.Min(end - position, rest), ExtentKind.Data, 0, position);
    }

    /// <summary>Fills memory from a position; what lies behind the disk's end is zeros.</summary>
    public void Read(ulong position, HostBuffer to)
    {
        ulong rest = position < Length ? Length - position : 0;
        if ((ulong)to.Length > rest)
        {
            to.Slice((int)rest).Span.Clear();
            to = to.Slice(0, (int)rest);
        }

        if (to.Length > 0 && Image.Read(position, new ReadOnlySpan<HostBuffer>(in to)) != DiskResult.Done)
            throw ReadError(position);
    }

    /// <summary>Writes memory to a position.</summary>
    public void Write(ulong position, HostBuffer from) => Check(Image.Write(position, new ReadOnlySpan<HostBuffer>(in from)), position);

    /// <summary>Throws where something of the image could not be written.</summary>
    public void Check(DiskResult result, ulong position)
    {
        if (result != DiskResult.Done)
            throw new VmmException(DiskToolErrors.WriteFailed, $"{VisibleText.Quote(Name.Path)}, at {position}: {(result == DiskResult.NoSpace ? "no space is left, or a limit is reached" : "the host has failed")}");
    }

    /// <summary>Throws where something could not be done with the file itself.</summary>
    public void Check(HostFileError error, ulong position) => Check(error switch
    {
        HostFileError.None => DiskResult.Done,
        HostFileError.NoSpace => DiskResult.NoSpace,
        _ => DiskResult.Failed,
    }, position);

    /// <summary>Throws where something of the image could not be read.</summary>
    public void CheckRead(DiskResult result, ulong position)
    {
        if (result != DiskResult.Done)
            throw ReadError(position);
    }

    public void Dispose() => Image.Dispose();

    private VmmException ReadError(ulong position) => new(DiskToolErrors.ReadFailed, $"{VisibleText.Quote(Name.Path)}, at {position} of {Length} bytes");

    /// <summary>An image and its file that were opened or made elsewhere.</summary>
    public static ToolImage Of(ImageName name, IDiskImage image, HostFile file) => new(name, image, file);
}
