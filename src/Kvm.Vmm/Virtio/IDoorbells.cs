using Kvm.Interop;

namespace Kvm.Vmm.Virtio;

/// <summary>Makes writes of the guest signal eventfds without the run ending: KVM's ioeventfd. Safe from any thread; a doorbell that cannot be hung up is not.</summary>
internal interface IDoorbells
{
    /// <summary>
    /// From now on a write at a guest-physical address signals <paramref name="bell"/>.
    /// </summary>
    /// <param name="bell">What is signalled.</param>
    /// <param name="address">Guest-physical; guest-chosen.</param>
    /// <param name="match">Only a 32-bit write of this value; null is any write.</param>
    /// <returns>False if that cannot be: the writes then end the run and reach the device's registers as all others do.</returns>
    bool TryAttach(EventFd bell, ulong address, uint? match);

    /// <summary>Undoes <see cref="TryAttach"/> of the same arguments.</summary>
    void Detach(EventFd bell, ulong address, uint? match);
}
