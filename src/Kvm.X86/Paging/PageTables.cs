using Kvm.Devices.Memory;
using Kvm.X86.State;

namespace Kvm.X86.Paging;

/// <summary>An entry that a walk of page tables went through.</summary>
/// <param name="Address">Its guest-physical address.</param>
/// <param name="Value">The entry.</param>
public readonly record struct PageTableEntry(ulong Address, ulong Value);

/// <summary>
/// The guest's page tables for people and debuggers: translation without rights, without effect (accessed and dirty bits stay), and
/// whichever engine runs the guest.
/// </summary>
public static class PageTables
{
    /// <summary>Most entries of a walk.</summary>
    public const int MostLevels = 5;

    /// <summary>Translates a linear address as the state's paging mode has it (SDM vol. 3, chapter 4); without paging it is the physical one.</summary>
    /// <param name="memory">Guest memory.</param>
    /// <param name="state">Control registers and EFER of the processor.</param>
    /// <param name="linear">The address.</param>
    /// <param name="physical">Where it leads, on true.</param>
    public static bool TryTranslate(GuestMemory memory, ArchitecturalState state, ulong linear, out ulong physical) =>
        TryTranslate(memory, state, linear, out physical, [], out _);

    /// <summary>
    /// As above, and tells the entries of the walk from the top, on false those up to the one that ended it. PAE's directory pointer is
    /// told only if it is that one.
    /// </summary>
    /// <param name="memory">Guest memory.</param>
    /// <param name="state">Control registers and EFER of the processor.</param>
    /// <param name="linear">The address.</param>
    /// <param name="physical">Where it leads, on true.</param>
    /// <param name="path">Takes the entries: <see cref="MostLevels"/>, or none.</param>
    /// <param name="levels">How many there are.</param>
    public static bool TryTranslate(GuestMemory memory, ArchitecturalState state, ulong linear, out ulong physical, Span<PageTableEntry> path, out int levels)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(state);
        levels = 0;
        bool longMode = (state.Efer & Bits.EferLma) != 0;
        if (!longMode)
            linear = (uint)linear;
        physical = linear;
        if ((state.Cr0 & Bits.Cr0Pg) == 0)
            return true;
        int unused = 64 - ((state.Cr4 & Bits.Cr4La57) != 0 ? 57 : 48);
        if (longMode && (ulong)((long)(linear << unused) >> unused) != linear)
            return false;
        var cpu = new Cpu { Cr0 = state.Cr0, Cr3 = state.Cr3, Cr4 = state.Cr4, Efer = state.Efer, PhysicalBits = 52 };
        bool found = PageWalker.TryLook(ref cpu, new PhysicalMemory(memory), linear, out var walk);
        levels = Math.Min(walk.Levels + (found ? 0 : 1), path.Length);
        for (int level = 0; level < levels; level++)
            path[level] = new PageTableEntry(walk.Address[level], walk.Entry[level]);
        physical = walk.Physical | (linear & 0xfff);
        return found;
    }
}
