using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Network.Model;

/// <summary>
/// Reads a network's file: JSON of at most 1 MiB and 8 levels, every member known and there once. A mistake is said with its place. Thread-safe: pure functions.
/// </summary>
internal static class ModelReader
{
    /// <summary>The largest file, in bytes, and the deepest.</summary>
    public const int MaxBytes = 1 << 20, MaxDepth = 8;

    /// <summary>Reads a file.</summary>
    /// <exception cref="VmmException">It cannot be read, or is no description; tells where and what.</exception>
    public static ModelFile Load(string path)
    {
        try
        {
            using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);
            byte[] text = new byte[MaxBytes + 1];
            int length = file.ReadAtLeast(text, text.Length, throwOnEndOfStream: false);
            return Parse(text.AsSpan(0, length), path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new VmmException(NetworkErrors.BadModel, $"{VisibleText.Quote(path)}: {HostFailureText.Of(e)}", e);
        }
    }

    /// <summary>Understands a file's text.</summary>
    /// <param name="utf8">The text.</param>
    /// <param name="file">The file's name, for messages.</param>
    /// <exception cref="VmmException">It is no description; tells where and what.</exception>
    public static ModelFile Parse(ReadOnlySpan<byte> utf8, string file)
    {
        if (utf8.Length > MaxBytes)
            throw new VmmException(NetworkErrors.BadModel, $"{VisibleText.Quote(file)} has more than {MaxBytes} bytes");
        // Some editors begin a file with a byte order mark; RFC 8259, 8.1 allows to ignore it.
        var text = utf8.StartsWith("\uFEFF"u8) ? utf8[3..] : utf8;
        var reader = new Utf8JsonReader(text, new JsonReaderOptions { MaxDepth = MaxDepth });
        try
        {
            reader.Read();
            if (reader.TokenType != JsonTokenType.StartObject)
                throw At(text, (int)reader.TokenStartIndex, file, "a network is an object");
            Check(ref reader, ModelJson.Default.ModelFile, "the network", text, file);
            reader.Read();
            return JsonSerializer.Deserialize(text, ModelJson.Default.ModelFile)!;
        }
        catch (JsonException e) when (e.Path is { Length: > 0 } path)
        {
            throw new VmmException(NetworkErrors.BadModel, $"{VisibleText.Quote(file)}: '{VisibleText.Escape(path.TrimStart('$').TrimStart('.'))}' has a value of another type than its own", e);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // InvalidOperationException: half of a surrogate pair in a text, which the tokenizer lets pass.
            throw At(text, Math.Min((int)reader.BytesConsumed, text.Length), file, "not valid JSON from here on");
        }
    }

    /// <summary>Walks over a value: members that its type does not have, or that stand there twice.</summary>
    private static void Check(ref Utf8JsonReader reader, JsonTypeInfo? type, string where, ReadOnlySpan<byte> text, string file)
    {
        switch (reader.TokenType)
        {
            case JsonTokenType.StartArray:
                while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
                    Check(ref reader, type?.Kind == JsonTypeInfoKind.Enumerable ? ElementOf(type) : null, where, text, file);
                break;
            case JsonTokenType.StartObject:
                CheckObject(ref reader, type, where, text, file);
                break;
            default:
                break;
        }
    }

    private static void CheckObject(ref Utf8JsonReader reader, JsonTypeInfo? type, string where, ReadOnlySpan<byte> text, string file)
    {
        var seen = new HashSet<string>(StringComparer.Ordinal);
        var known = type?.Kind == JsonTypeInfoKind.Object ? type.Properties : null;
        while (reader.Read() && reader.TokenType != JsonTokenType.EndObject)
        {
            string name = reader.GetString() ?? "";
            int at = (int)reader.TokenStartIndex;
            if (!seen.Add(name))
                throw At(text, at, file, $"{VisibleText.Quote(name, 40)} stands there twice in {where}");
            var member = known?.FirstOrDefault(property => property.Name == name);
            if (known is not null && member is null)
            {
                string hint = NearestName.Find(name, known.Select(property => property.Name)) is { } near ? $"did you mean '{near}'?" : $"known: {string.Join(", ", known.Select(property => property.Name))}";
                throw At(text, at, file, $"{VisibleText.Quote(name, 40)} in {where}; {hint}");
            }

            reader.Read();
            Check(ref reader, member is null ? null : ModelJson.Default.GetTypeInfo(member.PropertyType), $"'{name}'", text, file);
        }
    }

    private static JsonTypeInfo? ElementOf(JsonTypeInfo list) =>
        list.Type.GenericTypeArguments is [var element] ? ModelJson.Default.GetTypeInfo(element) : null;

    private static VmmException At(ReadOnlySpan<byte> text, int offset, string file, string what)
    {
        var before = text[..offset];
        int line = before.Count((byte)'\n') + 1, column = offset - before.LastIndexOf((byte)'\n');
        return new VmmException(NetworkErrors.BadModel, $"{VisibleText.Quote(file)}, line {line}, column {column} (offset {offset}): {what}");
    }
}
