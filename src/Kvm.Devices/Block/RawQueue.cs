using Kvm.Devices.Memory;

namespace Kvm.Devices.Block;

/// <summary>
/// A raw image's requests over the operations of its file: goes on after short transfers and interruptions, keeps changes and flushes in
/// order, and does by the image itself, at once, what the file does not take as it lies or cannot do at all.
/// </summary>
/// <remarks>
/// The order is kept here and not by the kernel's means (IOSQE_IO_DRAIN, linked operations): those let a flush go when a write has ended
/// short, before its rest is written, and drain reads as well.
/// </remarks>
internal sealed class RawQueue : IDiskQueue
{
    private readonly RawImage _image;
    private readonly IHostFileQueue _file;
    private readonly FlushTurns _turns;
    private readonly int _maxBuffers;
    private readonly Slot[] _slots;
    private readonly int[] _next;
    private TagList _held = TagList.Empty;
    private TagList _done = TagList.Empty;
    // Requests that the file's next flush is for, and those that the one under way is for: one flush does for all that wait meanwhile.
    private TagList _unflushed = TagList.Empty;
    private TagList _inFlush = TagList.Empty;
    // Changes that have begun and not ended; a flush that has; operations the host has.
    private int _changes;
    private bool _flushing;
    private int _working;
    private bool _prepared;
    private bool _releasing;

    /// <summary>Takes a queue of the image's file over.</summary>
    public RawQueue(RawImage image, IHostFileQueue file, FlushTurns turns, int maxBuffers, int depth) =>
        (_image, _file, _turns, _maxBuffers, _slots, _next) = (image, file, turns, maxBuffers, new Slot[depth], new int[depth]);

    private enum Kind : byte
    {
        Read,
        Write,
        Flush,
        Discard,
        WriteZeroes,
    }

    /// <summary>What an operation of the host is for.</summary>
    private enum Step : byte
    {
        None,
        Transfer,
        Discard,
        WriteZeroes,
        Flush,
    }

    /// <inheritdoc/>
    public int UnderWay { get; private set; }

    /// <inheritdoc/>
    public void Read(int tag, ulong position, ReadOnlyMemory<HostBuffer> buffers)
    {
        ref var slot = ref Open(tag, Kind.Read, durable: false);
        (slot.Position, slot.Buffers) = (position, buffers);
        if (_image.FitsFile(position, buffers.Span))
            Go(tag);
        else
            End(tag, _image.Read(position, buffers.Span));
    }

    /// <inheritdoc/>
    public void Write(int tag, ulong position, ReadOnlyMemory<HostBuffer> buffers, bool durable)
    {
        ref var slot = ref Open(tag, Kind.Write, durable);
        (slot.Position, slot.Buffers, slot.Alone) = (position, buffers, !_image.FitsFile(position, buffers.Span));
        Begin(tag);
    }

    /// <inheritdoc/>
    public void Flush(int tag)
    {
        Open(tag, Kind.Flush, durable: false);
        Begin(tag);
    }

    /// <inheritdoc/>
    public void Discard(int tag, ReadOnlyMemory<DiskRange> ranges, bool durable)
    {
        Open(tag, Kind.Discard, durable).Ranges = ranges;
        Begin(tag);
    }

    /// <inheritdoc/>
    public void WriteZeroes(int tag, ReadOnlyMemory<DiskRange> ranges, bool durable)
    {
        Open(tag, Kind.WriteZeroes, durable).Ranges = ranges;
        Begin(tag);
    }

    /// <inheritdoc/>
    public bool TryTake(out DiskCompletion completion)
    {
        while (true)
        {
            while (_done.IsEmpty && _file.TryTake(out var ended))
                OnEnded(in ended);
            if (!_done.IsEmpty)
            {
                int tag = _done.RemoveFirst(_next);
                completion = new DiskCompletion(tag, _slots[tag].Result);
                UnderWay--;
                return true;
            }

            if (!_prepared)
            {
                completion = default;
                return false;
            }

            _prepared = false;
            _file.Submit();
        }
    }

    /// <inheritdoc/>
    public bool HasEnded => !_done.IsEmpty || _file.HasEnded;

    /// <inheritdoc/>
    public void Wait()
    {
        if (!_done.IsEmpty)
            return;
        if (_working > 0)
            _file.Wait();
        else if (!_unflushed.IsEmpty)
            _turns.WaitForCurrent();
    }

    /// <summary>Waits until an operation has ended, and takes what follows from that. For another queue, which waits for its turn.</summary>
    internal void Drive()
    {
        _file.Wait();
        while (_file.TryTake(out var ended))
            OnEnded(in ended);
    }

