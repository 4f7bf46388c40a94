using Kvm.X86.State;

namespace Kvm.X86.Paging;

/// <summary>
/// Shadow paging for one processor: its translations come from tables of our own, filled from the guest's when an access finds nothing.
/// The guest's tables they were filled from are write-protected (the same slow path that watches decoded code); what is written is
/// noted, and dropped when the guest says that translations have changed (CR3 load, INVLPG, any flush). Until then the old translation
/// may be used, as a processor's translation buffer may (SDM vol. 3, 4.10).
/// </summary>
/// <remarks>Used by the processor's thread; <see cref="Post"/> is for any thread. Bounded: tables, roots and notices.</remarks>
internal sealed class ShadowPager
{
    /// <summary>Formats of guest tables.</summary>
    public const int Bits32 = 0, Pae = 1, Long = 2;

    private const int MostRoots = 64, FloodWrites = 4, MostRestarts = 8, None = -1;

    private readonly PhysicalMemory _memory;
    private readonly ShadowTables _tables = new();
    private readonly Engine.CodeNotices _notices = new();
    private readonly Engine.CodeNotice[] _taken = new Engine.CodeNotice[Engine.CodeNotices.MostNotices];
    private readonly ulong[] _roots = new ulong[MostRoots];
    private readonly long[] _rootUsed = new long[MostRoots];
    private long _clock;
    private ShadowStatistics _statistics;

    /// <summary>Makes it.</summary>
    /// <param name="memory">Guest memory.</param>
    /// <param name="tracked">Told a guest page that begins (true) or ceases to be write-protected.</param>
    public ShadowPager(PhysicalMemory memory, Action<ulong, bool> tracked)
    {
        _memory = memory;
        _tables.Tracked = tracked;
    }

    /// <summary>
    /// There are other processors: one of them may write a table unseen until it has heard that it is one, so what was filled from it
    /// in the meantime is not kept beyond the next synchronisation.
    /// </summary>
    public bool HasOthers { get; set; }

    /// <summary>Drops what was written at once, so that every translation is what a walk would give: to compare with walks.</summary>
    public bool Immediate { get; set; }

    /// <summary>Counts so far.</summary>
    public ShadowStatistics Statistics => _statistics with { Tables = _tables.Count };

    /// <summary>Translates as <see cref="PageWalker.TryWalk(ref Cpu, PhysicalMemory, ulong, AccessKind, Privilege, out PageMapping, out uint)"/> does, by the shadow tables where they have it.</summary>
    public bool TryTranslate(ref Cpu cpu, ulong linear, AccessKind access, Privilege privilege, out PageMapping mapping, out uint error)
    {
        if ((cpu.Cr0 & Bits.Cr0Pg) == 0)
            return PageWalker.TryWalk(ref cpu, _memory, linear, access, privilege, out mapping, out error);
        if (TryLookUp(ref cpu, linear, access, privilege, out mapping))
        {
            error = 0;
            _statistics.Hits++;
            return true;
        }

        for (int restart = 0; ; restart++)
        {
            if (!PageWalker.TryWalk(ref cpu, _memory, linear, access, privilege, out mapping, out error, out var walk))
            {
                Invalidate(ref cpu, linear); // a fault forgets the page's translation (SDM vol. 3, 4.10.4.1)
                return false;
            }

            // A table that is protected only now may have been written since the walk looked: it looks again.
            if (restart == MostRestarts || TryFill(ref cpu, linear, ref walk, mapping.Dirty))
                return true;
        }
    }

    private static int FormatOf(ref Cpu cpu) => (cpu.Cr4 & Bits.Cr4Pae) == 0 ? Bits32 : (cpu.Efer & Bits.EferLma) == 0 ? Pae : Long;

    private static int TopOf(ref Cpu cpu, int format) => format switch { Bits32 => 2, Pae => 3, _ => (cpu.Cr4 & Bits.Cr4La57) != 0 ? 5 : 4 };

    private static int Index(ulong linear, int level) => (int)(linear >> (12 + (9 * (level - 1)))) & 511;

    /// <summary>The piece of guest table the top shadow table stands for.</summary>
    private static ulong RootPiece(ref Cpu cpu, int format, ulong linear) => format switch
    {
        Bits32 => (cpu.Cr3 & 0xffff_f000) + (((linear >> 30) & 3) << 10),
        Pae => cpu.Cr3 & 0xffff_ffe0,
        _ => cpu.Cr3 & ((1UL << cpu.PhysicalBits) - 1) & ~0xfffUL,
    };

