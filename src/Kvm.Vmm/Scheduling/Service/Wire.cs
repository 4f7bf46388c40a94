using System.Buffers.Binary;
using System.Text.Json;
using Kvm.Interop;

namespace Kvm.Vmm.Scheduling.Service;

/// <summary>
/// Messages on the scheduler's socket: four bytes of length, little-endian, then a JSON object. Whoever sends may send anything: a message
/// is bounded, and what is no JSON ends the connection.
/// </summary>
internal static class Wire
{
    /// <summary>The longest request.</summary>
    public const int MostRequestBytes = 64 << 10;

    /// <summary>The longest answer: a table of 65,536 vCPUs.</summary>
    public const int MostAnswerBytes = 64 << 20;

    public const int HeaderBytes = 4;

    /// <summary>How deep an object may be.</summary>
    public static readonly JsonDocumentOptions Options = new() { MaxDepth = 8 };

    /// <summary>A message with its length.</summary>
    public static byte[] Frame(Action<Utf8JsonWriter> members)
    {
        var buffer = new System.Buffers.ArrayBufferWriter<byte>(256);
        BinaryPrimitives.WriteInt32LittleEndian(buffer.GetSpan(HeaderBytes), 0);
        buffer.Advance(HeaderBytes);
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            members(json);
            json.WriteEndObject();
        }

        byte[] frame = buffer.WrittenSpan.ToArray();
        BinaryPrimitives.WriteInt32LittleEndian(frame, frame.Length - HeaderBytes);
        return frame;
    }

    /// <summary>The length of the message that begins here: −1 where it has not come yet, −2 where it is out of bounds.</summary>
    public static int LengthOf(ReadOnlySpan<byte> bytes, int most)
    {
        if (bytes.Length < HeaderBytes)
            return -1;
        int length = BinaryPrimitives.ReadInt32LittleEndian(bytes);
        return length is < 2 || length > most ? -2 : length;
    }

    /// <summary>Sends a whole message, waiting as long as it takes. False where the peer is gone.</summary>
    public static bool Send(UnixSocket socket, ReadOnlySpan<byte> frame)
    {
        while (frame.Length > 0)
        {
            int sent = socket.Send(frame);
            if (sent <= 0)
                return false;
            frame = frame[sent..];
        }

        return true;
    }

    /// <summary>Receives a whole message; null where the peer is gone, talks nonsense, or says nothing for so long.</summary>
    /// <param name="socket">A blocking socket.</param>
    /// <param name="patience">ms between pieces; −1 for ever.</param>
    /// <param name="descriptor">A descriptor that came with it, or null.</param>
    public static JsonDocument? Receive(UnixSocket socket, int patience, out FdHandle? descriptor)
    {
        descriptor = null;
        byte[] header = new byte[HeaderBytes];
        if (!Fill(socket, header, patience, ref descriptor) || LengthOf(header, MostAnswerBytes) is not (> 0 and var length))
            return null;
        byte[] body = new byte[length];
        return Fill(socket, body, patience, ref descriptor) ? Parse(body) : null;
    }

    /// <summary>The object, or null where it is none.</summary>
    public static JsonDocument? Parse(ReadOnlyMemory<byte> body)
    {
        try
        {
            var document = JsonDocument.Parse(body, Options);
            if (document.RootElement.ValueKind == JsonValueKind.Object)
                return document;
            document.Dispose();
            return null;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    /// <summary>A text member, or null.</summary>
    public static string? Text(JsonElement message, string name, int most = 256)
    {
        try
        {
            return message.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String && value.GetString() is { } text && text.Length <= most ? text : null;
        }
        catch (InvalidOperationException)
        {
            // Half of a surrogate pair.
            return null;
        }
    }

    /// <summary>A whole number within bounds, or the other.</summary>
    public static long Number(JsonElement message, string name, long otherwise, long least, long most) =>
        message.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out long number) && number >= least && number <= most
            ? number
            : otherwise;

    /// <summary>A number within bounds, or the other.</summary>
    public static double Real(JsonElement message, string name, double otherwise, double least, double most) =>
        message.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out double number) && number >= least && number <= most
            ? number
            : otherwise;

    private static bool Fill(UnixSocket socket, Span<byte> buffer, int patience, ref FdHandle? descriptor)
    {
        long deadline = patience < 0 ? long.MaxValue : Environment.TickCount64 + patience;
        while (buffer.Length > 0)
        {
            // A signal of the runtime may end a wait early.
            while (patience >= 0 && Descriptor.Poll([new PollFd { Fd = socket.Handle.Fd, Events = PollFd.POLLIN }], (int)Math.Max(0, deadline - Environment.TickCount64)) == 0)
            {
                if (Environment.TickCount64 >= deadline)
                    return false;
            }

            int count = socket.Receive(buffer, out var given);
            if (given is not null)
            {
                descriptor?.Dispose();
                descriptor = given;
            }

            if (count <= 0)
                return false;
            buffer = buffer[count..];
        }

        return true;
    }
}
