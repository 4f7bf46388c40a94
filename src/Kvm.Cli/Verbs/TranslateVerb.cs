using System.CommandLine;
using System.Text.Json;
using Kvm.Cli.Parsing;
using Kvm.Cli.Text;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Cli.Verbs;

/// <summary><c>kvmsharp translate show</c>: the software engine's translations, from the file a run wrote.</summary>
internal sealed class TranslateVerb : Verb
{
    private readonly WordArgument _action = new("show", "The only thing to do with translations: show them.") { Kind = ValueKind.OneOf, Values = ["show"] };
    private readonly WordArgument _file = new("FILE", "What run --translations FILE wrote.") { Kind = ValueKind.File };
    private readonly WordArgument _rip = new("RIP", "Only blocks that hold this address, in hexadecimal.");

    public TranslateVerb()
        : base("translate", "Shows what the software engine made of the guest's code: guest instructions, ops, host code, counts.")
    {
        Add(_action);
        Add(_file);
        Add(_rip);
        Examples =
        [
            ("kvmsharp run vmlinux --engine soft --translations t.json", "keeps the 200 blocks that run most"),
            ("kvmsharp translate show t.json ffffffff81000040", "the blocks that hold this address"),
        ];
        Notes = ["Counts are entries into translated code; a block is interpreted 64 times before."];
    }

    public override int Execute(ParseResult result, GlobalOptions global)
    {
        if (_action.Text(result) is not { } action)
            throw new VmmException(UsageErrors.Incomplete, "translate show needs a FILE");
        if (action != "show")
            throw new VmmException(UsageErrors.Unknown, $"translate does not know {VisibleText.Quote(action, 40)}: kvmsharp translate show FILE");
        string file = _file.Text(result) ?? throw new VmmException(UsageErrors.Incomplete, "translate show needs a FILE");
        ulong? rip = _rip.Text(result) is { } text ? Quantities.Address("RIP", text) : null;
        using var document = TranslationsText.Load(file);
        var blocks = TranslationsText.Blocks(document, rip).ToList();
        if (rip is not null && blocks.Count == 0)
            throw new VmmException(UsageErrors.NoTranslations, $"{VisibleText.Quote(file)} has no block that holds {rip:x}");
        StandardStreams.Output(global.Json ? JsonText.Of(json => Write(json, document, blocks)) : TranslationsText.Of(blocks));
        return ExitCode.Success;
    }

    private static void Write(Utf8JsonWriter json, JsonDocument document, List<JsonElement> blocks)
    {
        json.WriteStartObject();
        foreach (var member in document.RootElement.EnumerateObject())
        {
            if (member.Name != "blocks")
                member.WriteTo(json);
        }

        json.WriteStartArray("blocks");
        foreach (var block in blocks)
            block.WriteTo(json);
        json.WriteEndArray();
        json.WriteEndObject();
    }
}
