using Kvm.Devices.Memory;

namespace Kvm.Devices.Block.Qcow2;

/// <summary>What an image says of itself.</summary>
/// <param name="Version">2 or 3.</param>
/// <param name="Size">Bytes of the disk.</param>
/// <param name="ClusterSize">Bytes of a cluster.</param>
/// <param name="FileLength">Bytes of the file.</param>
/// <param name="Backing">The file it is based on, or null.</param>
/// <param name="Compression">How clusters are compressed.</param>
/// <param name="RefcountBits">Bits of a refcount.</param>
/// <param name="LazyRefcounts">Refcounts may be behind after a crash.</param>
/// <param name="IsDirty">They may be now.</param>
/// <param name="IsCorrupt">Somebody found its tables damaged.</param>
/// <param name="Snapshots">Internal snapshots in it.</param>
public sealed record Qcow2Info(
    int Version, ulong Size, int ClusterSize, ulong FileLength, BackingFile? Backing, Qcow2Compression Compression, int RefcountBits,
    bool LazyRefcounts, bool IsDirty, bool IsCorrupt, int Snapshots);

/// <summary>What is done to an image as a whole. Nothing of this is for a guest's thread: host faults throw.</summary>
public sealed partial class Qcow2Image
{
    /// <summary>What the image says of itself.</summary>
    public Qcow2Info Info
    {
        get
        {
            var header = _tables.Header;
            return new Qcow2Info(header.Version, header.Size, header.ClusterSize, _file.Length, header.Backing, header.Compression, 1 << header.RefcountOrder,
                (header.Compatible & Qcow2Format.LazyRefcounts) != 0, header.IsDirty, header.IsCorrupt, header.SnapshotCount);
        }
    }

    /// <summary>Tells what the disk is made of from a position on, through the whole chain.</summary>
    /// <param name="position">Where, less than <see cref="Length"/>.</param>
    /// <param name="most">The most bytes to look at.</param>
    /// <param name="extent">The longest range from there that is made of one thing, unless <paramref name="most"/> or a table ends it: ask again behind it.</param>
    public DiskResult TryMap(ulong position, ulong most, out DiskExtent extent)
    {
        extent = default;
        most = Math.Min(most, Length - position);
        ClusterKind kind;
        ulong entry, length;
        _gate.EnterAlone();
        try
        {
            var result = _tables.Entry(position >> _clusterBits, out entry);
            if (result != DiskResult.Done)
                return result;
            kind = Extent(entry, position, most, out length);
        }
        finally
        {
            _gate.ExitAlone();
        }

        ulong? host = (entry & Qcow2Format.OffsetMask) + (position & (_clusterSize - 1));
        switch (kind)
        {
            case ClusterKind.Bad:
                return DiskResult.Failed;
            case ClusterKind.Unallocated:
                return MapBacking(position, length, out extent);
            case ClusterKind.Data:
                extent = new DiskExtent(position, length, ExtentKind.Data, 0, host);
                break;
            case ClusterKind.Compressed:
                extent = new DiskExtent(position, length, ExtentKind.Compressed, 0, null);
                break;
            default:
                // Each cluster of allocated zeros has a place of its own.
                bool kept = kind == ClusterKind.ZeroAllocated;
                length = kept ? Math.Min(length, _clusterSize - (position & (_clusterSize - 1))) : length;
                extent = new DiskExtent(position, length, ExtentKind.Zero, 0, kept ? host : null);
                break;
        }

        return DiskResult.Done;
    }

    /// <summary>Tells whether this file itself says anything of a range: true for data and zeros of its own, false where a backing file shows, or nothing is.</summary>
    /// <param name="position">Where, less than <see cref="Length"/>.</param>
    /// <param name="most">The most bytes to look at.</param>
    /// <param name="isOwn">Whether.</param>
    /// <param name="length">For how long.</param>
    public DiskResult TryMapOwn(ulong position, ulong most, out bool isOwn, out ulong length)
    {
        (isOwn, length) = (false, 0);
        _gate.EnterAlone();
        try
        {
            var result = _tables.Entry(position >> _clusterBits, out ulong entry);
            if (result == DiskResult.Done)
                isOwn = Extent(entry, position, Math.Min(most, Length - position), out length) != ClusterKind.Unallocated;
            return result;
        }
        finally
        {
            _gate.ExitAlone();
        }
    }

