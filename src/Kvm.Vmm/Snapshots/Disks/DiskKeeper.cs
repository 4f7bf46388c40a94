using Kvm.Devices.Block;
using Kvm.Devices.Block.Qcow2;
using Kvm.Interop;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Snapshots.Store;
using Kvm.Vmm.Storage;

namespace Kvm.Vmm.Snapshots.Disks;

/// <summary>
/// Keeps disks as they are at a snapshot's moment: what takes long is done while the guest runs (<see cref="Prepare"/>), the rest while it stands still
/// (<see cref="Keep(Func{SnapshotContent})"/>). A disk that cannot be kept is known by its generation, and why is told.
/// </summary>
/// <param name="disks">Those that the guest can write.</param>
/// <param name="store">Where copies go.</param>
/// <param name="name">The snapshot's name.</param>
/// <param name="identity">And its identity.</param>
internal sealed class DiskKeeper(IEnumerable<MachineDisk> disks, StoreFolder store, string name, string identity) : IDisksAtMoment
{
    private const int IdentityDigits = 8;

    private readonly List<Prepared> _prepared = [];
    private bool _finished;

    /// <inheritdoc/>
    public IReadOnlyList<DiskKept> Kept => [.. _prepared.Select(p => new DiskKept(p.Disk.Name, p.Keeping, p.Why))];

    private string Word => $"{name}-{identity[..IdentityDigits]}";

    /// <summary>Makes overlays and copies ready, and most of what was written durable.</summary>
    public void Prepare()
    {
        foreach (var disk in disks)
        {
            var prepared = new Prepared(disk);
            _prepared.Add(prepared);
            Try(prepared, () =>
            {
                if (disk.Image.Flush() != DiskResult.Done)
                    throw Failed(disk.Path, "the host cannot make it durable");
                if (disk.Config.Volume is { } volume)
                    // Which files its volumes have is the pool's alone to say; what others put beside them or in their place would be lost to it.
                    prepared.GivesUp($"its files are those of the volume {volume}: kvmsharp volume snapshot keeps it, while no machine has it");
                else if (!DiskFile.IsRegularFile(disk.Path))
                    prepared.GivesUp("it is no regular file");
                else if (!TryPrepareCopy(prepared))
                    PrepareOverlay(prepared);
            });
        }
    }

    /// <inheritdoc/>
    public SnapshotContent Keep(Func<SnapshotContent> content)
    {
        var kept = Keep();
        // The generations are those of now.
        var all = content();
        return all with { Records = [.. all.Records, .. KeptDisk.Write(kept)] };
    }

    private List<KeptDisk> Keep()
    {
        List<KeptDisk> kept = [];
        foreach (var prepared in _prepared)
        {
            Try(prepared, () =>
            {
                prepared.Disk.Settle();
                if (prepared.Keeping == DiskKeeping.Reflink)
                    kept.Add(Copy(prepared));
                else if (prepared.Keeping == DiskKeeping.Overlay)
                    kept.Add(GoOver(prepared));
            });
            prepared.Disk.Stamp();
        }

        return kept;
    }

    /// <summary>Makes the copies durable.</summary>
    /// <exception cref="VmmException">The host cannot.</exception>
    public void Complete()
    {
        foreach (var prepared in _prepared)
        {
            if (prepared.Keeping == DiskKeeping.Reflink)
                DiskFiles.Flush(prepared.Path);
        }
    }

    /// <inheritdoc/>
    public void Finish() => _finished = true;

    /// <summary>Removes what belongs to no snapshot. An overlay that a disk goes on with stays.</summary>
    public void Dispose()
    {
        foreach (var prepared in _prepared)
            prepared.End(_finished || prepared.Keeping == DiskKeeping.Overlay);
    }

    private static void Try(Prepared prepared, Action work)
    {
        try
        {
            work();
        }
        catch (VmmException e)
        {
            prepared.GivesUp(e.Message);
        }
    }

    private static VmmException Failed(string path, string why) => new(SnapshotErrors.WriteFailed, $"{VisibleText.Quote(path)}: {why}");

    private bool TryPrepareCopy(Prepared prepared)
    {
        string path = Path.Combine(store.DisksPath, $"{identity}.{prepared.Disk.Name}");
        store.MakeDisks();
        prepared.Begins(DiskKeeping.Reflink, path);
        prepared.Copy = DiskFiles.Make(path);
        if (prepared.Disk.File.CloneTo(prepared.Copy) == HostFileError.None)
            return true;
        prepared.GivesUp("its file system has no reflinks");
        return false;
    }

