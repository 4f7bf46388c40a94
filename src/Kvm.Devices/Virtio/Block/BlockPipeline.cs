using Kvm.Devices.Block;
using Kvm.Devices.Memory;
using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Virtio.Block;

/// <summary>What a request is answered by.</summary>
/// <param name="Token">The chain.</param>
/// <param name="Type">What was asked for.</param>
/// <param name="DataLength">Bytes of its data.</param>
/// <param name="Written">Bytes of them that were written to the guest's memory.</param>
/// <param name="WritableLength">Bytes before the status that were there to be written.</param>
/// <param name="Place">Where the status goes; empty if there is no place for one.</param>
/// <param name="Status">The status.</param>
internal readonly record struct BlockAnswer(
    ChainToken Token, BlockRequestType Type, long DataLength, uint Written, long WritableLength, HostBuffer Place, BlockStatus Status);

/// <summary>
/// The requests of one queue that are under way in an image's queue: a slot for each head of a chain, so that there are always enough. Used under
/// the queue's gate; allocates nothing after construction.
/// </summary>
internal sealed class BlockPipeline
{
    private readonly IDiskQueue _disk;
    private readonly GuestMemory _memory;
    private readonly int _depth;
    private readonly Slot[] _slots;
    // What the kernel is given the address of: pinned, and not touched before it is used.
    private readonly HostBuffer[] _buffers;
    private readonly DiskRange[] _ranges;
    private int _most;

    /// <summary>Makes slots.</summary>
    /// <param name="disk">The image's queue, of as many tags as <paramref name="depth"/>.</param>
    /// <param name="memory">Guest memory.</param>
    /// <param name="depth">The most entries of the virtqueue, which is also the most elements of a chain.</param>
    public BlockPipeline(IDiskQueue disk, GuestMemory memory, int depth)
    {
        (_disk, _memory, _depth, _slots) = (disk, memory, depth, new Slot[depth]);
        _buffers = GC.AllocateUninitializedArray<HostBuffer>(depth * depth, pinned: true);
        _ranges = GC.AllocateUninitializedArray<DiskRange>(depth * BlockRequest.MaxRanges, pinned: true);
    }

    /// <summary>Requests that were begun and not yet answered.</summary>
    public int UnderWay => _disk.UnderWay;

    /// <summary>The most there were at once. Any thread may read it.</summary>
    public int MostUnderWay => Volatile.Read(ref _most);

    /// <summary>Room for the ranges of a chain's request, until it is answered.</summary>
    public Span<DiskRange> RangesOf(ChainToken token) => _ranges.AsSpan(token.Head * BlockRequest.MaxRanges, BlockRequest.MaxRanges);

    /// <summary>Begins a request that its parser found good; false if it is none of the image's.</summary>
    /// <param name="token">The chain.</param>
    /// <param name="request">The request; its ranges are in <see cref="RangesOf"/>.</param>
    /// <param name="writableLength">Bytes before the status that are there to be written.</param>
    /// <param name="durable">A change is to be durable before it is answered.</param>
    public bool TryBegin(ChainToken token, in BlockRequest request, long writableLength, bool durable)
    {
        int tag = token.Head;
        if (request.Type == BlockRequestType.GetId)
            return false;
        var buffers = _buffers.AsMemory(tag * _depth, request.Data.Length);
        request.Data.CopyTo(buffers.Span);
        _slots[tag] = new Slot(true, token, request.Type, request.Data.Length, request.DataLength, writableLength, request.Status);
        var ranges = _ranges.AsMemory(tag * BlockRequest.MaxRanges, request.Ranges.Length);
        switch (request.Type)
        {
            case BlockRequestType.Read:
                _disk.Read(tag, request.Position, buffers);
                break;
            case BlockRequestType.Write:
                _disk.Write(tag, request.Position, buffers, durable);
                break;
            case BlockRequestType.Flush:
                _disk.Flush(tag);
                break;
            case BlockRequestType.Discard:
                _disk.Discard(tag, ranges, durable);
                break;
            default:
                _disk.WriteZeroes(tag, ranges, durable);
                break;
        }

        if (_disk.UnderWay > _most)
            Volatile.Write(ref _most, _disk.UnderWay);
        return true;
    }

    /// <summary>Takes the answer of a request that has ended; hands all that was begun to the host before it says that there is none.</summary>
    public bool TryTake(out BlockAnswer answer)
    {
        if (!_disk.TryTake(out var done))
        {
            answer = default;
            return false;
        }

        ref var slot = ref _slots[done.Tag];
        var status = BlockExecutor.Status(done.Result);
        uint written = slot.Type == BlockRequestType.Read && status == BlockStatus.Ok ? (uint)Math.Min(slot.DataLength, uint.MaxValue - 1) : 0;
        answer = new BlockAnswer(slot.Token, slot.Type, slot.DataLength, written, slot.WritableLength, slot.Place, status);
        Close(done.Tag);
        return true;
    }

    /// <summary>True if it is worth asking <see cref="TryTake"/> again, after it said that there is none.</summary>
    public bool HasEnded => _disk.HasEnded;

    /// <summary>Blocks until it is worth asking <see cref="TryTake"/> again. Something is under way.</summary>
    public void Wait() => _disk.Wait();

    /// <summary>Gives all requests up; when it returns none touches memory any more, and none will be answered.</summary>
    public void Abandon()
    {
        _disk.Abandon();
        for (int tag = 0; tag < _slots.Length; tag++)
        {
            if (_slots[tag].InUse)
                Close(tag);
        }
    }

    /// <summary>Nobody need be woken by requests that end: somebody is looking.</summary>
    public void Mute() => _disk.Mute();

    /// <summary>From now on whoever runs the queue is woken; true if there is something to take already.</summary>
    public bool Unmute() => _disk.Unmute();

    /// <summary>Frees a slot; who observes writes hears of what the host may have read into memory, whatever became of the request.</summary>
    private void Close(int tag)
    {
        ref var slot = ref _slots[tag];
        slot = slot with { InUse = false };
        if (_memory.WriteObserver is null || slot.Type != BlockRequestType.Read)
            return;
        foreach (ref readonly var buffer in _buffers.AsSpan(tag * _depth, slot.Buffers))
            Tell(in buffer);
    }

    /// <summary>Says that a buffer of the guest's has been written.</summary>
    public void Tell(in HostBuffer buffer)
    {
        if (_memory.WriteObserver is not null && _memory.TryAddress(in buffer, out ulong address))
            _memory.NotifyWritten(address, (ulong)buffer.Length);
    }

    private readonly record struct Slot(
        bool InUse, ChainToken Token, BlockRequestType Type, int Buffers, long DataLength, long WritableLength, HostBuffer Place);
}
