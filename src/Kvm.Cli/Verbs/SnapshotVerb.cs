using System.CommandLine;
using System.Text.Json;
using Kvm.Cli.Parsing;
using Kvm.Cli.Running;
using Kvm.Cli.Text;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Cli.Verbs;

/// <summary><c>kvmsharp snapshot</c>: stored snapshots, looked at and looked after.</summary>
internal sealed class SnapshotVerb : Verb
{
    private const string FileEnd = ".kvmsnap", Places = "Where", Making = "create, export, import";

    private static readonly string[] s_actions = ["create", "ls", "inspect", "verify", "merge", "prune", "export", "import", "rm"];

    private readonly WordArgument _action = new("ACTION", "create MACHINE NAME, ls, inspect NAME, verify [NAME…], merge NAME, prune, export NAME FILE, import FILE [NAME], rm NAME….")
    { Kind = ValueKind.OneOf, Values = s_actions };
    private readonly WordArgument _words = new("NAME", "A snapshot; inspect and verify take a file of export too: a path with / or .kvmsnap at its end.") { Kind = ValueKind.File, Repeats = true };
    private readonly ValueOption _store = StoreOptions.Store(Places);
    private readonly ValueOption _key = StoreOptions.Key(Places, "The key of encrypted snapshots, with which what is written is encrypted");
    private readonly ValueOption _compression = StoreOptions.Compression(Making, "How chunks are packed: zstd where this is not given for export, lz4 for import and create.");

    private readonly SwitchOption _incremental = new("--incremental", Making, "create: only what was written since the machine's last snapshot that was taken so; the first holds all.");

    public SnapshotVerb()
        : base("snapshot", "Stored snapshots: takes, shows, verifies, merges, prunes, exports, imports and removes them.")
    {
        foreach (var argument in (Argument[])[_action, _words])
            Add(argument);
        foreach (var option in (Option[])[_store, _key, _compression, _incremental])
            Add(option);
        Examples =
        [
            ("kvmsharp snapshot create web-1 before-upgrade", "of a guest that runs with --name web-1, while it runs; kvmsharp restore goes on from it"),
            ("kvmsharp snapshot ls", "which there are, and what they are based on"),
            ("kvmsharp snapshot inspect before-upgrade", "how large it is, what it shares, what it is of"),
            ("kvmsharp snapshot verify", "reads all of them and compares every checksum"),
            ("kvmsharp snapshot merge tuesday", "makes it stand alone, so that monday can go"),
            ("kvmsharp snapshot rm monday", "removes it; nothing may be based on it"),
            ("kvmsharp snapshot prune", "gives back what removed ones took"),
            ("kvmsharp snapshot export tuesday tuesday.kvmsnap", "into one file, whole by itself"),
            ("kvmsharp snapshot import tuesday.kvmsnap", "on another host"),
        ];
        Notes = ["The files are described in docs/snapshot-format.md."];
    }

    public override int Execute(ParseResult result, GlobalOptions global)
    {
        string action = Deed(_action, result);
        var words = WordsOf(action, _words.Texts(result));
        var key = _key.KeyOf(result);
        using var work = new DiskWork(action, global.Json);
        switch (action)
        {
            case "inspect" when IsFile(words[0]):
                return Show(global, SnapshotStore.InspectFile(words[0], key), SnapshotText.Write, SnapshotText.Of);
            case "verify" when words is [var file] && IsFile(file):
                return Verify(global, work, () => SnapshotStore.VerifyFile(file, key, Environment.ProcessorCount, work.Report, work.Cancellation));
        }

        string folder = _store.FolderOf(result);
        if (action == "create")
            return SnapshotCreation.Run(words[0], words[1], folder, _incremental.IsGiven(result), _compression.CompressionOf(result, SnapshotCompression.Lz4), key, global.Json);
        var store = SnapshotStore.Open(folder, key);
        return action switch
        {
            "ls" => Show(global, store.List(), SnapshotText.Write, SnapshotText.Of),
            "inspect" => Show(global, store.Inspect(words[0]), SnapshotText.Write, SnapshotText.Of),
            "verify" => Verify(global, work, () => store.Verify(words, Environment.ProcessorCount, work.Report, work.Cancellation)),
            "merge" => Merge(global, work, store, words[0]),
            "prune" => Prune(global, work, store),
            "export" => Export(global, work, store, words[0], words[1], _compression.CompressionOf(result, SnapshotCompression.Zstd)),
            "import" => Import(global, work, store, words[0], words.Count > 1 ? words[1] : null, _compression.CompressionOf(result, SnapshotCompression.Lz4)),
            _ => Remove(global, store, words),
        };
    }

