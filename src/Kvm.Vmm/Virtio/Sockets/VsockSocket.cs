using System.Globalization;
using System.Text;
using Kvm.Devices.Virtio.Vsock;
using Kvm.Interop;

namespace Kvm.Vmm.Virtio.Sockets;

/// <summary>The host's end of one connection: a Unix socket that does not block.</summary>
/// <param name="server">Who watches it.</param>
/// <param name="socket">The socket, this one's from now on.</param>
/// <param name="data">Its number in the server's set.</param>
internal sealed class VsockSocket(VsockServer server, UnixSocket socket, ulong data) : IVsockStream
{
    /// <summary>The connection it is of, once there is one.</summary>
    public VsockConnection? Connection { get; set; }

    /// <summary>The socket.</summary>
    public UnixSocket Socket => socket;

    /// <summary>Its number in the server's set.</summary>
    public ulong Data => data;

    /// <inheritdoc/>
    public int Read(Span<byte> to)
    {
        int count = socket.Receive(to, out var descriptor, wait: false);
        descriptor?.Dispose();
        // Whatever else went wrong, nothing more comes.
        return count == -Errno.EAGAIN ? -1 : Math.Max(0, count);
    }

    /// <inheritdoc/>
    public int Write(ReadOnlySpan<byte> from)
    {
        if (from.IsEmpty)
            return 0;
        int count = socket.Send(from, wait: false);
        return count == -Errno.EAGAIN ? 0 : Math.Max(-1, count);
    }

    /// <inheritdoc/>
    public void OnAccepted(uint hostPort) =>
        _ = socket.Send(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"OK {hostPort}\n")), wait: false);

    /// <inheritdoc/>
    public void EndWrites() => socket.EndWrites();

    /// <inheritdoc/>
    public void Dispose()
    {
        server.Forget(data);
        socket.Dispose();
    }
}
