using Kvm.Devices.Block;
using Kvm.Devices.Memory;
using Kvm.Interop;

namespace Kvm.Vmm.Storage;

/// <summary>Operations of a <see cref="HostFile"/> by an io_uring of its own. The file is not registered with it, so that closing the file ends its lock.</summary>
internal sealed class HostFileQueue : IHostFileQueue
{
    private const ulong CancelTag = ulong.MaxValue;

    private static readonly IoUringOp[] s_needed =
        [IoUringOp.Read, IoUringOp.Write, IoUringOp.Readv, IoUringOp.Writev, IoUringOp.Fsync, IoUringOp.Fallocate, IoUringOp.AsyncCancel];

    private readonly int _fd;
    private readonly IoUring _ring;
    private readonly Snapshots.Lazy.PagedMemory? _pages;
    // Operations that have not ended: prepared, or with the kernel.
    private readonly bool[] _open;
    private int _openCount;
    // Operations the kernel did not take, to be given back with an error.
    private readonly int[] _refused;
    private int _refusedCount;
    private HostFileError _refusal;

    private HostFileQueue(int fd, IoUring ring, int depth, Snapshots.Lazy.PagedMemory? pages)
    {
        (_fd, _ring, _pages) = (fd, ring, pages);
        (_open, _refused) = (new bool[depth], new int[depth]);
    }

    /// <summary>Makes one, if this host has an io_uring that can do all that is needed.</summary>
    /// <param name="file">The file, which stays open for longer.</param>
    /// <param name="depth">The most operations under way.</param>
    /// <param name="pages">The machine's memory where not all of it may be there.</param>
    /// <param name="queue">The queue, if 0 is returned.</param>
    /// <returns>0 or -errno.</returns>
    public static int TryCreate(DiskFile file, int depth, Snapshots.Lazy.PagedMemory? pages, out HostFileQueue? queue)
    {
        int result = IoUring.TryCreate(depth, s_needed, out var ring);
        queue = ring is null ? null : new HostFileQueue(file.Handle.Fd, ring, depth, pages);
        return result;
    }

    /// <inheritdoc/>
    public bool HasEnded => _refusedCount > 0 || _ring.HasCompletion;

    /// <summary>Says what to signal when operations end. Once.</summary>
    /// <exception cref="KvmException">The kernel refuses.</exception>
    public void SignalBy(EventFd bell) => _ring.SignalBy(bell);

    /// <inheritdoc/>
    public void Read(int tag, ulong position, ReadOnlySpan<HostBuffer> buffers) =>
        Prepared(tag, _ring.TryTransfer(_fd, false, position, HostFile.Pieces(buffers), (ulong)tag));

    /// <inheritdoc/>
    public void Write(int tag, ulong position, ReadOnlySpan<HostBuffer> buffers)
    {
        if (MayWrite(tag, buffers))
            Prepared(tag, _ring.TryTransfer(_fd, true, position, HostFile.Pieces(buffers), (ulong)tag));
    }

    /// <inheritdoc/>
    public void Flush(int tag)
    {
        if (MayWrite(tag, []))
            Prepared(tag, _ring.TryFlush(_fd, (ulong)tag));
    }

    /// <inheritdoc/>
    public void Discard(int tag, ulong position, ulong length)
    {
        if (MayWrite(tag, []))
            Prepared(tag, _ring.TryPunchHole(_fd, position, length, (ulong)tag));
    }

    /// <inheritdoc/>
    public void WriteZeroes(int tag, ulong position, ulong length)
    {
        if (MayWrite(tag, []))
            Prepared(tag, _ring.TryZeroRange(_fd, position, length, (ulong)tag));
    }

    /// <inheritdoc/>
    public void Submit()
    {
        int result = _ring.Submit();
        if (result == 0)
            return;
        bool noMemory = -result is Errno.EAGAIN or Errno.EBUSY or Errno.ENOMEM;
        // Each one that ends gives some back, and what is left is submitted again then.
        if (noMemory && _openCount > _ring.Prepared + _refusedCount)
            return;
        _refusal = noMemory ? HostFileError.Interrupted : HostFileError.Failed;
        while (_ring.TryWithdraw(out ulong tag))
        {
            if (tag != CancelTag)
                _refused[_refusedCount++] = (int)tag;
        }
    }

    /// <inheritdoc/>
    public bool TryTake(out HostFileCompletion completion)
    {
        if (_refusedCount > 0)
        {
            int refused = _refused[--_refusedCount];
            Close(refused);
            completion = new HostFileCompletion(refused, new HostFileResult(0, _refusal));
            return true;
        }

        while (_ring.TryTake(out ulong tag, out int result))
        {
            if (tag == CancelTag)
                continue;
            Close((int)tag);
            completion = new HostFileCompletion((int)tag, HostFile.Result(result));
            if (_ring.Prepared > 0)
                Submit();
            return true;
        }

        completion = default;
        return false;
    }

    /// <inheritdoc/>
    public void Wait()
    {
        if (_ring.Prepared > 0)
            Submit();
        if (_refusedCount == 0 && _ring.Wait() is not 0 and var failure)
            throw new KvmException("io_uring_enter", -failure); // a fault of the program: a wait has nothing to fail by
    }

    /// <inheritdoc/>
    public void Cancel()
    {
        for (int tag = 0; tag < _open.Length; tag++)
        {
            if (_open[tag])
                _ring.TryCancel((ulong)tag, CancelTag);
        }

        Submit();
    }

    /// <inheritdoc/>
    public void Mute() => _ring.Mute();

    /// <inheritdoc/>
    public bool Unmute() => _ring.Unmute() || _refusedCount > 0;

    /// <inheritdoc/>
    public void Dispose() => _ring.Dispose();

    private bool MayWrite(int tag, ReadOnlySpan<HostBuffer> buffers)
    {
        if (_pages is null || _pages.MayWrite(buffers))
            return true;
        Open(tag);
        Refuse(tag, HostFileError.Failed);
        return false;
    }

    private void Prepared(int tag, bool hasRoom)
    {
        Open(tag);
        // There is room for as many as there are tags, but for cancellations that are still to be submitted.
        if (!hasRoom)
            Refuse(tag, HostFileError.Interrupted);
    }

    private void Refuse(int tag, HostFileError why) => (_refusal, _refused[_refusedCount++]) = (why, tag);

    private void Open(int tag)
    {
        _open[tag] = true;
        _openCount++;
    }

    private void Close(int tag)
    {
        _open[tag] = false;
        _openCount--;
    }
}
