namespace Kvm.Vmm;

/// <summary>The errors of storage pools, KVM0640–KVM0659.</summary>
public static class PoolErrors
{
    /// <summary>No pool of that name.</summary>
    public static readonly ErrorInfo NoSuchPool = new("KVM0640", "there is no storage pool of that name",
        "It was never defined, was removed, or belongs to another user or another state folder.",
        "See which there are: kvmsharp pool ls")
    { ExitCode = ExitCode.Usage };

    /// <summary>No volume of that name.</summary>
    public static readonly ErrorInfo NoSuchVolume = new("KVM0641", "there is no volume of that name",
        "It was never created, or was removed; a snapshot of a volume is called POOL/VOLUME@SNAPSHOT.",
        "See which there are: kvmsharp volume ls POOL")
    { ExitCode = ExitCode.Usage };

    /// <summary>The name cannot be a pool's or volume's.</summary>
    public static readonly ErrorInfo BadName = new("KVM0642", "a pool or volume cannot have that name",
        "A name is 1 to 64 letters of the Latin alphabet without accents, digits, '-', '_' and '.', and does not begin with '.' or '-'; a volume is POOL/VOLUME, or VOLUME in the pool default.",
        "Choose another one: kvmsharp volume create fast/web-1 10G")
    { ExitCode = ExitCode.Usage };

    /// <summary>The name is taken.</summary>
    public static readonly ErrorInfo Taken = new("KVM0643", "there is a pool or volume of that name",
        "Names of pools are unique in a state folder, names of volumes in their pool.",
        "Choose another name, or remove the old one: kvmsharp volume rm POOL/VOLUME")
    { ExitCode = ExitCode.Usage };

    /// <summary>The record cannot be understood.</summary>
    public static readonly ErrorInfo BadCatalog = new("KVM0644", "what is known of the pool cannot be read",
        "Its record or its journal (pools/NAME in the state folder) was changed by hand, damaged, or written by a later version of the program.",
        "Use the version that wrote it, or bring the folder pools/NAME back from a backup; the volumes' files are where they were.")
    { ExitCode = ExitCode.BadInput };

    /// <summary>Something cannot be written.</summary>
    public static readonly ErrorInfo CannotKeep = new("KVM0645", "the pool cannot be changed",
        "A folder of the pool, or the state folder, is full, read-only, or not writable by this user. What was there before still is.",
        "Check the folders: kvmsharp pool inspect NAME; df and ls -ld FOLDER");

    /// <summary>A folder has gone.</summary>
    public static readonly ErrorInfo FolderLost = new("KVM0646", "a folder of the pool is not there",
        "It was removed, renamed or is not mounted; or it belongs to another pool: its file .kvmsharp-pool says whose it is.",
        "Mount or bring the folder back; see what is missing: kvmsharp pool inspect NAME")
    { ExitCode = ExitCode.BadInput };

    /// <summary>The quota, or the storage, does not allow it.</summary>
    public static readonly ErrorInfo OverQuota = new("KVM0647", "the pool has no room for that",
        "The pool's quota bounds what its volumes may come to take, all together: their sizes, and what their snapshots hold.",
        "See what is promised: kvmsharp pool inspect NAME; remove volumes or snapshots, or raise it: kvmsharp pool define NAME --quota SIZE")
    { ExitCode = ExitCode.BadInput };

    /// <summary>Somebody has the volume.</summary>
    public static readonly ErrorInfo VolumeInUse = new("KVM0648", "the volume is in use",
        "A guest that runs has it, a copy of it is being made, or a machine that does not run has it among its disks.",
        "End the guest first (kvmsharp stop NAME), or remove the machine; --force removes a volume that only stopped machines name.")
    { ExitCode = ExitCode.BadInput };

    /// <summary>The file is not what it was.</summary>
    public static readonly ErrorInfo VolumeChanged = new("KVM0649", "the volume's file is not what it was",
        "It was removed, renamed, replaced or changed without the pool's knowledge.",
        "See what is wrong: kvmsharp pool inspect NAME; put the file back, or remove the volume: kvmsharp volume rm POOL/VOLUME")
    { ExitCode = ExitCode.BadInput };

    /// <summary>The pool has volumes.</summary>
    public static readonly ErrorInfo NotEmpty = new("KVM0650", "the pool has volumes",
        "A pool is removed when nothing is in it.",
        "Remove them too: kvmsharp pool rm --force NAME")
    { ExitCode = ExitCode.Usage };

    /// <summary>That cannot be done with this volume.</summary>
    public static readonly ErrorInfo CannotBe = new("KVM0651", "that cannot be done with this volume",
        "Its size, its snapshots or the files it is based on do not allow it.",
        "The message says what; a volume that stands alone is made by: kvmsharp volume clone --full POOL/VOLUME POOL/NEW")
    { ExitCode = ExitCode.BadInput };

    /// <summary>Another operation is under way.</summary>
    public static readonly ErrorInfo Busy = new("KVM0652", "another operation on the pool is under way",
        "Changes of one pool come one after another, and the one before did not end in time.",
        "Try again.");

    /// <summary>All errors of this class in ascending order of id.</summary>
    public static IReadOnlyList<ErrorInfo> All =>
        [NoSuchPool, NoSuchVolume, BadName, Taken, BadCatalog, CannotKeep, FolderLost, OverQuota, VolumeInUse, VolumeChanged, NotEmpty, CannotBe, Busy];
}
