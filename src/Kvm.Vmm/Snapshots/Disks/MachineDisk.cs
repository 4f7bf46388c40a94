using System.Globalization;
using Kvm.Devices.Block;
using Kvm.Devices.Block.Cache;
using Kvm.Devices.Block.Qcow2;
using Kvm.Vmm.Snapshots.Backup;
using Kvm.Vmm.Storage;

namespace Kvm.Vmm.Snapshots.Disks;

/// <summary>A disk of a machine, as snapshots and backups use it.</summary>
/// <param name="name">The device's name.</param>
/// <param name="config">What it is.</param>
/// <param name="image">What the device asks.</param>
/// <param name="file">The image's file.</param>
/// <param name="cache">Through what files are read that the disk only reads.</param>
internal sealed class MachineDisk(string name, DiskConfig config, WatchedImage image, HostFile file, BlockCache? cache)
{
    private string? _stamp;

    public string Name { get; } = name;

    public DiskConfig Config { get; } = config;

    public WatchedImage Image { get; } = image;

    /// <summary>The image's file: another one when an overlay was put over it.</summary>
    public HostFile File { get; private set; } = file;

    /// <summary>The path that the configuration's leads to.</summary>
    public string Path { get; } = DiskOpener.FullPath(config.Path);

    /// <summary>Who notes its changes; null until there is a backup of the machine while it runs.</summary>
    public DiskWatch? Watch { get; private set; }

    /// <summary>Has its changes noted from now on. While the machine stands still.</summary>
    public void BeginWatch() => Image.Watcher = Watch ??= new DiskWatch(Image);

    /// <summary>The name of a machine's disk: its device's.</summary>
    public static string NameOf(int index) => string.Create(CultureInfo.InvariantCulture, $"disk{index}");

    /// <summary>Writes all that closing the image would write, and makes it durable.</summary>
    /// <exception cref="VmmException">The host cannot.</exception>
    public void Settle()
    {
        if ((Image.Current is Qcow2Image qcow2 ? qcow2.Settle() : Image.Flush()) != DiskResult.Done)
            throw new VmmException(Store.SnapshotErrors.WriteFailed, $"{Configuration.VisibleText.Quote(Config.Path)}: the host cannot make it durable");
    }

    /// <summary>Opens an overlay over the disk's file, both locked as for a guest; the disk's own file is locked for reading from then on.</summary>
    /// <param name="path">The overlay.</param>
    public OpenedDisk OpenOver(string path)
    {
        var opened = DiskOpener.Open(Config with { Path = path }, cache);
        opened.File.Pages = File.Pages;
        return opened;
    }

    /// <summary>
    /// Gives the file the time of its last write to the hundred nanoseconds, where it was written since this was done before: the file system's own is the time of a
    /// clock's tick, so that what is written in the same tick would leave it as it is.
    /// </summary>
    public void Stamp()
    {
        if (_stamp is null || DiskGenerations.Of(Path) != _stamp)
            _stamp = DiskGenerations.Stamped(Path);
    }

    /// <summary>Goes on with an overlay over what there was, while the machine stands still.</summary>
    public void GoOnWith(in OpenedDisk overlay)
    {
        var old = Image.Current;
        Image.Replace(overlay.Image);
        File = overlay.File;
        old.Dispose();
    }
}
