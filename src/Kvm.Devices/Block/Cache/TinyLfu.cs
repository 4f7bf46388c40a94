using System.Numerics;

namespace Kvm.Devices.Block.Cache;

/// <summary>
/// Which blocks a cache keeps: W-TinyLFU. A new block enters a small window, ordered by recency; what falls out of it is kept only if it was asked for
/// more often than the block that would have to go, so that a scan, every block of it asked for once, displaces nothing. What is asked for again
/// while it is on probation is protected. Not thread-safe; allocates nothing after construction.
/// </summary>
/// <remarks>Entries are numbers below the capacity: where a block lies is the same number for as long as it is kept.</remarks>
internal sealed class TinyLfu
{
    private const int None = -1;

    private readonly FrequencySketch _frequency;
    private readonly Entry[] _entries;
    // The first entry of each hash's chain.
    private readonly int[] _buckets;
    private readonly Segment[] _segments = [new(), new(), new()];
    private readonly int _windowSize, _protectedSize;
    private int _used;

    /// <summary>Makes an empty one.</summary>
    /// <param name="capacity">Entries, at least 4.</param>
    public TinyLfu(int capacity)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 4);
        _frequency = new FrequencySketch(capacity);
        _entries = new Entry[capacity];
        _buckets = new int[BitOperations.RoundUpToPowerOf2((uint)capacity)];
        Array.Fill(_buckets, None);
        // A hundredth for what is new, four fifths of the rest for what has proved itself: the shares of the paper.
        _windowSize = Math.Max(capacity / 100, 1);
        _protectedSize = (capacity - _windowSize) * 4 / 5;
    }

    private enum Place : byte
    {
        Window,
        Probation,
        Protected,
    }

    /// <summary>Blocks that were given up.</summary>
    public long Evictions { get; private set; }

    /// <summary>The entry of a key, which counts as asked for; -1 if it is not kept.</summary>
    public int Find(ulong key)
    {
        _frequency.Count(key);
        int entry = Look(key);
        if (entry >= 0)
            Touch(entry);
        return entry;
    }

    /// <summary>True if a key is kept; counts nothing.</summary>
    public bool Contains(ulong key) => Look(key) >= 0;

    /// <summary>Gives a key that is not kept an entry, taking another one's if need be. It was counted by <see cref="Find"/>, or nobody asked for it yet.</summary>
    /// <returns>The entry.</returns>
    public int Add(ulong key)
    {
        int entry;
        if (_used < _entries.Length)
        {
            entry = _used++;
            if (Of(Place.Window).Count >= _windowSize)
                Move(Of(Place.Window).Oldest, Place.Probation);
        }
        else
        {
            entry = MakeRoom();
        }

        _entries[entry] = new Entry { Key = key, Place = Place.Window };
        Link(entry);
        ref int bucket = ref _buckets[BucketOf(key)];
        _entries[entry].Chain = bucket;
        bucket = entry;
        return entry;
    }

    private Segment Of(Place place) => _segments[(int)place];

    private int BucketOf(ulong key) => (int)(FrequencySketch.Mix(key) & (ulong)(_buckets.Length - 1));

    private int Look(ulong key)
    {
        int entry = _buckets[BucketOf(key)];
        while (entry >= 0 && _entries[entry].Key != key)
            entry = _entries[entry].Chain;
        return entry;
    }

    private void Touch(int entry)
    {
        var place = _entries[entry].Place;
        Move(entry, place == Place.Window ? Place.Window : Place.Protected);
        if (Of(Place.Protected).Count > _protectedSize)
            Move(Of(Place.Protected).Oldest, Place.Probation);
    }

    /// <summary>The entry of the block that goes: the window's oldest, or the one on probation if that was asked for less often.</summary>
    private int MakeRoom()
    {
        int candidate = Of(Place.Window).Oldest, victim = Of(Place.Probation).Oldest;
        if (victim < 0)
            victim = Of(Place.Protected).Oldest;
        // On a tie who is there stays: a scan's blocks are all alike.
        bool stays = _frequency.Of(_entries[candidate].Key) <= _frequency.Of(_entries[victim].Key);
        int gone = stays ? candidate : victim;
        if (!stays)
            Move(candidate, Place.Probation);
        Unlink(gone);
        Unchain(gone);
        Evictions++;
        return gone;
    }

    private void Move(int entry, Place place)
    {
        Unlink(entry);
        _entries[entry].Place = place;
        Link(entry);
    }

    /// <summary>Adds an entry to its list as the one that was asked for last.</summary>
    private void Link(int entry)
    {
        ref var added = ref _entries[entry];
        var list = Of(added.Place);
        (added.Older, added.Younger) = (list.Youngest, None);
        if (list.Youngest >= 0)
            _entries[list.Youngest].Younger = entry;
        else
            list.Oldest = entry;
        list.Youngest = entry;
        list.Count++;
    }

    private void Unlink(int entry)
    {
        ref readonly var gone = ref _entries[entry];
        var list = Of(gone.Place);
        if (gone.Older >= 0)
            _entries[gone.Older].Younger = gone.Younger;
        else
            list.Oldest = gone.Younger;
        if (gone.Younger >= 0)
            _entries[gone.Younger].Older = gone.Older;
        else
            list.Youngest = gone.Older;
        list.Count--;
    }

    private void Unchain(int entry)
    {
        ref int link = ref _buckets[BucketOf(_entries[entry].Key)];
        while (link != entry)
            link = ref _entries[link].Chain;
        link = _entries[entry].Chain;
    }

    private struct Entry
    {
        public ulong Key;
        public Place Place;
        public int Older, Younger, Chain;
    }

    private sealed class Segment
    {
        public int Oldest = None, Youngest = None, Count;
    }
}
