using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Cli.Running;
using Kvm.Cli.Text;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Snapshots;
using Kvm.Vmm.Snapshots.Store;
using Kvm.Vmm.Snapshots.Templates;

namespace Kvm.Cli.Verbs;

/// <summary><c>kvmsharp template</c>: states that machines begin from.</summary>
internal sealed class TemplateVerb : RunVerb
{
    private const string Where = "Template";

    private static readonly string[] s_actions = ["build", "ls", "inspect", "rm", "hold", "drop"];

    private readonly WordArgument _action;
    private readonly WordArgument _words = new("NAME", "A template's name; behind it, for build, the KERNEL.") { Kind = ValueKind.File, Repeats = true };
    private readonly ValueOption _store = StoreOptions.Store(Where);
    private IReadOnlyList<string> _given = [];

    public TemplateVerb()
        : this(new WordArgument("ACTION", "build NAME KERNEL, ls, inspect NAME, rm NAME…, hold NAME, drop NAME….") { Kind = ValueKind.OneOf, Values = s_actions })
    {
    }

    private TemplateVerb(WordArgument action)
        : base("template", "States that machines begin from: builds them from a guest that is ready, shows and removes them, has them in memory.", action)
    {
        _action = action;
        Add(_words);
        Add(_store);
        Examples =
        [
            ("kvmsharp template build web vmlinuz --initrd web.img --ready-match 'web: ready'", "boots, waits until the guest says that, and keeps the state"),
            ("kvmsharp run --from web", "goes on from it at once: its memory is shared with all that do"),
            ("kvmsharp template ls", "which there are, and which of them are in memory"),
            ("kvmsharp template drop web", "takes it out of memory; who runs from it runs on"),
            ("kvmsharp template rm web", "removes it"),
        ];
        Notes = ["A template is a snapshot in the same store: snapshot verify, export and import take it too. hold stays, and is started where run --from needs it (docs/snapshots.md)."];
    }

    /// <inheritdoc/>
    public override int Execute(ParseResult result, GlobalOptions global)
    {
        string action = Deed(_action, result);
        var (least, most, what) = action switch
        {
            "ls" => (0, 0, ""),
            "build" => (1, 2, "a NAME and a KERNEL"),
            "inspect" or "hold" => (1, 1, "the NAME of a template"),
            _ => (1, int.MaxValue, "the NAME of a template"),
        };
        _given = Counted(action, _words.Texts(result), least, most, what);
        var store = SnapshotStore.Open(_store.FolderOf(result));
        return action switch
        {
            "build" => base.Execute(result, global),
            "ls" => List(global, store),
            "inspect" => SnapshotVerb.Show(global, store.Inspect(_given[0]), SnapshotText.Write, SnapshotText.Of),
            "hold" => Hold(store, _given[0]),
            "drop" => SnapshotVerb.SayList(global, "dropped", [.. _given.Where(name => TemplateHolder.TryEnd(Folders.Runtime, name))]),
            _ => Remove(global, store),
        };
    }

    /// <inheritdoc/>
    protected override RunSettings Given(ParseResult result)
    {
        var settings = base.Given(result);
        return _given.Count < 2 ? settings : settings with { Machine = settings.Machine with { KernelPath = Path.GetFullPath(_given[1]) } };
    }

    /// <inheritdoc/>
    protected override int Run(ParseResult result, RunSettings settings, GlobalOptions global)
    {
        if (settings.Machine.ReadyMatch is not { } ready)
            throw new VmmException(UsageErrors.Incomplete, "template build needs --ready-match TEXT: what the guest writes when it is ready");
        var store = SnapshotStore.Open(_store.FolderOf(result));
        settings = settings.WithAbsolutePaths();
        SnapshotTaken? taken = null;
        VmmException? failure = null;
        using var session = new RunSession(settings, global, build: (config, host) =>
        {
            var machine = VirtualMachine.Build(config, host);
            _ = machine.WhenReady.ContinueWith(_ =>
            {
                try
                {
                    machine.Pause();
                    taken = machine.TakeSnapshot(store, _given[0], new SnapshotTakeOptions { Purpose = SnapshotPurpose.Template, KeepDisks = false, Threads = Environment.ProcessorCount });
                }
                catch (VmmException e)
                {
                    failure = e;
                }
                finally
                {
                    machine.Stop(VmOutcome.StoppedByUser);
                }
            }, TaskScheduler.Default);
            return machine;
        });
        int code = session.Run();
        if (failure is not null)
            throw failure;
        if (taken is null)
            return code == ExitCode.Success ? throw new VmmException(RestoreErrors.NotSaved, $"the guest ended and never wrote {VisibleText.Quote(ready, 80)}") : code;
        StandardStreams.Error($"kvmsharp: {taken.Name} is in the store, {DiskText.Size((ulong)taken.StoredBytes)}: kvmsharp run --from {taken.Name}\n");
        return ExitCode.Success;
    }

    private static int List(GlobalOptions global, SnapshotStore store)
    {
        var list = store.List().Where(info => info.Purpose == SnapshotPurpose.Template).Select(info =>
        {
            using var held = TemplateHolder.TryOpen(Folders.Runtime, info.Name);
            return held?.Identity == info.Identity ? info with { Note = $"in memory {info.Note}".TrimEnd() } : info;
        }).ToList();
        return SnapshotVerb.Show(global, (IReadOnlyList<SnapshotInfo>)list, SnapshotText.Write, templates => templates.Count == 0 ? "There are no templates.\n" : SnapshotText.Of(templates));
    }

    private static int Hold(SnapshotStore store, string name)
    {
        // Before anything is opened: whoever started this process waits on its line.
        using var line = StartLine.Take();
        Template template;
        using (var reader = store.Read(name))
            template = Template.Make(reader, Environment.ProcessorCount);
        using (template)
        {
            using var holder = TemplateHolder.Open(template, Folders.Runtime);
            using var signals = new SignalGuard(_ => holder.End(), () => { });
            Confinement.DropCalls();
            line?.Say();
            holder.Run();
        }

        return ExitCode.Success;
    }

    private int Remove(GlobalOptions global, SnapshotStore store)
    {
        foreach (string name in _given)
            _ = TemplateHolder.TryEnd(Folders.Runtime, name);
        store.Remove(_given);
        return SnapshotVerb.SayList(global, "removed", _given);
    }
}
