using Kvm.Devices.Memory;
using Kvm.Interop;

namespace Kvm.Vmm.Scheduling;

/// <summary>
/// A guest's steal time (Documentation/virt/kvm/x86/msr.rst, MSR_KVM_STEAL_TIME). KVM adds what a vCPU thread waited in the host's run
/// queue; a thread parked at the gate is in no run queue, so its waiting is added here, to the same counter: KVM reads the counter from
/// guest memory before it adds. Called on the vCPU's thread outside KVM_RUN, when nobody else writes there.
/// </summary>
internal sealed class StealTime(KvmVcpu vcpu, GuestMemory memory)
{
    private const uint Msr = 0x4b56_4d03;
    private const ulong Enabled = 1;

    // struct kvm_steal_time: u64 steal, u32 version, ... 64 bytes, aligned to 64.
    private const ulong AddressMask = ~0x3fUL;
    private const ulong VersionOffset = 8;
    private const ulong Length = 64;

    /// <summary>Adds to the counter, where the guest asked for one.</summary>
    public void Add(long nanoseconds)
    {
        if (vcpu.TryGetMsr(Msr, out ulong value) && (value & Enabled) != 0)
            AddAt(memory, value & AddressMask, nanoseconds);
    }

    /// <summary>Adds to the counter at an address the guest chose; false where it is no memory.</summary>
    internal static bool AddAt(GuestMemory memory, ulong address, long nanoseconds)
    {
        if (!memory.Contains(address, Length) || !memory.TryRead(address, out ulong steal) || !memory.TryRead(address + VersionOffset, out uint version))
            return false;
        // An odd version says that the counter is being written.
        version |= 1;
        memory.TryWrite(address + VersionOffset, version);
        Thread.MemoryBarrier();
        bool written = memory.TryWrite(address, unchecked(steal + (ulong)nanoseconds));
        Thread.MemoryBarrier();
        memory.TryWrite(address + VersionOffset, unchecked(version + 1));
        return written;
    }
}
