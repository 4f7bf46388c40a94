using System.Globalization;
using System.Text;
using System.Text.Json;
using Kvm.Cli.Parsing;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Reporting;

namespace Kvm.Cli.Text;

/// <summary>A file of translations, read with bounds and shown. The file is not trusted: what is not as expected is shown as missing.</summary>
internal static class TranslationsText
{
    private const long MostBytes = 64 << 20;
    private const int GuestWidth = 46;
    private const int OpsWidth = 34;

    /// <summary>Reads the file.</summary>
    /// <exception cref="VmmException">It cannot be read, or is something else.</exception>
    public static JsonDocument Load(string path)
    {
        try
        {
            using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
            if (file.Length > MostBytes)
                throw Bad(path, "has more than 64 MiB");
            var document = JsonDocument.Parse(file, new JsonDocumentOptions { MaxDepth = 16 });
            if (document.RootElement.ValueKind == JsonValueKind.Object && Text(document.RootElement, "format") == TranslationsJson.Format)
                return document;
            document.Dispose();
            throw Bad(path, "holds no translations");
        }
        catch (JsonException)
        {
            throw Bad(path, "is not JSON");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new VmmException(UsageErrors.NoTranslations, $"{VisibleText.Quote(path)}: {HostFailureText.Of(e)}", e);
        }
    }

    /// <summary>The blocks of a document: all, or those that hold an address.</summary>
    public static IEnumerable<JsonElement> Blocks(JsonDocument document, ulong? rip) =>
        Items(document.RootElement, "blocks").Where(block => rip is not { } wanted || Items(block, "instructions").Any(i => Holds(i, wanted)));

    /// <summary>The blocks as a table: guest instruction, ops, host code.</summary>
    public static string Of(IReadOnlyList<JsonElement> blocks)
    {
        var text = new StringBuilder();
        foreach (var block in blocks)
        {
            text.Append(CultureInfo.InvariantCulture, $"block {Text(block, "rip")} (physical {Text(block, "physical")}), vcpu {Text(block, "vcpu")}: ")
                .Append(CultureInfo.InvariantCulture, $"executed {Text(block, "executions")} times, {Text(block, "hostBytes")} bytes of host code\n");
            AppendRows(text, "", default, Items(block, "prologue"));
            foreach (var instruction in Items(block, "instructions"))
                AppendRows(text, $"{Text(instruction, "rip")}  {Text(instruction, "text")}", Items(instruction, "ops"), Items(instruction, "host"));
            text.Append('\n');
        }

        return blocks.Count == 0 ? "nothing was translated, or all of it was written to since\n" : text.ToString();
    }

    private static void AppendRows(StringBuilder text, string guest, JsonElement.ArrayEnumerator ops, JsonElement.ArrayEnumerator host)
    {
        string[] words = [.. ops.Select(Shown)], code = [.. host.Select(line => $"{Text(line, "bytes"),-22} {Text(line, "text")}")];
        for (int n = 0; n < Math.Max(Math.Max(words.Length, code.Length), guest.Length > 0 ? 1 : 0); n++)
        {
            string left = n == 0 ? guest : "", middle = n < words.Length ? words[n] : "", right = n < code.Length ? code[n] : "";
            text.Append($"  {left.PadRight(GuestWidth)}  {middle.PadRight(OpsWidth)}  {right}".TrimEnd()).Append('\n');
        }
    }

    private static bool Holds(JsonElement instruction, ulong address) =>
        Quantities.TryParseAddress(Text(instruction, "rip"), out ulong start) && address - start < Math.Max(1, (ulong)Text(instruction, "bytes").Length / 2);

    private static JsonElement.ArrayEnumerator Items(JsonElement element, string member) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(member, out var array) && array.ValueKind == JsonValueKind.Array ? array.EnumerateArray() : default;

    private static string Text(JsonElement element, string member) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(member, out var value) ? Shown(value) : "?";

    private static string Shown(JsonElement value) => VisibleText.Escape(value.ValueKind == JsonValueKind.String ? value.GetString()! : value.GetRawText());

    private static VmmException Bad(string path, string why) => new(UsageErrors.NoTranslations, $"{VisibleText.Quote(path)} {why}");
}
