using System.Buffers.Binary;

namespace Kvm.Vmm.Snapshots.Store;

/// <summary>The beginning of a snapshot's file, which is never encrypted: which one it is, what it is based on, the packs it needs.</summary>
internal sealed record ManifestHead
{
    public const int Size = 144, HashOffset = 112;
    private const ushort Encrypted = 1;

    public required StoreId Identity { get; init; }

    /// <summary>The snapshot that this one is based on; none.</summary>
    public StoreId Parent { get; init; }

    public DateTimeOffset Created { get; init; } = DateTimeOffset.UnixEpoch;

    /// <summary>The packs with the chunks of its own table; those of its parents are in their heads.</summary>
    public IReadOnlyList<StoreId> Packs { get; init; } = [];

    /// <summary>Of its key, or empty where it is not encrypted.</summary>
    public byte[] KeyCheck { get; init; } = [];

    /// <summary>Of its encryption, or empty.</summary>
    public byte[] Salt { get; init; } = [];

    /// <summary>Bytes behind head and packs.</summary>
    public long BodyBytes { get; init; }

    public bool IsEncrypted => KeyCheck.Length > 0;

    private static ReadOnlySpan<byte> Magic => "KVMSNAPS"u8;

    /// <summary>Bytes before the body.</summary>
    public int HeadBytes => Size + Packs.Count * StoreId.Size;

    /// <summary>Writes all but the checksum.</summary>
    public void Write(Span<byte> to)
    {
        to.Clear();
        Magic.CopyTo(to);
        BinaryPrimitives.WriteUInt16LittleEndian(to[8..], SnapshotFormat.Version);
        BinaryPrimitives.WriteUInt16LittleEndian(to[10..], IsEncrypted ? Encrypted : (ushort)0);
        BinaryPrimitives.WriteUInt32LittleEndian(to[12..], (uint)Packs.Count);
        Identity.Write(to[16..]);
        Parent.Write(to[32..]);
        BinaryPrimitives.WriteInt64LittleEndian(to[48..], Created.ToUnixTimeMilliseconds());
        BinaryPrimitives.WriteInt64LittleEndian(to[56..], BodyBytes);
        KeyCheck.CopyTo(to[64..]);
        Salt.CopyTo(to[80..]);
        for (int i = 0; i < Packs.Count; i++)
            Packs[i].Write(to[(Size + i * StoreId.Size)..]);
    }

    /// <summary>Reads one, from the beginning of a file; hostile bytes.</summary>
    /// <param name="from">At least the head; the packs too, unless they are not asked for.</param>
    /// <param name="fileLength">Bytes of the whole file.</param>
    /// <exception cref="StoreFault">It says what cannot be.</exception>
    public static ManifestHead Read(ReadOnlySpan<byte> from, long fileLength)
    {
        if (from.Length < Size || !from.StartsWith(Magic))
            throw new StoreFault(SnapshotErrors.Damaged, from.Length < Size ? "it is cut short" : "it does not begin as a snapshot does");
        ushort version = BinaryPrimitives.ReadUInt16LittleEndian(from[8..]), flags = BinaryPrimitives.ReadUInt16LittleEndian(from[10..]);
        if (version != SnapshotFormat.Version)
            throw StoreFault.OfVersion(version);
        if ((flags & ~Encrypted) != 0)
            throw new StoreFault(SnapshotErrors.LaterVersion, $"flags {flags:x}");
        uint packs = BinaryPrimitives.ReadUInt32LittleEndian(from[12..]);
        long created = BinaryPrimitives.ReadInt64LittleEndian(from[48..]), body = BinaryPrimitives.ReadInt64LittleEndian(from[56..]);
        if (packs > SnapshotFormat.MostPacks || body != fileLength - Size - packs * StoreId.Size || body > SnapshotFormat.MostManifestBytes || from.Length < Size + packs * StoreId.Size)
            throw new StoreFault(SnapshotErrors.Damaged, $"{packs} packs and {body} bytes cannot be in a file of {fileLength} bytes");
        if (created < 0 || created > DateTimeOffset.MaxValue.ToUnixTimeMilliseconds())
            throw new StoreFault(SnapshotErrors.Damaged, "it was made at a time that cannot be");
        var ids = new StoreId[packs];
        for (int i = 0; i < ids.Length; i++)
            ids[i] = StoreId.Read(from[(Size + i * StoreId.Size)..]);
        return new ManifestHead
        {
            Identity = StoreId.Read(from[16..]),
            Parent = StoreId.Read(from[32..]),
            Created = DateTimeOffset.FromUnixTimeMilliseconds(created),
            Packs = ids,
            KeyCheck = flags == 0 ? [] : from.Slice(64, SnapshotKey.CheckSize).ToArray(),
            Salt = flags == 0 ? [] : from.Slice(80, SnapshotKey.SaltSize).ToArray(),
            BodyBytes = body,
        };
    }
}
