using System.Buffers.Binary;

namespace Kvm.Devices.Block.Qcow2;

/// <summary>Makes new images.</summary>
public static class Qcow2Creator
{
    /// <summary>Makes an image in an empty file, and opens it for writing.</summary>
    /// <param name="file">The file: empty, or nothing of it is needed any more. Disposed of with the image, and if this throws.</param>
    /// <param name="create">What it is to be.</param>
    /// <param name="open">How it is opened; a backing file it names is opened by this too, unless <see cref="Qcow2OpenOptions.WithoutBacking"/>.</param>
    /// <returns>The image; what it is made of is durable.</returns>
    /// <exception cref="Qcow2Exception">It cannot be so, or the host cannot write it.</exception>
    public static Qcow2Image Create(IHostFile file, Qcow2CreateOptions create, Qcow2OpenOptions open)
    {
        ArgumentNullException.ThrowIfNull(file);
        ArgumentNullException.ThrowIfNull(create);
        ArgumentNullException.ThrowIfNull(open);
        var clusters = new ClusterFile(file);
        try
        {
            if (ProblemOf(create) is { } problem)
                throw new Qcow2Exception(Qcow2Problem.Unsupported, problem);
            WriteEmpty(clusters, create);
        }
        catch
        {
            clusters.Dispose();
            throw;
        }

        var image = Qcow2Image.Open(clusters, open with { ReadOnly = false });
        try
        {
            image.Resize(create.Size, isNew: true);
            if (create.PreallocateMetadata)
                image.PreallocateMetadata();
            return image;
        }
        catch
        {
            image.Dispose();
            throw;
        }
    }

    /// <summary>What cannot be of an image that is to be made, or null.</summary>
    public static string? ProblemOf(Qcow2CreateOptions create)
    {
        ArgumentNullException.ThrowIfNull(create);
        if (create.ClusterSize is < 1 << Qcow2Format.MinClusterBits or > 1 << Qcow2Format.MaxClusterBits || !int.IsPow2(create.ClusterSize))
            return $"a cluster has {create.ClusterSize} bytes, not a power of two from 512 to 2 MiB";
        if (create.Version is not (2 or 3))
            return $"version {create.Version} is neither 2 nor 3";
        if (create.RefcountBits is < 1 or > 64 || !int.IsPow2(create.RefcountBits))
            return $"refcounts have {create.RefcountBits} bits, not a power of two from 1 to 64";
        if (create.Version == 2 && (create.RefcountBits != 16 || create.LazyRefcounts || create.Compression != Qcow2Compression.Zlib))
            return "version 2 has refcounts of 16 bits, kept up at once, and zlib compression";
        if (create.Size % IDiskImage.SectorSize != 0 || create.Size > long.MaxValue)
            return $"a disk of {create.Size} bytes is no multiple of {IDiskImage.SectorSize}, or too large";
        if (create.Backing is { } backing && (BackingNames.ProblemOf(backing.Name) ?? (backing.Format is null ? "has no format" : null)) is { } wrong)
            return $"the backing file's name {wrong}";
        return create.PreallocateMetadata && create.Backing is not null ? "what is allocated hides the backing file: preallocation and a backing file do not go together" : null;
    }

    /// <summary>An image of a disk of no bytes: header, refcount table and one block of it, one cluster each.</summary>
    private static void WriteEmpty(ClusterFile file, Qcow2CreateOptions create)
    {
        int clusterSize = create.ClusterSize, order = int.Log2(create.RefcountBits);
        var header = new Qcow2Header
        {
            Version = create.Version,
            ClusterBits = int.Log2(clusterSize),
            Size = 0,
            L1Offset = 0,
            L1Entries = 0,
            RefcountTableOffset = (ulong)clusterSize,
            RefcountTableClusters = 1,
            RefcountOrder = order,
            Incompatible = create.Compression == Qcow2Compression.Zlib ? 0 : Qcow2Format.CompressionType,
            Compatible = create.LazyRefcounts ? Qcow2Format.LazyRefcounts : 0,
            Compression = create.Compression,
            Backing = create.Backing,
            Extensions = create.Version > 2 ? [FeatureNameTable()] : [],
        };
        byte[] bytes = new byte[3 * clusterSize];
        header.ToBytes().CopyTo(bytes, 0);
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(clusterSize), 2 * (ulong)clusterSize);
        var block = bytes.AsSpan(2 * clusterSize);
        for (int cluster = 0; cluster < 3; cluster++)
            Refcounts.Write(block, cluster, 1, order);
        if (TableWriter.Write(file, 0, bytes) != DiskResult.Done)
            throw Qcow2Exception.Host("write the image");
    }

    /// <summary>Names of the features this writes, for programs that do not know them.</summary>
    private static HeaderExtension FeatureNameTable()
    {
        (byte Type, byte Bit, string Name)[] features =
            [(0, 0, "dirty bit"), (0, 1, "corrupt bit"), (0, 3, "compression type"), (1, 0, "lazy refcounts"), (2, 0, "bitmaps")];
        byte[] data = new byte[features.Length * 48];
        for (int i = 0; i < features.Length; i++)
        {
            (data[i * 48], data[(i * 48) + 1]) = (features[i].Type, features[i].Bit);
            System.Text.Encoding.ASCII.GetBytes(features[i].Name, data.AsSpan((i * 48) + 2));
        }

        return new HeaderExtension(Qcow2Format.FeatureNames, data);
    }
}
