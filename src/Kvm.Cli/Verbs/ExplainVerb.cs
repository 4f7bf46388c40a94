using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Cli.Text;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Explain;

namespace Kvm.Cli.Verbs;

/// <summary><c>kvmsharp explain</c>: what is behind an exit, a register, a port, an error.</summary>
internal sealed class ExplainVerb : Verb
{
    private readonly WordArgument _word = new("WORD", "A name, a number (decimal or 0x…), or a table's word; without one, the tables there are.");

    public ExplainVerb()
        : base("explain", "Explains exits of VT-x, AMD-V and KVM, MSRs, CPUID leaves, ports, virtio registers and errors by name or number.")
    {
        Add(_word);
        Examples =
        [
            ("kvmsharp explain EPT_VIOLATION", "an exit of VT-x: what it is on AMD-V and for KVM, what a VMM does"),
            ("kvmsharp explain 48", "everything that has this number"),
            ("kvmsharp explain 0x6e0", "an MSR by its number"),
            ("kvmsharp explain svm", "all exit codes of AMD-V"),
        ];
        Notes = ["The same tables as a page: docs/exits.md."];
    }

    public override int Execute(ParseResult result, GlobalOptions global)
    {
        string? word = _word.Text(result);
        IReadOnlyList<Topic> topics = word is null ? [] : Found(word);
        if (global.Json)
            StandardStreams.Output(Json(word, topics));
        else
            StandardStreams.Output(word is null ? ExplainText.Tables() : ExplainText.Of(topics));
        return ExitCode.Success;
    }

    private static IReadOnlyList<Topic> Found(string word)
    {
        var found = Explanations.Find(word);
        if (found.Topics.Count > 0)
            return found.Topics;
        string hint = found.Nearest is { } near ? $"; did you mean {near}?" : "";
        throw new VmmException(UsageErrors.NothingKnown, $"{VisibleText.Quote(word, 40)} is {(found.Number is null ? "no name" : "no number")} of any table{hint}");
    }

    private static string Json(string? word, IReadOnlyList<Topic> topics) => JsonText.Of(json =>
    {
        json.WriteStartObject();
        json.WriteString("word", word);
        json.WriteStartArray("topics");
        foreach (var topic in topics)
            ExplainText.Write(json, topic);
        json.WriteEndArray();
        json.WriteStartArray("tables");
        foreach (var table in Enum.GetValues<TopicTable>())
            json.WriteStringValue(Explanations.WordOf(table));
        json.WriteEndArray();
        json.WriteEndObject();
    });
}
