using System.Runtime.ExceptionServices;
using Kvm.Devices.Block;
using Kvm.Devices.Block.Qcow2;
using Kvm.Devices.Memory;
using Kvm.Interop;

namespace Kvm.Vmm.Storage.Tools;

/// <summary>The verb that nobody types: what looks after many images packs those that nobody writes.</summary>
public static partial class DiskTool
{
    /// <summary>
    /// Copies an image into a new qcow2 image with its clusters compressed (zstd), based on the same file. One thread does it, which gives way to every other of this host.
    /// </summary>
    /// <param name="source">What is copied; what it is based on is not.</param>
    /// <param name="output">The new image, which is not there yet.</param>
    /// <param name="backing">The file both are based on, as it is to be found from the new one's folder; null for none.</param>
    /// <param name="cancellation">Ends it; nothing is left then.</param>
    /// <exception cref="VmmException">The source cannot be read, or the output not be made.</exception>
    /// <exception cref="OperationCanceledException">It was ended.</exception>
    public static void Pack(ImageName source, ImageName output, ImageName? backing, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(output);
        Exception? failure = null;
        var thread = new Thread(() =>
        {
            try
            {
                // Where the kernel does not let it, it is a thread like others.
                _ = HostThread.GiveWay();
                PackHere(source, output, backing, cancellation);
            }
            catch (Exception e)
            {
                failure = e;
            }
        }, 256 << 10)
        { Name = "pack", IsBackground = true };
        thread.Start();
        thread.Join();
        if (failure is not null)
            ExceptionDispatchInfo.Throw(failure is Qcow2Exception image ? ToolImage.Error(output.Path, image) : failure);
    }

    /// <summary>Bases an image on another file that is known to hold the same as the one before.</summary>
    /// <param name="name">Which.</param>
    /// <param name="backing">The file, as it is to be found from the image's folder.</param>
    /// <exception cref="VmmException">It cannot be.</exception>
    public static void SetBacking(ImageName name, ImageName backing)
    {
        ArgumentNullException.ThrowIfNull(backing);
        Rebase(name, new BackingFile(backing.Path, ImageName.Of(backing.Format)), blindly: true);
    }

    private static void PackHere(ImageName source, ImageName output, ImageName? backing, CancellationToken cancellation)
    {
        var options = new ImageOptions { Compression = Qcow2Compression.Zstd, BackingFile = backing?.Path, BackingFormat = backing is null ? null : ImageName.Of(backing.Format) };
        using var from = ToolImage.Open(source);
        using var made = NewImage.Begin(output, from.Length, options, force: false, from.File);
        using var codec = ClusterCodec.Create(Qcow2Compression.Zstd);
        int cluster = made.Image.Qcow2!.ClusterSize;
        using AlignedBuffer plain = new(cluster), packed = new(cluster);
        for (ulong position = 0; position < from.Length;)
        {
            cancellation.ThrowIfCancellationRequested();
            var (isOwn, length) = Own(from, position, (ulong)cluster);
            if (isOwn)
            {
                from.Read(position, plain.Buffer);
                Put(made.Image, position, plain.Buffer, packed.Buffer, (int)Math.Min((ulong)cluster, from.Length - position), codec, backing is not null);
            }

            position += length;
        }

        made.Finish();
    }

    /// <summary>Whether the clusters at a position are the image's own, and bytes up to where that may change, in whole clusters of the new image.</summary>
    private static (bool IsOwn, ulong Length) Own(ToolImage image, ulong position, ulong cluster)
    {
        bool isOwn = true;
        ulong length;
        if (image.Qcow2 is { } qcow2)
        {
            image.CheckRead(qcow2.TryMapOwn(position, 1UL << 30, out isOwn, out length), position);
        }
        else
        {
            var extent = image.Map(position);
            (isOwn, length) = (extent.Kind != ExtentKind.Zero, extent.Length);
        }

        // One cluster after another, but what is not there is passed over at once.
        return isOwn || length < cluster ? (true, cluster) : (false, length / cluster * cluster);
    }

    private static void Put(ToolImage image, ulong position, HostBuffer plain, HostBuffer packed, int length, IClusterCodec codec, bool isBased)
    {
        bool isZero = !plain.Span.ContainsAnyExcept((byte)0);
        if (isZero && !isBased)
            return;
        int count = isZero ? 0 : codec.Compress(plain.Span, packed.Slice(0, packed.Length - 1).Span);
        if (isZero)
            image.Check(image.Image.WriteZeroes(position, (ulong)length, mayUnmap: true), position);
        else if (count > 0)
            image.Check(image.Qcow2!.WriteCompressed(position, packed.Slice(0, count)), position);
        else
            image.Write(position, plain.Slice(0, length));
    }
}
