using System.Numerics;
using Kvm.Devices.Memory;

namespace Kvm.Devices.Block.Scheduling;

/// <summary>
/// A queue that keeps requests back from another one until it is their turn: sorted by an <see cref="Elevator"/> and joined where they are
/// adjacent, or as they came with a place on a shared disk. A flush goes when all changes asked for before it have gone, and those asked for
/// after it are kept back so long: the queue behind keeps that order on.
/// </summary>
internal sealed class ScheduledQueue : IDiskQueue
{
    /// <summary>The most requests of a sorted queue that are with the host: with more of them there, the order would be the host's.</summary>
    public const int MostSorted = 4;

    /// <summary>The most buffers, and bytes, of requests joined to one.</summary>
    public const int MostBuffers = 128, MostBytes = 1 << 20;

    // What a request costs besides its bytes, in bytes: about what a disk could have transferred meanwhile.
    private const long Overhead = 16 << 10;
    private const long NanosecondsPerTick = 100;

    private readonly IDiskQueue _inner;
    private readonly Slot[] _slots;
    private readonly int[] _next;
    private readonly Elevator? _elevator;
    private readonly HostDisk.Flow? _flow;
    private readonly TimeProvider _time;
    private readonly long _start;
    // Buffers of joined requests: the host is given their address. A bit for each place that is in use.
    private readonly HostBuffer[] _buffers;
    private uint _places;
    private TagList _waiting = TagList.Empty;
    private TagList _held = TagList.Empty;
    private TagList _done = TagList.Empty;
    private int _begun;
    private int _changes;
    private long _joined, _expired, _waited;
    private bool _releasing;

    /// <summary>Takes a queue over.</summary>
    /// <param name="inner">The queue behind; its owner disposes of it.</param>
    /// <param name="depth">Its tags are below this.</param>
    /// <param name="flow">The place on a disk that is shared; null to sort and join.</param>
    /// <param name="time">The clock.</param>
    public ScheduledQueue(IDiskQueue inner, int depth, HostDisk.Flow? flow, TimeProvider time)
    {
        (_inner, _flow, _time, _start) = (inner, flow, time, time.GetTimestamp());
        (_slots, _next) = (new Slot[depth], new int[depth]);
        _elevator = flow is null ? new Elevator(depth) : null;
        _buffers = GC.AllocateUninitializedArray<HostBuffer>(flow is null ? MostSorted * MostBuffers : 0, pinned: true);
    }

    private enum Kind : byte
    {
        Read,
        Write,
        Flush,
        Discard,
        WriteZeroes,
    }

    /// <summary>Requests that went as part of another one. Any thread, like the others.</summary>
    public long Joined => Volatile.Read(ref _joined);

    /// <summary>Requests that went before their turn because they had waited long.</summary>
    public long Expired => Volatile.Read(ref _expired);

    /// <summary>Requests for which there was no place on a shared disk.</summary>
    public long Waited => Volatile.Read(ref _waited);

    /// <inheritdoc/>
    public int UnderWay { get; private set; }

    /// <summary>Says how to wake whoever uses this queue.</summary>
    public void WakeBy(Action wake)
    {
        if (_flow is not null)
            _flow.Wake = wake;
    }

    /// <inheritdoc/>
    public void Read(int tag, ulong position, ReadOnlyMemory<HostBuffer> buffers)
    {
        Open(tag, new Slot { Kind = Kind.Read, Position = position, Buffers = buffers, Bytes = BytesOf(buffers.Span) });
        Enqueue(tag);
    }

    /// <inheritdoc/>
    public void Write(int tag, ulong position, ReadOnlyMemory<HostBuffer> buffers, bool durable) =>
        Change(tag, new Slot { Kind = Kind.Write, Position = position, Buffers = buffers, Bytes = BytesOf(buffers.Span), Durable = durable });

    /// <inheritdoc/>
    public void Flush(int tag)
    {
        Open(tag, new Slot { Kind = Kind.Flush });
        _held.AddLast(_next, tag);
        Release();
    }

    /// <inheritdoc/>
    public void Discard(int tag, ReadOnlyMemory<DiskRange> ranges, bool durable) =>
        Change(tag, new Slot { Kind = Kind.Discard, Position = ranges.IsEmpty ? 0 : ranges.Span[0].Position, Ranges = ranges, Durable = durable });

