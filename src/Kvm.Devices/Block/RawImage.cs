using Kvm.Devices.Memory;

namespace Kvm.Devices.Block;

/// <summary>
/// A disk that is its file, byte for byte: sparse where the file is. Transfers go straight between guest memory and the file; only what an
/// O_DIRECT file does not take as it lies goes through a buffer.
/// </summary>
public sealed class RawImage : IDiskImage
{
    /// <summary>Zeros written at a time where the host has no quicker way.</summary>
    private const int ZeroesSize = 256 << 10;

    /// <summary>Interruptions in a row after which a transfer counts as failed: a host that interrupts for ever is broken.</summary>
    internal const int MostInterruptions = 1000;

    private readonly IHostFile _file;
    private readonly DirectTransfer? _direct;
    private readonly AlignedBuffer _zeroes;
    private volatile bool _canDiscard;
    private volatile bool _canZero;
    private readonly Lock _flush = new();
    private volatile bool _hasLost;
    private readonly List<RawQueue> _queues = [];

    /// <summary>Takes a file over.</summary>
    /// <param name="file">The file; disposed with the image. What is left over behind its last whole sector is never touched.</param>
    public RawImage(IHostFile file)
    {
        ArgumentNullException.ThrowIfNull(file);
        _file = file;
        Length = file.Length / IDiskImage.SectorSize * IDiskImage.SectorSize;
        BlockSize = Math.Max(file.Alignment, IDiskImage.SectorSize);
        if (file.Alignment > 1)
            _direct = new DirectTransfer(this, file.Alignment);
        _zeroes = new AlignedBuffer(ZeroesSize);
        _canDiscard = _canZero = !file.IsReadOnly;
    }

    /// <inheritdoc/>
    public ulong Length { get; }

    /// <inheritdoc/>
    public bool IsReadOnly => _file.IsReadOnly;

    /// <inheritdoc/>
    public int BlockSize { get; }

    /// <inheritdoc/>
    public int PhysicalBlockSize => GuestMemory.PageSize;

    /// <inheritdoc/>
    public bool CanDiscard => _canDiscard;

    /// <inheritdoc/>
    public uint MaxZeroes => _canZero ? 1u << 30 : 8u << 20;

    /// <inheritdoc/>
    public DiskResult Read(ulong position, ReadOnlySpan<HostBuffer> buffers) =>
        _direct is { } direct && !direct.Fits(position, buffers) ? direct.Read(position, buffers) : Transfer(position, buffers, write: false);

    /// <inheritdoc/>
    public DiskResult Write(ulong position, ReadOnlySpan<HostBuffer> buffers) =>
        _direct is { } direct ? direct.Write(position, buffers) : Transfer(position, buffers, write: true);

    /// <inheritdoc/>
    public DiskResult Flush()
    {
        // One at a time: of two at once the kernel tells one that pages are lost, and the other, which covers the same pages, that all is well.
        lock (_flush)
            return HasLost ? DiskResult.Failed : Flushed(Retry(static (file, _, _) => file.Flush(), 0, 0));
    }

    /// <inheritdoc/>
    public DiskResult Discard(ulong position, ulong length)
    {
        if (!_canDiscard)
            return DiskResult.Done; // a hint, and nothing was promised of what the range reads as
        var error = Retry(static (file, at, count) => file.Discard(at, count), position, length);
        if (error != HostFileError.Unsupported)
            return Result(error);
        _canDiscard = false;
        return DiskResult.Done;
    }

    /// <inheritdoc/>
    public DiskResult WriteZeroes(ulong position, ulong length, bool mayUnmap)
    {
        if (mayUnmap && _canDiscard)
        {
            // A hole reads as zeros.
            var error = Retry(static (file, at, count) => file.Discard(at, count), position, length);
            if (error != HostFileError.Unsupported)
                return Result(error);
            _canDiscard = false;
        }

        if (_canZero)
        {
            var error = Retry(static (file, at, count) => file.WriteZeroes(at, count), position, length);
            if (error != HostFileError.Unsupported)
                return Result(error);
            _canZero = false;
        }

        return WriteZeroesByHand(position, length);
    }