    /// <summary>Writes a cluster that is compressed already.</summary>
    /// <param name="position">Its first byte, a multiple of <see cref="ClusterSize"/>.</param>
    /// <param name="packed">What an <see cref="IClusterCodec"/> of the image's compression made of all its bytes, less than a cluster.</param>
    public DiskResult WriteCompressed(ulong position, HostBuffer packed)
    {
        if (IsReadOnly || position % _clusterSize != 0 || position >= Length || packed.Length == 0 || (ulong)packed.Length >= _clusterSize)
            return DiskResult.Unsupported;
        _gate.EnterAlone();
        try
        {
            ulong cluster = position >> _clusterBits;
            var result = Begin();
            if (result == DiskResult.Done)
                result = _tables.Entry(cluster, out ulong old) is var read && read == DiskResult.Done && !MayReplace(old) ? DiskResult.Failed : read;
            if (result == DiskResult.Done)
                result = _tables.OwnTable(cluster);
            if (result != DiskResult.Done)
                return result;
            result = _tables.AllocatePacked(packed.Length, out ulong offset);
            if (result != DiskResult.Done)
                return result;
            ulong entry = _tables.Format.CompressedEntry(offset, packed.Length);
            result = entry == 0 ? DiskResult.NoSpace : _file.Write(offset, packed);
            if (result == DiskResult.Done)
                result = Replace(cluster, entry);
            if (result == DiskResult.Done)
                return _tables.Settle();
            _tables.FreePacked(offset, packed.Length);
            return result;
        }
        finally
        {
            _gate.ExitAlone();
        }
    }

    /// <summary>Makes the disk larger or smaller. What is added reads as zeros; what is cut off is gone.</summary>
    /// <param name="size">Bytes, a multiple of <see cref="IDiskImage.SectorSize"/>.</param>
    /// <exception cref="Qcow2Exception">It cannot be, or the host cannot.</exception>
    public void Resize(ulong size) => Resize(size, isNew: false);

    /// <summary>As <see cref="Resize(ulong)"/>; a new image shows its backing file in all of what is added.</summary>
    internal void Resize(ulong size, bool isNew)
    {
        ThrowIfReadOnly();
        _gate.EnterAlone();
        try
        {
            var header = _tables.Header;
            if (size % IDiskImage.SectorSize != 0 || size > long.MaxValue || header.L1EntriesFor(size) > Qcow2Format.MaxL1Bytes / sizeof(ulong))
                throw new Qcow2Exception(Qcow2Problem.Unsupported, $"a disk of {size} bytes is no multiple of {IDiskImage.SectorSize}, or too large for clusters of {_clusterSize} bytes");
            if (header.SnapshotCount > 0 && (header.Version == 2 || size < Length))
                throw new Qcow2Exception(Qcow2Problem.Unsupported, "it has internal snapshots, of another size");
            ulong old = Length;
            Must(Begin(), "write the header");
            if (size < old)
            {
                ulong kept = Qcow2Format.RoundUp(size, _clusterSize);
                Must(ZeroPart(size, Math.Min(kept, old)), "clear the end");
                if (kept < old)
                    Must(DropWhole(kept, old - kept, Drop.Forget), "drop what is cut off");
            }

            Must(_tables.Resize(size), "write the tables");
            Volatile.Write(ref _length, size);
            if (size > old && !isNew)
            {
                // What is added must not show a backing file that is longer, nor what may be left in the old last cluster.
                ulong shown = _backing?.Length ?? (header.Backing is null ? 0 : size), zeroed = Math.Min(size, Math.Max(Qcow2Format.RoundUp(old, _clusterSize), shown));
                if (zeroed > old)
                    Must(ZeroRange(old, zeroed - old, Drop.Zeroes), "clear what is added");
                Must(_tables.Commit(durable: true), "write the tables");
            }
        }
        finally
        {
            _gate.ExitAlone();
        }
    }

    /// <summary>Writes all that this file itself says of the disk into another image: the first half of a commit into the backing file.</summary>
    /// <param name="target">An image at least as long, writable. Flushed at the end.</param>
    /// <param name="progress">Told the position reached, or null.</param>
    /// <param name="cancellation">Ends it half-way, which harms neither.</param>
    /// <exception cref="Qcow2Exception">One of the hosts cannot.</exception>
    /// <exception cref="OperationCanceledException">It was ended.</exception>
    public void CommitTo(IDiskImage target, Action<ulong>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(target);
        if (target.Length < Length)
            throw new Qcow2Exception(Qcow2Problem.Unsupported, $"the disk has {Length} bytes, the one below it only {target.Length}");
        using var buffer = new AlignedBuffer((int)Math.Max(_clusterSize, 1 << 20));
        for (ulong position = 0; position < Length;)
        {
            cancellation.ThrowIfCancellationRequested();
            Must(TryMapOwn(position, (ulong)buffer.Length, out bool isOwn, out ulong length), "read the tables");
            if (isOwn)
            {
                Must(TryMap(position, length, out var extent), "read the tables");
                length = extent.Length;
                var piece = buffer.Buffer.Slice(0, (int)length);
                if (extent.Kind == ExtentKind.Zero)
                {
                    Must(target.WriteZeroes(position, length, mayUnmap: true), "write the image below");
                }
                else
                {
                    Must(Read(position, new ReadOnlySpan<HostBuffer>(in piece)), "read the image");
                    Must(target.Write(position, new ReadOnlySpan<HostBuffer>(in piece)), "write the image below");
                }
            }

            position += length;
            progress?.Invoke(position);
        }

        Must(target.Flush(), "write the image below");
    }

