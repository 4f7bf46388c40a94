using Kvm.Devices.Memory;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Snapshots.Backup;

/// <summary>Given a block of a region as it was at the moment, from any of the reader's threads.</summary>
internal delegate void BlockSink(int region, long block, ReadOnlySpan<byte> content);

/// <summary>
/// Reads disks as they were at one moment. Blocks that a guest is about to change it copies itself; of those at most <see cref="MostAside"/> wait to be packed, and go
/// first; then the guest waits.
/// </summary>
internal sealed class MomentReader : IDisposable
{
    /// <summary>The most blocks that were copied before a change and are not packed yet: 4 MiB.</summary>
    public const int MostAside = 64;

    private readonly object _gate = new();
    private readonly List<DiskMoment> _disks = [];
    private readonly Queue<(DiskMoment Disk, long Block, AlignedBuffer Content)> _aside = [];
    private readonly Stack<AlignedBuffer> _free = [];
    private int _copying, _current;
    private bool _isGivenUp;
    private VmmException? _failure;

    /// <summary>Adds a disk, before the moment.</summary>
    public void Add(DiskMoment disk) => _disks.Add(disk);

    /// <summary>Reads all blocks that are needed, on the calling thread; others may do the same at once. Returns when there is none left.</summary>
    /// <exception cref="VmmException">A disk cannot be read, or the sink threw it: the others return too, and no guest waits any more.</exception>
    public void Read(BlockSink sink)
    {
        using var own = new AlignedBuffer(SnapshotFormat.ChunkSize);
        try
        {
            while (Take(out var disk, out long block, out var aside))
            {
                var content = aside ?? own;
                if (aside is null)
                {
                    var failure = disk.Read(block, content);
                    SetDone(disk, block);
                    if (failure is not null)
                        throw failure;
                }

                sink(disk.Number, block, content.Buffer.Span[..disk.LengthOf(block)]);
                if (aside is not null)
                    GiveBack(aside);
            }
        }
        catch
        {
            GiveUp();
            throw;
        }

        lock (_gate)
        {
            if (_failure is { } failure)
                throw failure;
        }
    }

    /// <summary>A guest's thread copies a block that it is about to change, or waits until who reads it has it.</summary>
    public void CopyAside(DiskMoment disk, long block)
    {
        AlignedBuffer buffer;
        lock (_gate)
        {
            while (!_isGivenUp && (disk.IsBeingRead(block) || _aside.Count + _copying >= MostAside))
                Monitor.Wait(_gate);
            if (_isGivenUp || !disk.TryTake(block))
                return;
            _copying++;
            buffer = _free.TryPop(out var free) ? free : new AlignedBuffer(SnapshotFormat.ChunkSize);
        }

        var failure = disk.Read(block, buffer);
        lock (_gate)
        {
            _failure ??= failure;
            _copying--;
            disk.SetDone(block);
            _aside.Enqueue((disk, block, buffer));
            Monitor.PulseAll(_gate);
        }
    }

    /// <summary>Gives up: nobody waits any more, nothing is copied.</summary>
    public void GiveUp()
    {
        lock (_gate)
        {
            _isGivenUp = true;
            Monitor.PulseAll(_gate);
        }
    }

    /// <summary>Gives up and gives buffers back; a guest's thread that copies a block ends that first.</summary>
    public void Dispose()
    {
        GiveUp();
        lock (_gate)
        {
            while (_copying > 0)
                Monitor.Wait(_gate);
            foreach (var buffer in _free)
                buffer.Dispose();
            foreach (var (_, _, content) in _aside)
                content.Dispose();
            _free.Clear();
            _aside.Clear();
        }
    }

    /// <summary>The next block to pack: one that was copied aside, as a guest may wait for its room; else one to be read.</summary>
    private bool Take(out DiskMoment disk, out long block, out AlignedBuffer? aside)
    {
        lock (_gate)
        {
            for (; !_isGivenUp; Monitor.Wait(_gate))
            {
                if (_aside.TryDequeue(out var first))
                {
                    (disk, block, aside) = first;
                    Monitor.PulseAll(_gate);
                    return true;
                }

                for (; _current < _disks.Count; _current++)
                {
                    (disk, aside) = (_disks[_current], null);
                    if (disk.TryTake(out block))
                        return true;
                }

                // A guest's thread may be at one of the last.
                if (_copying == 0)
                    break;
            }

            (disk, block, aside) = (null!, 0, null);
            return false;
        }
    }

    private void SetDone(DiskMoment disk, long block)
    {
        lock (_gate)
        {
            disk.SetDone(block);
            Monitor.PulseAll(_gate);
        }
    }

    private void GiveBack(AlignedBuffer buffer)
    {
        lock (_gate)
            _free.Push(buffer);
    }
}