    private static KeptDisk Copy(Prepared prepared)
    {
        var copy = prepared.Copy!;
        if (copy.Resize(0) != HostFileError.None || prepared.Disk.File.CloneTo(copy) != HostFileError.None)
            throw Failed(prepared.Path, "the disk cannot be copied");
        prepared.IsUsed = true;
        prepared.Close();
        return new KeptDisk(prepared.Disk.Name, DiskKeeping.Reflink, Path.GetFileName(prepared.Path), prepared.Disk.Config.Format, DiskGenerations.Stamped(prepared.Path));
    }

    private void PrepareOverlay(Prepared prepared)
    {
        var disk = prepared.Disk;
        if (disk.Image.Current is not Qcow2Image image)
            return;
        if (!disk.Config.AllowBacking)
        {
            prepared.GivesUp("it has no backing=allow, which an overlay takes");
            return;
        }

        int files = 1;
        for (var below = image.Backing; below is not null; below = (below as Qcow2Image)?.Backing)
            files++;
        if (files >= DiskOpener.MostFiles)
        {
            prepared.GivesUp($"it is based on {files - 1} files: kvmsharp disk commit makes them fewer");
            return;
        }

        prepared.Begins(DiskKeeping.Overlay, DiskFiles.PartOf(disk.Path, Word));
        DiskFiles.MakeOverlay(prepared.Path, DiskFiles.Beside(disk.Path, Word), DiskFormat.Qcow2, image.Length, image.ClusterSize);
        DiskFiles.Resemble(prepared.Path, disk.Path);
        // Both names are of one file until the overlay takes the first.
        DiskFiles.Link(disk.Path, DiskFiles.Beside(disk.Path, Word));
        prepared.Below = DiskFiles.Beside(disk.Path, Word);
    }

    /// <summary>
    /// The disk's file is locked for reading only, the overlay over it opened, given the disk's path, and put in the place of what the guest uses. Until it has the path
    /// all can be taken back.
    /// </summary>
    private static KeptDisk GoOver(Prepared prepared)
    {
        var disk = prepared.Disk;
        OpenedDisk? opened = null;
        try
        {
            if (!disk.File.TryLock(alone: false))
                throw new VmmException(DiskErrors.InUse, VisibleText.Quote(disk.Path));
            opened = disk.OpenOver(prepared.Path);
            StoreFolder.Guarded(SnapshotErrors.WriteFailed, disk.Path, () =>
            {
                File.Move(prepared.Path, disk.Path, overwrite: true);
                return true;
            });
        }
        catch
        {
            opened?.Image.Dispose();
            disk.File.TryLock(alone: true);
            throw;
        }

        prepared.IsUsed = true;
        disk.GoOnWith(opened.Value);
        // A name that is not durable leads to the file below after a power cut, which has the same content.
        _ = DiskFile.SyncFolder(Path.GetDirectoryName(disk.Path) ?? "/");
        return new KeptDisk(disk.Name, DiskKeeping.Overlay, prepared.Below!, DiskFormat.Qcow2, DiskGenerations.Stamped(prepared.Below!));
    }

    /// <summary>A disk and what is ready for it.</summary>
    private sealed class Prepared(MachineDisk disk)
    {
        public MachineDisk Disk { get; } = disk;

        public DiskKeeping Keeping { get; private set; }

        /// <summary>Why it is not kept; null where it is.</summary>
        public string? Why { get; private set; }

        /// <summary>The overlay until it has the disk's path, or the copy.</summary>
        public string Path { get; private set; } = "";

        /// <summary>The other name of the file that an overlay is over; null for none.</summary>
        public string? Below { get; set; }

        /// <summary>The copy while it is made.</summary>
        public HostFile? Copy { get; set; }

        /// <summary>Whether it is what the disk goes on with, or the copy of the moment.</summary>
        public bool IsUsed { get; set; }

        public void Begins(DiskKeeping keeping, string path) => (Keeping, Path, Why) = (keeping, path, null);

        public void GivesUp(string why)
        {
            End(stays: false);
            (Keeping, Why) = (DiskKeeping.Generation, why);
        }

        public void Close()
        {
            Copy?.Dispose();
            Copy = null;
        }

        /// <summary>Closes it, and removes what was made unless it is used and stays.</summary>
        public void End(bool stays)
        {
            Close();
            if ((IsUsed && stays) || Path.Length == 0)
                return;
            DiskFiles.Remove(Path);
            if (Below is not null && !IsUsed)
                DiskFiles.Remove(Below);
            (Path, Below) = ("", null);
        }
    }
}

/// <summary>How a disk was kept.</summary>
/// <param name="Name">The disk.</param>
/// <param name="Keeping">How.</param>
/// <param name="Why">Why only its generation is known; null where its content is kept.</param>
public sealed record DiskKept(string Name, DiskKeeping Keeping, string? Why);
