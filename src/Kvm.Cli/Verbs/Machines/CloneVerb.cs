using System.CommandLine;
using System.Globalization;
using Kvm.Cli.Parsing;
using Kvm.Cli.Running;
using Kvm.Cli.Text;
using Kvm.Manager;
using Kvm.Manager.Cloning;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Cli.Verbs.Machines;

/// <summary><c>kvmsharp clone</c>: machines that go on from a snapshot.</summary>
internal sealed class CloneVerb : Verb
{
    private const int MostClones = 1000;

    private readonly WordArgument _source = new("SOURCE", "A template, another stored snapshot (kvmsharp snapshot ls), or a guest that runs, of which one is taken first.");
    private readonly WordArgument _names = new("NAME", "The machines' names; without any it is one, called after SOURCE.") { Repeats = true };
    private readonly ValueOption _count = new("--count", "N", "Clones", $"So many, 1 to {MostClones}: NAME-1, NAME-2 and so on.");
    private readonly SwitchOption _start = new("--start", "Clones", "Starts each.");

    public CloneVerb()
        : base("clone", "Makes machines that go on from a template or snapshot when they are first started, each with name, addresses and disks of its own.")
    {
        Add(_source);
        Add(_names);
        Add(_count);
        Add(_start);
        Examples =
        [
            ("kvmsharp clone web web-1 web-2 --start", "two guests that are ready at once and share the template's memory"),
            ("kvmsharp clone web worker --count 5", "worker-1 to worker-5, for kvmsharp start"),
        ];
        Notes = ["Says what each has otherwise than what it was made from (docs/snapshots.md, \"Templates and clones\"). A machine that is started again boots its kernel, with the disks it has by then."];
    }

    public override int Execute(ParseResult result, GlobalOptions global)
    {
        string source = _source.Text(result) ?? throw new VmmException(UsageErrors.Incomplete, "clone needs a SOURCE: kvmsharp template ls");
        var names = NamesOf(result, source);
        return Cancellable.Run(cancel =>
        {
            var options = ManagerOptions.OfThisUser();
            var cloner = new VmCloner(options);
            using var template = CloneRun.Open(CloneRun.SnapshotOf(source));
            List<VmRecord> made = [];
            foreach (string? name in names)
            {
                var record = cloner.Clone(template, name, cancel);
                made.Add(_start.IsGiven(result) ? new VmManager(options).Start(record.Name, cancel) : record);
            }

            StandardStreams.Output(global.Json ? JsonText.Of(json =>
            {
                json.WriteStartArray();
                foreach (var record in made)
                {
                    json.WriteStartObject();
                    VmRecordJson.WriteMembers(json, record);
                    json.WriteEndObject();
                }

                json.WriteEndArray();
            }) : string.Concat(made.Select(Text)));
            return ExitCode.Success;
        });
    }

    private static string Text(VmRecord record) => $"{record.Name}: {string.Join(", ", record.Origin!.Changes.Where(change => change.What != "name").Select(change => $"{VisibleText.Escape(change.What)} {VisibleText.Escape(change.To)}"))}\n";

    private List<string?> NamesOf(ParseResult result, string source)
    {
        var names = _names.Texts(result);
        if (_count.Text(result) is not { } text)
            return names.Count == 0 ? [null] : [.. names];
        int count = Quantities.Count(_count.Name, text);
        if (count is < 1 or > MostClones)
            throw Quantities.Bad(_count.Name, text, $"is not 1 to {MostClones}");
        string name = names.Count > 1 ? throw new VmmException(UsageErrors.Conflict, "--count numbers the machines of one NAME") : names.Count == 1 ? names[0] : source;
        return [.. Enumerable.Range(1, count).Select(number => string.Create(CultureInfo.InvariantCulture, $"{name}-{number}"))];
    }
}
