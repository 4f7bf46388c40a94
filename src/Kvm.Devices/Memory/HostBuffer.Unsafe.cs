namespace Kvm.Devices.Memory;

// SAFETY (whole file): an instance is made only from an address and a length that its maker has bounded (GuestMemory, AlignedBuffer, and
// Slice within another instance); the memory's owner keeps it mapped for as long as devices run.
public readonly unsafe partial struct HostBuffer
{
    /// <summary>The bytes. Where they are guest memory the guest may change them at any time.</summary>
    public Span<byte> Span => new((void*)_address, Length);
}
