namespace Kvm.Vmm.Storage;

/// <summary>The errors of disks, KVM0150–KVM0169. Each ends the program with exit code 3.</summary>
public static class DiskErrors
{
    /// <summary>The file cannot be opened.</summary>
    public static readonly ErrorInfo Unreadable = Make("KVM0150", "cannot open the disk",
        "The path is wrong, the file may not be read or written by this user, or it is a folder or a pipe.",
        "Check the path and its permissions: ls -l FILE; add ,readonly to the disk if writing is not needed");

    /// <summary>Another program uses the file.</summary>
    public static readonly ErrorInfo InUse = Make("KVM0151", "the disk is in use",
        "Another guest has locked it: for writing, or for reading where this guest wants to write.",
        "End the other guest (lslocks shows who it is), or give both ,readonly.");

    /// <summary>The file's length is no disk's.</summary>
    public static readonly ErrorInfo BadSize = Make("KVM0152", "the file is no disk",
        "It holds less than one sector, or with cache=none is no multiple of what its file system transfers at once.",
        "Make it the size of a disk: truncate -s 1G FILE");

    /// <summary>The file system has no direct transfers.</summary>
    public static readonly ErrorInfo NoDirect = Make("KVM0153", "the disk cannot be used with cache=none",
        "Its file system has no transfers past the page cache (O_DIRECT).",
        "Use another cache mode, or put the file on another file system.");

    /// <summary>The image is damaged, or needs what is not done here.</summary>
    public static readonly ErrorInfo BadImage = Make("KVM0154", "the disk image cannot be used",
        "It contradicts itself, is cut short, is not of the format that was said, or needs a feature that the message names.",
        "Look at it with: qemu-img check FILE; if it is a raw disk, add format=raw");

    /// <summary>The image is based on a file that may not be opened.</summary>
    public static readonly ErrorInfo BackingRefused = Make("KVM0155", "the disk is based on another file",
        "An image names the file it is based on; that is opened only if you allow it, by a path, and only if it is a regular file.",
        "Look which one with: qemu-img info FILE; if you trust it add backing=allow to the disk");

    /// <summary>All of the above, in ascending order of id.</summary>
    public static IReadOnlyList<ErrorInfo> All => [Unreadable, InUse, BadSize, NoDirect, BadImage, BackingRefused];

    private static ErrorInfo Make(string id, string summary, string cause, string fix) => new(id, summary, cause, fix) { ExitCode = ExitCode.BadInput };
}
