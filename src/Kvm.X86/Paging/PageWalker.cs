using Kvm.X86.State;

namespace Kvm.X86.Paging;

/// <summary>Kind of a memory access; the values are the bits of the page-fault error code they set.</summary>
internal enum AccessKind : uint
{
    Read = 0,
    Write = 2,
    Execute = 16,
}

/// <summary>Whose rights an access has.</summary>
internal enum Privilege
{
    /// <summary>CPL 3.</summary>
    User,

    /// <summary>CPL 0–2; user pages may be read and written (CR4.SMAP clear or RFLAGS.AC set).</summary>
    Supervisor,

    /// <summary>CPL 0–2 under SMAP, and every implicit access to a system structure.</summary>
    SupervisorSmap,
}

/// <summary>What a walk found for one 4 KiB page, with rights as the walk's privilege has them.</summary>
internal struct PageMapping
{
    /// <summary>Guest-physical address of the 4 KiB page.</summary>
    public ulong Physical;

    public bool Readable;

    /// <summary>May be written, the dirty bit aside.</summary>
    public bool Writable;

    public bool Executable;
    public bool Global;

    /// <summary>The page is part of a larger one.</summary>
    public bool Large;

    /// <summary>The dirty bit is set (true without paging).</summary>
    public bool Dirty;
}

/// <summary>What a walk went through.</summary>
internal struct PageWalk
{
    /// <summary>Guest-physical address of the 4 KiB page.</summary>
    public ulong Physical;

    /// <summary>The last entry.</summary>
    public ulong Leaf;

    /// <summary>Write and user bits that all entries have.</summary>
    public ulong Rights;

    /// <summary>Bit 63 if an entry forbids execution.</summary>
    public ulong NotExecutable;

    /// <summary>#PF error code so far.</summary>
    public uint Error;

    /// <summary>Entries below that were good; PAE's directory-pointer entry, which has no rights, is not among them. One that ended the walk is behind them.</summary>
    public int Levels;

    /// <summary>The page is part of a larger one.</summary>
    public bool IsLarge;

    /// <summary>Physical addresses of the entries, from the top.</summary>
    public LevelArray Address;

    /// <summary>The entries.</summary>
    public LevelArray Entry;

    /// <summary>One value for each level.</summary>
    [System.Runtime.CompilerServices.InlineArray(5)]
    internal struct LevelArray
    {
        private ulong _first;
    }
}

/// <summary>
/// Walks the guest's page tables (SDM vol. 3, chapter 4): none, 32-bit, PAE, 4-level and 5-level, with large pages, reserved bits,
/// protection and the accessed and dirty bits, set by atomic compare-exchange as the processor does.
/// </summary>
internal static class PageWalker
{
    private const ulong Present = 1, Write = 2, User = 4, Accessed = 0x20, DirtyBit = 0x40, Large = 0x80, GlobalBit = 0x100, Nx = 1UL << 63;
    private const uint ErrorPresent = 1, ErrorUser = 4, ErrorReserved = 8;

    /// <summary>Restarts when another processor changes an entry under the walk; beyond this many the bits stay unset.</summary>
    private const int MaxRestarts = 8;

    /// <summary>Translates; on false <paramref name="error"/> is the #PF error code.</summary>
    public static bool TryWalk(ref Cpu cpu, PhysicalMemory memory, ulong linear, AccessKind access, Privilege privilege,
        out PageMapping mapping, out uint error) => TryWalk(ref cpu, memory, linear, access, privilege, out mapping, out error, out _);

