using Kvm.Vmm.Host;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Storage.Tools;

namespace Kvm.Manager.Pools;

/// <summary>A file of a pool, as its journal says. Immutable.</summary>
/// <param name="Id">What the journal calls it; never given again.</param>
/// <param name="Folder">Which of the pool's folders it is in, from 0.</param>
/// <param name="File">Its name there.</param>
/// <param name="Format">What it is.</param>
/// <param name="Size">Bytes of the disk.</param>
/// <param name="Parent">The image it is based on, or null.</param>
/// <param name="IsFrozen">It is not written any more: others are based on it, or a snapshot is.</param>
/// <param name="Facts">What the file system said of the file when it was made or frozen.</param>
internal sealed record PoolImage(string Id, int Folder, string File, DiskFormat Format, ulong Size, string? Parent, bool IsFrozen, ImageFacts Facts);

/// <summary>A name and the image it stands for: a volume's, or a snapshot's (<c>VOLUME@SNAPSHOT</c>). Immutable.</summary>
/// <param name="Name">The name.</param>
/// <param name="Image">The image's id.</param>
/// <param name="Created">When it was given.</param>
internal sealed record PoolName(string Name, string Image, DateTimeOffset Created);

/// <summary>What somebody is about to do, written down first: what is to be cleared away where they do not come to its end. Immutable.</summary>
/// <param name="Id">What the journal calls it.</param>
/// <param name="Owner">Who.</param>
/// <param name="BootId">The boot of the host in which that process is.</param>
/// <param name="Name">The name that is kept free for it; nothing for none.</param>
/// <param name="Promised">Bytes that it will promise.</param>
/// <param name="Image">With a size: the image that is given it. With a file: the image whose file is replaced by that. Else nothing.</param>
/// <param name="Size">See <paramref name="Image"/>; 0 for none.</param>
/// <param name="Files">Files it makes, each as <c>FOLDER/NAME</c>.</param>
internal sealed record PoolIntent(string Id, HostProcess Owner, string BootId, string Name, ulong Promised, string Image, ulong Size, IReadOnlyList<string> Files)
{
    /// <summary>Whether somebody is at work on it.</summary>
    public bool IsAlive(string bootId) => BootId == bootId && Owner.IsAlive;
}