    /// <inheritdoc/>
    public void Abandon()
    {
        _held = _done = _unflushed = TagList.Empty;
        if (_working > 0)
        {
            _file.Submit();
            _file.Cancel();
        }

        while (_working > 0)
        {
            _file.Wait();
            while (_file.TryTake(out var ended))
            {
                _working--;
                // Nobody is answered, but a flush that failed is the image's to remember.
                if (_slots[ended.Tag].Step == Step.Flush)
                    _image.Flushed(ended.Result.Error);
            }
        }

        (UnderWay, _changes, _flushing, _prepared, _inFlush) = (0, 0, false, false, TagList.Empty);
        _turns.Leave(this);
    }

    /// <inheritdoc/>
    public void Mute() => _file.Mute();

    /// <inheritdoc/>
    public bool Unmute() => _file.Unmute();

    /// <inheritdoc/>
    public void Dispose()
    {
        Abandon();
        _file.Dispose();
    }

    private ref Slot Open(int tag, Kind kind, bool durable)
    {
        ref var slot = ref _slots[tag];
        slot = new Slot { Kind = kind, Durable = durable };
        UnderWay++;
        return ref slot;
    }

    // ---- Order --------------------------------------------------------------------------------------------------------

    /// <summary>Begins a change or a flush, or holds it back behind those that wait already.</summary>
    private void Begin(int tag)
    {
        _held.AddLast(_next, tag);
        Release();
    }

    /// <summary>Begins what was held back, in its order, as far as the order allows.</summary>
    private void Release()
    {
        // A request that ends at once comes back here: the loop that began it goes on.
        if (_releasing)
            return;
        _releasing = true;
        while (!_held.IsEmpty && !_flushing)
        {
            ref var first = ref _slots[_held.First];
            bool needsQuiet = first.Kind == Kind.Flush || first.Alone;
            if (needsQuiet && _changes > 0)
                break;
            int tag = _held.RemoveFirst(_next);
            if (first.Kind == Kind.Flush)
                _flushing = true;
            else
                _changes++;
            Go(tag);
        }

        _releasing = false;
    }

    /// <summary>A request has ended, but for what makes it durable.</summary>
    private void End(int tag, DiskResult result)
    {
        ref var slot = ref _slots[tag];
        if (result == DiskResult.Done && slot.Durable)
        {
            slot.Durable = false;
            FlushFor(tag);
            return;
        }

        slot.Result = result;
        _done.AddLast(_next, tag);
        if (slot.Kind == Kind.Read)
            return;
        if (slot.Kind == Kind.Flush)
            _flushing = false;
        else
            _changes--;
        Release();
    }

    // ---- Steps --------------------------------------------------------------------------------------------------------

    /// <summary>Takes a request's next step.</summary>
    private void Go(int tag)
    {
        ref var slot = ref _slots[tag];
        switch (slot.Kind)
        {
            case Kind.Write when slot.Alone:
                End(tag, _image.Write(slot.Position, slot.Buffers.Span));
                break;
            case Kind.Read or Kind.Write:
                Transfer(tag, ref slot);
                break;
            case Kind.Flush:
                FlushFor(tag);
                break;
            default:
                Change(tag, ref slot);
                break;
        }
    }

    private void Transfer(int tag, ref Slot slot)
    {
        slot.Advance(0); // steps over empty buffers
        var buffers = slot.Buffers.Span;
        if (buffers.IsEmpty)
        {
            End(tag, DiskResult.Done);
            return;
        }

        Prepare(tag, Step.Transfer);
        // In the middle of a buffer the rest of it goes alone: the array is the caller's.
        var rest = buffers[0].Slice(slot.Skip);
        var piece = slot.Skip != 0 ? new ReadOnlySpan<HostBuffer>(in rest) : buffers[..Math.Min(buffers.Length, _maxBuffers)];
        if (slot.Kind == Kind.Read)
            _file.Read(tag, slot.Position, piece);
        else
            _file.Write(tag, slot.Position, piece);
    }

    private void Change(int tag, ref Slot slot)
    {
        while (!slot.Ranges.IsEmpty)
        {
            var range = slot.Ranges.Span[0];
            if (range.Length == 0 || (slot.Kind == Kind.Discard && !_image.CanDiscard))
            {
                slot.Ranges = slot.Ranges[1..];
            }
            else if (slot.Alone)
            {
                var result = _image.WriteZeroes(range.Position, range.Length, range.Unmap);
                if (result != DiskResult.Done)
                {
                    End(tag, result);
                    return;
                }

                slot.Ranges = slot.Ranges[1..];
            }
            else
            {
                Change(tag, ref slot, in range);
                return;
            }
        }

        End(tag, DiskResult.Done);
    }