    private IReadOnlyList<string> WordsOf(string action, IReadOnlyList<string> words)
    {
        var (least, most, what) = action switch
        {
            "ls" or "prune" => (0, 0, ""),
            "create" => (2, 2, "the name of a running MACHINE and a NAME"),
            "inspect" or "merge" => (1, 1, "the NAME of a snapshot"),
            "verify" => (0, int.MaxValue, ""),
            "export" => (2, 2, "the NAME of a snapshot and a FILE"),
            "import" => (1, 2, "a FILE"),
            _ => (1, int.MaxValue, "the NAME of a snapshot"),
        };
        return Counted(action, words, least, most, what);
    }

    internal static bool IsFile(string word) => word.Contains('/', StringComparison.Ordinal) || word.EndsWith(FileEnd, StringComparison.Ordinal);

    internal static int Verify(GlobalOptions global, DiskWork work, Func<SnapshotVerification> verify)
    {
        SnapshotVerification? found = null;
        return work.Run(() => found = verify(), () =>
        {
            Show(global, found!, SnapshotText.Write, SnapshotText.Of);
            return found!.Problems.Count == 0 ? ExitCode.Success : throw new VmmException(SnapshotErrors.Damaged, $"{found.Problems.Count} places");
        });
    }

    private static int Merge(GlobalOptions global, DiskWork work, SnapshotStore store, string name)
    {
        int levels = 0;
        return work.Run(
            () => levels = store.Merge(name, work.Report, work.Cancellation),
            () => Say(global, levels == 1 ? $"{name} stood alone already" : $"{name} was made of {levels} snapshots and stands alone now", ("name", name)));
    }

    private static int Prune(GlobalOptions global, DiskWork work, SnapshotStore store)
    {
        SnapshotPruning? pruning = null;
        return work.Run(() => pruning = store.Prune(work.Report, work.Cancellation), () => Show(global, pruning!, SnapshotText.Write, SnapshotText.Of));
    }

    private static int Export(GlobalOptions global, DiskWork work, SnapshotStore store, string name, string path, SnapshotCompression compression) => work.Run(
        () => store.Export(name, path, compression, Environment.ProcessorCount, work.Report, work.Cancellation),
        () => Say(global, $"{name} is in {path}, {DiskText.Size((ulong)new FileInfo(path).Length)}", ("name", name), ("file", path)));

    private static int Import(GlobalOptions global, DiskWork work, SnapshotStore store, string path, string? name, SnapshotCompression compression) => work.Run(
        () => name = store.Import(path, name, compression, Environment.ProcessorCount, work.Report, work.Cancellation),
        () => Say(global, $"{name} is in the store", ("name", name!), ("file", path)));

    private static int Remove(GlobalOptions global, SnapshotStore store, IReadOnlyList<string> names)
    {
        store.Remove(names);
        return SayList(global, "removed", names);
    }

    /// <summary>A line, or an object of the members.</summary>
    internal static int Say(GlobalOptions global, string line, params (string Name, string Value)[] members)
    {
        StandardStreams.Output(!global.Json ? VisibleText.Escape(line) + "\n" : JsonText.Of(json =>
        {
            json.WriteStartObject();
            foreach (var (name, value) in members)
                json.WriteString(name, value);
            json.WriteEndObject();
        }));
        return ExitCode.Success;
    }

    /// <summary>A line of several things, or an object with a list of them.</summary>
    internal static int SayList(GlobalOptions global, string name, IReadOnlyList<string> values)
    {
        StandardStreams.Output(!global.Json ? $"{name}: {(values.Count == 0 ? "none" : VisibleText.Escape(string.Join(", ", values)))}\n" : JsonText.Of(json =>
        {
            json.WriteStartObject();
            json.WriteStartArray(name);
            foreach (string value in values)
                json.WriteStringValue(value);
            json.WriteEndArray();
            json.WriteEndObject();
        }));
        return ExitCode.Success;
    }

    internal static int Show<T>(GlobalOptions global, T value, Action<Utf8JsonWriter, T> write, Func<T, string> text)
    {
        StandardStreams.Output(global.Json ? JsonText.Of(json => write(json, value)) : text(value));
        return ExitCode.Success;
    }
}
