using System.Buffers;
using System.Globalization;
using System.Numerics;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Kvm.Manager.Commands;

/// <summary>Commands as JSON, and as lines of their journal: a checksum (CRC-32C, 8 hexadecimal digits), a blank, the object. Thread-safe: no state.</summary>
public static class CommandJson
{
    private const int ChecksumLength = 8, MostDepth = 32;

    /// <summary>Writes the command's members into an object that is begun: <c>id vm verb arguments key state cancelAsked enqueued begun ended result errorId error</c>.</summary>
    /// <param name="json">The object.</param>
    /// <param name="command">The command.</param>
    public static void WriteMembers(Utf8JsonWriter json, Command command)
    {
        ArgumentNullException.ThrowIfNull(json);
        ArgumentNullException.ThrowIfNull(command);
        json.WriteString("id", command.Id.ToString());
        json.WriteString("vm", command.Vm);
        json.WriteString("verb", command.Verb);
        json.WritePropertyName("arguments");
        json.WriteRawValue(command.Arguments);
        json.WriteString("key", command.Key);
        json.WriteString("state", Command.NameOf(command.State));
        json.WriteBoolean("cancelAsked", command.CancelAsked);
        json.WriteString("enqueued", command.Enqueued);
        WriteTime(json, "begun", command.Begun);
        WriteTime(json, "ended", command.Ended);
        json.WritePropertyName("result");
        json.WriteRawValue(command.Result ?? "null");
        json.WriteString("errorId", command.ErrorId);
        json.WriteString("error", command.Error);
    }

    /// <summary>One line of a journal with its end.</summary>
    internal static byte[] Line(Action<Utf8JsonWriter> members)
    {
        var text = new ArrayBufferWriter<byte>(512);
        using (var json = new Utf8JsonWriter(text, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            members(json);
            json.WriteEndObject();
        }

        return [.. Encoding.ASCII.GetBytes(ChecksumOf(text.WrittenSpan).ToString("x8", CultureInfo.InvariantCulture)), (byte)' ', .. text.WrittenSpan, (byte)'\n'];
    }

    /// <summary>The object of a line without its end; null where the line is damaged.</summary>
    internal static JsonDocument? Parse(ReadOnlyMemory<byte> line)
    {
        if (line.Length <= ChecksumLength || line.Span[ChecksumLength] != ' '
            || !uint.TryParse(line.Span[..ChecksumLength], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out uint checksum)
            || checksum != ChecksumOf(line.Span[(ChecksumLength + 1)..]))
            return null;
        try
        {
            return JsonDocument.Parse(line[(ChecksumLength + 1)..], new JsonDocumentOptions { MaxDepth = MostDepth });
        }
        catch (JsonException)
        {
            return null;
        }
    }

    /// <summary>The command that an object is; null where it is none that this program knows.</summary>
    internal static Command? Read(JsonElement root)
    {
        try
        {
            int state = Array.IndexOf([.. Command.StateNames], root.GetProperty("state").GetString());
            if (!CommandId.TryParse(Text(root, "id"), out var id) || state < 0)
                return null;
            return new Command
            {
                Id = id,
                Vm = Text(root, "vm"),
                Verb = Text(root, "verb"),
                Arguments = root.GetProperty("arguments").GetRawText(),
                Key = root.GetProperty("key").GetString(),
                State = (CommandState)state,
                CancelAsked = root.GetProperty("cancelAsked").GetBoolean(),
                Enqueued = root.GetProperty("enqueued").GetDateTimeOffset(),
                Begun = Time(root, "begun"),
                Ended = Time(root, "ended"),
                Result = root.GetProperty("result") is { ValueKind: not JsonValueKind.Null } result ? result.GetRawText() : null,
                ErrorId = root.GetProperty("errorId").GetString(),
                Error = root.GetProperty("error").GetString(),
            };
        }
        catch (Exception e) when (e is KeyNotFoundException or InvalidOperationException or FormatException)
        {
            return null;
        }
    }

    private static string Text(JsonElement root, string member) => root.GetProperty(member).GetString() ?? throw new FormatException();

    private static DateTimeOffset? Time(JsonElement root, string member) => root.GetProperty(member) is { ValueKind: not JsonValueKind.Null } at ? at.GetDateTimeOffset() : null;

    private static void WriteTime(Utf8JsonWriter json, string member, DateTimeOffset? time)
    {
        if (time is { } at)
            json.WriteString(member, at);
        else
            json.WriteNull(member);
    }

    private static uint ChecksumOf(ReadOnlySpan<byte> bytes)
    {
        uint sum = uint.MaxValue;
        foreach (ulong word in MemoryMarshal.Cast<byte, ulong>(bytes))
            sum = BitOperations.Crc32C(sum, word);
        foreach (byte b in bytes[(bytes.Length & ~7)..])
            sum = BitOperations.Crc32C(sum, b);
        return ~sum;
    }
}
