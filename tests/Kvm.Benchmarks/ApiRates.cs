using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using System.Text;

namespace Kvm.Benchmarks;

/// <summary>How long calls of the manager's API take, one after another on one connection: <c>NAME MEDIAN P99</c> in µs a line.</summary>
internal static class ApiRates
{
    private const int WarmUp = 200, Calls = 3000, Operations = 200;

    /// <summary>Measures.</summary>
    /// <param name="path">The socket.</param>
    /// <param name="vm">A running machine.</param>
    public static void Print(string path, string vm)
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Connect(new UnixDomainSocketEndPoint(path));
        Print(socket, "version", Calls, ["GET /version"]);
        Print(socket, "inspect", Calls, [$"GET /vms/{vm}"]);
        Print(socket, "list", Calls, ["GET /vms"]);
        Print(socket, "stats", Calls, [$"GET /vms/{vm}/stats"]);
        // Each taken is on the disk before it is answered.
        Print(socket, "operation", Operations, [$"POST /vms/{vm}/pause", $"POST /vms/{vm}/resume"], wait: true);
    }

    private static void Print(Socket socket, string name, int calls, string[] requests, bool wait = false)
    {
        byte[] buffer = new byte[1 << 20];
        List<double> times = [];
        for (int i = 0; i < calls + WarmUp; i++)
        {
            long begun = Stopwatch.GetTimestamp();
            string answer = Ask(socket, requests[i % requests.Length], buffer);
            if (i >= WarmUp)
                times.Add(Stopwatch.GetElapsedTime(begun).TotalMicroseconds);
            // The next is taken when this one is done: what is measured is not the queue.
            if (wait)
                Ask(socket, $"GET /operations/{answer.Split("\"id\":\"")[1].Split('"')[0]}?wait=10000", buffer);
        }

        times.Sort();
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{name} {times[times.Count / 2]:f0} {times[times.Count * 99 / 100]:f0}"));
    }

    private static string Ask(Socket socket, string request, byte[] buffer)
    {
        socket.Send(Encoding.ASCII.GetBytes($"{request} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"));
        int filled = 0;
        while (true)
        {
            int count = socket.Receive(buffer.AsSpan(filled));
            if (count == 0)
                throw new IOException("the server hung up");
            filled += count;
            int end = buffer.AsSpan(0, filled).IndexOf("\r\n\r\n"u8);
            if (end < 0)
                continue;
            string head = Encoding.ASCII.GetString(buffer, 0, end);
            if (head.Split(' ')[1][0] != '2')
                throw new IOException($"{request}: {Encoding.UTF8.GetString(buffer, 0, filled)}");
            int length = int.Parse(head.Split("Content-Length: ")[1].Split('\r')[0], CultureInfo.InvariantCulture);
            if (filled == end + 4 + length)
                return Encoding.UTF8.GetString(buffer, end + 4, length);
        }
    }
}