    /// <summary>Forgets all that this file itself says of the disk, so that the backing file shows: the second half of a commit.</summary>
    /// <exception cref="Qcow2Exception">The host cannot.</exception>
    public void Empty()
    {
        ThrowIfReadOnly();
        _gate.EnterAlone();
        try
        {
            Must(Begin(), "write the header");
            Must(DropWhole(0, Length, Drop.Forget), "drop the clusters");
            Must(_tables.CommitAll(), "write the tables");
        }
        finally
        {
            _gate.ExitAlone();
        }
    }

    /// <summary>Names another backing file, or none, in the header. What the disk reads as changes with it: making up for that is the caller's.</summary>
    /// <param name="backing">The file; null for none.</param>
    /// <exception cref="Qcow2Exception">The name cannot be one, has no room, or the host cannot write it.</exception>
    public void SetBacking(BackingFile? backing)
    {
        ThrowIfReadOnly();
        if (backing is not null && (BackingNames.ProblemOf(backing.Name) ?? (backing.Format is null ? "has no format" : null)) is { } wrong)
            throw new Qcow2Exception(Qcow2Problem.BackingRefused, $"the backing file's name {wrong}");
        _gate.EnterAlone();
        try
        {
            Must(Begin(), "write the header");
            Must(_tables.CommitAll(), "write the tables");
            Must(_tables.WriteHeader(_tables.Header with { Backing = backing }), "write the header");
        }
        finally
        {
            _gate.ExitAlone();
        }
    }

    /// <summary>Gives every cluster a place; none is written.</summary>
    internal void PreallocateMetadata()
    {
        _gate.EnterAlone();
        try
        {
            Must(Begin(), "write the header");
            ulong clusters = (Length + _clusterSize - 1) >> _clusterBits, end = 0;
            for (ulong cluster = 0; cluster < clusters;)
            {
                Must(_tables.OwnTable(cluster), "allocate");
                int wanted = (int)Math.Min(Math.Min(_tables.RestOfTable(cluster), clusters - cluster), MostTaken);
                Must(_tables.Refcounts.Allocate(wanted, out ulong first, out int count), "allocate");
                // Version 2 cannot say that there are zeros where nothing was written; in a new file there are.
                ulong flags = Qcow2Format.Copied | (_tables.Header.Version > 2 ? Qcow2Format.Zero : 0);
                if (flags == Qcow2Format.Copied)
                    Must(_file.Clear(first << _clusterBits, (ulong)count << _clusterBits), "allocate");
                end = Math.Max(end, (first + (ulong)count) << _clusterBits);
                Must(_file.Reach(end), "allocate");
                for (int i = 0; i < count; i++)
                    Must(Replace(cluster++, ((first + (ulong)i) << _clusterBits) | flags), "allocate");
            }

            Must(_tables.CommitAll(), "write the tables");
        }
        finally
        {
            _gate.ExitAlone();
        }
    }

    private DiskResult MapBacking(ulong position, ulong length, out DiskExtent extent)
    {
        extent = new DiskExtent(position, length, ExtentKind.Zero, 0, null);
        if (_backing is not { } backing || position >= backing.Length)
            return DiskResult.Done;
        length = Math.Min(length, backing.Length - position);
        if (backing is not Qcow2Image below)
        {
            extent = new DiskExtent(position, length, ExtentKind.Data, 1, position);
            return DiskResult.Done;
        }

        var result = below.TryMap(position, length, out extent);
        extent = extent with { Depth = extent.Depth + 1 };
        return result;
    }

    private void ThrowIfReadOnly()
    {
        if (IsReadOnly)
            throw new Qcow2Exception(Qcow2Problem.NotWritable, "it is open for reading only");
    }

    private static void Must(DiskResult result, string what)
    {
        if (result == DiskResult.NoSpace)
            throw Qcow2Exception.Host($"{what}: no space is left");
        if (result != DiskResult.Done)
            throw Qcow2Exception.Host(what);
    }
}
