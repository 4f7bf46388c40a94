using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Cli.Running;
using Kvm.Cli.Text;
using Kvm.Manager;
using Kvm.Manager.Pools;
using Kvm.Vmm;
using Kvm.Vmm.Storage.Tools;

namespace Kvm.Cli.Verbs.Storage;

/// <summary><c>kvmsharp volume</c>: disks in pools.</summary>
internal sealed class VolumeVerb : Verb
{
    private const string How = "How";

    private static readonly string[] s_actions = ["create", "clone", "resize", "rm", "upload", "download", "snapshot", "restore", "ls"];

    private readonly WordArgument _action = new("ACTION", "create NAME SIZE, clone NAME NEW, resize NAME SIZE, rm NAME…, upload FILE NAME, download NAME FILE, snapshot NAME@SNAPSHOT, restore NAME@SNAPSHOT, ls [POOL].")
    { Kind = ValueKind.OneOf, Values = s_actions };
    private readonly WordArgument _words = new("NAME", "POOL/VOLUME, or VOLUME in the pool default; a snapshot is POOL/VOLUME@SNAPSHOT.") { Kind = ValueKind.File, Repeats = true };
    private readonly SwitchOption _full = new("--full", How, "clone: copies all, so that the new volume is based on nothing.");
    private readonly SwitchOption _force = new("--force", How, "rm: with its snapshots, and though a machine that does not run names it. download: replaces a file.", "-f");
    private readonly SwitchOption _shrink = new("--shrink", How, "resize: it may become smaller; what is cut off is lost.");
    private readonly ValueOption _format = new("--format", "FORMAT", How, "upload, download: what FILE is; by its name where this is not given.") { Kind = ValueKind.OneOf, Values = ["raw", "qcow2"] };
    private readonly SwitchOption _allowBacking = new("--allow-backing", How, "upload: files that the image says it is based on may be opened.");
    private readonly SwitchOption _compress = new("--compress", How, "download: compresses clusters (qcow2).", "-c");

    public VolumeVerb()
        : base("volume", "Volumes of storage pools: made, cloned at once, given other sizes, kept as snapshots, set back, removed.")
    {
        foreach (var argument in (Argument[])[_action, _words])
            Add(argument);
        foreach (var option in (Option[])[_full, _force, _shrink, _format, _allowBacking, _compress])
            Add(option);
        Examples =
        [
            ("kvmsharp volume upload debian.qcow2 fast/gold", "from a file"),
            ("kvmsharp volume clone fast/gold fast/web-1", "at once, whatever its size"),
            ("kvmsharp run vmlinuz --disk fast/web-1", "as a disk; NAME,size=10G makes it"),
            ("kvmsharp volume snapshot fast/web-1@monday", "as it is now"),
            ("kvmsharp volume restore fast/web-1@monday", "as it was then"),
        ];
    }

