using System.Diagnostics;
using System.Text;
using Kvm.Devices.Net.Metadata;
using Kvm.Devices.Tests.Net.Metadata;

namespace Kvm.Devices.Tests.Fuzz;

/// <summary>
/// A guest of the metadata service chosen by bytes: segments that are right, nearly right or anything, on several ports, frames taken or left, time that goes by. Nothing may
/// throw; every frame that comes out is one; and afterwards a connection works.
/// </summary>
internal static class MetadataFuzz
{
    public const string Name = "metadata";

    /// <summary>No input takes longer, however slow the host: an endless loop does.</summary>
    private static readonly TimeSpan s_mostTime = TimeSpan.FromSeconds(20);

    private static readonly string[] s_parts =
    [
        "GET ", "PUT ", "/", "/latest/meta-data", "/name", "/latest/api/token", " HTTP/1.1\r\n", " HTTP/1.0\r\n", "\r\n", "X-metadata-token-ttl-seconds: 60\r\n",
        "X-metadata-token: AAAA\r\n", "Accept: application/json\r\n", "Content-Length: 5\r\n", "Connection: close\r\n", "GET /name HTTP/1.1\r\n\r\n", "http://",
    ];

    /// <summary>Runs one input.</summary>
    /// <returns>What was wrong, or null; and where the run has been.</returns>
    public static (string? Wrong, int Signature) Execute(ReadOnlySpan<byte> bytes)
    {
        var input = new FuzzInput(bytes);
        var clock = Stopwatch.StartNew();
        using var guest = new MetadataGuest(version: (bytes.Length & 1) == 0 ? MetadataVersion.V1 : MetadataVersion.V2);
        var sockets = Enumerable.Range(0, 4).Select(i => new GuestSocket(guest, 2000 + i)).ToArray();
        var signature = new HashCode();
        try
        {
            while (!input.IsEmpty && clock.Elapsed < s_mostTime)
                Step(guest, sockets, ref input, ref signature);
            guest.TakeAll();
            var socket = guest.Connect(60_000);
            socket.Send("BREW / HTTP/1.1\r\n\r\n");
            if (!socket.Received.StartsWith("HTTP/1.1 405 ", StringComparison.Ordinal))
                return ($"a good request is answered by '{socket.Received}'", 0);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            return (e.ToString(), 0);
        }

        if (clock.Elapsed >= s_mostTime)
            return ("it takes too long", 0);
        var (connections, evicted, dropped) = guest.Network.Traffic;
        signature.Add((Math.Min(connections, 4), Math.Min(evicted, 1), Math.Min(dropped, 2), Math.Min(guest.Answers.Counters.Requests, 3), Math.Min(guest.Answers.Counters.Refused, 2)));
        return (null, signature.ToHashCode());
    }

    private static void Step(MetadataGuest guest, GuestSocket[] sockets, ref FuzzInput input, ref HashCode signature)
    {
        byte kind = input.U8();
        var socket = sockets[kind >> 6];
        int before = (int)guest.Answers.Counters.Requests;
        switch (kind & 15)
        {
            case 0:
                byte[] raw = new byte[input.U8()];
                input.Fill(raw);
                guest.Send([.. socket.Frame(GuestSocket.Ack, [], [], 1)[..34], .. raw]);
                break;
            case 1:
                guest.Time.Advance(TimeSpan.FromMilliseconds(200 * (1 + (input.U8() & 7))));
                break;
            case 2:
                socket.Put(GuestSocket.Syn, [], Options(ref input));
                break;
            case 3:
                byte[] changed = socket.Frame(input.U8(), Text(ref input), Options(ref input), socket.Sequence);
                for (int i = input.U8() & 3; i >= 0; i--)
                    changed[input.U8() % changed.Length] = input.U8();
                guest.Send(changed, 1 + (input.U8() & 3));
                break;
            case 4:
                (socket.Sequence, socket.Acknowledgement) = (socket.Sequence + (uint)(sbyte)input.U8(), socket.Acknowledgement + (uint)(sbyte)input.U8());
                break;
            case 5:
                socket.Window = input.U16();
                break;
            case 6:
                guest.Take();
                break;
            case 7:
                socket.Put((byte)(GuestSocket.Ack | GuestSocket.Fin));
                break;
            case 8:
                socket.TryOpen();
                break;
            case 9:
                socket.Go();
                break;
            default:
                byte[] text = Text(ref input);
                socket.Put(GuestSocket.Ack, text);
                socket.Sequence += (uint)text.Length;
                break;
        }

        signature.Add((kind & 15, Math.Min((int)guest.Answers.Counters.Requests - before, 2)));
    }

    private static byte[] Text(ref FuzzInput input)
    {
        var text = new StringBuilder();
        for (int i = input.U8() & 7; i > 0; i--)
        {
            byte part = input.U8();
            text.Append(part < 240 ? s_parts[part % s_parts.Length] : new string((char)(part & 127), 1 << (part & 15) % 12));
        }

        return Encoding.UTF8.GetBytes(text.ToString());
    }

    private static byte[] Options(ref FuzzInput input)
    {
        byte[] options = new byte[4 * (input.U8() % 11)];
        input.Fill(options);
        return options;
    }
}
