using Kvm.Devices.Virtio.Console;
using Kvm.Vmm.Console;

namespace Kvm.Vmm.Virtio.Ports;

/// <summary>The console port of a virtio console: shown where the serial port was, once the guest's driver has opened it.</summary>
/// <remarks>A console that takes nothing holds the guest up, as it does at a serial port, until the machine ends (<see cref="VirtualMachine.Stopping"/>).</remarks>
/// <param name="console">The machine's console.</param>
internal sealed class LoginConsole(ConsoleWatcher console) : IConsoleSink
{
    /// <inheritdoc/>
    public int Write(ReadOnlySpan<byte> bytes)
    {
        console.Write(bytes);
        return bytes.Length;
    }

    /// <inheritdoc/>
    public void GuestOpened(bool open) => console.SerialHidden = open;
}