    /// <inheritdoc/>
    public void WriteZeroes(int tag, ReadOnlyMemory<DiskRange> ranges, bool durable) =>
        Change(tag, new Slot { Kind = Kind.WriteZeroes, Position = ranges.IsEmpty ? 0 : ranges.Span[0].Position, Ranges = ranges, Durable = durable });

    /// <inheritdoc/>
    public bool TryTake(out DiskCompletion completion)
    {
        while (_done.IsEmpty)
        {
            while (TryBeginNext(force: false))
            {
            }

            if (!_inner.TryTake(out var ended))
            {
                completion = default;
                return false;
            }

            OnEnded(in ended);
        }

        int tag = _done.RemoveFirst(_next);
        completion = new DiskCompletion(tag, _slots[tag].Result);
        UnderWay--;
        return true;
    }

    /// <inheritdoc/>
    public bool HasEnded => !_done.IsEmpty || _inner.HasEnded || _flow is { HasGrant: true };

    /// <inheritdoc/>
    public void Wait()
    {
        if (!_done.IsEmpty)
            return;
        // With nothing at the host only other queues' requests end: this one does not wait for those.
        if (_inner.UnderWay > 0)
            _inner.Wait();
        else
            TryBeginNext(force: true);
    }

    /// <inheritdoc/>
    public void Abandon()
    {
        _inner.Abandon();
        _elevator?.Clear();
        _flow?.GiveUpAll();
        _waiting = _held = _done = TagList.Empty;
        (UnderWay, _begun, _changes, _places) = (0, 0, 0, 0);
    }

    /// <inheritdoc/>
    public void Mute() => _inner.Mute();

    /// <inheritdoc/>
    public bool Unmute() => _inner.Unmute() || _flow is { HasGrant: true };

    /// <summary>Leaves the shared disk. The queue behind is its image's.</summary>
    public void Dispose()
    {
        Abandon();
        _flow?.Dispose();
    }

    // ---- Order --------------------------------------------------------------------------------------------------------

    private void Open(int tag, in Slot slot)
    {
        _slots[tag] = slot;
        UnderWay++;
    }

    private void Change(int tag, in Slot slot)
    {
        Open(tag, in slot);
        _held.AddLast(_next, tag);
        Release();
    }

    /// <summary>Lets changes and flushes on, in their order, as far as a flush allows.</summary>
    private void Release()
    {
        // A flush that ends at once may come back here.
        if (_releasing)
            return;
        _releasing = true;
        while (!_held.IsEmpty)
        {
            bool isFlush = _slots[_held.First].Kind == Kind.Flush;
            if (isFlush && _changes > 0)
                break;
            int tag = _held.RemoveFirst(_next);
            if (isFlush)
            {
                _inner.Flush(tag);
            }
            else
            {
                _changes++;
                Enqueue(tag);
            }
        }

        _releasing = false;
    }

    private void Enqueue(int tag)
    {
        ref readonly var slot = ref _slots[tag];
        if (_elevator is { } elevator)
            elevator.Add(tag, slot.Position, slot.Alone ? 0 : (ulong)slot.Bytes, slot.Kind != Kind.Read, _time.GetElapsedTime(_start).Ticks * NanosecondsPerTick);
        else
            _waiting.AddLast(_next, tag);
    }

    private bool TryBeginNext(bool force)
    {
        if (_elevator is { } elevator)
        {
            if (_begun == MostSorted || !elevator.TryNext(_time.GetElapsedTime(_start).Ticks * NanosecondsPerTick, out int tag))
                return false;
            Volatile.Write(ref _expired, elevator.Expired);
            Begin(tag, elevator);
            return true;
        }

        if (_waiting.IsEmpty)
            return false;
        ref var first = ref _slots[_waiting.First];
        long cost = first.Bytes + Overhead;
        if (force)
        {
            _flow!.Begin(cost);
        }
        else if (!_flow!.TryBegin(cost))
        {
            if (!first.Alone)
                Volatile.Write(ref _waited, _waited + 1);
            first.Alone = true; // counted
            return false;
        }

        int head = _waiting.RemoveFirst(_next);
        Begin(head, head, -1, first.Buffers);
        return true;
    }

    // ---- Steps --------------------------------------------------------------------------------------------------------

