namespace Kvm.Sched.Ordering;

/// <summary>Where each member of a family of heaps stands: a member is in at most one of them.</summary>
internal sealed class HeapPositions
{
    private int[] _positions = [];

    /// <summary>The place plus one; 0 for a stranger.</summary>
    public ref int this[int id]
    {
        get
        {
            if (id >= _positions.Length)
                Array.Resize(ref _positions, Math.Max(64, Math.Max(id + 1, _positions.Length * 2)));
            return ref _positions[id];
        }
    }

    public bool Contains(int id) => (uint)id < (uint)_positions.Length && _positions[id] != 0;
}

/// <summary>
/// A heap of numbers, the smallest (key, tie) first, from which any member can be taken. Four children a node: half the levels of
/// two, and a node's children share a cache line or two. Allocates only when it grows.
/// </summary>
internal sealed class IndexedHeap(HeapPositions? positions = null)
{
    private readonly HeapPositions _positions = positions ?? new HeapPositions();
    private Entry[] _entries = [];

    public int Count { get; private set; }

    /// <summary>The first member. The heap has one.</summary>
    public int First => _entries[0].Id;

    public long FirstKey => _entries[0].Key;

    public long FirstTie => _entries[0].Tie;

    public bool Contains(int id) => _positions.Contains(id);

    /// <summary>Adds a number that is in no heap of the family.</summary>
    public void Add(int id, long key, long tie)
    {
        if (Count == _entries.Length)
            Array.Resize(ref _entries, Math.Max(4, Count * 2));
        _ = _positions[id];
        Up(Count++, new Entry(key, tie, id));
    }

    /// <summary>Takes a member out.</summary>
    public void Remove(int id)
    {
        int at = _positions[id] - 1;
        _positions[id] = 0;
        var last = _entries[--Count];
        if (at != Count)
            Place(at, last);
    }

    /// <summary>Gives a member another place.</summary>
    public void Update(int id, long key, long tie) => Place(_positions[id] - 1, new Entry(key, tie, id));

    private void Place(int at, Entry entry)
    {
        if (at > 0 && entry.IsBefore(_entries[(at - 1) >> 2]))
            Up(at, entry);
        else
            Down(at, entry);
    }

    private void Up(int at, Entry entry)
    {
        var entries = _entries;
        while (at > 0)
        {
            int parent = (at - 1) >> 2;
            if (!entry.IsBefore(entries[parent]))
                break;
            entries[at] = entries[parent];
            _positions[entries[at].Id] = at + 1;
            at = parent;
        }

        entries[at] = entry;
        _positions[entry.Id] = at + 1;
    }

    private void Down(int at, Entry entry)
    {
        var entries = _entries;
        while (true)
        {
            int child = (at << 2) + 1;
            if (child >= Count)
                break;
            int best = child, end = Math.Min(child + 4, Count);
            for (int i = child + 1; i < end; i++)
            {
                if (entries[i].IsBefore(entries[best]))
                    best = i;
            }

            if (!entries[best].IsBefore(entry))
                break;
            entries[at] = entries[best];
            _positions[entries[at].Id] = at + 1;
            at = best;
        }

        entries[at] = entry;
        _positions[entry.Id] = at + 1;
    }

    private readonly record struct Entry(long Key, long Tie, int Id)
    {
        public bool IsBefore(in Entry other) => Key != other.Key ? Key < other.Key : Tie < other.Tie;
    }
}