    private bool TryLookUp(ref Cpu cpu, ulong linear, AccessKind access, Privilege privilege, out PageMapping mapping)
    {
        mapping = default;
        int format = FormatOf(ref cpu), level = TopOf(ref cpu, format);
        if (format != Long)
            linear = (uint)linear;
        int table = _tables.Find(ShadowTables.Key(RootPiece(ref cpu, format, linear), level, format));
        ulong rights = ShadowEntry.Write | ShadowEntry.User, noExecute = 0;
        for (; table != None; level--)
        {
            ulong entry = _tables.Entry(table, Index(linear, level));
            if ((entry & ShadowEntry.Present) == 0)
                return false;
            rights &= entry;
            noExecute |= entry & ShadowEntry.NoExecute;
            if ((entry & ShadowEntry.Leaf) == 0)
            {
                table = _tables.Follow(entry);
                continue;
            }

            ulong inside = ((1UL << (12 + (9 * (level - 1)))) - 1) & ~0xfffUL;
            PageWalk walk = new()
            {
                Physical = (entry & ShadowEntry.Frame & ~inside) | (linear & inside),
                Rights = ((rights & ShadowEntry.Write) != 0 ? 2UL : 0) | ((rights & ShadowEntry.User) != 0 ? 4UL : 0),
                NotExecutable = noExecute,
                IsLarge = (entry & ShadowEntry.Large) != 0,
                Leaf = (entry & ShadowEntry.Global) != 0 ? 0x100UL : 0,
            };
            bool dirty = (entry & ShadowEntry.Dirty) != 0;
            if (!PageWalker.Permits(ref cpu, access, privilege, ref walk, out mapping) || (access == AccessKind.Write && !dirty))
                return false; // the guest may have granted more meanwhile, and the dirty bit is set by a walk
            mapping.Dirty = dirty;
            return true;
        }

        return false;
    }

    /// <summary>Takes what a walk found into the tables. False: a table came under protection only now.</summary>
    private bool TryFill(ref Cpu cpu, ulong linear, ref PageWalk walk, bool dirty)
    {
        int format = FormatOf(ref cpu), level = TopOf(ref cpu, format);
        if (format != Long)
            linear = (uint)linear;
        bool added = false;
        ulong piece = RootPiece(ref cpu, format, linear);
        int table = Acquire(piece, level, format, true, ref added);
        bool hasNx = format != Bits32 && (cpu.Efer & Bits.EferNxe) != 0;
        for (int n = format == Pae ? -1 : 0; table != None; n++, level--)
        {
            // PAE's directory-pointer entries give all rights.
            ulong guest = n < 0 ? 6 : walk.Entry[n];
            ulong entry = ((guest & 2) != 0 ? ShadowEntry.Write : 0) | ((guest & 4) != 0 ? ShadowEntry.User : 0)
                | (guest >> 63 != 0 && hasNx ? ShadowEntry.NoExecute : 0);
            ref ulong place = ref _tables.Entry(table, Index(linear, level));
            if (n == walk.Levels - 1)
            {
                if (added)
                    return false;
                ulong inside = ((1UL << (12 + (9 * (level - 1)))) - 1) & ~0xfffUL;
                place = entry | ShadowEntry.Present | ShadowEntry.Leaf | (walk.Physical & ~inside) | ((guest & 0x100) != 0 ? ShadowEntry.Global : 0)
                    | (dirty ? ShadowEntry.Dirty : 0) | (walk.IsLarge ? ShadowEntry.Large : 0);
                _tables.Used(table);
                _statistics.Fills++;
                return true;
            }

            ulong next = walk.Address[n + 1];
            ulong mask = format == Bits32 ? 0x7ffUL : 0xfffUL;
            int below = Acquire(next & ~mask, level - 1, format, false, ref added);
            if (below != None)
                place = entry | ShadowEntry.Link(below, _tables.Generation(below));
            table = below;
        }

        return !added; // no room even now: the walk's result stands on its own
    }

