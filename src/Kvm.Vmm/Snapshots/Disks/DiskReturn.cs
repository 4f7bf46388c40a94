using System.Globalization;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Snapshots.Store;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Storage.Tools;

namespace Kvm.Vmm.Snapshots.Disks;

/// <summary>Puts disks back to what they were at a snapshot's moment. What a disk is until then stays beside it, under another name.</summary>
internal static class DiskReturn
{
    /// <summary>Finds the disks that have moved on and whose content of that moment is kept; what of it is not what was kept is in the report.</summary>
    public static IReadOnlyList<ReturningDisk> Find(SnapshotReader reader, VmConfig config, RestoreReport report)
    {
        List<ReturningDisk> returning = [];
        foreach (var kept in KeptDisk.Read(reader.Content.Records))
        {
            if (DiskGenerations.IndexOf(kept.Name, config) is not { } index || reader.Content.Disks.FirstOrDefault(d => d.Name == kept.Name) is not { } saved
                || DiskGenerations.Moved(saved, config.Disks[index]) is null)
                continue;
            string path = kept.Keeping == DiskKeeping.Overlay ? kept.Path : Path.Combine(reader.DisksPath, Path.GetFileName(kept.Path));
            string now = DiskGenerations.Of(path);
            if (now != kept.Generation)
                report.Lacks($"the disk {VisibleText.Quote(kept.Name, 40)} as it was: {VisibleText.Quote(path)} {(now.Length == 0 ? "is gone" : $"is of generation {now}")}, the snapshot's was {kept.Generation}");
            else
                returning.Add(new ReturningDisk(kept.Name, config.Disks[index], path, kept.Keeping));
        }

        return returning;
    }

    /// <summary>Puts one back.</summary>
    /// <param name="disk">Which.</param>
    /// <param name="word">What is part of the name that the disk of until now gets.</param>
    /// <returns>The file with what the disk was until now; null where nothing was there.</returns>
    /// <exception cref="VmmException">A guest uses the disk, or the host cannot; it is as it was.</exception>
    public static string? PutBack(ReturningDisk disk, string word)
    {
        string path = DiskOpener.FullPath(disk.Config.Path), part = DiskFiles.PartOf(path, word);
        bool replaces = File.Exists(path);
        string until = DiskFiles.Beside(path, string.Create(CultureInfo.InvariantCulture, $"before-{word}-{DateTime.UtcNow:yyyyMMddTHHmmssfff}"));
        using var locked = replaces ? HostFile.OpenNew(path) : null;
        try
        {
            if (disk.Keeping == DiskKeeping.Overlay)
                MakeOverlay(part, disk.Kept);
            else
                Copy(disk.Kept, part);
            DiskFiles.Resemble(part, replaces ? path : disk.Kept);
            DiskFiles.Place(part, path, until);
        }
        finally
        {
            DiskFiles.Remove(part);
        }

        return replaces ? until : null;
    }

    private static void MakeOverlay(string part, string kept)
    {
        using var below = ToolImage.Open(new ImageName(kept, ImageFormat.Qcow2, AllowBacking: true));
        DiskFiles.MakeOverlay(part, kept, DiskFormat.Qcow2, below.Length, below.Qcow2!.ClusterSize);
    }

    /// <summary>A copy that shares its storage where the file system still can; else of all of it.</summary>
    private static void Copy(string kept, string part)
    {
        StoreFolder.Guarded(SnapshotErrors.WriteFailed, part, () =>
        {
            File.Copy(kept, part);
            return true;
        });
        DiskFiles.Flush(part);
    }
}

/// <summary>A disk that is to be put back.</summary>
/// <param name="Name">The disk.</param>
/// <param name="Config">What it is.</param>
/// <param name="Kept">The file with its content of the snapshot's moment.</param>
/// <param name="Keeping">How that was kept.</param>
internal sealed record ReturningDisk(string Name, DiskConfig Config, string Kept, DiskKeeping Keeping);
