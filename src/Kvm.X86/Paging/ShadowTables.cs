namespace Kvm.X86.Paging;

/// <summary>One shadow entry: guest-physical page or a lower table, and rights.</summary>
internal static class ShadowEntry
{
    public const ulong Present = 1, Leaf = 2, Write = 4, User = 8, NoExecute = 16, Global = 32, Dirty = 64, Large = 128, Frame = 0x000f_ffff_ffff_f000;

    /// <summary>An entry that leads to a lower table: its number in bits 8–23, the table's generation above.</summary>
    public static ulong Link(int table, uint generation) => Present | ((ulong)(uint)table << 8) | ((ulong)generation << 32);

    /// <summary>The table of such an entry.</summary>
    public static int Table(ulong entry) => (int)(entry >> 8) & 0xffff;

    /// <summary>The generation it had.</summary>
    public static uint Generation(ulong entry) => (uint)(entry >> 32);
}

/// <summary>
/// The shadow tables of one processor: 512 entries each, in a pool of fixed size. A table shadows one piece of guest table (all of it,
/// but for PAE's four pointers and for 32-bit tables, which take two or four), is found by that piece's address, and is shared by all
/// address spaces that use it. Links carry a generation, so a table is given up without a search for those that lead to it.
/// </summary>
internal sealed class ShadowTables
{
    /// <summary>Tables at most: 16 MiB.</summary>
    public const int Most = 4096;

    private const int None = -1;
    private readonly ulong[] _entries = new ulong[Most * 512];
    private readonly Table[] _tables = new Table[Most];
    private readonly Dictionary<ulong, int> _byKey = new(Most);
    private readonly Dictionary<ulong, int> _byPage = new(Most);
    private readonly ulong[] _stalePages = new ulong[Most];
    private int _free;
    private int _staleCount;

    private struct Table
    {
        /// <summary>Address of the piece of guest table, its level and format in the low bits.</summary>
        public ulong Key;
        public uint Generation;

        /// <summary>Next table of the same guest page, or of the free ones.</summary>
        public int Next;

        /// <summary>Of a guest page's first table: pieces written since the last synchronisation, and writes since the last fill.</summary>
        public ulong Stale;
        public int Writes;
    }

    public ShadowTables()
    {
        for (int n = 0; n < Most; n++)
            _tables[n].Next = n + 1 < Most ? n + 1 : None;
    }

    /// <summary>Told a guest page that begins or ceases to be shadowed.</summary>
    public Action<ulong, bool>? Tracked { get; set; }

    /// <summary>Tables in use.</summary>
    public int Count => _byKey.Count;

    /// <summary>The key of a piece of guest table.</summary>
    /// <param name="piece">Its address, a multiple of 32.</param>
    /// <param name="level">1 to 5.</param>
    /// <param name="format">What the entries look like: see <see cref="ShadowPager"/>.</param>
    public static ulong Key(ulong piece, int level, int format) => piece | (uint)(level | (format << 3));

    public ref ulong Entry(int table, int index) => ref _entries[(table * 512) + (index & 511)];

    public uint Generation(int table) => _tables[table].Generation;

    /// <summary>The table of a link, or −1 if it has been given up since.</summary>
    public int Follow(ulong link)
    {
        int table = ShadowEntry.Table(link) & (Most - 1);
        return _tables[table].Generation == ShadowEntry.Generation(link) ? table : None;
    }

    public int Find(ulong key) => _byKey.TryGetValue(key, out int table) ? table : None;

    /// <summary>A new, empty table; −1 if there is no room.</summary>
    public int Add(ulong key)
    {
        int table = _free;
        if (table == None)
            return None;
        ref var t = ref _tables[table];
        _free = t.Next;
        t.Key = key;
        t.Stale = 0;
        t.Writes = 0;
        Array.Clear(_entries, table * 512, 512);
        ulong page = key & ~0xfffUL;
        bool known = _byPage.TryGetValue(page, out int first);
        // Behind the first, which keeps the page's marks.
        t.Next = known ? _tables[first].Next : None;
        if (known)
            _tables[first].Next = table;
        else
            _byPage.Add(page, table);
        _byKey.Add(key, table);
        if (!known)
            Tracked?.Invoke(page, true);
        return table;
    }

    /// <summary>A guest page was written: true if it is shadowed, with the number of writes since it was last used.</summary>
    public bool Mark(ulong page, ulong granules, out int writes)
    {
        writes = 0;
        if (!_byPage.TryGetValue(page, out int first))
            return false;
        ref var t = ref _tables[first];
        if (t.Stale == 0)
            _stalePages[_staleCount++] = page;
        t.Stale |= granules;
        writes = ++t.Writes;
        return true;
    }

    /// <summary>The guest's table is in use: writes are not the beginning of a flood.</summary>
    public void Used(int table)
    {
        if (_byPage.TryGetValue(_tables[table].Key & ~0xfffUL, out int first))
            _tables[first].Writes = 0;
    }

    /// <summary>Drops the entries of all pieces written since the last time. Returns how many were there.</summary>
    public int DropStale()
    {
        int dropped = 0;
        for (int n = 0; n < _staleCount; n++)
        {
            if (!_byPage.TryGetValue(_stalePages[n], out int first))
                continue;
            ulong stale = _tables[first].Stale;
            _tables[first].Stale = 0;
            for (int table = first; table != None; table = _tables[table].Next)
                dropped += Drop(table, stale);
        }

        _staleCount = 0;
        return dropped;
    }

    private int Drop(int table, ulong granules)
    {
        ulong key = _tables[table].Key;
        int format = (int)(key >> 3) & 3, level = (int)key & 7;
        int piece = (int)key & 0xfe0;
        // Bytes of guest table behind one shadow entry, as a shift: 8; 4 in 32-bit tables; 2 in 32-bit directories, where an entry has two.
        int shift = format != ShadowPager.Bits32 ? 3 : level == 1 ? 2 : 1;
        int bytes = format == ShadowPager.Pae && level == 3 ? 32 : 512 << shift;
        int dropped = 0;
        for (int at = 0; at < bytes; at += 1 << shift)
        {
            if (((granules >> ((piece + at) >> 6)) & 1) == 0)
                continue;
            ref ulong entry = ref Entry(table, at >> shift);
            dropped += entry != 0 ? 1 : 0;
            entry = 0;
        }

        return dropped;
    }

    /// <summary>Gives up all tables of a guest page.</summary>
    public void RemovePage(ulong page)
    {
        if (!_byPage.Remove(page, out int first))
            return;
        for (int table = first; table != None;)
        {
            int next = _tables[table].Next;
            Free(table);
            table = next;
        }

        Tracked?.Invoke(page, false);
    }

    /// <summary>Gives up everything.</summary>
    public void Clear()
    {
        foreach (var (page, first) in _byPage)
        {
            for (int table = first; table != None;)
            {
                int next = _tables[table].Next;
                Free(table);
                table = next;
            }

            Tracked?.Invoke(page, false);
        }

        _byPage.Clear();
        _staleCount = 0;
    }

    private void Free(int table)
    {
        ref var t = ref _tables[table];
        _byKey.Remove(t.Key);
        t.Generation++;
        t.Next = _free;
        _free = table;
    }
}
