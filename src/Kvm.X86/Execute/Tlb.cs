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

    /// <summary>Number of buffers: user, supervisor, supervisor under SMAP, and one that stays empty (alignment checking on).</summary>
    public const int Sets = 4;

    /// <summary>Index of the buffer that is never filled.</summary>
    public const int EmptySet = 3;

    /// <summary>Tag bits: not RAM; code or dirty-tracked page; breakpoint in the page; no right (or not dirty).</summary>
    public const ulong SlowIo = 1, SlowNotify = 2, SlowWatch = 4, NoAccess = 8;

    /// <summary>Tag of an entry without translation.</summary>
    public const ulong Invalid = ulong.MaxValue;

    /// <summary>Info bits.</summary>
    public const ulong InfoExecute = 1, InfoIo = 2, InfoGlobal = 4, InfoReadOnly = 8;

    /// <summary>Offset in bytes of the entry for a linear address.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TlbEntry* At(nint tlb, ulong linear) => (TlbEntry*)(tlb + (nint)((linear >> IndexShift) & IndexMask));

    /// <summary>Empties one buffer.</summary>
    public static void Clear(nint tlb) => new Span<byte>((void*)tlb, Bytes).Fill(0xff);

    /// <summary>Fills the entry of <paramref name="linear"/> from a finished walk and returns it.</summary>
    public static TlbEntry* Fill(CpuContext context, nint tlb, ulong linear, in PageMapping mapping)
    {
        var entry = At(tlb, linear);
        ulong page = linear & ~0xfffUL;
        ulong slow = context.SlowBits(page, mapping.Physical);
        bool ram = context.Memory.TryPointer(mapping.Physical, 4096, false, out nint host);
        bool rom = ram && !context.Memory.TryPointer(mapping.Physical, 4096, true, out _);
        if (!ram)
            slow |= SlowIo;
        entry->Addend = ram ? host - (nint)page : 0;
        entry->ReadTag = page | (slow & ~SlowNotify) | (mapping.Readable ? 0 : NoAccess);
        entry->WriteTag = page | slow | (rom ? SlowIo : 0) | (mapping.Writable && mapping.Dirty ? 0 : NoAccess);
        entry->Info = mapping.Physical | (mapping.Executable ? InfoExecute : 0) | (ram ? 0 : InfoIo) | (rom ? InfoReadOnly : 0)
            | (mapping.Global ? InfoGlobal : 0);
        return entry;
    }
}
