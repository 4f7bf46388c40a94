// Invariants: op memory is an arena that only grows until Reset, which the run loop alone calls, between blocks; so an op pointer held
// by a running chain, a jump cache entry of the current generation or a link stays valid. Tables have a power-of-two size and are
// never more than half full.
using System.Runtime.InteropServices;
using Kvm.X86.Decode;
using Kvm.X86.Engine;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>Header of a block, in the place of an op: Fn = 0 marks it.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct BlockHeader
{
    public nint Zero;

    /// <summary>Physical address of the first byte and mode: see CodeCache.Key.</summary>
    public ulong Key;

    /// <summary>The next header of the same physical page.</summary>
    public nint NextInPage;

    /// <summary>Times entered, where somebody counts.</summary>
    public uint Executions;

    public ushort ByteLength;
    public byte Instructions;

    /// <summary>1: an instruction across two pages, never linked to; 2: a second entry of it in the other page's list.</summary>
    public byte Flags;
}

/// <summary>
/// The decoded blocks of one processor, found by physical address and mode. Bounded: when the arena or a table is full,
/// everything is forgotten.
/// </summary>
internal sealed unsafe class CodeCache : ICodeKeeper, IDisposable
{
    private const int ArenaBytes = 48 << 20, TableEntries = 1 << 18, PageEntries = 1 << 15;

    /// <summary>A table entry: upper half part of the hash, lower half the first op's place in the arena in ops. Places 0 and 1 are not used: empty, removed.</summary>
    private const ulong Empty = 0, Removed = 1;
    public const byte CrossesPage = 1, SecondEntry = 2;

    private struct PageSlot
    {
        public ulong Page;
        public ulong Granules;
        public BlockHeader* First;
        public ulong Used;
    }

    private readonly CpuContext _context;
    private readonly CodePages _shared;
    private readonly int _processor;
    private readonly CodeBytes _bytes = new();
    private readonly BlockBuilder _builder;
    private readonly byte* _arena;
    private readonly ulong* _table;
    private readonly Op* _uncached;
    private readonly PageSlot* _pages;
    private nuint _used;
    private int _blocks;
    private int _pageCount;

    public CodeCache(CpuContext context, CodePages shared, int processor)
    {
        _context = context;
        _shared = shared;
        _processor = processor;
        _builder = new BlockBuilder(_bytes);
        _arena = (byte*)NativeMemory.AlignedAlloc(ArenaBytes, 4096);
        _table = (ulong*)NativeMemory.AllocZeroed(TableEntries, sizeof(ulong));
        _uncached = (Op*)NativeMemory.AlignedAlloc((BlockBuilder.MaxOps + 2) * Op.Size, 64);
        _used = 2 * Op.Size;
        _pages = (PageSlot*)NativeMemory.AllocZeroed(PageEntries, (nuint)sizeof(PageSlot));
    }

    /// <summary>Another processor decoded code of a page: everybody must watch it from now on.</summary>
    public Action<ulong>? Decoded { get; set; }

    /// <summary>A page was written that others keep code of: owners, page, granules.</summary>
    public Action<ulong, ulong, ulong>? WrittenByUs { get; set; }

    /// <summary>Blocks decoded since the start.</summary>
    public long BlocksDecoded { get; private set; }

    /// <summary>Instructions decoded since the start.</summary>
    public long InstructionsDecoded { get; private set; }

    /// <summary>Times a page's blocks were dropped because it was written.</summary>
    public long PagesDropped { get; private set; }

    /// <summary>Times everything was forgotten for want of room.</summary>
    public long Resets { get; private set; }

    private static ulong Key(ulong physical, uint mode) => physical | ((ulong)(mode + 1) << 56);

    /// <summary>
    /// The block at RIP, decoded if need be, and entered in the jump cache. Null with a fault recorded if it cannot be fetched.
    /// </summary>
    public Op* Find()
    {
        var cpu = _context.Cpu;
        ulong linear = CodeFetch.Linear(cpu, cpu->Rip);
        if (_context.Plan is { } plan && plan.HasCode(linear))
        {
            Fault.Raise(cpu, Fault.BreakpointPage);
            return null;
        }

        var entry = Mem.Translate(_context, null, linear, Paging.AccessKind.Execute);
        if (entry == null)
            return null;
        if ((entry->Info & Tlb.InfoIo) != 0)
            return BuildUncached((int)(linear & 0xfff));
        // Its jump-cache entries outlive a change of address space or an INVLPG of a lower address only where both spare its page.
        if (cpu->Cpl != 3 && ((entry->Info & Tlb.InfoGlobal) == 0 || (long)linear >= 0))
            _context.SupervisorCodeIsLocal = true;
        ulong physical = (entry->Info & ~0xfffUL) | (linear & 0xfff);
        Op* first = Lookup(Key(physical, cpu->Mode));
        if (first != null && (Header(first)->Flags & CrossesPage) != 0 && !SecondPageIs(linear, ((BlockHeader*)first - 2)->Key))
            first = null;
        if (first == null && (first = Build(linear, physical)) == null)
            return null;
        cpu->Gpr[Slots.CodeBase] = cpu->Rip - first->Offset;
        var jump = Branch.JumpEntry(cpu, cpu->Rip);
        jump->Rip = cpu->Rip;
        jump->Packed = (ulong)first ^ cpu->JumpKey;
        return first;
    }

