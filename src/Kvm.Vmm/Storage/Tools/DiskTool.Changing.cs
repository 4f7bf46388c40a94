using Kvm.Devices.Block;
using Kvm.Devices.Block.Qcow2;
using Kvm.Devices.Memory;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Storage.Tools;

/// <summary>Verbs that change an image where it is. Interrupted, each leaves an image that is whole and reads as before or after.</summary>
public static partial class DiskTool
{
    /// <summary>Makes a disk larger or smaller.</summary>
    /// <param name="name">Which.</param>
    /// <param name="sizeOf">Gives the new size in bytes for the old one.</param>
    /// <param name="shrink">It may become smaller: what is cut off is gone.</param>
    /// <returns>The new size.</returns>
    /// <exception cref="VmmException">It cannot be.</exception>
    public static ulong Resize(ImageName name, Func<ulong, ulong> sizeOf, bool shrink)
    {
        ArgumentNullException.ThrowIfNull(name);
        ArgumentNullException.ThrowIfNull(sizeOf);
        using var image = ToolImage.Open(name, writable: true);
        ulong size = RoundUp(sizeOf(image.Length));
        if (size < IDiskImage.SectorSize)
            throw new VmmException(DiskToolErrors.CannotBe, $"a disk of {size} bytes");
        if (size < image.Length && !shrink)
            throw new VmmException(DiskToolErrors.CannotBe, $"{VisibleText.Quote(name.Path)}: from {image.Length} to {size} bytes; what is behind would be lost: add --shrink if it may");
        if (image.File.IsBlockDevice)
            throw new VmmException(DiskToolErrors.CannotBe, $"{VisibleText.Quote(name.Path)} is a device");
        if (image.Qcow2 is { } qcow2)
            Do(name.Path, () => qcow2.Resize(size));
        else
            image.Check(image.File.Resize(size), size);
        return size;
    }

    /// <summary>Judges a qcow2 image, and mends what it may.</summary>
    /// <param name="name">Which; the files it is based on are not looked at.</param>
    /// <param name="repair">What may be mended; with nothing the file is opened for reading only.</param>
    /// <param name="progress">Told how much is done, and of how much.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="VmmException">It is no such image, or cannot be read or mended.</exception>
    public static Qcow2CheckResult Check(ImageName name, Qcow2Repair repair, Action<ulong, ulong>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(name);
        using var file = HostFile.Open(ToolImage.Config(Qcow2Only(name)) with { ReadOnly = repair == Qcow2Repair.None });
        ulong all = file.Length;
        return ToolImage.Wrapped(name.Path, () => Qcow2Check.Run(file, repair, progress is null ? null : part => progress((ulong)(part * all), all), cancellation));
    }

    /// <summary>Writes what an image holds into the file it is based on, and empties it.</summary>
    /// <param name="name">Which; <see cref="ImageName.AllowBacking"/> is needed.</param>
    /// <param name="keep">Does not empty it.</param>
    /// <param name="progress">Told bytes done, and of how many.</param>
    /// <param name="cancellation">Ends it: the image still holds everything.</param>
    /// <exception cref="VmmException">It cannot be.</exception>
    public static void Commit(ImageName name, bool keep, Action<ulong, ulong>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(name);
        using var image = OpenQcow2(name);
        var backing = image.Qcow2!.Info.Backing ?? throw new VmmException(DiskToolErrors.CannotBe, $"{VisibleText.Quote(name.Path)} is based on no file");
        var below = Below(name, backing);
        using (var target = ToolImage.Open(below, writable: true))
        {
            if (target.Length < image.Length && target.Qcow2 is { } qcow2)
                Do(below.Path, () => qcow2.Resize(image.Length));
            else if (target.Length < image.Length)
                target.Check(target.File.Resize(image.Length), image.Length);
        }

        // Opened anew: a raw image has the length that its file had.
        using (var target = ToolImage.Open(below, writable: true))
            Do(name.Path, () => image.Qcow2.CommitTo(target.Image, progress is null ? null : done => progress(done, image.Length), cancellation));
        if (!keep)
            Do(name.Path, image.Qcow2.Empty);
    }

    /// <summary>Bases an image on another file, or none.</summary>
    /// <param name="name">Which; <see cref="ImageName.AllowBacking"/> is needed but where the content is not looked at.</param>
    /// <param name="backing">The file, as it is to be found from the image's folder; null for none.</param>
    /// <param name="blindly">Changes the name only: the other file is known to hold the same.</param>
    /// <param name="progress">Told bytes done, and of how many.</param>
    /// <param name="cancellation">Ends it: the image reads as before, over its old file.</param>
    /// <exception cref="VmmException">It cannot be.</exception>
    public static void Rebase(ImageName name, BackingFile? backing, bool blindly, Action<ulong, ulong>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (blindly)
        {
            using var alone = OpenQcow2(name);
            Do(name.Path, () => alone.Qcow2!.SetBacking(backing));
            return;
        }

        using var image = ToolImage.Open(Qcow2Only(name), writable: true);
        using var below = backing is null ? null : ToolImage.Open(Below(name, backing));
        Do(name.Path, () => CopyDifferences(image, below, progress, cancellation));
        image.Check(image.Image.Flush(), 0);
        Do(name.Path, () => image.Qcow2!.SetBacking(backing));
    }

    /// <summary>Writes into an image what it shows of its old backing file and the new one does not hold.</summary>
    private static void CopyDifferences(ToolImage image, ToolImage? below, Action<ulong, ulong>? progress, CancellationToken cancellation)
    {
        int cluster = image.Qcow2!.ClusterSize, room = Math.Max(BufferBytes, cluster);
        using AlignedBuffer old = new(room), next = new(room);
        for (ulong position = 0; position < image.Length;)
        {
            cancellation.ThrowIfCancellationRequested();
            image.CheckRead(image.Qcow2.TryMapOwn(position, (ulong)room, out bool isOwn, out ulong length), position);
            HostBuffer shown = old.Buffer.Slice(0, (int)length), held = next.Buffer.Slice(0, (int)length);
            if (!isOwn)
            {
                image.Read(position, shown);
                if (below is null)
                    held.Span.Clear();
                else
                    below.Read(position, held);
                for (int at = 0; at < shown.Length; at += cluster)
                {
                    int count = Math.Min(cluster, shown.Length - at);
                    if (!shown.Slice(at, count).Span.SequenceEqual(held.Slice(at, count).Span))
                        image.Write(position + (ulong)at, shown.Slice(at, count));
                }
            }

            position += length;
            progress?.Invoke(position, image.Length);
        }
    }

    private static ToolImage OpenQcow2(ImageName name) => ToolImage.Open(Qcow2Only(name), writable: true, alone: true);

    private static ImageName Qcow2Only(ImageName name) => name.Format == ImageFormat.Qcow2
        ? name
        : throw new VmmException(DiskToolErrors.CannotBe, $"{VisibleText.Quote(name.Path)} is {ImageName.Of(name.Format)}; only qcow2 images are based on others (--format qcow2 if it is one)");

    private static void Do(string path, Action action) => ToolImage.Wrapped(path, () =>
    {
        action();
        return 0;
    });
}
