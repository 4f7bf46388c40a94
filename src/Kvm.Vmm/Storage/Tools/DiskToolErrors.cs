namespace Kvm.Vmm.Storage.Tools;

/// <summary>The errors of <c>kvmsharp disk</c>, KVM0160–KVM0169.</summary>
public static class DiskToolErrors
{
    /// <summary>What is to be made is there already.</summary>
    public static readonly ErrorInfo OutputExists = new("KVM0160", "the output is there already",
        "Nothing is overwritten unasked; a device, a pipe or a folder is never written over.",
        "Name another file, or add --force to replace a file")
    { ExitCode = ExitCode.Usage };

    /// <summary>Input and output are one file.</summary>
    public static readonly ErrorInfo SameFile = new("KVM0161", "input and output are the same file",
        "Both names lead to one file, by a link perhaps.",
        "Name another output, and move it over the input when it is made")
    { ExitCode = ExitCode.Usage };

    /// <summary>The image cannot be read.</summary>
    public static readonly ErrorInfo ReadFailed = new("KVM0162", "the image cannot be read",
        "Its storage has an error, it was cut short meanwhile, or what it says of the place is damaged.",
        "Look at it with: kvmsharp disk check FILE")
    { ExitCode = ExitCode.BadInput };

    /// <summary>The output cannot be written.</summary>
    public static readonly ErrorInfo WriteFailed = new("KVM0163", "the output cannot be written",
        "Its folder is not there or not writable, the file system or a quota is full, or its storage has an error. What was made of it is removed.",
        "Make room (df -h FOLDER; ulimit -f), or name another folder")
    { ExitCode = ExitCode.HostFailure };

    /// <summary>Only qemu-img reads the format, and it is not here or cannot.</summary>
    public static readonly ErrorInfo NeedsQemuImg = new("KVM0164", "this format is read by qemu-img only",
        "VHD, VMDK and VHDX are converted by QEMU's qemu-img, which is not installed, cannot read this file, or would open other files for it.",
        "Install it: apt-get install qemu-utils; then: kvmsharp disk convert FILE disk.qcow2")
    { ExitCode = ExitCode.BadInput };

    /// <summary>The verb cannot be done with these images.</summary>
    public static readonly ErrorInfo CannotBe = new("KVM0165", "that cannot be done with this image",
        "The format has no such thing, or data would be lost.",
        "See: kvmsharp disk --help")
    { ExitCode = ExitCode.Usage };

    /// <summary>An image is damaged.</summary>
    public static readonly ErrorInfo Damaged = new("KVM0166", "the image is damaged",
        "Its tables contradict each other; what was found is listed.",
        "Copy it, then mend the copy: kvmsharp disk check FILE --repair all")
    { ExitCode = ExitCode.BadInput };

    /// <summary>All of the above, in ascending order of id.</summary>
    public static IReadOnlyList<ErrorInfo> All => [OutputExists, SameFile, ReadFailed, WriteFailed, NeedsQemuImg, CannotBe, Damaged];
}