    /// <summary>Begins a request, with those that are adjacent to it.</summary>
    private void Begin(int tag, Elevator elevator)
    {
        ref var slot = ref _slots[tag];
        long bytes = slot.Bytes;
        int last = tag, count = slot.Buffers.Length, place = -1;
        for (int next; MayJoin(in slot, count, bytes, next = elevator.AdjacentTo(last)); last = next)
        {
            if (place < 0)
            {
                place = BitOperations.TrailingZeroCount(~_places);
                slot.Buffers.CopyTo(_buffers.AsMemory(place * MostBuffers));
            }

            ref readonly var other = ref _slots[next];
            elevator.Take(next);
            other.Buffers.CopyTo(_buffers.AsMemory(place * MostBuffers + count));
            (count, bytes, _next[last]) = (count + other.Buffers.Length, bytes + other.Bytes, next);
            Volatile.Write(ref _joined, _joined + 1);
            if (slot.Kind != Kind.Read)
                _changes--;
        }

        Begin(tag, last, place, place < 0 ? slot.Buffers : _buffers.AsMemory(place * MostBuffers, count));
    }

    /// <summary>True if a request may go with those before it, which have so many buffers and bytes.</summary>
    private bool MayJoin(in Slot first, int buffers, long bytes, int next)
    {
        if (next < 0 || first.Alone || first.Kind is not (Kind.Read or Kind.Write))
            return false;
        ref readonly var other = ref _slots[next];
        return !other.Alone && other.Kind == first.Kind && other.Durable == first.Durable
            && buffers + other.Buffers.Length <= MostBuffers && bytes + other.Bytes <= MostBytes;
    }

    /// <summary>Begins a request and those joined to it.</summary>
    /// <param name="tag">The first.</param>
    /// <param name="last">The last; each is linked to the next.</param>
    /// <param name="place">Where the buffers of all are, or -1.</param>
    /// <param name="buffers">The buffers of all.</param>
    private void Begin(int tag, int last, int place, ReadOnlyMemory<HostBuffer> buffers)
    {
        ref var slot = ref _slots[tag];
        (_next[last], slot.Place) = (-1, place);
        if (place >= 0)
            _places |= 1u << place;
        _begun++;
        switch (slot.Kind)
        {
            case Kind.Read:
                _inner.Read(tag, slot.Position, buffers);
                return;
            case Kind.Write:
                _inner.Write(tag, slot.Position, buffers, slot.Durable);
                break;
            case Kind.Discard:
                _inner.Discard(tag, slot.Ranges, slot.Durable);
                break;
            default:
                _inner.WriteZeroes(tag, slot.Ranges, slot.Durable);
                break;
        }

        if (--_changes == 0)
            Release();
    }

    private void OnEnded(in DiskCompletion ended)
    {
        int tag = ended.Tag;
        ref var slot = ref _slots[tag];
        if (slot.Kind == Kind.Flush)
        {
            Done(tag, ended.Result);
            return;
        }

        _begun--;
        _flow?.End();
        int next = _next[tag];
        if (slot.Place >= 0)
            _places &= ~(1u << slot.Place);
        // Of joined reads that failed each is tried for itself: not all need be bad. Changes are in an order, and fail together.
        bool again = ended.Result != DiskResult.Done && slot.Kind == Kind.Read && next >= 0;
        for (; tag >= 0; tag = next)
        {
            next = _next[tag];
            if (again)
                Again(tag);
            else
                Done(tag, ended.Result);
        }
    }

    private void Again(int tag)
    {
        _slots[tag].Alone = true;
        Enqueue(tag);
    }

    private void Done(int tag, DiskResult result)
    {
        _slots[tag].Result = result;
        _done.AddLast(_next, tag);
    }

    private static long BytesOf(ReadOnlySpan<HostBuffer> buffers)
    {
        long bytes = 0;
        foreach (ref readonly var buffer in buffers)
            bytes += buffer.Length;
        return bytes;
    }

    private struct Slot
    {
        public Kind Kind;
        public bool Durable;

        /// <summary>Sorted: not to be joined with others. Shared: counted as waiting.</summary>
        public bool Alone;
        public DiskResult Result;
        public ulong Position;
        public long Bytes;
        public ReadOnlyMemory<HostBuffer> Buffers;
        public ReadOnlyMemory<DiskRange> Ranges;

        /// <summary>Where its buffers and those of the requests joined to it are; -1 where none was.</summary>
        public int Place;
    }
}