    /// <summary>As above, and tells the entries that were used.</summary>
    public static bool TryWalk(ref Cpu cpu, PhysicalMemory memory, ulong linear, AccessKind access, Privilege privilege,
        out PageMapping mapping, out uint error, out PageWalk walk)
    {
        error = 0;
        mapping = default;
        walk = default;
        if ((cpu.Cr0 & Bits.Cr0Pg) == 0)
        {
            mapping = new PageMapping { Physical = (uint)linear & ~0xfffUL, Readable = true, Writable = true, Executable = true, Dirty = true };
            return true;
        }

        for (int restart = 0; ; restart++)
        {
            bool wide = (cpu.Cr4 & Bits.Cr4Pae) != 0;
            walk = new PageWalk { Error = (uint)access | (privilege == Privilege.User ? ErrorUser : 0) };
            if (access == AccessKind.Execute && !((wide && (cpu.Efer & Bits.EferNxe) != 0) || (cpu.Cr4 & Bits.Cr4Smep) != 0))
                walk.Error &= ~(uint)AccessKind.Execute;
            bool found = wide ? Walk64(ref cpu, memory, linear, ref walk) : Walk32(ref cpu, memory, (uint)linear, ref walk);
            if (!found || !Permits(ref cpu, access, privilege, ref walk, out mapping))
            {
                error = walk.Error;
                return false;
            }

            bool dirty = access == AccessKind.Write;
            if (TryMark(memory, ref walk, wide, dirty) || restart >= MaxRestarts)
            {
                mapping.Dirty = dirty || (walk.Leaf & DirtyBit) != 0;
                return true;
            }
        }
    }

    /// <summary>What a walk goes through, with paging on: rights are not checked and nothing is marked. False where an entry is missing or malformed.</summary>
    public static bool TryLook(ref Cpu cpu, PhysicalMemory memory, ulong linear, out PageWalk walk)
    {
        walk = default;
        return (cpu.Cr4 & Bits.Cr4Pae) != 0 ? Walk64(ref cpu, memory, linear, ref walk) : Walk32(ref cpu, memory, (uint)linear, ref walk);
    }

    private static bool Walk64(ref Cpu cpu, PhysicalMemory memory, ulong linear, ref PageWalk walk)
    {
        bool longMode = (cpu.Efer & Bits.EferLma) != 0;
        int levels = !longMode ? 3 : (cpu.Cr4 & Bits.Cr4La57) != 0 ? 5 : 4;
        if (!longMode)
            linear = (uint)linear;
        ulong frame = PhysicalMask(ref cpu) & ~0xfffUL;
        ulong nx = (cpu.Efer & Bits.EferNxe) != 0 ? Nx : 0;
        // Reserved: address bits beyond MAXPHYADDR (bits 52–58 are ignored in long mode, reserved under PAE), NX without NXE.
        ulong reserved = (0x000f_ffff_ffff_f000UL & ~frame) | (Nx & ~nx) | (longMode ? 0 : 0x7ff0_0000_0000_0000UL);
        ulong table = longMode ? cpu.Cr3 & frame : cpu.Cr3 & 0xffff_ffe0;
        walk.Rights = Write | User;
        for (int level = levels; ; level--)
        {
            int shift = 12 + (9 * (level - 1));
            bool pointer = level == 3 && !longMode;
            ulong address = table + (((linear >> shift) & (pointer ? 3UL : 0x1ff)) * 8);
            ulong entry = memory.Read64(address);
            walk.Address[walk.Levels] = address;
            walk.Entry[walk.Levels] = entry;
            if ((entry & Present) == 0)
                return false;
            bool leaf = level == 1 || ((entry & Large) != 0 && level <= 3 && !pointer);
            ulong bad = reserved;
            if (pointer)
                bad |= 0x1e6 | Nx; // PAE directory-pointer entries have no rights (SDM vol. 3, 4.4.1)
            else if (level >= 4)
                bad |= Large;
            else if (leaf && level > 1)
                bad |= ((1UL << shift) - 1) & 0x000f_ffff_ffff_e000; // bit 12 is PAT
            if ((entry & bad) != 0)
                return Reserved(ref walk);
            if (!pointer)
            {
                walk.Levels++;
                walk.Rights &= entry;
                walk.NotExecutable |= entry & nx;
            }

            if (leaf)
            {
                ulong inside = (1UL << shift) - 1;
                walk.Leaf = entry;
                walk.IsLarge = level > 1;
                walk.Physical = ((entry & frame & ~inside) | (linear & inside)) & ~0xfffUL;
                return true;
            }

            table = entry & frame;
        }
    }

