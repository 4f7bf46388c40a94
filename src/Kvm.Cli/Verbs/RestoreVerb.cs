using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Cli.Running;
using Kvm.Manager.Networks;
using Kvm.Manager.Pools;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;
using Kvm.Vmm.Snapshots;
using Kvm.Vmm.Snapshots.Backup;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Cli.Verbs;

/// <summary><c>kvmsharp restore</c>: a guest goes on from a stored snapshot, in the foreground.</summary>
internal sealed class RestoreVerb : RunVerb
{
    private const string Where = "Snapshot";

    private readonly WordArgument _snapshot;
    private SnapshotReader? _reader;
    private readonly ValueOption _store = StoreOptions.Store(Where);
    private readonly ValueOption _key = StoreOptions.Key(Where, "The key of an encrypted snapshot");
    private readonly ValueOption _disks = new("--disks", "FOLDER", Where, "Of a backup with memory: where its disks are made anew; nothing is overwritten.") { Kind = ValueKind.File };
    private readonly SwitchOption _lazy = new("--lazy", Where,
        "The guest goes on at once: a process of its own brings memory when it is touched first, and the rest meanwhile. All at once where the host does not permit userfaultfd.");
    private readonly SwitchOption _allow = new("--allow-differences", Where,
        "Goes on also where processor, clock or disks are not what the guest has seen so far: for guests that are known not to care.");

    public RestoreVerb()
        : this(new WordArgument("SNAPSHOT", "A stored snapshot's name (kvmsharp snapshot ls), or a file of snapshot export: a path with / or .kvmsnap at its end."))
    {
    }

    private RestoreVerb(WordArgument snapshot)
        : base("restore", "Goes on from a stored snapshot, in the foreground with the console attached, as run does.", snapshot)
    {
        _snapshot = snapshot;
        foreach (var option in (Option[])[_store, _key, _disks, _lazy, _allow])
            Add(option);
        Examples =
        [
            ("kvmsharp snapshot create web-1 before-upgrade", "takes the snapshot of a guest that runs with --name web-1"),
            ("kvmsharp restore before-upgrade", "goes on from it, with the configuration it was taken with"),
            ("kvmsharp restore before-upgrade --lazy", "at once, however much memory it has"),
            ("kvmsharp restore ./web1.kvmsnap --disks restored", "from a file with a backup of a running guest, its disks made anew"),
            ("kvmsharp restore before-upgrade --engine soft --name again", "under another engine, where that has all the guest has seen"),
        ];
        Notes = ["The machine is the one of the snapshot; options of run change what the guest does not see. What is lacking is refused with KVM0520 (docs/snapshots.md)."];
    }

    /// <inheritdoc/>
    public override int Execute(ParseResult result, GlobalOptions global)
    {
        // Once, for its configuration and its content: a key may come from a command that asks a person.
        using (_reader = Open(result))
            return base.Execute(result, global);
    }

    /// <inheritdoc/>
    protected override RunSettings Given(ParseResult result)
    {
        var settings = VirtualMachine.ConfigOf(_reader!);
        string? folder = _disks.Text(result);
        if (DiskBackup.HasDisks(_reader!) == folder is null)
            throw new VmmException(folder is null ? UsageErrors.Incomplete : UsageErrors.Conflict, folder is null ? "the backup holds its disks: --disks FOLDER says where they are to be" : "the snapshot holds no disks: --disks has nothing to make");
        return folder is null ? settings : settings with { Machine = DiskBackup.WithDisks(settings.Machine, _reader!, folder) };
    }

    /// <inheritdoc/>
    protected override int Run(ParseResult result, RunSettings settings, GlobalOptions global)
    {
        bool allow = _allow.IsGiven(result);
        var options = new RestoreOptions { AllowDifferences = allow, PutDisksBack = !allow, Pager = _lazy.IsGiven(result) ? Environment.ProcessPath : null };
        if (_disks.Text(result) is { } folder)
            DiskBackup.Restore(_reader!, folder, Environment.ProcessorCount);
        // A volume that was cloned since is another file now, and the one that it was is others' basis.
        if (VolumeDisks.AreIn(settings) || NamedNetworks.AreIn(settings))
            return RunOnNamed(settings, global, Build);
        using var session = new RunSession(settings, global, build: Build);
        return session.Run();

        VirtualMachine Build(VmConfig config, VmHost host) => VirtualMachine.Restore(config, host, _reader!, options);
    }

    private SnapshotReader Open(ParseResult result)
    {
        string name = _snapshot.Text(result) ?? throw new VmmException(UsageErrors.Incomplete, "restore needs the name of a SNAPSHOT: kvmsharp snapshot ls");
        var key = _key.KeyOf(result);
        if (SnapshotVerb.IsFile(name))
            return SnapshotStore.ReadFile(name, key);
        return SnapshotStore.Open(_store.FolderOf(result), key).Read(name);
    }
}