    public static BlockHeader* Header(Op* first) => (BlockHeader*)(first - 1);

    /// <summary>Whether a block of this life of the cache is still found: its bytes were not written since.</summary>
    public bool Holds(Op* first) => Lookup(Header(first)->Key) == first;

    /// <summary>Where a block's bytes are: the first byte's physical address, and the second page's for an instruction across two.</summary>
    public static (ulong First, ulong SecondPage, int Length) BytesOf(Op* first)
    {
        var header = Header(first);
        return (header->Key & ((1UL << 56) - 1), (header->Flags & CrossesPage) != 0 ? (header - 1)->Key : 0, header->ByteLength);
    }

    private Op* Lookup(ulong key)
    {
        ulong hash = Hash(key);
        for (uint n = (uint)hash & (TableEntries - 1); ; n = (n + 1) & (TableEntries - 1))
        {
            ulong entry = _table[n];
            if (entry == Empty)
                return null;
            if ((entry ^ hash) >> 32 != 0 || (uint)entry == Removed)
                continue;
            Op* first = (Op*)_arena + (uint)entry;
            if (Header(first)->Key == key)
                return first;
        }
    }

    private static ulong Hash(ulong key)
    {
        ulong h = key * 0x9e37_79b9_7f4a_7c15;
        return h ^ (h >> 29);
    }

    private void Insert(ulong key, Op* first)
    {
        ulong hash = Hash(key);
        uint n = (uint)hash & (TableEntries - 1);
        while ((uint)_table[n] > Removed)
            n = (n + 1) & (TableEntries - 1);
        _blocks += _table[n] == Empty ? 1 : 0;
        _table[n] = (hash & ~(ulong)uint.MaxValue) | (uint)(first - (Op*)_arena);
    }

    private void Remove(ulong key)
    {
        ulong hash = Hash(key);
        for (uint n = (uint)hash & (TableEntries - 1); _table[n] != Empty; n = (n + 1) & (TableEntries - 1))
        {
            ulong entry = _table[n];
            if ((entry ^ hash) >> 32 != 0 || (uint)entry == Removed || Header((Op*)_arena + (uint)entry)->Key != key)
                continue;
            _table[n] = (entry & ~(ulong)uint.MaxValue) | Removed; // it may lie in the way of others
            return;
        }
    }

    private bool SecondPageIs(ulong linear, ulong page)
    {
        var entry = Mem.Translate(_context, null, (linear & ~0xfffUL) + 4096, Paging.AccessKind.Execute);
        return entry != null && (entry->Info & ~0xfffUL) == page;
    }

    private Op* Build(ulong linear, ulong physical)
    {
        var cpu = _context.Cpu;
        if (NeedsReset)
            Reset();
        int offset = (int)(linear & 0xfff);
        // Short first: most blocks are.
        if (!CodeFetch.TryFill(_context, _bytes, 256, false))
            return null;
        ulong second = 0;
        int limit = BlockBuilder.MaxInstructions;
        if (!_builder.TryBuild(offset, cpu->Mode, cpu->Features, limit))
        {
            if (!CodeFetch.TryFill(_context, _bytes, 15, true))
                return null;
            var entry = Mem.Translate(_context, null, (linear & ~0xfffUL) + 4096, Paging.AccessKind.Execute);
            if (entry == null)
                return null;
            second = entry->Info & ~0xfffUL;
            if (!_builder.TryBuild(offset, cpu->Mode, cpu->Features, 1))
            {
                Fault.Protection(cpu); // cut off by CS's limit
                return null;
            }
        }

        BlocksDecoded++;
        InstructionsDecoded += _builder.Instructions;
        return Keep(physical, second, offset);
    }

    /// <summary>One instruction fetched from a device: executed, never kept, never linked to.</summary>
    private Op* BuildUncached(int offset)
    {
        var cpu = _context.Cpu;
        if (!CodeFetch.TryFill(_context, _bytes, 15, false))
            return null;
        if (!_builder.TryBuild(offset, cpu->Mode, cpu->Features, 1))
        {
            if (!CodeFetch.TryFill(_context, _bytes, 15, true))
                return null;
            if (!_builder.TryBuild(offset, cpu->Mode, cpu->Features, 1))
            {
                Fault.Protection(cpu);
                return null;
            }
        }

        Op* first = Blocks.Place(_builder, _uncached);
        ((BlockHeader*)_uncached)->Flags = CrossesPage;
        cpu->Gpr[Slots.CodeBase] = cpu->Rip - (ulong)offset;
        return first;
    }

