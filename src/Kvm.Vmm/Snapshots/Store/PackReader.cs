using System.Buffers.Binary;

namespace Kvm.Vmm.Snapshots.Store;

/// <summary>A pack that is there: finds chunks by their ids and reads them. Its index is in memory, 48 bytes a chunk. Safe from any thread but for disposal.</summary>
internal sealed class PackReader : IDisposable
{
    private readonly IStoreFile _file;
    private readonly bool _ownsFile;
    private readonly long _start;
    private readonly byte[] _index;
    private readonly ulong _end;
    private readonly CipherPool? _ciphers;
    private readonly byte[] _idKey;

    private PackReader(IStoreFile file, bool ownsFile, long start, StoreId id, (byte[] Index, ulong End) table, SnapshotKey? key, byte[] salt)
    {
        (_file, _ownsFile, _start, Id, (_index, _end)) = (file, ownsFile, start, id, table);
        (_ciphers, _idKey) = salt.Length > 0 ? (new CipherPool(key!, salt), key!.IdKey) : (null, []);
    }

    /// <summary>Which pack it is.</summary>
    public StoreId Id { get; }

    /// <summary>Chunks in it.</summary>
    public int Count => _index.Length / PackEntry.Size;

    /// <summary>Bytes of its chunks as they are stored.</summary>
    public ulong StoredBytes => _end - PackFormat.HeaderSize;

    /// <summary>True if its chunks are encrypted.</summary>
    public bool IsEncrypted => _ciphers is not null;

    /// <summary>Opens one.</summary>
    /// <exception cref="StoreFault">It is damaged, of a later version or of another key.</exception>
    /// <exception cref="IOException">The host cannot read it.</exception>
    public static PackReader Open(IStoreFiles files, string path, SnapshotKey? key)
    {
        var file = files.Open(path);
        try
        {
            return Open(file, ownsFile: true, 0, file.Length, key);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Opens one that is part of a file.</summary>
    public static PackReader Open(IStoreFile file, bool ownsFile, long start, long length, SnapshotKey? key)
    {
        if (length < PackFormat.HeaderSize + PackFormat.FooterSize)
            throw new StoreFault(SnapshotErrors.Damaged, $"a pack of {length} bytes is cut short");
        Span<byte> header = stackalloc byte[PackFormat.HeaderSize], footer = stackalloc byte[PackFormat.FooterSize];
        Read(file, start, header);
        var (id, salt) = PackFormat.ReadHeader(header, key);
        Read(file, start + length - PackFormat.FooterSize, footer);
        var (offset, count) = PackFormat.ReadFooter(footer, (ulong)length);
        byte[] index = GC.AllocateUninitializedArray<byte>(count * PackEntry.Size);
        Read(file, start + (long)offset, index);
        if (!PackFormat.IsHashRight(header, index, footer))
            throw new StoreFault(SnapshotErrors.Damaged, "the checksum of its index is wrong");
        return new PackReader(file, ownsFile, start, id, (index, offset), key, salt);
    }

    /// <summary>Looks a chunk up.</summary>
    public bool TryFind(in ChunkId id, out PackEntry entry)
    {
        // Ids are spread evenly: where one is follows from its first bytes, nearly. Halving bounds it where somebody made them otherwise.
        int low = 0, high = Count - 1;
        for (int step = 0; low <= high; step++)
        {
            int middle = low + (high - low) / 2;
            if (step < 4)
            {
                ulong first = PrefixAt(low), last = PrefixAt(high);
                if (first < last && id.A >= first && id.A <= last)
                    middle = low + (int)((UInt128)(id.A - first) * (uint)(high - low) / (last - first));
            }

            int order = id.CompareTo(ChunkId.Read(_index.AsSpan(middle * PackEntry.Size)));
            if (order == 0)
                return TryEntry(middle, out entry);
            if (order < 0)
                high = middle - 1;
            else
                low = middle + 1;
        }

        entry = default;
        return false;
    }

    /// <summary>An entry by its number.</summary>
    /// <returns>False if the index says of it what cannot be.</returns>
    public bool TryEntry(int number, out PackEntry entry) => PackEntry.TryRead(_index.AsSpan(number * PackEntry.Size), _end, out entry);

    /// <summary>Reads and verifies a chunk.</summary>
    /// <param name="entry">From this pack's index.</param>
    /// <param name="codec">The thread's.</param>
    /// <param name="to">As many bytes as the chunk has.</param>
    public ChunkStatus Read(in PackEntry entry, ChunkCodec codec, Span<byte> to)
    {
        if (to.Length != entry.Length)
            return ChunkStatus.Damaged;
        var stored = codec.Stored(entry);
        try
        {
            if (_file.ReadAt(_start + (long)entry.Offset, stored) != stored.Length)
                return ChunkStatus.Damaged;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return ChunkStatus.Unreadable;
        }

        if (_ciphers is null)
            return codec.Unpack(entry, null, _idKey, to);
        var cipher = _ciphers.Take();
        var status = codec.Unpack(entry, cipher, _idKey, to);
        _ciphers.Return(cipher);
        return status;
    }

    public void Dispose()
    {
        _ciphers?.Dispose();
        if (_ownsFile)
            _file.Dispose();
    }

    private static void Read(IStoreFile file, long position, Span<byte> to)
    {
        if (file.ReadAt(position, to) != to.Length)
            throw new StoreFault(SnapshotErrors.Damaged, "it is cut short");
    }

    private ulong PrefixAt(int number) => BinaryPrimitives.ReadUInt64BigEndian(_index.AsSpan(number * PackEntry.Size));
}
