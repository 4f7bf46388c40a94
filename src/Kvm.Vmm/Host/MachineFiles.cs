using Kvm.Interop;
using Kvm.Vmm.Network;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Storage.Tools;

namespace Kvm.Vmm.Host;

/// <summary>What a process may do with a path.</summary>
public enum PathUse
{
    /// <summary>Read it, or all that is below it.</summary>
    Read,

    /// <summary>Read and write a file or a device.</summary>
    ReadWrite,

    /// <summary>Make and remove files and sockets in a folder, without reading what others have there.</summary>
    Make,

    /// <summary>All of that below a folder.</summary>
    Folder,

    /// <summary>Read it and start it, or what is below it.</summary>
    Program,
}

/// <summary>The files that a machine's process needs of its host, from its configuration. Thread-safe: no state.</summary>
public static class MachineFiles
{
    // What the C library, the loader of libraries and the resolver of names read; what an engine asks of the host.
    private static readonly string[] s_read =
    [
        "/proc", "/sys", "/dev/urandom", "/dev/random", "/etc/ld.so.cache", "/etc/localtime", "/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf", "/run/systemd/resolve",
    ];

    private static readonly string[] s_write = ["/dev/null", "/dev/zero", "/dev/full", "/dev/kvm", "/dev/net/tun", "/dev/vhost-net", "/dev/userfaultfd"];
    private static readonly string[] s_libraries = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"];

    /// <summary>Why a machine's process cannot be confined to its files: it starts another program that brings its own confinement. Null where it can.</summary>
    /// <param name="machine">The machine.</param>
    public static string? StartsProgram(VmConfig machine)
    {
        ArgumentNullException.ThrowIfNull(machine);
        return machine.Networks.Any(card => card.Kind == NetKind.User && card.Via != UserStack.Slirp) && PasstBackend.FindProgram() is { } program ? program : null;
    }

    /// <summary>The paths, of which some need not be there.</summary>
    /// <param name="machine">The machine.</param>
    /// <exception cref="VmmException">A disk cannot be looked at.</exception>
    public static IEnumerable<(string Path, PathUse Use)> Of(VmConfig machine)
    {
        ArgumentNullException.ThrowIfNull(machine);
        foreach (string path in s_read)
            yield return (path, PathUse.Read);
        foreach (string path in s_write)
            yield return (path, PathUse.ReadWrite);
        foreach (string path in s_libraries)
            yield return (path, PathUse.Program);
        yield return (machine.KernelPath, PathUse.Read);
        if (machine.InitrdPath is { } initrd)
            yield return (initrd, PathUse.Read);
        foreach (var disk in machine.Disks)
        {
            yield return (disk.Path, disk.ReadOnly ? PathUse.Read : PathUse.ReadWrite);
            foreach (string path in BackingOf(disk))
                yield return (path, PathUse.Read);
            // A snapshot puts an overlay over it, which is a new file beside it; not over a pool's volume.
            if (disk is { AllowBacking: true, ReadOnly: false, Format: DiskFormat.Qcow2, Volume: null })
                yield return (FolderOf(DiskOpener.FullPath(disk.Path)), PathUse.Folder);
        }

        foreach (var port in machine.Ports)
            yield return (FolderOf(port.SocketPath), PathUse.Make);
        if (machine.Vsock is { } vsock)
            yield return (FolderOf(vsock.SocketPath), PathUse.Make);
        if (machine.Capture is { } capture)
            yield return (FolderOf(capture.Path), PathUse.Folder);
        if (machine.Metadata?.Path is { } metadata)
            yield return (metadata, PathUse.Read);
        foreach (var card in machine.Networks)
        {
            if (card.Model is { } model)
                yield return (model, PathUse.Read);
        }
    }

    private static string FolderOf(string path) => Path.GetDirectoryName(Path.GetFullPath(path)) ?? "/";

    /// <summary>The files that a disk is based on, as their images say now.</summary>
    private static IEnumerable<string> BackingOf(DiskConfig disk)
    {
        string path = disk.Path;
        bool isQcow2 = disk is { AllowBacking: true, Format: DiskFormat.Qcow2 };
        for (int files = 0; isQcow2 && files < DiskOpener.MostFiles; files++)
        {
            if (DiskTool.Info(new ImageName(path, ImageFormat.Qcow2, AllowBacking: true)).Qcow2?.Backing is not { } backing)
                yield break;
            path = Path.GetFullPath(backing.Name, FolderOf(path));
            yield return path;
            isQcow2 = backing.Format is "qcow2" || (backing.Format is null && ImageName.FormatByName(path) == ImageFormat.Qcow2);
        }
    }
}
