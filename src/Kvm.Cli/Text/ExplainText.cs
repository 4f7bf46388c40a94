using System.Globalization;
using System.Text;
using System.Text.Json;
using Kvm.Vmm.Explain;

namespace Kvm.Cli.Text;

/// <summary>Entries of the tables of <c>kvmsharp explain</c> as text and as JSON.</summary>
internal static class ExplainText
{
    /// <summary>More entries than this are listed, one a line.</summary>
    private const int MostInFull = 12;

    private const int Width = 100;
    private const int Indent = 10;

    /// <summary>The entries, in full or one a line.</summary>
    public static string Of(IReadOnlyList<Topic> topics)
    {
        var text = new StringBuilder();
        foreach (var topic in topics)
        {
            if (topics.Count > MostInFull)
                text.Append(CultureInfo.InvariantCulture, $"{Explanations.NumberOf(topic),-23} {topic.Name,-28} {FirstSentence(topic.Meaning)}\n");
            else
                AppendFull(text.Append(text.Length > 0 ? "\n" : ""), topic);
        }

        return text.ToString();
    }

    /// <summary>The tables there are, and the word for each.</summary>
    public static string Tables()
    {
        var text = new StringBuilder("explain takes a name (EPT_VIOLATION, IA32_EFER, KVM0202), a number (48, 0x3f8), or one of these:\n");
        foreach (var table in Enum.GetValues<TopicTable>())
            text.Append(CultureInfo.InvariantCulture, $"  {Explanations.WordOf(table),-8} {Explanations.Of(table).Count,4}  {Plural(Explanations.TitleOf(table))}\n");
        return text.ToString();
    }

    /// <summary>Writes one entry as an object.</summary>
    public static void Write(Utf8JsonWriter json, Topic topic)
    {
        json.WriteStartObject();
        json.WriteString("table", Explanations.WordOf(topic.Table));
        json.WriteNumber("number", topic.Number);
        json.WriteNumber("count", topic.Count);
        json.WriteString("name", topic.Name);
        json.WriteString("meaning", topic.Meaning);
        json.WriteString("vmm", topic.Vmm);
        json.WriteString("clause", topic.Clause);
        if (topic.Cause is { } cause)
        {
            json.WriteString("title", cause.Title);
            WriteExits(json, "vmx", cause.Vmx);
            WriteExits(json, "svm", cause.Svm);
            WriteExits(json, "kvm", [.. cause.Kvm.Select(number => new HardwareExit(number, ExitTables.KvmName(number)))]);
        }

        json.WriteEndObject();
    }

    private static void AppendFull(StringBuilder text, Topic topic)
    {
        text.Append(CultureInfo.InvariantCulture, $"{topic.Name}: {Explanations.TitleOf(topic.Table)} {Explanations.NumberOf(topic)}");
        text.Append(topic.Cause is { } named ? $", {named.Title}\n" : "\n");
        AppendRow(text, "what", topic.Meaning);
        AppendRow(text, "VMM", topic.Vmm);
        if (topic.Cause is { } cause)
        {
            AppendRow(text, "KVM", cause.KvmText);
            AppendRow(text, "VT-x", cause.VmxText);
            AppendRow(text, "AMD-V", cause.SvmText);
            AppendRow(text, "manual", string.Join("; ", new[] { cause.VmxSource, cause.SvmSource }.OfType<string>()));
        }
        else
        {
            AppendRow(text, "manual", topic.Clause);
        }
    }

    private static void AppendRow(StringBuilder text, string label, string? words)
    {
        if (string.IsNullOrEmpty(words))
            return;
        text.Append(CultureInfo.InvariantCulture, $"  {label,-Indent + 2}");
        int column = Indent;
        foreach (string word in words.Split(' '))
        {
            if (column > Indent && column + 1 + word.Length > Width)
            {
                text.Append('\n').Append(' ', Indent);
                column = Indent;
            }
            else if (column > Indent)
            {
                text.Append(' ');
                column++;
            }

            text.Append(word);
            column += word.Length;
        }

        text.Append('\n');
    }

    private static void WriteExits(Utf8JsonWriter json, string member, IReadOnlyList<HardwareExit> exits)
    {
        json.WriteStartArray(member);
        foreach (var exit in exits)
        {
            json.WriteStartObject();
            json.WriteNumber("number", exit.Number);
            json.WriteNumber("count", exit.Count);
            json.WriteString("name", exit.Name);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static string FirstSentence(string text) => text.IndexOf(". ", StringComparison.Ordinal) is >= 0 and var end ? text[..(end + 1)] : text;

    private static string Plural(string title) => title switch
    {
        "CPUID leaf" => "CPUID leaves",
        "AMD-V exit code" => "AMD-V exit codes",
        _ => title + "s",
    };
}
