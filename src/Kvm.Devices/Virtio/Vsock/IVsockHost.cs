namespace Kvm.Devices.Virtio.Vsock;

/// <summary>
/// The host's end of one connection: a socket that does not block. Used under the device's lock; must not call the device from there, and not throw.
/// </summary>
public interface IVsockStream : IDisposable
{
    /// <summary>Takes bytes that the host has sent.</summary>
    /// <returns>How many; 0 at the end of what it sends; −1 where there are none now, and <see cref="VsockDevice.OnReady"/> follows when there are.</returns>
    int Read(Span<byte> to);

    /// <summary>Sends bytes of the guest's.</summary>
    /// <returns>How many were taken; fewer than all where <see cref="VsockDevice.OnReady"/> follows when more are; −1 where nobody is there any more.</returns>
    int Write(ReadOnlySpan<byte> from);

    /// <summary>The guest has accepted a connection that the host asked for.</summary>
    /// <param name="hostPort">The host's end of it.</param>
    void OnAccepted(uint hostPort);

    /// <summary>The guest sends no more: the host's end reads to the end.</summary>
    void EndWrites();
}

/// <summary>Who takes connections that guests ask for.</summary>
public interface IVsockHost
{
    /// <summary>Connects with who listens at a port of the host's. Under the device's lock; must not block, throw or call the device.</summary>
    /// <param name="connection">What to tell <see cref="VsockDevice.OnReady"/> of.</param>
    /// <param name="port">The port.</param>
    /// <returns>The host's end, or null where nobody listens.</returns>
    IVsockStream? Connect(VsockConnection connection, uint port);
}
