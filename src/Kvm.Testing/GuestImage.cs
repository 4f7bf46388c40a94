using Kvm.Vmm.Host;

namespace Kvm.Testing;

/// <summary>A kernel and the initial RAM disk it starts with.</summary>
/// <param name="KernelPath">Path of a bzImage or an ELF image.</param>
/// <param name="InitrdPath">Path of a cpio archive, compressed as the kernel understands or not at all. The agent must be in it, and be started.</param>
public sealed record GuestImage(string KernelPath, string InitrdPath)
{
    /// <summary>Where the drivers of a kernel are that has them as modules: the folder with <c>kernel/</c> in it, with none compressed; null where all are built in. What the agent needs of them is loaded before it
    /// starts, by the initial RAM disk's <c>init</c>, which finds in <c>/modules/load</c> the names of files in <c>/modules</c>, one a line, in their order.</summary>
    public string? ModulesPath { get; init; }

    /// <summary>
    /// The small kernel that <c>scripts/guest-kernel small</c> builds: everything a test needs is built in, it has no modules and no
    /// 32-bit programs, and boots in a second on the software engine.
    /// </summary>
    /// <exception cref="GuestUnavailableException">It is not there.</exception>
    public static GuestImage Small => new(Require("small/vmlinux"), Require("initramfs/initramfs.cpio"));

    /// <summary>Debian's cloud kernel as <c>scripts/guest-kernel stock</c> fetches it, with its drivers as modules.</summary>
    /// <exception cref="GuestUnavailableException">It is not there.</exception>
    public static GuestImage Stock
    {
        get
        {
            string kernel = Require("stock/bzImage"), modules = Path.Combine(Path.GetDirectoryName(kernel)!, "modules");
            return new GuestImage(kernel, Require("initramfs/initramfs.cpio"))
            {
                ModulesPath = Directory.Exists(modules) ? Directory.EnumerateDirectories(modules).FirstOrDefault() : null,
            };
        }
    }

    /// <summary>
    /// The folder with <c>small/</c>, <c>stock/</c> and <c>initramfs/</c>: KVMSHARP_GUEST where that is set, else <c>artifacts/guest</c> of the
    /// checkout in which the program or the working folder is; null where there is neither, and pieces come from the cache.
    /// </summary>
    public static string? Folder =>
        Environment.GetEnvironmentVariable("KVMSHARP_GUEST") is { Length: > 0 } folder ? folder : Above(AppContext.BaseDirectory) ?? Above(Environment.CurrentDirectory);

    private static string Require(string name)
    {
        string? path = Folder is { } folder ? Path.Combine(folder, name) : InCache(name);
        return path is not null && File.Exists(path) ? path : throw new GuestUnavailableException(
            $"the guest's {name} is not here; type scripts/guest-kernel in a checkout of kvmsharp, or set KVMSHARP_GUEST to a folder that has it");
    }

    private static string? Above(string start)
    {
        for (var folder = new DirectoryInfo(start); folder is not null; folder = folder.Parent)
        {
            string guest = Path.Combine(folder.FullName, "artifacts", "guest");
            if (File.Exists(Path.Combine(folder.FullName, "Kvm.sln")) && Directory.Exists(guest))
                return guest;
        }

        return null;
    }

    /// <summary>What scripts/guest-kernel keeps for all checkouts: each piece under the hash of what it is made from, of which the newest is taken.</summary>
    private static string? InCache(string name)
    {
        var (piece, file) = name.Split('/') is [var first, var second] ? (first, second) : ("", name);
        var store = new DirectoryInfo(Path.Combine(Folders.Cache, "guest"));
        return store.Exists
            ? store.EnumerateDirectories($"{piece}_*").OrderByDescending(made => made.LastWriteTimeUtc).Select(made => Path.Combine(made.FullName, file)).FirstOrDefault(File.Exists)
            : null;
    }
}