    public override int Execute(ParseResult result, GlobalOptions global)
    {
        string action = Deed(_action, result);
        var (least, most, what) = action switch
        {
            "ls" => (0, 1, ""),
            "rm" => (1, int.MaxValue, "the NAME of a volume"),
            "snapshot" or "restore" => (1, 1, "a NAME@SNAPSHOT"),
            "create" or "resize" => (2, 2, "a NAME and a SIZE"),
            "clone" => (2, 2, "the NAME of a volume and one for the NEW one"),
            "upload" => (2, 2, "a FILE and a NAME"),
            _ => (2, 2, "a NAME and a FILE"),
        };
        var words = Counted(action, _words.Texts(result), least, most, what);
        var store = new PoolStore(ManagerOptions.OfThisUser());
        using var work = new DiskWork(action, global.Json);
        switch (action)
        {
            case "create":
                var name = VolumeName.ParseVolume(words[0]);
                store.GetOrDefault(name.Pool).Create(name, Quantities.Size("SIZE", words[1]));
                return Said(global, store, name);
            case "clone":
                return Clone(result, global, work, store, words);
            case "resize":
                return Resize(result, global, store, words);
            case "rm":
                return Remove(result, global, store, words);
            case "upload":
                var target = VolumeName.ParseVolume(words[1]);
                return work.Run(() => store.GetOrDefault(target.Pool).Upload(Image(result, words[0], _allowBacking.IsGiven(result)), target, work.Report, work.Cancellation), () => Said(global, store, target));
            case "download":
                var source = VolumeName.Parse(words[0]);
                return work.Run(() => store.Get(source.Pool).Download(source, Image(result, words[1], false), _compress.IsGiven(result), _force.IsGiven(result), work.Report, work.Cancellation),
                    () => SnapshotVerb.Say(global, $"{source} is in {words[1]}", ("volume", $"{source}"), ("file", words[1])));
            case "snapshot":
                var kept = VolumeName.ParseSnapshot(words[0]);
                store.Get(kept.Pool).Snapshot(kept);
                return SnapshotVerb.Say(global, $"{kept}: kept", ("snapshot", $"{kept}"));
            case "restore":
                var back = VolumeName.ParseSnapshot(words[0]);
                store.Get(back.Pool).Restore(back);
                return Said(global, store, back with { Snapshot = null });
            default:
                IReadOnlyList<VolumePool> pools = words.Count > 0 ? [store.Get(words[0])] : [.. store.List().Select(pool => pool.Pool).OfType<VolumePool>()];
                return SnapshotVerb.Show(global, pools, PoolText.WriteVolumes, PoolText.Volumes);
        }
    }

    private int Clone(ParseResult result, GlobalOptions global, DiskWork work, PoolStore store, IReadOnlyList<string> words)
    {
        VolumeName source = VolumeName.Parse(words[0]), target = VolumeName.ParseVolume(words[1]);
        if (source.Pool != target.Pool)
            throw new VmmException(UsageErrors.Conflict, $"{source} and {target} are of different pools: download the one and upload the other");
        var pool = store.Get(source.Pool);
        if (_full.IsGiven(result))
            return work.Run(() => pool.CloneFull(source, target, work.Report, work.Cancellation), () => Said(global, store, target));
        pool.Clone(source, target);
        return Said(global, store, target);
    }

    private int Resize(ParseResult result, GlobalOptions global, PoolStore store, IReadOnlyList<string> words)
    {
        var name = VolumeName.ParseVolume(words[0]);
        string text = words[1];
        ulong amount = Quantities.Size("SIZE", text.TrimStart('+'));
        store.Get(name.Pool).Resize(name, old => text[0] != '+' ? amount : amount <= long.MaxValue - old ? old + amount : ulong.MaxValue, _shrink.IsGiven(result));
        return Said(global, store, name);
    }

    private int Remove(ParseResult result, GlobalOptions global, PoolStore store, IReadOnlyList<string> words)
    {
        bool force = _force.IsGiven(result);
        var machines = new VmManager(ManagerOptions.OfThisUser());
        foreach (var name in words.Select(VolumeName.Parse))
        {
            if (!force && name.Snapshot is null && VolumeDisks.MachineOf(machines, name) is { } machine)
                throw new VmmException(PoolErrors.VolumeInUse, $"{name} is a disk of the machine {machine}");
            store.Get(name.Pool).Remove(name, force);
        }

        return SnapshotVerb.SayList(global, "removed", words);
    }

    private ImageName Image(ParseResult result, string file, bool allowBacking) => new(file,
        _format.Text(result) is { } text ? (ImageFormat)Quantities.OneOf(_format.Name, text, _format.Values) : ImageName.FormatByName(file), allowBacking);

    private static int Said(GlobalOptions global, PoolStore store, VolumeName name) =>
        SnapshotVerb.Show(global, store.Get(name.Pool).TryFind(name) ?? throw new VmmException(PoolErrors.NoSuchVolume, $"{name} was removed meanwhile"), (json, volume) => PoolText.Write(json, name.Pool, volume), volume => PoolText.Line(name.Pool, volume));
}
