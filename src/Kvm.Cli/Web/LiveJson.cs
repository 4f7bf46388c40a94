using System.Buffers;
using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using Kvm.Web;

namespace Kvm.Cli.Web;

/// <summary>JSON for pages: one line, nothing in it that HTML would take for markup.</summary>
internal static class LiveJson
{
    public static byte[] Of(Action<Utf8JsonWriter> write)
    {
        var bytes = new ArrayBufferWriter<byte>(512);
        using (var json = new Utf8JsonWriter(bytes, new JsonWriterOptions { Encoder = JavaScriptEncoder.Default }))
            write(json);
        return bytes.WrittenSpan.ToArray();
    }

    /// <summary>A command's answer: <c>{}</c>, or with <c>error</c> why nothing was done.</summary>
    public static PageAnswer Done(string? refusal) => refusal is null ? new("{}"u8.ToArray()) : Refused(refusal);

    public static PageAnswer Refused(string why) => new(Of(json =>
    {
        json.WriteStartObject();
        json.WriteString("error", why);
        json.WriteEndObject();
    }), 409);

    /// <summary>A number among a command's arguments, 0 to <paramref name="most"/>; null where it is none.</summary>
    public static int? Number(JsonElement arguments, string name, int most) =>
        arguments.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int number) && number >= 0 && number <= most ? number : null;

    /// <summary>An address among a command's arguments, in hexadecimal with or without 0x; null where it is none.</summary>
    public static ulong? Address(JsonElement arguments, string name)
    {
        if (!arguments.TryGetProperty(name, out var value) || value.ValueKind != JsonValueKind.String || value.GetString() is not { Length: <= 40 } text)
            return null;
        string digits = text.Trim().Replace("_", "", StringComparison.Ordinal);
        if (digits.StartsWith("0x", StringComparison.OrdinalIgnoreCase))
            digits = digits[2..];
        return ulong.TryParse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong address) ? address : null;
    }
}
