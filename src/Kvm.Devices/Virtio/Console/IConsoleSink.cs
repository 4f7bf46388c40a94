namespace Kvm.Devices.Virtio.Console;

/// <summary>Where a port's output goes, and who is told of its state. Called on a queue's thread or a vCPU's; must not throw or block for long.</summary>
public interface IConsoleSink
{
    /// <summary>Takes output of the guest.</summary>
    /// <returns>
    /// How many bytes were taken. If fewer than there are, the rest is kept in the guest until <see cref="ConsoleDevice.OutputReady"/>.
    /// </returns>
    int Write(ReadOnlySpan<byte> bytes);

    /// <summary>A program in the guest opened or closed the port.</summary>
    void GuestOpened(bool open);
}

/// <summary>One port of a console device.</summary>
/// <param name="Name">What the guest finds it by (<c>/dev/virtio-ports/NAME</c> in Linux); up to 64 bytes of UTF-8, empty for none.</param>
/// <param name="IsConsole">The guest may log in on it.</param>
/// <param name="Sink">Where its output goes.</param>
public sealed record ConsolePort(string Name, bool IsConsole, IConsoleSink Sink);
