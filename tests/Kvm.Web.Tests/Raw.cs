using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Kvm.Web.Tests;

/// <summary>A client that sends what it is told, also what no browser would.</summary>
internal static class Raw
{
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    /// <summary>Sends a request over a connection of its own; the status and the whole answer.</summary>
    public static async Task<(int Status, string Text)> Send(string address, string request)
    {
        using var socket = await Connect(address);
        await socket.SendAsync(Encoding.ASCII.GetBytes(request));
        string text = await ReadToEnd(socket);
        return (int.Parse(text.Split(' ')[1], System.Globalization.CultureInfo.InvariantCulture), text);
    }

    public static async Task<Socket> Connect(string address)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync(IPAddress.Loopback, new Uri(address).Port);
        return socket;
    }

    public static async Task<string> ReadToEnd(Socket socket)
    {
        using var patience = new CancellationTokenSource(Patience);
        var text = new StringBuilder();
        var buffer = new byte[1 << 16];
        try
        {
            while (await socket.ReceiveAsync(buffer, patience.Token) is > 0 and var count)
                text.Append(Encoding.UTF8.GetString(buffer, 0, count));
        }
        catch (SocketException)
        {
            // Sent away in the middle of what it says.
        }

        return text.ToString();
    }
}
