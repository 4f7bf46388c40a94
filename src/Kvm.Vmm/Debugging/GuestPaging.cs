using System.Globalization;
using System.Text.Json;
using Kvm.Devices.Memory;
using Kvm.X86.Paging;
using Kvm.X86.State;

namespace Kvm.Vmm.Debugging;

/// <summary>A walk of a guest's page tables, told level by level (SDM vol. 3, chapter 4).</summary>
public static class GuestPaging
{
    private const ulong Present = 1, Writable = 2, User = 4, Accessed = 0x20, Dirty = 0x40, Large = 0x80, NoExecute = 1UL << 63;
    private const ulong Paging = 1UL << 31, Wide = 0x20, FiveLevels = 0x1000, LongMode = 0x400;

    private static readonly string[] s_names = ["PT", "PD", "PDPT", "PML4", "PML5"];

    /// <summary>Writes a walk as an object: <c>address</c>, <c>paging</c>, <c>cr3</c>, <c>levels</c> (<c>name</c>, <c>index</c>, <c>at</c>, <c>value</c>, <c>flags</c>), <c>physical</c>, which is null where nothing is mapped.</summary>
    /// <param name="json">Where it goes.</param>
    /// <param name="memory">Guest memory.</param>
    /// <param name="state">Control registers and EFER of the processor.</param>
    /// <param name="linear">The address.</param>
    public static void WriteWalk(Utf8JsonWriter json, GuestMemory memory, ArchitecturalState state, ulong linear)
    {
        ArgumentNullException.ThrowIfNull(json);
        ArgumentNullException.ThrowIfNull(state);
        Span<PageTableEntry> path = stackalloc PageTableEntry[PageTables.MostLevels];
        bool found = PageTables.TryTranslate(memory, state, linear, out ulong physical, path, out int levels);
        path = path[..levels];
        json.WriteStartObject();
        json.WriteString("address", Hex(linear));
        json.WriteBoolean("paging", (state.Cr0 & Paging) != 0);
        json.WriteString("cr3", Hex(state.Cr3));
        json.WriteStartArray("levels");
        int top = TopLevel(state, found, path), size = (state.Efer & LongMode) != 0 || (state.Cr4 & Wide) != 0 ? 8 : 4;
        for (int i = 0; i < levels; i++)
        {
            int level = top - i;
            json.WriteStartObject();
            json.WriteString("name", s_names[level - 1]);
            json.WriteNumber("index", (path[i].Address & 0xfff) / (ulong)size);
            json.WriteString("at", Hex(path[i].Address));
            json.WriteString("value", Hex(path[i].Value));
            WriteFlags(json, path[i].Value, level, isLast: i == levels - 1 && found);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteString("physical", found ? Hex(physical) : null);
        json.WriteEndObject();
    }

    /// <summary>The level of the first entry that a walk tells of, 5 for PML5 to 1 for a page table.</summary>
    internal static int TopLevel(ArchitecturalState state, bool found, ReadOnlySpan<PageTableEntry> path)
    {
        if ((state.Efer & LongMode) != 0)
            return (state.Cr4 & FiveLevels) != 0 ? 5 : 4;
        // PAE's directory pointer is told of only where it is what ended the walk.
        return (state.Cr4 & Wide) != 0 && !found && path is [var only] && (only.Value & Present) == 0 ? 3 : 2;
    }

    private static void WriteFlags(Utf8JsonWriter json, ulong entry, int level, bool isLast)
    {
        json.WriteStartArray("flags");
        if ((entry & Present) == 0)
        {
            json.WriteStringValue("not present");
        }
        else
        {
            json.WriteStringValue("present");
            json.WriteStringValue((entry & Writable) != 0 ? "writable" : "read-only");
            json.WriteStringValue((entry & User) != 0 ? "user" : "supervisor");
            Flag(json, entry, Accessed, "accessed");
            if (isLast)
                Flag(json, entry, Dirty, "dirty");
            if (isLast && level > 1)
                Flag(json, entry, Large, "large page");
            Flag(json, entry, NoExecute, "no execute");
        }

        json.WriteEndArray();
    }

    private static void Flag(Utf8JsonWriter json, ulong entry, ulong bit, string name)
    {
        if ((entry & bit) != 0)
            json.WriteStringValue(name);
    }

    private static string Hex(ulong value) => string.Create(CultureInfo.InvariantCulture, $"0x{value:x}");
}
