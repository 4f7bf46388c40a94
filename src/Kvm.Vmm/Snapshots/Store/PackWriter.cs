using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace Kvm.Vmm.Snapshots.Store;

/// <summary>
/// A pack that is being written: chunks come from any thread, are packed there, get their place under a lock and are written outside of it. It counts
/// when its foot is there.
/// </summary>
internal sealed class PackWriter : IDisposable
{
    private readonly IStoreFile _file;
    private readonly long _start;
    private readonly SnapshotKey? _key;
    private readonly byte[] _header = new byte[PackFormat.HeaderSize];
    private readonly CipherPool? _ciphers;
    private readonly HashSet<ChunkId> _known = [];
    private readonly List<PackEntry> _entries = [];
    private ulong _end = PackFormat.HeaderSize;

    /// <summary>Begins one.</summary>
    /// <param name="file">Where; the caller's to dispose of.</param>
    /// <param name="start">Where in the file.</param>
    /// <param name="compression">How chunks are packed.</param>
    /// <param name="key">Encrypts it, or null.</param>
    public PackWriter(IStoreFile file, long start, SnapshotCompression compression, SnapshotKey? key)
    {
        (_file, _start, Compression, _key) = (file, start, compression, key);
        byte[] salt = [];
        if (key is not null)
        {
            salt = RandomNumberGenerator.GetBytes(SnapshotKey.SaltSize);
            _ciphers = new CipherPool(key, salt);
        }

        PackFormat.WriteHeader(_header, Id, key, salt);
    }

    public StoreId Id { get; } = StoreId.New();

    public SnapshotCompression Compression { get; }

    /// <summary>Chunks in it so far.</summary>
    public int Count
    {
        get
        {
            lock (_entries)
                return _entries.Count;
        }
    }

    /// <summary>Bytes that it has, or will have when it is finished.</summary>
    public long Length
    {
        get
        {
            lock (_entries)
                return (long)_end + (long)_entries.Count * PackEntry.Size + PackFormat.FooterSize;
        }
    }

    /// <summary>The id of a content in this pack.</summary>
    public ChunkId IdOf(ReadOnlySpan<byte> content) => ChunkId.Of(content, _key?.IdKey);

    /// <summary>Adds a chunk, unless it is in the pack already.</summary>
    /// <param name="id">Its id, by <see cref="IdOf"/>.</param>
    /// <param name="content">Its bytes.</param>
    /// <param name="codec">The thread's.</param>
    /// <param name="method">How it is packed; null: as the others.</param>
    /// <returns>False if it was there.</returns>
    /// <exception cref="IOException">It cannot be written.</exception>
    public bool Add(in ChunkId id, ReadOnlySpan<byte> content, ChunkCodec codec, SnapshotCompression? method = null)
    {
        lock (_entries)
        {
            // From here on the chunk counts as there: if writing it fails, the whole pack does.
            if (!_known.Add(id))
                return false;
        }

        var (length, packed) = codec.Pack(content, method ?? Compression);
        var entry = new PackEntry(id, 0, length + (_ciphers is null ? 0 : SnapshotFormat.TagSize), content.Length, packed);
        lock (_entries)
        {
            entry = entry with { Offset = _end };
            _end += (uint)entry.Stored;
            _entries.Add(entry);
        }

        if (_ciphers is null)
        {
            _file.WriteAt(_start + (long)entry.Offset, codec.Packed(length));
            return true;
        }

        var cipher = _ciphers.Take();
        var bytes = codec.Seal(length, cipher, entry);
        _ciphers.Return(cipher);
        _file.WriteAt(_start + (long)entry.Offset, bytes);
        return true;
    }

    /// <summary>Writes head, index and foot. No thread adds any more.</summary>
    /// <returns>Bytes of the whole pack.</returns>
    public long Finish()
    {
        _entries.Sort(static (one, other) => one.Id.CompareTo(other.Id));
        byte[] tail = new byte[_entries.Count * PackEntry.Size + PackFormat.FooterSize];
        var index = tail.AsSpan(0, _entries.Count * PackEntry.Size);
        var entries = CollectionsMarshal.AsSpan(_entries);
        for (int i = 0; i < entries.Length; i++)
            entries[i].Write(index[(i * PackEntry.Size)..]);
        PackFormat.WriteFooter(tail.AsSpan(index.Length), _header, index, _end);
        _file.WriteAt(_start, _header);
        _file.WriteAt(_start + (long)_end, tail);
        return (long)_end + tail.Length;
    }

    public void Dispose() => _ciphers?.Dispose();
}
