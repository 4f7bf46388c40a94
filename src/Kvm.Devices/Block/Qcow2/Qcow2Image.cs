using Kvm.Devices.Memory;

namespace Kvm.Devices.Block.Qcow2;

/// <summary>
/// A disk in a qcow2 file (version 2 or 3), over the images it is based on. Requests of clusters that are allocated go straight between memory and
/// the file, as many at once as there are threads; what allocates, frees or flushes tables has the image alone.
/// </summary>
/// <remarks>
/// How the parts of this namespace are used: <see cref="Open(IHostFile, Qcow2OpenOptions)"/> for a guest or a verb, <see cref="Qcow2Creator.Create"/> for a new file,
/// <see cref="TryMap"/> and <see cref="Info"/> to look, <see cref="WriteCompressed"/> for packed output, <see cref="Resize(ulong)"/>, <see cref="CommitTo"/>,
/// <see cref="SetBacking"/> to change an image as a whole, <see cref="Qcow2Check.Run(IHostFile, Qcow2Repair, Action{double}?, CancellationToken)"/> to judge and mend one. Nothing here opens a file: files come
/// as <see cref="IHostFile"/>, backing files from <see cref="Qcow2OpenOptions.OpenBacking"/>.
/// </remarks>
public sealed partial class Qcow2Image : IDiskImage
{
    private readonly Qcow2Tables _tables;
    private readonly ClusterFile _file;
    private readonly CompressedReader _compressed;
    // Requests that change no table share it.
    private readonly SharedGate _gate = new();
    private readonly int _clusterBits;
    private readonly ulong _clusterSize;
    private IDiskImage? _backing;
    private ulong _length;
    private volatile bool _begun;
    private bool _disposed;

    private Qcow2Image(Qcow2Tables tables, IDiskImage? backing, Qcow2OpenOptions options)
    {
        (_tables, _backing, _file) = (tables, backing, tables.File);
        var header = tables.Header;
        (_clusterBits, _clusterSize) = (header.ClusterBits, (ulong)header.ClusterSize);
        _length = header.Size / IDiskImage.SectorSize * IDiskImage.SectorSize;
        IsReadOnly = options.ReadOnly || _file.IsReadOnly;
        var codecs = options.Codecs;
        _compressed = new CompressedReader(_file, tables.Format, header.ClusterSize, codecs is null ? null : () => codecs(header.Compression));
    }

    /// <inheritdoc/>
    public ulong Length => Volatile.Read(ref _length);

    /// <inheritdoc/>
    public bool IsReadOnly { get; }

    /// <inheritdoc/>
    public int BlockSize => IDiskImage.SectorSize;

    /// <inheritdoc/>
    public int PhysicalBlockSize => GuestMemory.PageSize;

    /// <inheritdoc/>
    public bool CanDiscard => !IsReadOnly;

    /// <summary>Only whole clusters are given back.</summary>
    public int DiscardAlignment => Math.Max((int)_clusterSize, PhysicalBlockSize);

    /// <inheritdoc/>
    public uint MaxZeroes => _tables.Header.Version > 2 || _backing is null ? 1u << 30 : 8u << 20;

    /// <summary>The image it is based on, if any is open.</summary>
    public IDiskImage? Backing => _backing;

    /// <summary>Bytes of a cluster.</summary>
    public int ClusterSize => (int)_clusterSize;

    /// <summary>Opens an image.</summary>
    /// <param name="file">The file with it: disposed of with the image, and if this throws.</param>
    /// <param name="options">How.</param>
    /// <exception cref="Qcow2Exception">It is none, is damaged, or needs what is not done or not allowed here.</exception>
    public static Qcow2Image Open(IHostFile file, Qcow2OpenOptions options)
    {
        ArgumentNullException.ThrowIfNull(file);
        ArgumentNullException.ThrowIfNull(options);
        return Open(new ClusterFile(file), options);
    }

