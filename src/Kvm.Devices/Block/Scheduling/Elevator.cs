namespace Kvm.Devices.Block.Scheduling;

/// <summary>
/// Requests in the order of the deadline discipline: one sweep after another from the front of the disk to its end, but whoever has waited too
/// long goes first. Not thread-safe; a pure function of the times it is given; allocates nothing after construction.
/// </summary>
internal sealed class Elevator
{
    /// <summary>Nanoseconds a read waits at most for the sweep to come round: somebody waits for it.</summary>
    public const long ReadPatience = 500_000_000;

    /// <summary>Nanoseconds a change waits at most for the sweep to come round.</summary>
    public const long WritePatience = 5_000_000_000;

    private readonly Entry[] _entries;
    // Tags by position, and by age for each kind: the patience of a kind is one number, so the oldest is the first to run out of it.
    private readonly int[] _sorted;
    private readonly int[] _oldest = [-1, -1], _youngest = [-1, -1];
    private ulong _head;

    /// <summary>Makes an empty one.</summary>
    /// <param name="depth">Tags are below this.</param>
    public Elevator(int depth) => (_entries, _sorted) = (new Entry[depth], new int[depth]);

    /// <summary>Requests in it.</summary>
    public int Count { get; private set; }

    /// <summary>Requests that went because they had waited too long.</summary>
    public long Expired { get; private set; }

    /// <summary>Adds a request.</summary>
    /// <param name="tag">Its tag, which is not in it.</param>
    /// <param name="position">First byte.</param>
    /// <param name="length">Bytes; 0 for what is never joined with others.</param>
    /// <param name="isWrite">A change.</param>
    /// <param name="now">Nanoseconds; never less than before.</param>
    public void Add(int tag, ulong position, ulong length, bool isWrite, long now)
    {
        int kind = isWrite ? 1 : 0;
        _entries[tag] = new Entry(position, length, kind, now + (isWrite ? WritePatience : ReadPatience)) { Older = _youngest[kind], Younger = -1 };
        if (_youngest[kind] >= 0)
            _entries[_youngest[kind]].Younger = tag;
        else
            _oldest[kind] = tag;
        _youngest[kind] = tag;
        int place = FirstFrom(position, after: true);
        Array.Copy(_sorted, place, _sorted, place + 1, Count - place);
        _sorted[place] = tag;
        Count++;
    }

    /// <summary>Takes the request that is next.</summary>
    public bool TryNext(long now, out int tag)
    {
        if (Count == 0)
        {
            tag = -1;
            return false;
        }

        tag = _oldest[0];
        if (tag < 0 || (_oldest[1] >= 0 && _entries[_oldest[1]].Deadline < _entries[tag].Deadline))
            tag = _oldest[1];
        int place;
        if (_entries[tag].Deadline <= now)
        {
            Expired++;
            place = PlaceOf(tag);
        }
        else
        {
            place = FirstFrom(_head, after: false);
            tag = _sorted[place == Count ? place = 0 : place];
        }

        Remove(place);
        return true;
    }

    /// <summary>The request of the same kind that begins where one ends; -1 if there is none.</summary>
    /// <param name="tag">The request before, already taken.</param>
    public int AdjacentTo(int tag)
    {
        ref readonly var before = ref _entries[tag];
        if (before.Length == 0)
            return -1;
        ulong end = before.Position + before.Length;
        for (int place = FirstFrom(end, after: false); place < Count && _entries[_sorted[place]].Position == end; place++)
        {
            ref readonly var entry = ref _entries[_sorted[place]];
            if (entry.Kind == before.Kind && entry.Length != 0)
                return _sorted[place];
        }

        return -1;
    }

    /// <summary>Takes a request out of its turn.</summary>
    public void Take(int tag) => Remove(PlaceOf(tag));

    /// <summary>Forgets all requests.</summary>
    public void Clear()
    {
        Count = 0;
        (_oldest[0], _oldest[1], _youngest[0], _youngest[1]) = (-1, -1, -1, -1);
    }

    private void Remove(int place)
    {
        ref readonly var entry = ref _entries[_sorted[place]];
        if (entry.Older >= 0)
            _entries[entry.Older].Younger = entry.Younger;
        else
            _oldest[entry.Kind] = entry.Younger;
        if (entry.Younger >= 0)
            _entries[entry.Younger].Older = entry.Older;
        else
            _youngest[entry.Kind] = entry.Older;
        _head = entry.Position + entry.Length;
        Count--;
        Array.Copy(_sorted, place + 1, _sorted, place, Count - place);
    }

    /// <summary>The place of the first request at a position or behind it; or, <paramref name="after"/>, behind all that are there.</summary>
    private int FirstFrom(ulong position, bool after)
    {
        int low = 0, high = Count;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            ulong at = _entries[_sorted[middle]].Position;
            if (at < position || (after && at == position))
                low = middle + 1;
            else
                high = middle;
        }

        return low;
    }

    private int PlaceOf(int tag)
    {
        int place = FirstFrom(_entries[tag].Position, after: false);
        while (_sorted[place] != tag)
            place++;
        return place;
    }

    private record struct Entry(ulong Position, ulong Length, int Kind, long Deadline)
    {
        public int Older;
        public int Younger;
    }
}
