using Kvm.Devices.Memory;
using Kvm.Interop;
using Kvm.X86.Paging;

namespace Kvm.Vmm.Vcpu;

/// <summary>
/// Pages of a KVM machine that were written: KVM's log of what the guest and KVM itself wrote (KVM_MEM_LOG_DIRTY_PAGES), and what devices here say
/// they wrote, which goes past KVM.
/// </summary>
/// <remarks>
/// By bitmap, not by KVM's ring of dirtied pages: that has to be enabled before the first vCPU is made and stays, so that every guest would pay for a ring.
/// </remarks>
internal sealed class KvmDirtyLog : IDisposable
{
    private readonly KvmVm _vm;
    private readonly GuestMemory _memory;
    private readonly ulong[][] _logs;

    /// <summary>Begins to log.</summary>
    /// <exception cref="KvmException">KVM refused it.</exception>
    public KvmDirtyLog(KvmVm vm, GuestMemory memory)
    {
        (_vm, _memory) = (vm, memory);
        Pages = new DirtyPages(memory);
        _logs = [.. memory.Regions.ToArray().Select(r => new ulong[(r.Size / GuestMemory.PageSize + 63) / 64])];
        memory.WriteObserver = Pages.Mark;
        MapAll(KvmMemoryFlags.LogDirtyPages);
    }

    /// <summary>What was written, as far as it was harvested, or is devices'.</summary>
    public DirtyPages Pages { get; }

    /// <summary>Makes a memory slot or changes its flags.</summary>
    public static void Map(KvmVm vm, int slot, in GuestRegion region, KvmMemoryFlags flags) =>
        vm.SetUserMemoryRegion((uint)slot, region.Start, region.Size, region.Host, flags);

    /// <summary>Takes KVM's log over; it begins anew.</summary>
    public void Harvest()
    {
        for (int slot = 0; slot < _logs.Length; slot++)
        {
            if (_memory.Regions[slot].ReadOnly)
                continue;
            _vm.GetDirtyLog((uint)slot, _logs[slot]);
            Pages.Mark(slot, _logs[slot]);
        }
    }

    /// <summary>Logs no more.</summary>
    public void Dispose()
    {
        _memory.WriteObserver = null;
        MapAll(KvmMemoryFlags.None);
    }

    private void MapAll(KvmMemoryFlags flags)
    {
        for (int slot = 0; slot < _logs.Length; slot++)
        {
            if (!_memory.Regions[slot].ReadOnly)
                Map(_vm, slot, _memory.Regions[slot], flags);
        }
    }
}