    internal static Qcow2Image Open(ClusterFile clusters, Qcow2OpenOptions options)
    {
        Qcow2Tables? tables = null;
        try
        {
            tables = Qcow2Tables.Open(clusters, options);
            return new Qcow2Image(tables, OpenBacking(tables.Header, options), options);
        }
        catch
        {
            if (tables is not null)
                tables.Dispose();
            else
                clusters.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public DiskResult Read(ulong position, ReadOnlySpan<HostBuffer> buffers)
    {
        var walk = new BufferWalk(buffers);
        while (walk.Remaining > 0)
        {
            _gate.EnterShared();
            try
            {
                if (ReadCached(ref position, ref walk) is not DiskResult.Done and var failure)
                    return failure;
            }
            finally
            {
                _gate.ExitShared();
            }

            if (walk.Remaining == 0)
                break;
            // The next cluster's table is not in memory, and taking it up changes what is.
            _gate.EnterAlone();
            try
            {
                if (_tables.Entry(position >> _clusterBits, out ulong entry) is not DiskResult.Done and var failure)
                    return failure;
                if (ReadExtent(entry, ref position, ref walk) is not DiskResult.Done and var unread)
                    return unread;
            }
            finally
            {
                _gate.ExitAlone();
            }
        }

        return DiskResult.Done;
    }

    /// <inheritdoc/>
    public DiskResult Flush()
    {
        if (IsReadOnly)
            return DiskResult.Done;
        _gate.EnterShared();
        try
        {
            // What was written in place is all there is to it: others need not wait.
            if (!_tables.HasChanges)
                return _file.Flush();
        }
        finally
        {
            _gate.ExitShared();
        }

        _gate.EnterAlone();
        try
        {
            return _tables.Commit(durable: true);
        }
        finally
        {
            _gate.ExitAlone();
        }
    }

    /// <summary>Writes all that closing the image would write, and makes it durable: closing it changes nothing of the file then, until the next change of the disk.</summary>
    public DiskResult Settle()
    {
        _gate.EnterAlone();
        try
        {
            return IsReadOnly ? DiskResult.Done : _begun ? WriteAll() : _file.Flush();
        }
        finally
        {
            _gate.ExitAlone();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_disposed)
            return;
        _disposed = true;
        // Nobody is left to be told if this fails: what was flushed is there.
        WriteAll();
        _tables.Dispose();
        _compressed.Dispose();
        _fill?.Dispose();
        _zeroes?.Dispose();
        _backing?.Dispose();
        _gate.Dispose();
    }

    private DiskResult WriteAll()
    {
        if (IsReadOnly || !_begun)
            return DiskResult.Done;
        var result = _tables.CommitAll();
        // The file ends where one past the page cache (O_DIRECT) may.
        if (result == DiskResult.Done)
            _file.Reach(Qcow2Format.RoundUp(_file.Length, Math.Max(_clusterSize, GuestMemory.PageSize)));
        return result;
    }

    private static IDiskImage? OpenBacking(Qcow2Header header, Qcow2OpenOptions options)
    {
        if (header.Backing is not { } backing || options.WithoutBacking)
            return null;
        string? wrong = BackingNames.ProblemOf(backing.Name);
        if (wrong is not null)
            throw new Qcow2Exception(Qcow2Problem.BackingRefused, $"its backing file's name {wrong}");
        if (options.OpenBacking is not { } open)
            throw new Qcow2Exception(Qcow2Problem.BackingRefused, "it is based on another file, and opening that was not allowed");
        return open(backing);
    }

    /// <summary>Reads as far as the tables are in memory.</summary>
    private DiskResult ReadCached(ref ulong position, ref BufferWalk walk)
    {
        while (walk.Remaining > 0 && _tables.TryEntry(position >> _clusterBits, out ulong entry))
        {
            var result = ReadExtent(entry, ref position, ref walk);
            if (result != DiskResult.Done)
                return result;
        }

        return DiskResult.Done;
    }

    /// <summary>Reads what follows in one piece: clusters of one kind whose entries are in memory, the first of which is given.</summary>
    private DiskResult ReadExtent(ulong entry, ref ulong position, ref BufferWalk walk)
    {
        var kind = Extent(entry, position, (ulong)walk.Remaining, out ulong length);
        DiskResult result;
        switch (kind)
        {
            case ClusterKind.Data:
                ulong host = (entry & Qcow2Format.OffsetMask) + (position & (_clusterSize - 1));
                if (walk.IsWhole && length == (ulong)walk.Remaining)
                {
                    result = _file.Read(host, walk.Rest);
                    walk.End();
                    return result;
                }

                return ReadPieces(ref position, host, length, ref walk);
            case ClusterKind.Zero or ClusterKind.ZeroAllocated:
                walk.Clear((long)length);
                break;
            case ClusterKind.Unallocated:
                return ReadBacking(ref position, length, ref walk);
            case ClusterKind.Compressed:
                result = _compressed.Read(entry, (int)(position & (_clusterSize - 1)), (int)length, ref walk);
                if (result != DiskResult.Done)
                    return result;
                break;
            default:
                return DiskResult.Failed;
        }

        position += length;
        return DiskResult.Done;
    }

    /// <summary>What the disk is made of from a position on, whose entry is given, and for how long: as far as entries are in memory.</summary>
    private ClusterKind Extent(ulong entry, ulong position, ulong most, out ulong length)
    {
        ulong cluster = position >> _clusterBits;
        var kind = _tables.KindOf(entry);
        length = _clusterSize - (position & (_clusterSize - 1));
        if (kind != ClusterKind.Compressed)
        {
            ulong next = entry & Qcow2Format.OffsetMask;
            while (length < most && _tables.TryEntry(++cluster, out ulong following) && _tables.KindOf(following) == kind)
            {
                if (kind == ClusterKind.Data && (following & Qcow2Format.OffsetMask) != (next += _clusterSize))
                    break;
                length += _clusterSize;
            }
        }

        length = Math.Min(length, most);
        return kind;
    }

    private DiskResult ReadPieces(ref ulong position, ulong host, ulong length, ref BufferWalk walk)
    {
        Span<HostBuffer> pieces = stackalloc HostBuffer[BufferWalk.MostPieces];
        while (length > 0)
        {
            ulong taken = (ulong)walk.Take((long)length, pieces, out int count);
            var result = _file.Read(host, pieces[..count]);
            if (result != DiskResult.Done)
                return result;
            (position, host, length) = (position + taken, host + taken, length - taken);
        }

        return DiskResult.Done;
    }

    private DiskResult ReadBacking(ref ulong position, ulong length, ref BufferWalk walk)
    {
        ulong there = _backing is not { } backing || position >= backing.Length ? 0 : Math.Min(length, backing.Length - position);
        ulong end = position + length;
        Span<HostBuffer> pieces = stackalloc HostBuffer[BufferWalk.MostPieces];
        while (there > 0)
        {
            ulong taken = (ulong)walk.Take((long)there, pieces, out int count);
            var result = _backing!.Read(position, pieces[..count]);
            if (result != DiskResult.Done)
                return result;
            (position, there) = (position + taken, there - taken);
        }

        walk.Clear((long)(end - position));
        position = end;
        return DiskResult.Done;
    }
}
