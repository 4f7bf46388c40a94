using System.Buffers.Binary;
using System.Text;

namespace Kvm.Devices.Block.Qcow2;

/// <summary>A header extension, as it is in the file.</summary>
/// <param name="Type">What it is.</param>
/// <param name="Data">Its bytes.</param>
internal sealed record HeaderExtension(uint Type, byte[] Data);

/// <summary>An image's header, read and checked, or about to be written. Offsets are aligned and inside the file.</summary>
internal sealed record Qcow2Header
{
    public required int Version { get; init; }
    public required int ClusterBits { get; init; }
    public required ulong Size { get; init; }
    public required ulong L1Offset { get; init; }
    public required int L1Entries { get; init; }
    public required ulong RefcountTableOffset { get; init; }
    public required int RefcountTableClusters { get; init; }
    public required int RefcountOrder { get; init; }
    public ulong SnapshotsOffset { get; init; }
    public int SnapshotCount { get; init; }
    public ulong Incompatible { get; init; }
    public ulong Compatible { get; init; }
    public ulong Autoclear { get; init; }
    public Qcow2Compression Compression { get; init; }
    public BackingFile? Backing { get; init; }
    public IReadOnlyList<HeaderExtension> Extensions { get; init; } = [];

    public int ClusterSize => 1 << ClusterBits;

    /// <summary>Entries of an L2 table.</summary>
    public int L2Entries => ClusterSize / sizeof(ulong);

    /// <summary>Guest bytes an entry of the L1 table stands for.</summary>
    public ulong L1Span => (ulong)L2Entries << ClusterBits;

    /// <summary>Entries of the L1 table a disk of some size needs.</summary>
    public ulong L1EntriesFor(ulong size) => (size / L1Span) + (size % L1Span == 0 ? 0UL : 1);

    public bool IsDirty => (Incompatible & Qcow2Format.Dirty) != 0;

    public bool IsCorrupt => (Incompatible & Qcow2Format.Corrupt) != 0;

    /// <summary>Reads a header from the first bytes of a file: its first cluster, or as much as there is of it.</summary>
    /// <param name="bytes">The bytes.</param>
    /// <param name="fileLength">Bytes of the file.</param>
    /// <exception cref="Qcow2Exception">It is none, or says what cannot be.</exception>
    public static Qcow2Header Parse(ReadOnlySpan<byte> bytes, ulong fileLength)
    {
        if (bytes.Length < Qcow2Format.HeaderLength2)
            throw Qcow2Exception.Damaged($"its header is cut short: the file has {fileLength} bytes");
        if (U32(bytes, 0) != Qcow2Format.Magic)
            throw Qcow2Exception.Damaged("it does not begin with qcow2's magic number");
        uint version = U32(bytes, 4), clusterBits = U32(bytes, 20);
        if (version is not (2 or 3))
            throw new Qcow2Exception(Qcow2Problem.Unsupported, $"its version is {version}; 2 and 3 are known");
        if (clusterBits is < Qcow2Format.MinClusterBits or > Qcow2Format.MaxClusterBits)
            throw Qcow2Exception.Damaged($"cluster_bits (offset 20) is {clusterBits}, not {Qcow2Format.MinClusterBits} to {Qcow2Format.MaxClusterBits}");
        if (U32(bytes, 32) != 0)
            throw new Qcow2Exception(Qcow2Problem.Unsupported, $"it is encrypted (crypt_method {U32(bytes, 32)}, offset 32), which is not done here");
        var header = new Qcow2Header
        {
            Version = (int)version,
            ClusterBits = (int)clusterBits,
            Size = U64(bytes, Qcow2Format.SizeAt),
            L1Offset = U64(bytes, 40),
            L1Entries = Small(bytes, Qcow2Format.L1SizeAt, Qcow2Format.MaxL1Bytes / sizeof(ulong), "l1_size"),
            RefcountTableOffset = U64(bytes, Qcow2Format.RefcountTableAt),
            RefcountTableClusters = Small(bytes, 56, Qcow2Format.MaxRefcountTableBytes >> (int)clusterBits, "refcount_table_clusters"),
            SnapshotCount = Small(bytes, 60, Qcow2Format.MaxSnapshots, "nb_snapshots"),
            SnapshotsOffset = U64(bytes, 64),
            RefcountOrder = 4,
        };
        int length = Qcow2Format.HeaderLength2;
        if (version == 3)
            header = header.WithFeatures(bytes, fileLength, out length);
        header = header.WithExtensions(bytes, length);
        header.CheckTables(fileLength);
        return header;
    }

