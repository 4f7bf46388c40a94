using System.Globalization;
using Kvm.Manager.Networks;
using Kvm.Manager.Pools;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;

namespace Kvm.Manager.Working;

/// <summary>The paths that a machine's process has: what its configuration names, its own folder, the sockets of the runtime folder.</summary>
internal static class WorkerConfinement
{
    /// <summary>What a process that has only these calls itself (docs/manager.md).</summary>
    public const string Role = "confined";

    /// <summary>Becomes the same worker with these paths only; returns where it cannot: why.</summary>
    public static string? TryBecome(ManagerOptions options, string name, long generation)
    {
        if (!Confinement.KnowsPaths)
            return "the kernel has no Landlock";
        try
        {
            var record = new VmStore(options.StateFolder).Read(name);
            var settings = NamedNetworks.Locate(VolumeDisks.Locate(record.Settings(), options), options, start: false);
            if (settings.Scheduling.Policy is not null)
                return "a scheduler that it starts serves other machines too";
            if (MachineFiles.StartsProgram(settings.Machine) is { } program)
                return $"it starts {program}, which confines itself";
            // There when the paths are taken, for snapshots and backups that are made of it.
            foreach (string folder in (ReadOnlySpan<string>)[Folders.SnapshotsOf(options.StateFolder), Folders.BackupsOf(options.StateFolder)])
                Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            bool network = settings.Machine.Networks.Any(card => card.Kind == Vmm.Network.NetKind.User) || record.Health?.Address is not null;
            return Confinement.Become([.. MachineFiles.Of(settings.Machine), .. Own(options, name, settings)], network, options.Program,
                ["worker", name, Role, generation.ToString(CultureInfo.InvariantCulture), options.StateFolder, options.RuntimeFolder]);
        }
        catch (Exception e) when (e is VmmException or IOException or UnauthorizedAccessException)
        {
            // The same is in its way when it builds the machine, and is told then.
            return e.Message;
        }
    }

    private static IEnumerable<(string Path, PathUse Use)> Own(ManagerOptions options, string name, RunSettings settings)
    {
        var store = new VmStore(options.StateFolder);
        yield return (options.Program, PathUse.Program);
        yield return (store.FolderOf(name), PathUse.Folder);
        yield return (store.LockPath, PathUse.ReadWrite);
        yield return (Path.GetDirectoryName(new EventLog(options.StateFolder, options.Time).Path)!, PathUse.Folder);
        yield return (Folders.SnapshotsOf(options.StateFolder), PathUse.Folder);
        yield return (Folders.BackupsOf(options.StateFolder), PathUse.Folder);
        yield return (options.RuntimeFolder, PathUse.Folder);
        foreach (string path in VolumeDisks.Needs(settings, options))
            yield return (path, PathUse.Read);
        if (settings.Console == ConsoleKind.File)
            yield return (Path.GetDirectoryName(settings.ConsolePath!)!, PathUse.Folder);
    }
}
