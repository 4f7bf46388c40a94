using System.Net.Sockets;
using System.Text;
using Kvm.Vmm.Debugging.Gdb;

namespace Kvm.Boot.Tests.Debugging;

/// <summary>The debugger's end of gdb's protocol, with a server of ours at the other.</summary>
internal sealed class GdbClient : IDisposable
{
    private readonly Socket _socket;
    private readonly PacketReader _reader = new();
    private readonly byte[] _buffer = new byte[1 << 16];
    private int _from;
    private int _to;

    public GdbClient(GdbServer server)
    {
        if (server.Address.StartsWith("127.", StringComparison.Ordinal))
        {
            _socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            _socket.Connect(System.Net.IPEndPoint.Parse(server.Address));
        }
        else
        {
            _socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            _socket.Connect(new UnixDomainSocketEndPoint(server.Address));
        }

        _socket.ReceiveTimeout = 60_000;
    }

    /// <summary>Sends a packet and gives the reply's content; the acknowledgement is looked for.</summary>
    public string Ask(string packet)
    {
        Send(packet);
        Next().Should().Be("+");
        return Reply();
    }

    public void Send(string packet) => Raw(new PacketWriter().Begin().Text(packet).Frame().Span);

    public void Raw(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
            bytes = bytes[_socket.Send(bytes)..];
    }

    /// <summary>The next packet, acknowledged.</summary>
    public string Reply()
    {
        string reply = Next();
        Raw("+"u8);
        reply.Should().StartWith("$");
        return reply[1..];
    }

    /// <summary>The next event: <c>+</c>, <c>-</c>, <c>$content</c>, or nothing where the server hung up.</summary>
    public string Next()
    {
        while (true)
        {
            while (_from < _to)
            {
                ReadOnlySpan<byte> bytes = _buffer.AsSpan(_from, _to - _from);
                var found = _reader.Next(ref bytes);
                _from = _to - bytes.Length;
                switch (found)
                {
                    case PacketEvent.Ack:
                        return "+";
                    case PacketEvent.Nak:
                        return "-";
                    case PacketEvent.Packet:
                        return "$" + Encoding.Latin1.GetString(_reader.Content);
                }
            }

            (_from, _to) = (0, _socket.Receive(_buffer));
            if (_to == 0)
                return "";
        }
    }

    public void Dispose() => _socket.Dispose();
}
