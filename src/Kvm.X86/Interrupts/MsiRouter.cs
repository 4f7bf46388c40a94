using Kvm.Devices.Interrupts;

namespace Kvm.X86.Interrupts;

/// <summary>
/// Message-signalled interrupts (SDM vol. 3, 11.11): what a device writes to 0xfeexxxxx becomes a message to local APICs.
/// Extended destination ids (address bits 5–11) are not offered, so a message that uses address bits above 32 is dropped.
/// </summary>
public sealed class MsiRouter : IMsiSink
{
    private const ulong AddressBase = 0xfee0_0000;
    private const ulong AddressMask = ~0xf_ffffUL;
    private readonly IApicFabric _fabric;
    private long _dropped;

    /// <summary>Sends to <paramref name="fabric"/>.</summary>
    public MsiRouter(IApicFabric fabric)
    {
        ArgumentNullException.ThrowIfNull(fabric);
        _fabric = fabric;
    }

    /// <summary>Messages that were malformed or that no local APIC accepted.</summary>
    public long Dropped => Interlocked.Read(ref _dropped);

    /// <inheritdoc/>
    public void Send(ulong address, uint data)
    {
        if (!TryDecode(address, data, out var message) || !_fabric.Deliver(message))
            Interlocked.Increment(ref _dropped);
    }

    /// <summary>Reads a message's fields; false if the address is no interrupt's, or the message takes back a level.</summary>
    public static bool TryDecode(ulong address, uint data, out ApicMessage message)
    {
        bool levelTriggered = (data & (1 << 15)) != 0, asserted = (data & (1 << 14)) != 0;
        message = new ApicMessage(
            ApicMessage.WidenDestination((byte)(address >> 12)),
            Logical: (address & (1 << 2)) != 0,
            (ApicDelivery)((data >> 8) & 7),
            (byte)data,
            levelTriggered,
            RedirectionHint: (address & (1 << 3)) != 0);
        return (address & AddressMask) == AddressBase && (asserted || !levelTriggered);
    }

    /// <summary>The address and data that mean <paramref name="message"/>, for who forwards an I/O APIC's to KVM_SIGNAL_MSI. The destination is cut to 8 bits.</summary>
    public static (ulong Address, uint Data) Encode(in ApicMessage message) => (
        AddressBase | ((ulong)(byte)message.Destination << 12) | (message.RedirectionHint ? 1UL << 3 : 0) | (message.Logical ? 1UL << 2 : 0),
        message.Vector | ((uint)message.Delivery << 8) | (message.LevelTriggered ? 3u << 14 : 0));
}
