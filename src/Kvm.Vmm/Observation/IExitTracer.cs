using Kvm.Interop;

namespace Kvm.Vmm.Observation;

/// <summary>Sees each exit of one vCPU, on its thread. Must not throw.</summary>
internal interface IExitTracer
{
    /// <summary>A software processor's access to a device begins.</summary>
    /// <param name="reason">KVM_EXIT_IO or KVM_EXIT_MMIO: what it would be under KVM.</param>
    /// <param name="address">The port, or the guest-physical address.</param>
    /// <param name="size">Bytes.</param>
    /// <param name="isWrite">The guest writes.</param>
    /// <param name="rip">The instruction's address.</param>
    void Begin(KvmExit reason, ulong address, int size, bool isWrite, ulong rip);

    /// <summary>The access has been made.</summary>
    /// <param name="value">What was read or written.</param>
    void End(ulong value);

    /// <summary>KVM_RUN returned with an exit.</summary>
    /// <param name="page">The exit.</param>
    void Begin(KvmRunPage page);

    /// <summary>It has been dealt with.</summary>
    /// <param name="page">The exit, answered.</param>
    /// <param name="goesOn">The vCPU enters the guest again.</param>
    void End(KvmRunPage page, bool goesOn);
}
