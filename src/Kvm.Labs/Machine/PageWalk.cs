using System.Buffers.Binary;
using Kvm.X86.State;

namespace Kvm.Labs.Machine;

/// <summary>The walk of a linear address through the tables of 64-bit mode, told step by step (SDM vol. 3, 4.5).</summary>
/// <param name="Physical">Where it leads, or null.</param>
/// <param name="Lines">The steps.</param>
internal sealed record PageWalk(ulong? Physical, IReadOnlyList<string> Lines)
{
    private const ulong Frame = 0x000f_ffff_ffff_f000;
    private static readonly string[] _levels = ["PML4", "PDPT", "PD", "PT"];

    /// <summary>Walks.</summary>
    /// <param name="memory">Guest memory from address 0.</param>
    /// <param name="state">CR0, CR3 and EFER.</param>
    /// <param name="address">The linear address.</param>
    public static PageWalk Of(ReadOnlySpan<byte> memory, ArchitecturalState state, ulong address)
    {
        const ulong paging = 1UL << 31, longMode = 1 << 10;
        var lines = new List<string> { $"walk of 0x{address:x}:" };
        if ((state.Cr0 & paging) == 0)
        {
            lines.Add("  paging is off: the address is physical");
            return new PageWalk(address, lines);
        }

        if ((state.Efer & longMode) == 0)
        {
            lines.Add("  the tables are not those of 64-bit mode (EFER.LMA is 0)");
            return new PageWalk(null, lines);
        }

        ulong table = state.Cr3 & Frame;
        for (int level = 0; level < 4; level++)
        {
            int shift = 39 - (9 * level);
            int index = (int)(address >> shift) & 0x1ff;
            ulong at = table + ((ulong)index * 8);
            if (at > (ulong)(memory.Length - 8))
            {
                lines.Add($"  {_levels[level]} at 0x{table:x} is not in memory");
                return new PageWalk(null, lines);
            }

            ulong entry = BinaryPrimitives.ReadUInt64LittleEndian(memory[(int)at..]);
            lines.Add($"  {_levels[level]} at 0x{table:x}, entry {index}: 0x{entry:x} ({Flags(entry, level)})");
            if ((entry & 1) == 0)
                return new PageWalk(null, lines);
            bool last = level == 3 || (level > 0 && (entry & 0x80) != 0);
            if (last)
            {
                ulong offset = (1UL << shift) - 1, physical = (entry & Frame & ~offset) | (address & offset);
                lines.Add($"  physical 0x{physical:x}");
                return new PageWalk(physical, lines);
            }

            table = entry & Frame;
        }

        return new PageWalk(null, lines);
    }

    private static string Flags(ulong entry, int level) => (entry & 1) == 0
        ? "not present"
        : string.Join(", ", new[]
        {
            "present",
            (entry & 2) != 0 ? "writable" : "read-only",
            (entry & 4) != 0 ? "user" : "supervisor",
            (entry & 0x20) != 0 ? "accessed" : null,
            (entry & 0x40) != 0 && (level == 3 || (entry & 0x80) != 0) ? "dirty" : null,
            (entry & 0x80) != 0 && level is 1 or 2 ? "large page" : null,
        }.OfType<string>());
}
