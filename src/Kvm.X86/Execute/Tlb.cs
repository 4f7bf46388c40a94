// Invariants: a buffer is Tlb.Entries entries of native memory owned by CpuContext; Addend + an address of the entry's page is
// inside a region of GuestMemory, whose owner keeps it mapped for the life of the context. Only the owning thread touches it.
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Kvm.X86.Paging;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>
/// One translation. A tag is the linear page address; low bits say why the fast path must not be taken, so that one compare
/// decides. An access of n bytes at a compares <c>(a + n − 1) &amp; ~0xfff</c> with the tag found at a's index: page-crossing
/// accesses miss by construction.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct TlbEntry
{
    public ulong ReadTag;
    public ulong WriteTag;

    /// <summary>Host address − linear address (0 for MMIO).</summary>
    public nint Addend;

    /// <summary>Physical page address, and <see cref="Tlb"/>'s info bits.</summary>
    public ulong Info;
}

/// <summary>The software translation buffers: one per privilege, so that a change of privilege swaps a pointer.</summary>
internal static unsafe class Tlb
{
    public const int Entries = 1024;
    public const int EntryShift = 5;
    public const int IndexShift = 12 - EntryShift;
    public const ulong IndexMask = (Entries - 1) << EntryShift;
    public const int Bytes = Entries << EntryShift;

    /// <summary>Number of buffers: user, supervisor, supervisor under SMAP, one that stays empty, one to redirect an access.</summary>
    public const int Sets = 5;

    /// <summary>Index of the buffer that is never filled (in use while alignment is checked).</summary>
    public const int EmptySet = 3;

    /// <summary>Index of the buffer slow paths use for one access at a time.</summary>
    public const int RedirectSet = 4;

    /// <summary>Tag bits: not RAM; code or dirty-tracked page; breakpoint in the page; no right (or not dirty).</summary>
    public const ulong SlowIo = 1, SlowNotify = 2, SlowWatch = 4, NoAccess = 8;

    /// <summary>Tag of an entry without translation.</summary>
    public const ulong Invalid = ulong.MaxValue;

    /// <summary>Info bits.</summary>
    public const ulong InfoExecute = 1, InfoIo = 2, InfoGlobal = 4, InfoReadOnly = 8, InfoLarge = 16;

    /// <summary>Offset in bytes of the entry for a linear address.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TlbEntry* At(nint tlb, ulong linear) => (TlbEntry*)(tlb + (nint)((linear >> IndexShift) & IndexMask));

    /// <summary>Whether a tag allows an access of this size at this address.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Hits<TSize>(ulong tag, ulong linear) where TSize : ISize =>
        ((TSize.Bytes == 1 ? linear : linear + (ulong)(TSize.Bytes - 1)) & ~0xfffUL) == tag;

    /// <summary>Empties one buffer.</summary>
    public static void Clear(nint tlb) => new Span<byte>((void*)tlb, Bytes).Fill(0xff);

    /// <summary>Fills the entry of <paramref name="linear"/> from a finished walk and returns it.</summary>
    public static TlbEntry* Fill(CpuContext context, nint tlb, ulong linear, in PageMapping mapping, AccessKind access)
    {
        var entry = At(tlb, linear);
        if (entry->ReadTag == Invalid)
            context.FillsOf(tlb).Add((ushort)((linear >> 12) & (Entries - 1)));
        ulong page = linear & ~0xfffUL;
        ulong slow = context.SlowBits(page, mapping.Physical);
        nint host = 0;
        bool rom = false;
        bool ram = mapping.Physical != context.ApicPage && context.Physical.TryHost(mapping.Physical, 4096, out host, out rom);
        if (!ram)
            slow |= SlowIo;
        bool writable = mapping.Writable && mapping.Dirty;
        if (writable && context.Physical.Dirty is { } dirty)
        {
            // The first write to a page comes back here.
            if (access == AccessKind.Write)
                dirty.Mark(mapping.Physical);
            else
                writable = dirty.Contains(mapping.Physical);
        }

        entry->Addend = ram ? host - (nint)page : 0;
        entry->ReadTag = page | (slow & ~SlowNotify) | (mapping.Readable ? 0 : NoAccess);
        entry->WriteTag = page | slow | (rom ? SlowIo : 0) | (writable ? 0 : NoAccess);
        entry->Info = mapping.Physical | (mapping.Executable ? InfoExecute : 0) | (ram ? 0 : InfoIo) | (rom ? InfoReadOnly : 0)
            | (mapping.Global ? InfoGlobal : 0) | (mapping.Large ? InfoLarge : 0);
        return entry;
    }
}

/// <summary>Which entries of a buffer are filled: flushing costs what was filled, not the buffer's size.</summary>
internal sealed unsafe class TlbFillList
{
    private readonly ushort[] _indexes = new ushort[Tlb.Entries];
    private int _count;

    /// <summary>Notes an entry that was empty.</summary>
    public void Add(ushort index) => _indexes[_count++] = index;

    /// <summary>Empties entries; global ones stay unless asked for.</summary>
    public void Flush(nint tlb, bool global)
    {
        int kept = 0;
        for (int n = 0; n < _count; n++)
        {
            var entry = (TlbEntry*)tlb + _indexes[n];
            if (!global && (entry->Info & Tlb.InfoGlobal) != 0)
                _indexes[kept++] = _indexes[n];
            else
                entry->ReadTag = entry->WriteTag = Tlb.Invalid;
        }

        _count = kept;
    }

    /// <summary>Empties the entries of one page, or of the large page around it.</summary>
    public void FlushPage(nint tlb, ulong linear)
    {
        int kept = 0;
        for (int n = 0; n < _count; n++)
        {
            var entry = (TlbEntry*)tlb + _indexes[n];
            // A large page's size is not kept: all large entries of the same gigabyte go.
            ulong distance = entry->ReadTag ^ linear;
            if (distance >> ((entry->Info & Tlb.InfoLarge) != 0 ? 30 : 12) == 0)
                entry->ReadTag = entry->WriteTag = Tlb.Invalid;
            else
                _indexes[kept++] = _indexes[n];
        }

        _count = kept;
    }

    /// <summary>Marks the entries of watched pages, and no others.</summary>
    public void Refresh(CpuContext context, nint tlb)
    {
        for (int n = 0; n < _count; n++)
        {
            var entry = (TlbEntry*)tlb + _indexes[n];
            ulong watch = context.SlowBits(entry->ReadTag & ~0xfffUL, entry->Info & ~0xfffUL) & Tlb.SlowWatch;
            entry->ReadTag = (entry->ReadTag & ~Tlb.SlowWatch) | watch;
            entry->WriteTag = (entry->WriteTag & ~Tlb.SlowWatch) | watch;
        }
    }

    /// <summary>Takes write rights to a physical page off the fast path: it holds code now. True if an entry had them.</summary>
    public bool Protect(nint tlb, ulong physicalPage)
    {
        bool had = false;
        for (int n = 0; n < _count; n++)
        {
            var entry = (TlbEntry*)tlb + _indexes[n];
            if ((entry->Info & ~0xfffUL) != physicalPage)
                continue;
            had |= (entry->WriteTag & 0xfff) == 0;
            entry->WriteTag |= Tlb.SlowNotify;
        }

        return had;
    }
}
