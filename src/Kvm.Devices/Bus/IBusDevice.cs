namespace Kvm.Devices.Bus;

/// <summary>
/// What a device shows to a bus. The span's length is the access width in bytes: 1, 2, 4 or 8 (a device must bear any
/// length from 1 to 8 at any offset inside its range: the guest chooses both).
/// </summary>
/// <remarks>Called on vCPU threads, possibly several at once; a device with state takes its own lock. Must not throw.</remarks>
public interface IBusDevice
{
    /// <summary>Fills <paramref name="data"/> with what the guest reads at <paramref name="offset"/> from the device's base.</summary>
    void Read(ulong offset, Span<byte> data);

    /// <summary>Takes the bytes the guest writes at <paramref name="offset"/> from the device's base.</summary>
    void Write(ulong offset, ReadOnlySpan<byte> data);
}
