using System.Runtime.CompilerServices;
using Kvm.Interop;

namespace Kvm.Vmm.Scheduling;

internal sealed unsafe partial class GateTable
{
    // SAFETY: the mapping is at least a page, holds the header, and lives until Dispose, after which Address throws.
    private ref GateHeader Header => ref *(GateHeader*)_memory.Address;

    // SAFETY: the index is below the count of slots, which fits the mapping's length (checked where the table is made or opened).
    private ref GateSlot At(int slot)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)slot, (uint)Slots, nameof(slot));
        return ref ((GateSlot*)((byte*)_memory.Address + GateHeader.Bytes))[slot];
    }

    // SAFETY: only the number is taken; the kernel checks what it is given.
    private static nint AddressOf(ref int word) => (nint)Unsafe.AsPointer(ref word);
}
