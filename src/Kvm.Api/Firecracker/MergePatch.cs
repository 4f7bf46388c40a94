using System.Buffers;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Kvm.Api.Firecracker;

/// <summary>JSON merge patches (RFC 7396). Thread-safe: pure functions.</summary>
internal static class MergePatch
{
    /// <summary>Applies a patch.</summary>
    /// <param name="target">The JSON that is changed.</param>
    /// <param name="patch">Its new members; null takes one away.</param>
    /// <returns>The JSON that results.</returns>
    public static string Apply(string target, JsonElement patch)
    {
        var buffer = new ArrayBufferWriter<byte>(target.Length + 256);
        using (var document = JsonDocument.Parse(target))
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
            Write(json, document.RootElement, patch);
        return Encoding.UTF8.GetString(buffer.WrittenSpan);
    }

    // As deep as the patch, which is of 32 levels at most.
    private static void Write(Utf8JsonWriter json, JsonElement? target, JsonElement patch)
    {
        if (patch.ValueKind != JsonValueKind.Object)
        {
            patch.WriteTo(json);
            return;
        }

        json.WriteStartObject();
        bool isObject = target is { ValueKind: JsonValueKind.Object };
        foreach (var member in isObject ? target!.Value.EnumerateObject() : default)
        {
            if (!patch.TryGetProperty(member.Name, out _))
                member.WriteTo(json);
        }

        foreach (var member in patch.EnumerateObject())
        {
            if (member.Value.ValueKind == JsonValueKind.Null)
                continue;
            json.WritePropertyName(member.Name);
            Write(json, isObject && target!.Value.TryGetProperty(member.Name, out var had) ? had : null, member.Value);
        }

        json.WriteEndObject();
    }
}