    private static bool Walk32(ref Cpu cpu, PhysicalMemory memory, uint linear, ref PageWalk walk)
    {
        ulong address = (cpu.Cr3 & 0xffff_f000) + ((linear >> 22) * 4);
        ulong entry = memory.Read32(address);
        walk.Address[0] = address;
        walk.Entry[0] = entry;
        if ((entry & Present) == 0)
            return false;
        walk.Rights = entry & (Write | User);
        walk.Levels = 1;
        walk.Leaf = entry;
        if ((entry & Large) != 0 && (cpu.Cr4 & Bits.Cr4Pse) != 0)
        {
            // PSE-36: bits 13–20 are address bits 32–39; bit 21 is reserved (SDM vol. 3, 4.3).
            if ((entry & (1 << 21)) != 0)
                return Reserved(ref walk);
            walk.IsLarge = true;
            walk.Physical = (entry & 0xffc0_0000) | ((entry & 0x1f_e000) << 19) | (linear & 0x3f_f000);
            return true;
        }

        address = (entry & 0xffff_f000) + (((linear >> 12) & 0x3ff) * 4);
        entry = memory.Read32(address);
        walk.Address[1] = address;
        walk.Entry[1] = entry;
        if ((entry & Present) == 0)
            return false;
        walk.Rights &= entry;
        walk.Levels = 2;
        walk.Leaf = entry;
        walk.Physical = entry & 0xffff_f000;
        return true;
    }

    private static bool Reserved(ref PageWalk walk)
    {
        walk.Error |= ErrorPresent | ErrorReserved;
        return false;
    }

    /// <summary>SDM vol. 3, 4.6.1.</summary>
    internal static bool Permits(ref Cpu cpu, AccessKind access, Privilege privilege, ref PageWalk walk, out PageMapping mapping)
    {
        bool userPage = (walk.Rights & User) != 0;
        bool writable = (walk.Rights & Write) != 0;
        bool user = privilege == Privilege.User;
        mapping = new PageMapping
        {
            Physical = walk.Physical,
            Readable = user ? userPage : !(userPage && privilege == Privilege.SupervisorSmap),
            Executable = walk.NotExecutable == 0 && (user ? userPage : !(userPage && (cpu.Cr4 & Bits.Cr4Smep) != 0)),
            Large = walk.IsLarge,
            Global = (walk.Leaf & GlobalBit) != 0 && (cpu.Cr4 & Bits.Cr4Pge) != 0,
        };
        mapping.Writable = mapping.Readable && (writable || (!user && (cpu.Cr0 & Bits.Cr0Wp) == 0));
        bool allowed = access switch
        {
            AccessKind.Write => mapping.Writable,
            AccessKind.Execute => mapping.Executable,
            _ => mapping.Readable,
        };
        if (!allowed)
            walk.Error |= ErrorPresent;
        return allowed;
    }

    private static bool TryMark(PhysicalMemory memory, ref PageWalk walk, bool wide, bool dirty)
    {
        for (int i = 0; i < walk.Levels; i++)
        {
            ulong old = walk.Entry[i];
            ulong marked = old | Accessed | (dirty && i == walk.Levels - 1 ? DirtyBit : 0);
            if (marked == old)
                continue;
            bool done = wide
                ? memory.TryReplace64(walk.Address[i], old, marked)
                : memory.TryReplace32(walk.Address[i], (uint)old, (uint)marked);
            if (!done)
                return false;
        }

        return true;
    }

    private static ulong PhysicalMask(ref Cpu cpu) => (1UL << cpu.PhysicalBits) - 1;
}