    /// <inheritdoc/>
    public IReadOnlyList<IDiskQueue> OpenQueues(int count, int depth)
    {
        // Where blocks are larger than sectors a write of part of one changes all of it, and a queue keeps only its own others away meanwhile.
        if (_file.Alignment > IDiskImage.SectorSize && count > 1)
            return [];
        var turns = new FlushTurns(count);
        RawQueue[] queues = [.. _file.OpenQueues(count, depth).Select(file => new RawQueue(this, file, turns, _file.MaxBuffers, depth))];
        _queues.AddRange(queues);
        return queues;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var queue in _queues)
            queue.Dispose();
        _queues.Clear();
        _file.Dispose();
        _direct?.Dispose();
        _zeroes.Dispose();
    }

    /// <summary>True from the first flush that failed until the image is closed: no flush succeeds any more.</summary>
    internal bool HasLost => _hasLost;

    /// <summary>What a flush comes to that ended so at the host.</summary>
    /// <remarks>
    /// A failure is for good. Linux tells a descriptor of a failed write-back once, marks the pages clean all the same and may drop them: the next
    /// fdatasync has nothing to write and succeeds, though what the guest wrote is gone (errseq_t in the kernel's lib/errseq.c). A guest that asks
    /// again would be told that its data is stable. Past the page cache (O_DIRECT) it is the storage's own cache that did not get through, of which
    /// the block layer tells once as well. What was interrupted or given up was never told of pages, and may be asked again.
    /// </remarks>
    internal DiskResult Flushed(HostFileError error)
    {
        if (error is not (HostFileError.None or HostFileError.Interrupted or HostFileError.Cancelled))
            _hasLost = true;
        return error == HostFileError.None && _hasLost ? DiskResult.Failed : Result(error);
    }

    /// <summary>True while the file is believed to have a quick way to write zeros.</summary>
    internal bool CanZero => _canZero;

    /// <summary>The file said that it cannot give storage back, or write zeros quickly.</summary>
    internal void Lacks(bool discard)
    {
        if (discard)
            _canDiscard = false;
        else
            _canZero = false;
    }

    /// <summary>True if the file takes a transfer as it lies.</summary>
    internal bool FitsFile(ulong position, ReadOnlySpan<HostBuffer> buffers) => _direct is not { } direct || direct.Fits(position, buffers);

    /// <summary>Transfers all bytes, going on after short transfers and interruptions. What an O_DIRECT file demands is the caller's to see to.</summary>
    internal DiskResult Transfer(ulong position, ReadOnlySpan<HostBuffer> buffers, bool write)
    {
        int interruptions = 0, skip = 0;
        while (true)
        {
            // Steps over empty buffers; one that is not is the usual case, and its path is short.
            if ((buffers.Length != 1 || buffers[0].Length == 0) && (!Skip(ref buffers, ref skip, 0) || buffers.IsEmpty))
                return DiskResult.Done;
            // In the middle of a buffer the rest of it goes alone: the caller's buffers are not ours to change.
            HostFileResult result;
            if (skip != 0)
            {
                var rest = buffers[0].Slice(skip);
                result = Call(position, new ReadOnlySpan<HostBuffer>(in rest), write);
            }
            else
            {
                result = Call(position, buffers[..Math.Min(buffers.Length, _file.MaxBuffers)], write);
            }

            if (buffers.Length == 1 && result.Bytes == buffers[0].Length - skip)
                return DiskResult.Done;
            if (result.Error == HostFileError.Interrupted && ++interruptions < MostInterruptions)
                continue;
            if (result.Error != HostFileError.None)
                return Result(result.Error);
            if (result.Bytes <= 0)
                return DiskResult.Failed; // the file ends before the disk does: somebody cut it
            interruptions = 0;
            position += (ulong)result.Bytes;
            if (!Skip(ref buffers, ref skip, result.Bytes))
                return DiskResult.Failed;
        }
    }

    private HostFileResult Call(ulong position, ReadOnlySpan<HostBuffer> buffers, bool write) =>
        write ? _file.WriteAt(position, buffers) : _file.ReadAt(position, buffers);

    /// <summary>Moves past bytes that were transferred; false if those are more than there were.</summary>
    private static bool Skip(ref ReadOnlySpan<HostBuffer> buffers, ref int skip, long bytes)
    {
        bytes += skip;
        skip = 0;
        while (!buffers.IsEmpty && bytes >= buffers[0].Length)
        {
            bytes -= buffers[0].Length;
            buffers = buffers[1..];
        }

        skip = (int)bytes;
        return !buffers.IsEmpty || bytes == 0;
    }

    private DiskResult WriteZeroesByHand(ulong position, ulong length)
    {
        for (ulong done = 0; done < length;)
        {
            int count = (int)Math.Min(ZeroesSize, length - done);
            var piece = _zeroes.Buffer.Slice(0, count);
            var result = Write(position + done, new ReadOnlySpan<HostBuffer>(in piece));
            if (result != DiskResult.Done)
                return result;
            done += (ulong)count;
        }

        return DiskResult.Done;
    }

    private HostFileError Retry(Func<IHostFile, ulong, ulong, HostFileError> call, ulong position, ulong length)
    {
        for (int i = 0; i < MostInterruptions; i++)
        {
            var error = call(_file, position, length);
            if (error != HostFileError.Interrupted)
                return error;
        }

        return HostFileError.Interrupted;
    }

    internal static DiskResult Result(HostFileError error) => error switch
    {
        HostFileError.None => DiskResult.Done,
        HostFileError.NoSpace => DiskResult.NoSpace,
        HostFileError.Unsupported => DiskResult.Unsupported,
        _ => DiskResult.Failed,
    };
}
