using System.Globalization;
using Kvm.Interop;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Snapshots.Disks;
using Kvm.Vmm.Snapshots.Store;
using Kvm.Vmm.Storage;

namespace Kvm.Vmm.Snapshots;

/// <summary>
/// Which content a disk's file has: its length and the time of its last write. A guest's memory fits no other content than that of its moment. A qcow2 image counts as it
/// is when all of it is in its file (<see cref="MachineDisk.Settle"/>). Block devices have none.
/// </summary>
internal static class DiskGenerations
{
    /// <summary>The disks of a machine that stands still.</summary>
    public static IReadOnlyList<SnapshotDisk> Of(VmConfig config)
    {
        List<SnapshotDisk> disks = [];
        for (int i = 0; i < config.Disks.Count; i++)
        {
            var file = new FileInfo(config.Disks[i].Path);
            disks.Add(new SnapshotDisk(MachineDisk.NameOf(i), file.FullName, GenerationOf(config.Disks[i]), file.Exists ? (ulong)file.Length : 0));
        }

        return disks;
    }

    /// <summary>Tells which disks are not as they were.</summary>
    public static void Check(IReadOnlyList<SnapshotDisk> saved, VmConfig config, RestoreReport report)
    {
        foreach (var disk in saved)
        {
            if (IndexOf(disk.Name, config) is not { } index)
                report.Lacks($"the disk {disk.Name} ({VisibleText.Quote(disk.Path)})");
            else if (Moved(disk, config.Disks[index]) is { } now)
                report.Differs($"the disk {disk.Name} as it was: {VisibleText.Quote(config.Disks[index].Path)} is of generation {now}, the snapshot's was {disk.Generation}");
        }
    }

    /// <summary>The number of a disk in a configuration.</summary>
    public static int? IndexOf(string name, VmConfig config)
    {
        for (int i = 0; i < config.Disks.Count; i++)
        {
            if (MachineDisk.NameOf(i) == name)
                return i;
        }

        return null;
    }

    /// <summary>The generation that a disk is of now, where it is not the one it was of.</summary>
    public static string? Moved(SnapshotDisk saved, DiskConfig disk) =>
        saved.Generation.Length > 0 && GenerationOf(disk) is var now && now != saved.Generation ? now : null;

    /// <summary>The generation of a file; empty where it is no regular one.</summary>
    public static string Of(string path)
    {
        var file = new FileInfo(DiskOpener.FullPath(path));
        return DiskFile.IsRegularFile(path) && file.Exists ? string.Create(CultureInfo.InvariantCulture, $"{file.Length:x}-{file.LastWriteTimeUtc.Ticks:x}") : "";
    }

    /// <summary>Has a file be of a generation that whoever writes it next leaves, however soon; gives it.</summary>
    public static string Stamped(string path)
    {
        if (DiskFile.IsRegularFile(path))
        {
            StoreFolder.Guarded(SnapshotErrors.WriteFailed, path, () =>
            {
                File.SetLastWriteTimeUtc(path, DateTime.UtcNow);
                return true;
            });
        }

        return Of(path);
    }

    private static string GenerationOf(DiskConfig disk) => disk.ReadOnly ? "" : Of(disk.Path);
}