    private int Acquire(ulong piece, int level, int format, bool root, ref bool added)
    {
        ulong key = ShadowTables.Key(piece, level, format);
        int table = _tables.Find(key);
        if (table != None)
            return table;
        added = true;
        if (root)
            TakeRoot(piece);
        table = _tables.Add(key);
        if (table != None)
        {
            if (HasOthers)
                _tables.Mark(piece & ~0xfffUL, ulong.MaxValue, out _);
            return table;
        }

        DropAll();
        _statistics.Evictions++;
        return None;
    }

    /// <summary>Remembers a root, in the place of the one unused for longest.</summary>
    private void TakeRoot(ulong piece)
    {
        _statistics.Roots++;
        int oldest = 0;
        for (int n = 0; n < MostRoots; n++)
        {
            if (_rootUsed[n] < _rootUsed[oldest])
                oldest = n;
        }

        if (_rootUsed[oldest] != 0 && (_roots[oldest] & ~0xfffUL) != (piece & ~0xfffUL))
        {
            _tables.RemovePage(_roots[oldest] & ~0xfffUL);
            _statistics.Evictions++;
        }

        _roots[oldest] = piece;
        _rootUsed[oldest] = ++_clock;
    }

    /// <summary>After a CR3 load: brings the tables up to date; the new root is used from now on, if it is there.</summary>
    public void LoadRoot(ref Cpu cpu)
    {
        Synchronize();
        if ((cpu.Cr0 & Bits.Cr0Pg) == 0)
            return;
        int format = FormatOf(ref cpu);
        ulong piece = RootPiece(ref cpu, format, 0);
        if (_tables.Find(ShadowTables.Key(piece, TopOf(ref cpu, format), format)) == None)
            return;
        _statistics.RootHits++;
        int at = Array.IndexOf(_roots, piece);
        if (at >= 0)
            _rootUsed[at] = ++_clock;
    }

    /// <summary>Drops what was filled from entries written meanwhile, by this processor, others or devices.</summary>
    public void Synchronize()
    {
        _statistics.Syncs++;
        if (_notices.Any)
        {
            if (!_notices.Take(_taken, out int count))
            {
                DropAll();
                return;
            }

            foreach (ref readonly var notice in _taken.AsSpan(0, count))
                _tables.Mark(notice.Page, notice.Granules, out _);
        }

        _statistics.Dropped += _tables.DropStale();
    }

    /// <summary>INVLPG: up to date, and without the page's translation in any case.</summary>
    public void InvalidatePage(ref Cpu cpu, ulong linear)
    {
        Synchronize();
        if ((cpu.Cr0 & Bits.Cr0Pg) != 0)
            Invalidate(ref cpu, linear);
    }

    private void Invalidate(ref Cpu cpu, ulong linear)
    {
        int format = FormatOf(ref cpu), level = TopOf(ref cpu, format);
        if (format != Long)
            linear = (uint)linear;
        int table = _tables.Find(ShadowTables.Key(RootPiece(ref cpu, format, linear), level, format));
        for (; table != None; level--)
        {
            ref ulong entry = ref _tables.Entry(table, Index(linear, level));
            if ((entry & ShadowEntry.Present) == 0)
                return;
            table = (entry & ShadowEntry.Leaf) == 0 ? _tables.Follow(entry) : None;
            entry = 0; // upper levels too: INVLPG forgets paging structures of the address (SDM vol. 3, 4.10.4.1)
        }
    }

    /// <summary>This processor wrote physical memory, which may be a table.</summary>
    public void Written(ulong physical, uint length)
    {
        while (length != 0)
        {
            uint part = Math.Min(length, 4096 - (uint)(physical & 0xfff));
            ulong page = physical & ~0xfffUL;
            if (_tables.Mark(page, Execute.CodeCache.Granules((int)(physical & 0xfff), (int)part), out int writes))
            {
                _statistics.WriteProtectHits++;
                if (writes > FloodWrites)
                {
                    _tables.RemovePage(page);
                    _statistics.Floods++;
                }
            }

            physical += part;
            length -= part;
        }

        if (Immediate)
            _statistics.Dropped += _tables.DropStale();
    }

    /// <summary>Somebody else wrote a table. Any thread.</summary>
    public void Post(Engine.CodeNotice notice) => _notices.Post(notice);

    /// <summary>Forgets everything: the way tables are read has changed.</summary>
    public void DropAll()
    {
        _tables.Clear();
        Array.Clear(_rootUsed);
    }
}