    /// <summary>The header with its extensions and the backing file's name, to be written over the first bytes of the first cluster.</summary>
    /// <exception cref="Qcow2Exception">It does not fit into a cluster.</exception>
    public byte[] ToBytes()
    {
        byte[] bytes = new byte[ClusterSize];
        int at = Version == 2 ? Qcow2Format.HeaderLength2 : Qcow2Format.HeaderLengthWritten;
        BinaryPrimitives.WriteUInt32BigEndian(bytes, Qcow2Format.Magic);
        BinaryPrimitives.WriteInt32BigEndian(bytes.AsSpan(4), Version);
        BinaryPrimitives.WriteInt32BigEndian(bytes.AsSpan(20), ClusterBits);
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(Qcow2Format.SizeAt), Size);
        BinaryPrimitives.WriteInt32BigEndian(bytes.AsSpan(Qcow2Format.L1SizeAt), L1Entries);
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(40), L1Offset);
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(Qcow2Format.RefcountTableAt), RefcountTableOffset);
        BinaryPrimitives.WriteInt32BigEndian(bytes.AsSpan(56), RefcountTableClusters);
        BinaryPrimitives.WriteInt32BigEndian(bytes.AsSpan(60), SnapshotCount);
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(64), SnapshotsOffset);
        if (Version > 2)
        {
            BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(Qcow2Format.FeaturesAt), Incompatible);
            BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(80), Compatible);
            BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(88), Autoclear);
            BinaryPrimitives.WriteInt32BigEndian(bytes.AsSpan(96), RefcountOrder);
            BinaryPrimitives.WriteInt32BigEndian(bytes.AsSpan(100), at);
            bytes[104] = (byte)Compression;
        }

        foreach (var extension in ExtensionsToWrite())
            Append(bytes, ref at, extension);
        Append(bytes, ref at, new HeaderExtension(Qcow2Format.ExtensionEnd, []));
        if (Backing is not null)
        {
            byte[] name = Encoding.UTF8.GetBytes(Backing.Name);
            if (name.Length > Qcow2Format.MaxBackingName || name.Length > bytes.Length - at)
                throw new Qcow2Exception(Qcow2Problem.Unsupported, $"the backing file's name has {name.Length} bytes, more than the header has room for");
            name.CopyTo(bytes, at);
            BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(Qcow2Format.BackingAt), (ulong)at);
            BinaryPrimitives.WriteInt32BigEndian(bytes.AsSpan(16), name.Length);
        }

        return bytes;
    }

    private static void Append(byte[] bytes, ref int at, HeaderExtension extension)
    {
        int padded = (extension.Data.Length + 7) & ~7;
        if (padded + 8 > bytes.Length - at)
            throw new Qcow2Exception(Qcow2Problem.Unsupported, "the header's extensions do not fit into a cluster");
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(at), extension.Type);
        BinaryPrimitives.WriteInt32BigEndian(bytes.AsSpan(at + 4), extension.Data.Length);
        extension.Data.CopyTo(bytes, at + 8);
        at += padded + 8;
    }

    private IEnumerable<HeaderExtension> ExtensionsToWrite()
    {
        if (Backing?.Format is { } format)
            yield return new HeaderExtension(Qcow2Format.BackingFormat, Encoding.UTF8.GetBytes(format));
        foreach (var extension in Extensions)
        {
            if (extension.Type != Qcow2Format.BackingFormat)
                yield return extension;
        }
    }

    private Qcow2Header WithFeatures(ReadOnlySpan<byte> bytes, ulong fileLength, out int length)
    {
        if (bytes.Length < Qcow2Format.HeaderLength3)
            throw Qcow2Exception.Damaged($"its header is cut short: the file has {fileLength} bytes");
        uint said = U32(bytes, 100), order = U32(bytes, 96);
        if (said < Qcow2Format.HeaderLength3 || said % 8 != 0 || said > (uint)bytes.Length)
            throw Qcow2Exception.Damaged($"header_length (offset 100) is {said}, which cannot be");
        if (order > Qcow2Format.MaxRefcountOrder)
            throw Qcow2Exception.Damaged($"refcount_order (offset 96) is {order}, not 0 to {Qcow2Format.MaxRefcountOrder}");
        length = (int)said;
        ulong incompatible = U64(bytes, Qcow2Format.FeaturesAt);
        byte compression = length > Qcow2Format.HeaderLength3 ? bytes[Qcow2Format.HeaderLength3] : (byte)0;
        if (compression > (byte)Qcow2Compression.Zstd)
            throw new Qcow2Exception(Qcow2Problem.Unsupported, $"its compression type (offset 104) is {compression}; 0 (zlib) and 1 (zstd) are known");
        if (compression != 0 != ((incompatible & Qcow2Format.CompressionType) != 0))
            throw Qcow2Exception.Damaged("its compression type (offset 104) and the feature bit for it (offset 72, bit 3) contradict each other");
        return this with
        {
            Incompatible = incompatible,
            Compatible = U64(bytes, 80),
            Autoclear = U64(bytes, 88),
            RefcountOrder = (int)order,
            Compression = (Qcow2Compression)compression,
        };
    }

    private Qcow2Header WithExtensions(ReadOnlySpan<byte> bytes, int at)
    {
        ulong backingAt = U64(bytes, Qcow2Format.BackingAt);
        // Version 2 images from before extensions have the name, or nothing, where an extension would be: type 0 ends the list, and a name's end bounds it.
        int end = backingAt > (ulong)at && backingAt < (ulong)bytes.Length ? (int)backingAt : bytes.Length;
        var extensions = new List<HeaderExtension>();
        string? format = null;
        while (end - at >= 8 && U32(bytes, at) is not Qcow2Format.ExtensionEnd and var type)
        {
            uint length = U32(bytes, at + 4);
            if (length > (uint)(end - at - 8))
                throw Qcow2Exception.Damaged($"the header extension at offset {at} has {length} bytes, more than the header has room for");
            var extension = new HeaderExtension(type, bytes.Slice(at + 8, (int)length).ToArray());
            extensions.Add(extension);
            if (type == Qcow2Format.BackingFormat)
                format = Ascii(extension.Data);
            at += 8 + (((int)length + 7) & ~7);
        }

        RefuseFeatures(extensions);
        return this with { Extensions = extensions, Backing = backingAt == 0 ? null : BackingOf(bytes, backingAt, format) };
    }

    private BackingFile BackingOf(ReadOnlySpan<byte> bytes, ulong at, string? format)
    {
        uint length = U32(bytes, 16);
        if (length is 0 or > Qcow2Format.MaxBackingName)
            throw Qcow2Exception.Damaged($"the backing file's name (offset 16) has {length} bytes, not 1 to {Qcow2Format.MaxBackingName}");
        if (at < Qcow2Format.HeaderLength2 || at > (ulong)ClusterSize - length || at > (ulong)bytes.Length || length > (ulong)bytes.Length - at)
            throw Qcow2Exception.Damaged($"the backing file's name is at offset {at}, which is not in the header's cluster");
        try
        {
            return new BackingFile(new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(bytes.Slice((int)at, (int)length)), format);
        }
        catch (DecoderFallbackException)
        {
            throw Qcow2Exception.Damaged($"the backing file's name (offset {at}) is not UTF-8");
        }
    }

    /// <summary>Features that must be understood and are not are named: by us, or by the image's own table of names.</summary>
    private void RefuseFeatures(List<HeaderExtension> extensions)
    {
        ulong unknown = Incompatible & ~Qcow2Format.KnownIncompatible;
        if ((unknown & Qcow2Format.ExternalData) != 0)
            throw new Qcow2Exception(Qcow2Problem.Unsupported, "its data is in an external data file, which is not done here");
        if ((unknown & Qcow2Format.ExtendedL2) != 0)
            throw new Qcow2Exception(Qcow2Problem.Unsupported, "it has extended L2 entries (subclusters), which are not done here");
        if (unknown == 0)
            return;
        int bit = System.Numerics.BitOperations.TrailingZeroCount(unknown);
        var names = extensions.Find(e => e.Type == Qcow2Format.FeatureNames)?.Data ?? [];
        string name = "";
        for (int at = 0; at + 48 <= names.Length; at += 48)
        {
            if (names[at] == 0 && names[at + 1] == bit)
                name = $" ({Ascii(names.AsSpan(at + 2, 46))})";
        }

        throw new Qcow2Exception(Qcow2Problem.Unsupported, $"it needs the incompatible feature of bit {bit}{name}, which is unknown here");
    }

    private void CheckTables(ulong fileLength)
    {
        ulong end = Qcow2Format.RoundUp(fileLength, (ulong)ClusterSize);
        if (Size > long.MaxValue)
            throw Qcow2Exception.Damaged($"size (offset 24) is {Size}, more than a disk can have");
        if ((ulong)L1Entries < L1EntriesFor(Size))
            throw Qcow2Exception.Damaged($"l1_size (offset 36) is {L1Entries}, too few for a disk of {Size} bytes");
        if (RefcountTableClusters == 0)
            throw Qcow2Exception.Damaged("refcount_table_clusters (offset 56) is 0");
        var regions = new List<(string Name, ulong Offset, ulong Length)> { ("the header", 0, (ulong)ClusterSize) };
        Add("the L1 table", L1Offset, (ulong)L1Entries * sizeof(ulong));
        Add("the refcount table", RefcountTableOffset, (ulong)RefcountTableClusters << ClusterBits);
        // The shortest snapshot has 40 bytes; how long the table is, only reading it tells.
        Add("the snapshot table", SnapshotsOffset, (ulong)SnapshotCount * 40);

        void Add(string name, ulong offset, ulong length)
        {
            if (length == 0)
                return;
            if (offset % (ulong)ClusterSize != 0)
                throw Qcow2Exception.Damaged($"{name} is at offset {offset}, which is no multiple of the cluster size");
            if (offset >= end || length > end - offset)
                throw Qcow2Exception.Damaged($"{name} is at offset {offset} with {length} bytes, beyond the end of the file at {fileLength}");
            foreach (var other in regions)
            {
                if (offset < other.Offset + other.Length && other.Offset < offset + length)
                    throw Qcow2Exception.Damaged($"{name} is at offset {offset}, over {other.Name}");
            }

            regions.Add((name, offset, length));
        }
    }

    private static int Small(ReadOnlySpan<byte> bytes, int at, int most, string name) =>
        U32(bytes, at) is var value && value <= (uint)most ? (int)value : throw Qcow2Exception.Damaged($"{name} (offset {at}) is {value}, more than {most}");

    /// <summary>A text of the image's for a message: what is no printable ASCII is left out, and nothing follows a zero.</summary>
    private static string Ascii(ReadOnlySpan<byte> bytes)
    {
        int end = bytes.IndexOf((byte)0);
        var text = new StringBuilder();
        foreach (byte b in end < 0 ? bytes : bytes[..end])
        {
            if (b is > 0x1f and < 0x7f && text.Length < 64)
                text.Append((char)b);
        }

        return text.ToString();
    }

    private static uint U32(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt32BigEndian(bytes[at..]);

    private static ulong U64(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt64BigEndian(bytes[at..]);
}
