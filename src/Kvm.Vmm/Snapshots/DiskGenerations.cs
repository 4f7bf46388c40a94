using System.Globalization;
using Kvm.Vmm.Snapshots.Store;
using Kvm.Vmm.Storage;

namespace Kvm.Vmm.Snapshots;

/// <summary>
/// Which contents a disk's file had: its length and the time of its last write. A guest's memory fits no other content than that of its moment. Of a qcow2 image, which is
/// written to when it is closed, nobody can tell that way.
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
            disks.Add(new SnapshotDisk(NameOf(i), file.FullName, GenerationOf(config.Disks[i], file), file.Exists ? (ulong)file.Length : 0));
        }

        return disks;
    }

    /// <summary>Tells which disks are not as they were.</summary>
    public static void Check(IReadOnlyList<SnapshotDisk> saved, VmConfig config, RestoreReport report)
    {
        foreach (var disk in saved)
        {
            int index = Enumerable.Range(0, config.Disks.Count).FirstOrDefault(i => NameOf(i) == disk.Name, -1);
            if (index < 0)
            {
                report.Lacks($"the disk {disk.Name} ({disk.Path})");
                continue;
            }

            string now = GenerationOf(config.Disks[index], new FileInfo(config.Disks[index].Path));
            if (disk.Generation.Length > 0 && now != disk.Generation)
                report.Differs($"the disk {disk.Name} as it was: {config.Disks[index].Path} is of generation {now}, the snapshot's was {disk.Generation}");
        }
    }

    private static string NameOf(int index) => string.Create(CultureInfo.InvariantCulture, $"disk{index}");

    private static string GenerationOf(DiskConfig disk, FileInfo file)
    {
        file.Refresh();
        return disk.Format == DiskFormat.Qcow2 || disk.ReadOnly || !file.Exists ? "" : string.Create(CultureInfo.InvariantCulture, $"{file.Length:x}-{file.LastWriteTimeUtc.Ticks:x}");
    }
}
