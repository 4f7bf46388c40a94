using System.Globalization;
using System.Text;
using Kvm.Interop;

namespace Kvm.Vmm.Virtio.Sockets;

/// <summary>A program of the host's that has not said yet which port of the guest it wants: <c>CONNECT 52</c> and a newline (Firecracker, docs/vsock.md).</summary>
/// <param name="socket">Its socket.</param>
internal sealed class VsockGreeting(UnixSocket socket)
{
    private const int MostBytes = 32;
    private const string Verb = "CONNECT ";

    private readonly byte[] _line = new byte[MostBytes];
    private int _length;

    /// <summary>Its socket.</summary>
    public UnixSocket Socket => socket;

    /// <summary>Reads on, and not a byte behind the line: that is the guest's.</summary>
    /// <param name="port">The port, where the line is complete.</param>
    /// <returns>True if it is; false if it is not yet; null if it never will be.</returns>
    public bool? TryRead(out uint port)
    {
        port = 0;
        while (_length < MostBytes)
        {
            int count = socket.Receive(_line.AsSpan(_length, 1), out var descriptor, wait: false);
            descriptor?.Dispose();
            if (count == -Errno.EAGAIN)
                return false;
            if (count <= 0)
                return null;
            if (_line[_length++] == (byte)'\n')
                return TryParse(_line.AsSpan(0, _length - 1), out port) ? true : null;
        }

        return null;
    }

    internal static bool TryParse(ReadOnlySpan<byte> line, out uint port)
    {
        port = 0;
        string text = Encoding.ASCII.GetString(line);
        return text.StartsWith(Verb, StringComparison.OrdinalIgnoreCase)
            && uint.TryParse(text.AsSpan(Verb.Length), NumberStyles.None, CultureInfo.InvariantCulture, out port);
    }
}
