using Kvm.Interop;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Snapshots.Store;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Storage.Tools;

namespace Kvm.Vmm.Snapshots.Disks;

/// <summary>
/// Files of disks made beside others and put in their places. At every moment, a power cut included, a disk's path leads to all of one content: the file that takes a
/// place is whole and durable before, and what was there has another name by then.
/// </summary>
internal static class DiskFiles
{
    /// <summary>The name of a file beside a disk's: <c>disk.before-upgrade-1f2e3d4c.qcow2</c>.</summary>
    public static string Beside(string path, string word) =>
        Path.Combine(FolderOf(path), $"{Path.GetFileNameWithoutExtension(path)}.{word}{Path.GetExtension(path)}");

    /// <summary>The name of a file that is to take a disk's place.</summary>
    public static string PartOf(string path, string word) => Path.Combine(FolderOf(path), $".{Path.GetFileName(path)}.{word}{StoreFolder.PartEnd}");

    /// <summary>Makes an empty image over another one.</summary>
    /// <param name="path">The image; nothing may be there.</param>
    /// <param name="below">What it is based on, which need not be there yet.</param>
    /// <param name="format">Its format.</param>
    /// <param name="length">Bytes of the disk.</param>
    /// <param name="clusterSize">Bytes of a cluster.</param>
    /// <exception cref="VmmException">It cannot be made.</exception>
    public static void MakeOverlay(string path, string below, DiskFormat format, ulong length, int clusterSize)
    {
        string name = FolderOf(path) == FolderOf(below) ? Path.GetFileName(below) : below;
        var options = new ImageOptions { ClusterSize = clusterSize, BackingFile = name, BackingFormat = SettingNames.DiskFormats[(int)format] };
        using (var image = NewImage.Begin(new ImageName(path, ImageFormat.Qcow2), length, options, force: false))
            image.Finish();
        Flush(path);
    }

    /// <summary>Makes an empty file for its owner, opened as for a disk that is to be made in it.</summary>
    public static HostFile Make(string path) => Guarded(path, () =>
    {
        HostStoreFiles.Instance.Create(path).Dispose();
        return HostFile.OpenNew(path);
    });

    /// <summary>Gives a file the mode and the owner of another, as far as this user may.</summary>
    public static void Resemble(string path, string other) => Guarded(path, () =>
    {
        File.SetUnixFileMode(path, File.GetUnixFileMode(other));
        return true;
    });

    /// <summary>
    /// Puts a file in a disk's place. What was there goes on under another name of its own first; until the last step both names are of one file, so that whoever is
    /// interrupted leaves the disk as it was.
    /// </summary>
    /// <param name="part">The file, whole and durable.</param>
    /// <param name="path">The disk's path.</param>
    /// <param name="kept">The other name of what was there; nothing may have it. Not used where nothing was there.</param>
    /// <exception cref="VmmException">It cannot be; the disk is as it was.</exception>
    public static void Place(string part, string path, string kept) => Guarded(path, () =>
    {
        bool replaces = File.Exists(path);
        if (replaces)
            Link(path, kept);
        try
        {
            File.Move(part, path, replaces);
        }
        catch when (replaces)
        {
            Remove(kept);
            throw;
        }

        // A name that is not durable leads to the old one after a power cut, which has the same content.
        _ = DiskFile.SyncFolder(FolderOf(path));
        return true;
    });

    /// <summary>Gives a file another name beside the one it has, durably; nothing may have that.</summary>
    /// <exception cref="VmmException">It cannot be.</exception>
    public static void Link(string path, string another)
    {
        int error = DiskFile.Link(path, another);
        if (error == 0 && (error = DiskFile.SyncFolder(FolderOf(another))) < 0)
            Remove(another);
        if (error < 0)
            throw new VmmException(SnapshotErrors.WriteFailed, $"{VisibleText.Quote(another)}: {Errno.TextOf(-error)}");
    }

    /// <summary>Makes a file and its name durable.</summary>
    public static void Flush(string path) => Guarded(path, () =>
    {
        using (var file = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete))
            RandomAccess.FlushToDisk(file);
        HostStoreFiles.Instance.SyncFolder(FolderOf(path));
        return true;
    });

    /// <summary>Removes a file whether it is there or not.</summary>
    public static void Remove(string path)
    {
        try
        {
            File.Delete(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // What it is needs no telling: the error that led here is on its way.
        }
    }

    private static string FolderOf(string path) => Path.GetDirectoryName(path) ?? "/";

    private static T Guarded<T>(string path, Func<T> work) => StoreFolder.Guarded(SnapshotErrors.WriteFailed, path, work);
}
