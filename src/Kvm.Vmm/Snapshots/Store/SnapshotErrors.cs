namespace Kvm.Vmm.Snapshots.Store;

/// <summary>The errors of stored snapshots, KVM0500–KVM0519.</summary>
public static class SnapshotErrors
{
    /// <summary>There is none of that name.</summary>
    public static readonly ErrorInfo NotFound = new("KVM0500", "there is no such snapshot",
        "No snapshot of that name is in the store, or the store is another folder.",
        "See which there are: kvmsharp snapshot ls")
    { ExitCode = ExitCode.Usage };

    /// <summary>The name is taken, or the snapshot is in the store already.</summary>
    public static readonly ErrorInfo Exists = new("KVM0501", "the snapshot is there already",
        "Nothing is overwritten: a snapshot of that name, a file of that name, or the same snapshot under another name is there.",
        "Take another name, or remove that one: kvmsharp snapshot rm NAME")
    { ExitCode = ExitCode.Usage };

    /// <summary>A file of the store is not what it should be.</summary>
    public static readonly ErrorInfo Damaged = new("KVM0502", "the snapshot is damaged",
        "A file of it is cut short, was changed, or says of itself what cannot be; nothing of it is used.",
        "Restore another one; see what is damaged: kvmsharp snapshot verify")
    { ExitCode = ExitCode.BadInput };

    /// <summary>Written by a later program.</summary>
    public static readonly ErrorInfo LaterVersion = new("KVM0503", "the snapshot was made by a later version",
        "Its format has a number that this version does not know.",
        "Use the version that made it, or a later one")
    { ExitCode = ExitCode.BadInput };

    /// <summary>A snapshot that it is based on is missing, or they go in a circle.</summary>
    public static readonly ErrorInfo NoParent = new("KVM0504", "a snapshot that this one is based on cannot be used",
        "It is not in the store, is based on this one in turn, or too many are based on one another.",
        "Import what is missing: kvmsharp snapshot import FILE; shorten a chain: kvmsharp snapshot merge NAME")
    { ExitCode = ExitCode.BadInput };

    /// <summary>A file cannot be read.</summary>
    public static readonly ErrorInfo ReadFailed = new("KVM0505", "the snapshot cannot be read",
        "A file or folder of the store is not readable by this user, or its storage has an error.",
        "Look at the folder's owner and permissions (ls -l), and at the host's log (dmesg)")
    { ExitCode = ExitCode.BadInput };

    /// <summary>The store cannot be written.</summary>
    public static readonly ErrorInfo WriteFailed = new("KVM0506", "the snapshot cannot be written",
        "The folder is not writable, the file system or a quota is full, or its storage has an error. What was there before is as it was.",
        "Make room (df -h FOLDER; kvmsharp snapshot prune), or name another folder with --store")
    { ExitCode = ExitCode.HostFailure };

    /// <summary>Another operation has the store.</summary>
    public static readonly ErrorInfo Busy = new("KVM0507", "the store is in use",
        "A snapshot is just being saved, or removed, merged or pruned; these exclude one another.",
        "Wait until that has ended, then type it again")
    { ExitCode = ExitCode.HostFailure };

    /// <summary>It is encrypted, and the key is not there or another.</summary>
    public static readonly ErrorInfo WrongKey = new("KVM0508", "the snapshot's key is missing or another one",
        "The snapshot is encrypted, and no key was given, or not the one it was made with.",
        "Say where the key is: --key file=FILE, --key credential=NAME or --key command=TEXT")
    { ExitCode = ExitCode.BadInput };

    /// <summary>Others are based on it.</summary>
    public static readonly ErrorInfo HasChildren = new("KVM0509", "other snapshots are based on this one",
        "They hold only what differs from it.",
        "Make them stand alone first: kvmsharp snapshot merge NAME")
    { ExitCode = ExitCode.Usage };

    /// <summary>A name that no snapshot can have.</summary>
    public static readonly ErrorInfo BadName = new("KVM0510", "that is no name for a snapshot",
        "A name is 1 to 64 letters, digits, points, hyphens and underscores, and begins with a letter or digit.",
        "Take a name such as before-upgrade")
    { ExitCode = ExitCode.Usage };

    /// <summary>A key cannot be had.</summary>
    public static readonly ErrorInfo NoKey = new("KVM0511", "the key cannot be read",
        "The file, the systemd credential or the command gives none, or fewer than 32 bytes, or more than 4096.",
        "Make one: head -c 32 /dev/urandom >FILE; chmod 600 FILE; and name it: --key file=FILE")
    { ExitCode = ExitCode.Usage };

    /// <summary>All of the above, in ascending order of id.</summary>
    public static IReadOnlyList<ErrorInfo> All =>
        [NotFound, Exists, Damaged, LaterVersion, NoParent, ReadFailed, WriteFailed, Busy, WrongKey, HasChildren, BadName, NoKey];
}