    private void Change(int tag, ref Slot slot, in DiskRange range)
    {
        if (_image.CanDiscard && (range.Unmap || slot.Kind == Kind.Discard))
        {
            Prepare(tag, Step.Discard);
            _file.Discard(tag, range.Position, range.Length);
        }
        else if (_image.CanZero)
        {
            Prepare(tag, Step.WriteZeroes);
            _file.WriteZeroes(tag, range.Position, range.Length);
        }
        else
        {
            // By hand, by the image: that may read, change and write a block, which nothing else may change meanwhile.
            slot.Alone = true;
            _changes--;
            _held.AddFirst(_next, tag);
            Release();
        }
    }

    private void Prepare(int tag, Step step)
    {
        _slots[tag].Step = step;
        _working++;
        _prepared = true;
    }

    /// <summary>An operation of the host has ended: the request's next step follows.</summary>
    private void OnEnded(in HostFileCompletion ended)
    {
        int tag = ended.Tag;
        ref var slot = ref _slots[tag];
        var (step, error) = (slot.Step, ended.Result.Error);
        slot.Step = Step.None;
        _working--;
        // Cancelled, though nobody asked: a kernel that gets no thread for what would block gives it up (create_io_worker in io_uring/io-wq.c).
        if (error is (HostFileError.Interrupted or HostFileError.Cancelled) && ++slot.Interruptions < RawImage.MostInterruptions)
        {
            if (step == Step.Flush)
                PrepareFlush();
            else
                Go(tag);
            return;
        }

        if (error == HostFileError.Unsupported && step is Step.Discard or Step.WriteZeroes)
            _image.Lacks(discard: step == Step.Discard);
        else if (step == Step.Flush)
        {
            EndFlush(_image.Flushed(error));
            return;
        }
        else if (error != HostFileError.None)
        {
            End(tag, RawImage.Result(error));
            return;
        }
        else if (step == Step.Transfer && (ended.Result.Bytes <= 0 || !slot.Advance(ended.Result.Bytes)))
        {
            End(tag, DiskResult.Failed); // the file ends before the disk does: somebody cut it
            return;
        }
        else if (step != Step.Transfer)
            slot.Ranges = slot.Ranges[1..];

        slot.Interruptions = 0;
        Go(tag);
    }

    // ---- Flushes ------------------------------------------------------------------------------------------------------

    /// <summary>The file has to be flushed before a request has ended.</summary>
    private void FlushFor(int tag)
    {
        if (_image.HasLost)
        {
            End(tag, DiskResult.Failed);
            return;
        }

        _unflushed.AddLast(_next, tag);
        if (_turns.Take(this))
            BeginFlush();
    }

    /// <summary>It is this queue's turn, which it waited for. Called while another is used, so nobody else hands the flush to the host.</summary>
    internal void FlushNow()
    {
        BeginFlush();
        _file.Submit();
    }

    private void BeginFlush()
    {
        (_inFlush, _unflushed) = (_unflushed, TagList.Empty);
        PrepareFlush();
    }

    private void PrepareFlush()
    {
        Prepare(_inFlush.First, Step.Flush);
        _file.Flush(_inFlush.First);
    }

    private void EndFlush(DiskResult result)
    {
        var ended = _inFlush;
        _inFlush = TagList.Empty;
        _turns.Leave(this);
        while (!ended.IsEmpty)
            End(ended.RemoveFirst(_next), result);
    }

    private struct Slot
    {
        public Kind Kind;
        public Step Step;
        public bool Durable;

        /// <summary>It begins when no other change is under way, and ends before another begins.</summary>
        public bool Alone;
        public DiskResult Result;
        public ulong Position;
        public ReadOnlyMemory<HostBuffer> Buffers;
        public int Skip;
        public ReadOnlyMemory<DiskRange> Ranges;
        public int Interruptions;

        /// <summary>Moves past bytes that were transferred; false if those are more than there were.</summary>
        public bool Advance(long bytes)
        {
            Position += (ulong)bytes;
            bytes += Skip;
            Skip = 0;
            var buffers = Buffers.Span;
            int passed = 0;
            while (passed < buffers.Length && bytes >= buffers[passed].Length)
                bytes -= buffers[passed++].Length;
            Buffers = Buffers[passed..];
            if (Buffers.IsEmpty)
                return bytes == 0;
            Skip = (int)bytes;
            return true;
        }
    }
}
