using Kvm.Devices.Memory;

namespace Kvm.Devices.Block.Qcow2;

/// <summary>
/// The file of an image: transfers anywhere in it and behind its end, where it reads as zeros and grows by being written. Reads inside what was
/// there, or was written, and is not any more fail: somebody cut the file.
/// </summary>
internal sealed class ClusterFile : IDisposable
{
    // Goes on after short transfers and interruptions, knows O_DIRECT, and remembers a flush that failed.
    private readonly RawImage _raw;
    private readonly int _alignment;
    private readonly AlignedBuffer? _padding;
    private ulong _length;
    private ulong _touched;

    public ClusterFile(IHostFile file)
    {
        _raw = new RawImage(file);
        _alignment = file.Alignment;
        _length = _touched = file.Length;
        if (_alignment > 1)
            _padding = new AlignedBuffer(_alignment, _alignment);
    }

    /// <summary>Bytes in it.</summary>
    public ulong Length => Volatile.Read(ref _length);

    /// <summary>True if nothing was ever written from an offset on, not even by a write that failed: it reads as zeros.</summary>
    public bool IsFresh(ulong position) => position >= Volatile.Read(ref _touched);

    public bool IsReadOnly => _raw.IsReadOnly;

    public int BlockSize => _raw.BlockSize;

    public bool CanDiscard => _raw.CanDiscard;

    public DiskResult Read(ulong position, ReadOnlySpan<HostBuffer> buffers)
    {
        long wanted = 0;
        foreach (ref readonly var buffer in buffers)
            wanted += buffer.Length;
        ulong length = Length, there = position < length ? length - position : 0;
        return there >= (ulong)wanted ? _raw.Read(position, buffers) : ReadOverEnd(position, buffers, (long)there);
    }

    public DiskResult Read(ulong position, HostBuffer buffer) => Read(position, new ReadOnlySpan<HostBuffer>(in buffer));

    public DiskResult Write(ulong position, ReadOnlySpan<HostBuffer> buffers)
    {
        ulong end = position;
        foreach (ref readonly var buffer in buffers)
            end += (uint)buffer.Length;
        if (end > Length && _padding is not null && Pad(end) is not DiskResult.Done and var failure)
            return failure;
        Raise(ref _touched, end);
        var result = _raw.Write(position, buffers);
        if (result == DiskResult.Done)
            Raise(ref _length, end);
        return result;
    }

    public DiskResult Write(ulong position, HostBuffer buffer) => Write(position, new ReadOnlySpan<HostBuffer>(in buffer));

    /// <summary>Makes the file so long, with zeros.</summary>
    public DiskResult Reach(ulong end)
    {
        if (end <= Length)
            return DiskResult.Done;
        using var block = new AlignedBuffer(IDiskImage.SectorSize);
        ulong from = Math.Max(Length, end - IDiskImage.SectorSize);
        return Write(from, block.Buffer.Slice(0, (int)(end - from)));
    }

    public DiskResult Flush() => _raw.Flush();

    /// <summary>Gives storage back, if the file can.</summary>
    public DiskResult Discard(ulong position, ulong length)
    {
        ulong end = Length;
        return position >= end ? DiskResult.Done : _raw.Discard(position, Math.Min(length, end - position));
    }

    /// <summary>Makes a range read as zeros; what lies behind the end does already.</summary>
    public DiskResult Clear(ulong position, ulong length)
    {
        ulong end = Length;
        return position >= end ? DiskResult.Done : _raw.WriteZeroes(position, Math.Min(length, end - position), mayUnmap: false);
    }

    public void Dispose()
    {
        _raw.Dispose();
        _padding?.Dispose();
    }

    private DiskResult ReadOverEnd(ulong position, ReadOnlySpan<HostBuffer> buffers, long there)
    {
        var walk = new BufferWalk(buffers);
        Span<HostBuffer> pieces = stackalloc HostBuffer[BufferWalk.MostPieces];
        while (there > 0)
        {
            long taken = walk.Take(there, pieces, out int count);
            var result = _raw.Read(position, pieces[..count]);
            if (result != DiskResult.Done)
                return result;
            position += (ulong)taken;
            there -= taken;
        }

        walk.Clear(walk.Remaining);
        return DiskResult.Done;
    }

    /// <summary>Past the page cache a block is read before part of it is written, so it has to be there.</summary>
    private DiskResult Pad(ulong end)
    {
        ulong padded = Qcow2Format.RoundUp(end, (ulong)_alignment);
        Raise(ref _touched, end);
        var block = _padding!.Buffer;
        var result = _raw.Write(padded - (ulong)_alignment, new ReadOnlySpan<HostBuffer>(in block));
        if (result == DiskResult.Done)
            Raise(ref _length, padded);
        return result;
    }

    private static void Raise(ref ulong mark, ulong to)
    {
        ulong seen = Volatile.Read(ref mark);
        while (to > seen)
        {
            ulong before = Interlocked.CompareExchange(ref mark, to, seen);
            if (before == seen)
                return;
            seen = before;
        }
    }
}