    private bool NeedsReset =>
        ArenaBytes - _used < (BlockBuilder.MaxOps + 4) * Op.Size || _blocks > TableEntries / 4 * 3 || _pageCount > PageEntries / 2;

    private Op* Keep(ulong physical, ulong second, int offset)
    {
        ulong key = Key(physical, _context.Cpu->Mode);
        ulong page = physical & ~0xfffUL;
        bool crosses = second != 0;
        BlockHeader* other = null;
        if (crosses)
            other = Allocate(1);
        var header = Allocate(1 + (_context.Tier != null ? 1 : 0) + _builder.Ops.Length);
        Op* first = Blocks.Place(_builder, (Op*)header, _context.Tier);
        header->Key = key;
        header->ByteLength = (ushort)_builder.ByteLength;
        header->Instructions = (byte)_builder.Instructions;
        header->Flags = crosses ? CrossesPage : (byte)0;
        int inFirst = Math.Min(_builder.ByteLength, 4096 - offset);
        Enter(page, header, Granules(offset, inFirst));
        if (crosses)
        {
            // The entry before the header: the key of the pair's lookup is the other page, and dropping that page drops this block.
            *other = new BlockHeader { Key = second, Flags = SecondEntry };
            Enter(second, other, Granules(0, _builder.ByteLength - inFirst));
        }

        Insert(key, first);
        return first;
    }

    private BlockHeader* Allocate(int ops)
    {
        var at = (BlockHeader*)(_arena + _used);
        _used += (nuint)(ops * Op.Size);
        return at;
    }

    /// <summary>Bits of the 64-byte pieces a range of a page touches.</summary>
    public static ulong Granules(int offset, int length)
    {
        if (length <= 0)
            return 0;
        int first = offset >> 6, last = (offset + length - 1) >> 6;
        return (ulong.MaxValue << first) & (ulong.MaxValue >> (63 - last));
    }

    private void Enter(ulong page, BlockHeader* header, ulong granules)
    {
        var slot = PageOf(page, true);
        bool wasEmpty = slot->Granules == 0;
        header->NextInPage = (nint)slot->First;
        slot->First = header;
        slot->Granules |= granules;
        if (!wasEmpty)
            return;
        _context.ProtectPage(page);
        if (_shared.Add(page, _processor))
            Decoded?.Invoke(page);
    }

    private PageSlot* PageOf(ulong page, bool create)
    {
        for (uint n = (uint)((page * 0x9e37_79b9_7f4a_7c15) >> 49); ; n = (n + 1) & (PageEntries - 1))
        {
            var slot = _pages + n;
            if (slot->Used != 0 && slot->Page == page)
                return slot;
            if (slot->Used != 0)
                continue;
            if (!create)
                return null;
            *slot = new PageSlot { Page = page, Used = 1 };
            _pageCount++;
            return slot;
        }
    }

    /// <inheritdoc/>
    public bool HasCode(ulong physicalPage) => _shared.Owners(physicalPage) != 0;

    /// <inheritdoc/>
    public void Written(ulong physical, uint length)
    {
        while (length != 0)
        {
            uint part = Math.Min(length, 4096 - (uint)(physical & 0xfff));
            ulong page = physical & ~0xfffUL, owners = _shared.Owners(page);
            if (owners != 0)
            {
                ulong granules = Granules((int)(physical & 0xfff), (int)part);
                if ((owners & ~(1UL << (_processor & 63))) != 0)
                    WrittenByUs?.Invoke(owners, page, granules);
                if (Drop(page, granules))
                    _context.Cpu->LeaveBlock = 1;
            }

            physical += part;
            length -= part;
        }
    }

    /// <summary>Forgets the code of a page if it covers any of these pieces. True if something was forgotten.</summary>
    public bool Drop(ulong page, ulong granules)
    {
        var slot = PageOf(page, false);
        if (slot == null || (slot->Granules & granules) == 0)
            return false;
        for (var header = slot->First; header != null; header = (BlockHeader*)header->NextInPage)
            Remove((header->Flags & SecondEntry) != 0 ? (header + 1)->Key : header->Key);
        slot->First = null;
        slot->Granules = 0;
        PagesDropped++;
        _shared.Remove(page, _processor);
        _context.NewJumpGeneration(true);
        return true;
    }

    /// <summary>Forgets everything.</summary>
    public void Reset()
    {
        for (int n = 0; n < PageEntries; n++)
        {
            if (_pages[n].Used != 0 && _pages[n].Granules != 0)
                _shared.Remove(_pages[n].Page, _processor);
        }

        NativeMemory.Clear(_table, TableEntries * sizeof(ulong));
        NativeMemory.Clear(_pages, PageEntries * (nuint)sizeof(PageSlot));
        _used = 2 * Op.Size;
        _blocks = _pageCount = 0;
        Resets++;
        _context.Tier?.Forget();
        _context.NewJumpGeneration(true);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Reset();
        NativeMemory.AlignedFree(_uncached);
        NativeMemory.AlignedFree(_arena);
        NativeMemory.Free(_table);
        NativeMemory.Free(_pages);
    }
}
