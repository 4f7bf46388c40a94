using System.Buffers;
using Kvm.Devices.Block;
using Kvm.Devices.Block.Qcow2;
using Kvm.Devices.Memory;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Storage.Tools;

/// <summary>What an image is.</summary>
/// <param name="Name">Which.</param>
/// <param name="Length">Bytes of the disk.</param>
/// <param name="FileLength">Bytes of the file.</param>
/// <param name="Allocated">Bytes of storage the file takes.</param>
/// <param name="Qcow2">What a qcow2 image says of itself; null for a raw one.</param>
/// <param name="LooksLikeQcow2">A raw file that begins like a qcow2 image: said to people, never acted upon.</param>
public sealed record ImageInfo(ImageName Name, ulong Length, ulong FileLength, ulong Allocated, Qcow2Info? Qcow2, bool LooksLikeQcow2);

/// <summary>How two disks differ.</summary>
/// <param name="FirstDifference">The first byte that differs; null if none does.</param>
/// <param name="Lengths">Bytes of each; what one has more reads as zeros to be the same.</param>
public readonly record struct DiskDifference(ulong? FirstDifference, (ulong First, ulong Second) Lengths);

/// <summary>
/// The verbs of <c>kvmsharp disk</c>. Sources are opened for reading only and locked as by a guest; what is made is there when it is whole, or not
/// at all. Thread-safe: nothing is kept between calls.
/// </summary>
public static partial class DiskTool
{
    private const int BufferBytes = 1 << 20;

    /// <summary>Makes an empty image.</summary>
    /// <param name="output">Name and format; with <see cref="ImageName.AllowBacking"/> the file it is based on may be looked at for its size.</param>
    /// <param name="size">Bytes of the disk; null: as many as the file it is based on has.</param>
    /// <param name="options">The rest.</param>
    /// <param name="force">A file of that name is replaced.</param>
    /// <returns>Bytes of the disk.</returns>
    /// <exception cref="VmmException">It cannot be made.</exception>
    public static ulong Create(ImageName output, ulong? size, ImageOptions options, bool force)
    {
        ArgumentNullException.ThrowIfNull(output);
        ArgumentNullException.ThrowIfNull(options);
        ulong bytes = RoundUp(size ?? SizeOfBacking(output, options));
        using var image = NewImage.Begin(output, bytes, options, force);
        image.Finish();
        return bytes;
    }

    /// <summary>Tells what an image is, without the files it is based on.</summary>
    public static ImageInfo Info(ImageName name)
    {
        ArgumentNullException.ThrowIfNull(name);
        using var image = ToolImage.Open(name, alone: name.Format == ImageFormat.Qcow2, odd: true);
        bool looksLike = false;
        if (image.Qcow2 is null)
        {
            using var buffer = new AlignedBuffer(IDiskImage.SectorSize);
            image.Read(0, buffer.Buffer);
            looksLike = buffer.Buffer.Span.StartsWith("QFI\xfb"u8[..3]) && buffer.Buffer.Span[3] == 0xfb;
        }

        return new ImageInfo(name, image.Length, image.File.Length, image.File.AllocatedBytes, image.Qcow2?.Info, looksLike);
    }

    /// <summary>Tells what a disk is made of, from its first byte to its last: ranges of one kind, as long as they are known to be.</summary>
    public static IEnumerable<DiskExtent> Map(ImageName name)
    {
        ArgumentNullException.ThrowIfNull(name);
        using var image = ToolImage.Open(name);
        DiskExtent last = default;
        for (ulong position = 0; position < image.Length; position += last.Length)
        {
            var next = image.Map(position);
            for (ulong end = next.Position + next.Length; end < image.Length; end = next.Position + next.Length)
            {
                var after = image.Map(end);
                if (after.Kind != next.Kind || after.Depth != next.Depth || after.HostOffset != next.HostOffset + (end - next.Position))
                    break;
                next = next with { Length = next.Length + after.Length };
            }

            yield return last = next;
        }
    }

