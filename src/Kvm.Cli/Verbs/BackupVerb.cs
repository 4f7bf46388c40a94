using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Cli.Running;
using Kvm.Cli.Text;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;
using Kvm.Vmm.Snapshots.Backup;
using Kvm.Vmm.Snapshots.Store;
using Kvm.Vmm.Storage.Tools;

namespace Kvm.Cli.Verbs;

/// <summary><c>kvmsharp backup</c>: disks in a store of backups, made, verified, restored and given up by rules.</summary>
internal sealed class BackupVerb : Verb
{
    private const string Places = "Where", Making = "create, timer", Keeping = "Which are kept: prune, timer";

    private static readonly string[] s_actions = ["create", "ls", "verify", "restore", "prune", "timer"];

    private readonly WordArgument _action = new("ACTION", "create NAME [DISK…], ls [NAME], verify [BACKUP…], restore BACKUP FOLDER, prune NAME, timer NAME [DISK…].")
    { Kind = ValueKind.OneOf, Values = s_actions };
    private readonly WordArgument _words = new("NAME", "What is backed up, then its disks, or without any the guest that runs by that name; or a backup, NAME-TIME, or for restore a file of snapshot export.") { Kind = ValueKind.File, Repeats = true };
    private readonly ValueOption _store = new("--store", "FOLDER", Places, "The folder of the backups; backups in the state folder where this is not given.") { Kind = ValueKind.File };
    private readonly ValueOption _key = StoreOptions.Key(Places, "Encrypts, and reads what is encrypted");
    private readonly ValueOption _compression = StoreOptions.Compression(Making, "How chunks are packed; zstd where this is not given.");
    private readonly SwitchOption _memory = new("--memory", Making, "Of a running guest its memory and state too: kvmsharp restore goes on from it.");
    private readonly SwitchOption _allowBacking = new("--allow-backing", Making, "Lets files be opened that an image says it is based on.");
    private readonly ValueOption _calendar = new("--on-calendar", "TEXT", Making, "timer: when, as systemd says it; daily where this is not given.");
    private readonly ValueOption _output = new("--output", "FOLDER", Making, "timer: writes the units there, such as /etc/systemd/system; prints them where this is not given.") { Kind = ValueKind.File };
    private readonly ValueOption[] _keeps = [.. s_keeps.Select(keep => new ValueOption($"--keep-{keep.Name}", "N", Keeping, keep.Description))];
    private readonly SwitchOption _dryRun = new("--dry-run", Keeping, "prune: says what would be removed.");

    private static readonly (string Name, string Description)[] s_keeps =
    [
        ("last", "The newest N."), ("hourly", "The newest one of each of the last N hours that have any."), ("daily", "Likewise of N days."), ("weekly", "Likewise of N weeks."),
        ("monthly", "Likewise of N months."), ("yearly", "Likewise of N years."),
    ];

    public BackupVerb()
        : base("backup", "Backups of disks: makes, shows, verifies, restores and prunes them, by hand or by a timer.")
    {
        foreach (var argument in (Argument[])[_action, _words])
            Add(argument);
        foreach (var option in (Option[])[_store, _key, _compression, _memory, _allowBacking, _calendar, _output, .. _keeps, _dryRun])
            Add(option);
        Examples =
        [
            ("kvmsharp backup create web1 disk.qcow2", "takes the room of what changed since the last one"),
            ("kvmsharp backup create web1", "of the guest that runs by that name, while it runs: only what changed is read"),
            ("kvmsharp backup create web1 --memory", "with its memory: kvmsharp restore BACKUP --store FOLDER --disks FOLDER goes on from it"),
            ("kvmsharp backup ls web1", "which there are"),
            ("kvmsharp backup verify", "reads all of them and compares every checksum"),
            ("kvmsharp backup restore web1-20261122T003000Z restored", "the disks anew, in a folder"),
            ("kvmsharp backup prune web1 --keep-daily 7 --keep-weekly 4", "removes the others and gives their room back"),
            ("kvmsharp backup timer web1 /vm/disk.qcow2 --keep-daily 7 --output /etc/systemd/system", "every day, by systemd"),
        ];
        Notes = ["A disk that a guest writes to is refused if it is named: name the guest, or stop it first. A backup in one file: kvmsharp snapshot export BACKUP FILE --store FOLDER."];
    }

    public override int Execute(ParseResult result, GlobalOptions global)
    {
        string action = Deed(_action, result);
        var (least, most, what) = action switch
        {
            "ls" => (0, 1, ""),
            "verify" => (0, int.MaxValue, ""),
            "restore" => (2, 2, "a BACKUP and a FOLDER"),
            "prune" => (1, 1, "the NAME of what is backed up"),
            _ => (1, int.MaxValue, "the NAME of a running guest, or a NAME and a DISK"),
        };
        var words = Counted(action, _words.Texts(result), least, most, what);
        if (action == "timer")
            return Timer(result, global, words);
        var key = _key.KeyOf(result);
        if (action == "create" && words.Count == 1)
            return SnapshotCreation.Backup(words[0], _memory.IsGiven(result), StoreOf(result), CompressionOf(result), key, global.Json);
        var store = SnapshotStore.Open(StoreOf(result), key);
        using var work = new DiskWork(action, global.Json);
        return action switch
        {
            "create" => Create(result, global, work, store, words),
            "ls" => SnapshotVerb.Show(global, ListOf(store, words.Count > 0 ? words[0] : null), SnapshotText.Write, SnapshotText.Of),
            "verify" => SnapshotVerb.Verify(global, work, () => store.Verify(words, Environment.ProcessorCount, work.Report, work.Cancellation)),
            "restore" => Restore(global, work, store, key, words[0], words[1]),
            _ => Prune(result, global, work, store, words[0]),
        };
    }

