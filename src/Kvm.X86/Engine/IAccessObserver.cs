namespace Kvm.X86.Engine;

/// <summary>
/// Told of every access of a processor to a device, on its thread: what would be exits under hardware virtualization. Must not throw,
/// and must not run the processor; <see cref="SoftProcessor.GetState"/> may be called from <see cref="Begin"/>.
/// </summary>
public interface IAccessObserver
{
    /// <summary>An access begins.</summary>
    /// <param name="isPort">A port; else a register in memory.</param>
    /// <param name="address">The port, or the guest-physical address.</param>
    /// <param name="size">Bytes, 1 to 8.</param>
    /// <param name="isWrite">The guest writes.</param>
    /// <param name="rip">The instruction's address.</param>
    void Begin(bool isPort, ulong address, int size, bool isWrite, ulong rip);

    /// <summary>The access that began last has been made.</summary>
    /// <param name="value">What was read or written.</param>
    void End(ulong value);
}
