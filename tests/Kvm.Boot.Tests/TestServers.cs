using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Kvm.Boot.Tests;

/// <summary>Gives one file to whoever asks for any, by HTTP/1.0, on a thread of its own.</summary>
internal sealed class FileServer : IDisposable
{
    private readonly TcpListener _listener;
    private readonly byte[] _content;
    private readonly Thread _thread;

    public FileServer(IPEndPoint at, byte[] content)
    {
        _content = content;
        // Made here: it is of the caller's network.
        _listener = new TcpListener(at);
        _listener.Start();
        _thread = new Thread(Serve) { IsBackground = true };
        _thread.Start();
    }

    public int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

    /// <summary>How often it was asked.</summary>
    public int Requests { get; private set; }

    /// <summary>Fetches /file from a server, by HTTP/1.0.</summary>
    public static byte[] Fetch(IPEndPoint from)
    {
        using var client = new TcpClient(from.AddressFamily) { ReceiveTimeout = 60_000 };
        client.Connect(from);
        using var stream = client.GetStream();
        stream.Write("GET /file HTTP/1.0\r\n\r\n"u8);
        using var all = new MemoryStream();
        stream.CopyTo(all);
        byte[] bytes = all.ToArray();
        int head = bytes.AsSpan().IndexOf("\r\n\r\n"u8);
        head.Should().BePositive();
        return bytes[(head + 4)..];
    }

    public void Dispose()
    {
        _listener.Stop();
        _thread.Join();
    }

    private void Serve()
    {
        while (true)
        {
            try
            {
                using var client = _listener.AcceptTcpClient();
                using var stream = client.GetStream();
                byte[] request = new byte[4096];
                int length = 0;
                while (request.AsSpan(0, length).IndexOf("\r\n\r\n"u8) < 0 && length < request.Length && stream.Read(request, length, request.Length - length) is > 0 and var count)
                    length += count;
                Requests++;
                stream.Write(Encoding.ASCII.GetBytes($"HTTP/1.0 200 OK\r\nContent-Length: {_content.Length}\r\n\r\n"));
                stream.Write(_content);
            }
            catch (IOException)
            {
                // Who hung up has had enough.
            }
            catch (SocketException)
            {
                return;
            }
        }
    }
}

/// <summary>Answers every question for an IPv4 address with the same one (RFC 1035), on a thread of its own.</summary>
internal sealed class NameServer : IDisposable
{
    public const string Answer = "203.0.113.77";

    private readonly IPEndPoint _at;
    private readonly UdpClient _socket;
    private readonly Thread _thread;

    public NameServer(IPEndPoint at)
    {
        _at = at;
        _socket = new UdpClient(at);
        _thread = new Thread(Serve) { IsBackground = true };
        _thread.Start();
    }

    public int Questions { get; private set; }

    public void Dispose()
    {
        // A datagram that is no question ends it.
        using (var end = new UdpClient(_at.AddressFamily))
            end.Send([0], _at);
        _thread.Join();
        _socket.Dispose();
    }

    private void Serve()
    {
        try
        {
            while (true)
            {
                var from = new IPEndPoint(IPAddress.Any, 0);
                byte[] question = _socket.Receive(ref from);
                if (question.Length < 17)
                    return;
                Questions++;
                // The question, its flags made an answer's; for a type other than A, no record.
                bool address = question[^3] == 1;
                (question[2], question[3], question[7]) = (0x81, 0x80, address ? (byte)1 : (byte)0);
                byte[] record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, .. IPAddress.Parse(Answer).GetAddressBytes()];
                _socket.Send([.. question, .. address ? record : []], from);
            }
        }
        catch (SocketException)
        {
            // Nobody is there for an answer any more.
        }
    }
}
