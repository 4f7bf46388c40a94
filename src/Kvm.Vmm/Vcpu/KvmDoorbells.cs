using Kvm.Interop;
using Kvm.Vmm.Virtio;

namespace Kvm.Vmm.Vcpu;

/// <summary>ioeventfds of one KVM virtual machine.</summary>
internal sealed class KvmDoorbells(KvmVm vm) : IDoorbells
{
    // With length 0 KVM need not decode the guest's instruction to know that the write is the doorbell's (api.rst 4.59).
    private readonly bool _anyLength = vm.CheckExtension(KvmCap.KVM_CAP_IOEVENTFD_ANY_LENGTH) > 0;

    public bool TryAttach(EventFd bell, ulong address, uint? match)
    {
        try
        {
            vm.Ioeventfd(bell, address, Width(match), port: false, match);
            return true;
        }
        catch (KvmException)
        {
            // A guest may point registers where another doorbell is (EEXIST), or KVM's table is full (ENOSPC).
            return false;
        }
    }

    public void Detach(EventFd bell, ulong address, uint? match)
    {
        try
        {
            vm.IoeventfdRemove(bell, address, Width(match), port: false, match);
        }
        catch (KvmException)
        {
            // It is gone already.
        }
    }

    // A queue's number is 32 bits through virtio-mmio; through PCI each queue has an address of its own, written with 16.
    private uint Width(uint? match) => match is not null ? 4u : _anyLength ? 0u : 2u;
}
