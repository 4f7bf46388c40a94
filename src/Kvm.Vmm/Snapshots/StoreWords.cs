using Kvm.Vmm.Configuration;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Snapshots;

/// <summary>A store in a request to a running guest: <c>COMPRESSION [key=BASE64] FOLDER</c>, the last words, so that a folder's blanks are its own.</summary>
public static class StoreWords
{
    /// <summary>How it reads.</summary>
    public const string Form = "COMPRESSION [key=BASE64] FOLDER";

    private const string KeyWord = "key=";

    /// <summary>Writes it. With a key it tells what the key is made of: for the guest's own socket alone.</summary>
    /// <param name="compression">How chunks are packed.</param>
    /// <param name="folder">The store.</param>
    /// <param name="key">Its key, or null.</param>
    /// <exception cref="VmmException">The folder's name has a line's end.</exception>
    public static string Of(SnapshotCompression compression, string folder, SnapshotKey? key)
    {
        string path = Path.GetFullPath(folder);
        if (path.AsSpan().ContainsAny('\n', '\r'))
            throw new VmmException(SnapshotErrors.BadName, VisibleText.Quote(folder, 64));
        return $"{compression} {(key is null ? "" : KeyWord + Convert.ToBase64String(key.Master) + " ")}{path}";
    }

    /// <summary>Understands it; null where it is not of the form.</summary>
    internal static (SnapshotStore Store, SnapshotCompression Compression)? Read(IEnumerable<string> words)
    {
        string[] all = [.. words];
        if (all.Length < 2 || !Enum.TryParse(all[0], out SnapshotCompression compression) || !Enum.IsDefined(compression))
            return null;
        SnapshotKey? key = null;
        bool hasKey = all[1].StartsWith(KeyWord, StringComparison.Ordinal);
        if (hasKey)
        {
            Span<byte> master = stackalloc byte[64];
            if (!Convert.TryFromBase64String(all[1][KeyWord.Length..], master, out int count) || (key = SnapshotKey.FromMaster(master[..count])) is null)
                return null;
        }

        string folder = string.Join(' ', all.Skip(hasKey ? 2 : 1));
        return Path.IsPathFullyQualified(folder) ? (SnapshotStore.Open(folder, key), compression) : null;
    }
}