    /// <summary>Copies a disk into a new image of any format that is written.</summary>
    /// <param name="source">What is copied; with <see cref="ImageName.AllowBacking"/> through the files it is based on.</param>
    /// <param name="output">Name and format.</param>
    /// <param name="options">What the new image is to be.</param>
    /// <param name="compress">Compresses clusters; into qcow2 only.</param>
    /// <param name="force">A file of that name is replaced.</param>
    /// <param name="progress">Told bytes done, and of how many; any thread.</param>
    /// <param name="cancellation">Ends it; nothing is left then.</param>
    /// <exception cref="VmmException">The source cannot be read, or the output not be made.</exception>
    /// <exception cref="OperationCanceledException">It was ended.</exception>
    public static void Convert(ImageName source, ImageName output, ImageOptions options, bool compress, bool force,
        Action<ulong, ulong>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(output);
        ArgumentNullException.ThrowIfNull(options);
        if (compress && output.Format != ImageFormat.Qcow2)
            throw new VmmException(DiskToolErrors.CannotBe, $"{ImageName.Of(output.Format)} has no compressed clusters");
        if (options.BackingFile is not null)
            throw new VmmException(DiskToolErrors.CannotBe, "a copy holds all of the disk and is based on no file; disk rebase makes it so afterwards");
        if (source.IsForeign)
        {
            ForeignImage.Convert(source, output, options, compress, force, cancellation);
            return;
        }

        using var from = ToolImage.Open(source);
        using var made = NewImage.Begin(output, from.Length, options, force, from.File);
        Action<ulong>? told = progress is null ? null : done => progress(done, from.Length);
        new ImageCopier(from, made.Image, compress ? options.Compression : null, told, cancellation).Run();
        made.Finish();
    }

    /// <summary>Compares what two disks read as.</summary>
    public static DiskDifference Compare(ImageName first, ImageName second, Action<ulong, ulong>? progress = null, CancellationToken cancellation = default)
    {
        using ToolImage a = ToolImage.Open(first), b = ToolImage.Open(second);
        using AlignedBuffer left = new(BufferBytes), right = new(BufferBytes);
        ulong all = Math.Max(a.Length, b.Length);
        ulong? difference = null;
        for (ulong position = 0; position < all && difference is null;)
        {
            cancellation.ThrowIfCancellationRequested();
            var (zerosA, endA) = Zeros(a, position, all);
            var (zerosB, endB) = Zeros(b, position, all);
            ulong end = Math.Min(endA, endB);
            if (!(zerosA && zerosB))
            {
                end = Math.Min(end, position + BufferBytes);
                HostBuffer l = left.Buffer.Slice(0, (int)(end - position)), r = right.Buffer.Slice(0, l.Length);
                a.Read(position, l);
                b.Read(position, r);
                int same = l.Span.CommonPrefixLength(r.Span);
                difference = same == l.Length ? null : position + (ulong)same;
            }

            position = end;
            progress?.Invoke(position, all);
        }

        return new DiskDifference(difference, (a.Length, b.Length));
    }

    private static (bool Zeros, ulong End) Zeros(ToolImage image, ulong position, ulong all)
    {
        if (position >= image.Length)
            return (true, all);
        var extent = image.Map(position);
        return (extent.Kind == ExtentKind.Zero, extent.Position + extent.Length);
    }

    private static ulong SizeOfBacking(ImageName output, ImageOptions options)
    {
        if (options.BackingFile is not { } backing)
            throw new VmmException(DiskToolErrors.CannotBe, "an image needs a size, such as 10G, or a file it is based on");
        using var below = ToolImage.Open(Below(output, new BackingFile(backing, options.BackingFormat)));
        return below.Length;
    }

    /// <summary>The file an image is based on, found from the image's folder.</summary>
    private static ImageName Below(ImageName image, BackingFile backing)
    {
        if (!image.AllowBacking)
            throw new VmmException(DiskErrors.BackingRefused, $"{VisibleText.Quote(image.Path)} is based on {VisibleText.Quote(backing.Name)}; --allow-backing lets it be opened");
        string path = Path.GetFullPath(backing.Name, Path.GetDirectoryName(Path.GetFullPath(image.Path)) ?? "/");
        return new ImageName(path, backing.Format == "raw" ? ImageFormat.Raw : ImageFormat.Qcow2, AllowBacking: true);
    }

    private static ulong RoundUp(ulong bytes) => bytes > long.MaxValue - IDiskImage.SectorSize
        ? throw new VmmException(DiskToolErrors.CannotBe, $"a disk of {bytes} bytes is too large")
        : (bytes + IDiskImage.SectorSize - 1) / IDiskImage.SectorSize * IDiskImage.SectorSize;
}