    private string StoreOf(ParseResult result) => _store.Text(result) ?? Folders.BackupsOf(Folders.State);

    private SnapshotCompression CompressionOf(ParseResult result) =>
        _compression.CompressionOf(result, SnapshotCompression.Zstd);

    private static IReadOnlyList<SnapshotInfo> ListOf(SnapshotStore store, string? name) => [.. store.List().Where(info => name is null || BackupName.IsOf(info.Name, name))];

    private int Create(ParseResult result, GlobalOptions global, DiskWork work, SnapshotStore store, IReadOnlyList<string> words)
    {
        if (_memory.IsGiven(result))
            throw new VmmException(UsageErrors.Conflict, "--memory is of a running guest, which is named without disks");
        var now = DateTimeOffset.UtcNow;
        string backup = BackupName.Of(words[0], now);
        ImageName[] disks = [.. words.Skip(1).Select(disk => new ImageName(disk, ImageName.FormatByName(disk), _allowBacking.IsGiven(result)))];
        return work.Run(
            () => DiskBackup.Create(store, backup, disks, new SnapshotOptions { Compression = CompressionOf(result), Created = now }, Environment.ProcessorCount, work.Report, work.Cancellation),
            () => SnapshotVerb.Say(global, backup, ("name", backup)));
    }

    private static int Restore(GlobalOptions global, DiskWork work, SnapshotStore store, SnapshotKey? key, string backup, string folder)
    {
        IReadOnlyList<string> files = [];
        return work.Run(() =>
        {
            using var reader = SnapshotVerb.IsFile(backup) ? SnapshotStore.ReadFile(backup, key) : store.Read(backup);
            files = DiskBackup.Restore(reader, folder, Environment.ProcessorCount, work.Report, work.Cancellation);
        }, () => SnapshotVerb.SayList(global, "files", files));
    }

    private int Prune(ParseResult result, GlobalOptions global, DiskWork work, SnapshotStore store, string name)
    {
        var rule = RuleOf(result);
        if (rule.IsEmpty)
            throw new VmmException(UsageErrors.Incomplete, "backup prune needs to know what is kept, such as --keep-daily 7: all would go");
        // One that cannot be read is nobody's reason to remove another, and is a person's to remove.
        SnapshotInfo[] backups = [.. ListOf(store, name).Where(info => info.Problem is null)];
        var keeps = rule.Keeps([.. backups.Select(b => b.Created)], TimeZoneInfo.Local);
        string[] goes = [.. backups.Where((_, i) => !keeps[i]).Select(b => b.Name)];
        return work.Run(() =>
        {
            if (_dryRun.IsGiven(result) || goes.Length == 0)
                return;
            store.Remove(goes);
            store.Prune(work.Report, work.Cancellation);
        }, () => SnapshotVerb.SayList(global, "removed", goes));
    }

    private RetentionRule RuleOf(ParseResult result)
    {
        int Number(int keep) => _keeps[keep].Text(result) is not { } text ? 0
            : int.TryParse(text, System.Globalization.NumberStyles.None, System.Globalization.CultureInfo.InvariantCulture, out int number) ? number
            : throw Quantities.Bad(_keeps[keep].Name, text, "is not a whole number");
        return new RetentionRule { Last = Number(0), Hourly = Number(1), Daily = Number(2), Weekly = Number(3), Monthly = Number(4), Yearly = Number(5) };
    }

    private int Timer(ParseResult result, GlobalOptions global, IReadOnlyList<string> words)
    {
        string name = words[0];
        _ = BackupName.Of(name, DateTimeOffset.UnixEpoch);
        // A unit has no home of the user's and begins elsewhere: paths are whole.
        List<string> common = ["--store", Path.GetFullPath(StoreOf(result))];
        if (_key.Text(result) is { } key)
            common.AddRange(["--key", key]);
        List<string> create = ["backup", "create", name, .. words.Skip(1).Select(Path.GetFullPath), .. common];
        if (_compression.Text(result) is { } compression)
            create.AddRange(["--compression", compression]);
        if (_allowBacking.IsGiven(result))
            create.Add("--allow-backing");
        if (_memory.IsGiven(result))
            create.Add("--memory");
        List<IReadOnlyList<string>> commands = [create];
        if (!RuleOf(result).IsEmpty)
            commands.Add(["backup", "prune", name, .. common, .. _keeps.Where(k => k.Text(result) is not null).SelectMany(k => (string[])[k.Name, k.Text(result)!])]);
        string service = BackupUnits.Service(name, Environment.ProcessPath ?? "kvmsharp", commands), timer = BackupUnits.Timer(name, _calendar.Text(result) ?? "daily");
        string unit = $"kvmsharp-backup-{name}";
        string text = $"# {unit}.service\n{service}\n# {unit}.timer\n{timer}";
        if (_output.Text(result) is { } folder)
        {
            ReportFile.Write(Path.Combine(folder, unit + ".service"), service);
            ReportFile.Write(Path.Combine(folder, unit + ".timer"), timer);
            text = $"written: {unit}.service and {unit}.timer; now type: systemctl daemon-reload && systemctl enable --now {unit}.timer\n";
        }

        StandardStreams.Output(!global.Json ? text : JsonText.Of(json =>
        {
            json.WriteStartObject();
            json.WriteString("service", service);
            json.WriteString("timer", timer);
            json.WriteEndObject();
        }));
        return ExitCode.Success;
    }
}
