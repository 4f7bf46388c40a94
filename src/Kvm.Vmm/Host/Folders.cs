namespace Kvm.Vmm.Host;

/// <summary>Where the program keeps what outlives a command (docs/cli.md, "Folders").</summary>
public static class Folders
{
    /// <summary>Sockets, locks and probe results; gone after a reboot. Made if missing, readable by the owner only.</summary>
    /// <exception cref="IOException">The folder cannot be made, or belongs to somebody else.</exception>
    public static string Runtime => Make(
        Environment.GetEnvironmentVariable("KVMSHARP_RUNTIME")
        ?? Below("XDG_RUNTIME_DIR")
        ?? (Environment.IsPrivilegedProcess ? "/run/kvmsharp" : Path.Combine(Path.GetTempPath(), $"kvmsharp-{Environment.UserName}")));

    /// <summary>Kernels and other things that can be made again.</summary>
    public static string Cache => Make(
        Environment.GetEnvironmentVariable("KVMSHARP_CACHE") ?? Below("XDG_CACHE_HOME") ?? Home(".cache"));

    /// <summary>Machines, disks, networks: what must not be lost.</summary>
    public static string State => Make(
        Environment.GetEnvironmentVariable("KVMSHARP_STATE") ?? Below("XDG_STATE_HOME") ?? Home(".local/state"));

    /// <summary>Where snapshots are, in a state folder; not made here.</summary>
    public static string SnapshotsOf(string stateFolder) => Path.Combine(stateFolder, "snapshots");

    /// <summary>Where backups are, unless it is said otherwise.</summary>
    /// <param name="stateFolder">The state folder.</param>
    public static string BackupsOf(string stateFolder) => Path.Combine(stateFolder, "backups");

    private static string? Below(string variable) =>
        Environment.GetEnvironmentVariable(variable) is { Length: > 0 } folder ? Path.Combine(folder, "kvmsharp") : null;

    private static string Home(string folder) =>
        Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), folder, "kvmsharp");

    private static string Make(string path)
    {
        const UnixFileMode ownerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
        var folder = Directory.CreateDirectory(path, ownerOnly);
        // In a shared temporary folder somebody else may have been there first: a link, or a folder open to others.
        if (folder.LinkTarget is not null || (File.GetUnixFileMode(path) & (UnixFileMode.GroupWrite | UnixFileMode.OtherWrite)) != 0)
            throw new IOException($"{path} is a link or may be written by others");
        return path;
    }
}
