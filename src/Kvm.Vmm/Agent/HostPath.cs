using System.Text;
using Kvm.Interop;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Agent;

/// <summary>A path of the host's as its folder, by descriptor, and a name in it.</summary>
/// <param name="Folder">The folder.</param>
/// <param name="Name">The name.</param>
internal sealed record HostPath(FolderHandle Folder, byte[] Name) : IDisposable
{
    /// <summary>What is to be read.</summary>
    /// <exception cref="AgentException">Its folder cannot be opened.</exception>
    public static HostPath Source(string path)
    {
        // Whole, so that "." and ".." have names as well.
        string whole = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        string? parent = Path.GetDirectoryName(whole);
        return parent is null ? throw Error(path, "the root has no name that a copy could have") : Open(parent, Encoding.UTF8.GetBytes(Path.GetFileName(whole)), path);
    }

    /// <summary>Where a copy goes, as cp decides: into a folder that is there, under the name that is copied; else to the path itself.</summary>
    /// <param name="path">The path.</param>
    /// <param name="copied">The path in the guest, whose last name it is: what a guest calls the copy is not asked.</param>
    /// <exception cref="AgentException">There is no such folder, or the copy would have no name.</exception>
    public static HostPath Target(string path, string copied)
    {
        if (!Directory.Exists(path))
            return Source(path);
        byte[] name = Encoding.UTF8.GetBytes(copied.TrimEnd('/')[(copied.TrimEnd('/').LastIndexOf('/') + 1)..]);
        return FolderHandle.IsName(name) ? Open(path, name, path) : throw Error(path, $"a copy of {VisibleText.Quote(copied, 100)} needs a name: say it behind the folder");
    }

    /// <inheritdoc/>
    public void Dispose() => Folder.Dispose();

    /// <summary>The exception for something of the host's.</summary>
    public static AgentException Error(string what, string why) => new(AgentErrors.HostFile, $"{VisibleText.Quote(what, 200)}: {why}");

    /// <summary>The exception for a name of the host's.</summary>
    public static AgentException Error(ReadOnlySpan<byte> name, int error) => Error(Encoding.UTF8.GetString(name), Errno.TextOf(-error));

    private static HostPath Open(string folder, byte[] name, string said)
    {
        int error = FolderHandle.TryOpen(folder, out var handle);
        if (error == 0 && FolderHandle.IsName(name))
            return new HostPath(handle!, name);
        handle?.Dispose();
        throw Error(said, error == 0 ? "its name is too long" : Errno.TextOf(-error));
    }
}
