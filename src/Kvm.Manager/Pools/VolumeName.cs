using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Manager.Pools;

/// <summary>A volume, or a snapshot of one: <c>[POOL/]VOLUME[@SNAPSHOT]</c>. Immutable.</summary>
/// <param name="Pool">The pool's name.</param>
/// <param name="Volume">The volume's.</param>
/// <param name="Snapshot">The snapshot's, or null.</param>
public sealed record VolumeName(string Pool, string Volume, string? Snapshot = null)
{
    /// <summary>The pool where none is named.</summary>
    public const string DefaultPool = "default";

    private const int MostFileLength = 100;

    /// <summary>What the pool calls it.</summary>
    public string InPool => Snapshot is null ? Volume : $"{Volume}@{Snapshot}";

    /// <summary>Understands a name.</summary>
    /// <exception cref="VmmException">KVM0642: it is none.</exception>
    public static VolumeName Parse(string text) => TryParse(text) ?? throw new VmmException(PoolErrors.BadName, $"{VisibleText.Quote(text, 100)} is not [POOL/]VOLUME or [POOL/]VOLUME@SNAPSHOT");

    /// <summary>As <see cref="Parse"/>, but null for what is none.</summary>
    public static VolumeName? TryParse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        string[] parts = text.Split('/');
        if (parts.Length > 2)
            return null;
        string[] names = parts[^1].Split('@');
        string pool = parts.Length == 2 ? parts[0] : DefaultPool;
        return names.Length <= 2 && IsName(pool) && names.All(IsName) ? new VolumeName(pool, names[0], names.Length == 2 ? names[1] : null) : null;
    }

    /// <summary>A volume, and no snapshot.</summary>
    /// <exception cref="VmmException">KVM0642: it is none.</exception>
    public static VolumeName ParseVolume(string text) => Parse(text) is { Snapshot: null } volume ? volume : throw new VmmException(PoolErrors.BadName, $"{text} is a snapshot; a volume was expected");

    /// <summary>A snapshot.</summary>
    /// <exception cref="VmmException">KVM0642: it is none.</exception>
    public static VolumeName ParseSnapshot(string text) => Parse(text) is { Snapshot: not null } snapshot ? snapshot : throw new VmmException(PoolErrors.BadName, $"{text} is a volume; POOL/VOLUME@SNAPSHOT was expected");

    /// <summary>Refuses what cannot be a pool's name.</summary>
    /// <returns>The text.</returns>
    /// <exception cref="VmmException">KVM0642: it cannot.</exception>
    public static string CheckPool(string text) => IsName(text) ? text : throw new VmmException(PoolErrors.BadName, VisibleText.Quote(text, 100));

    /// <inheritdoc/>
    public override string ToString() => $"{Pool}/{InPool}";

    /// <summary>Whether a text may be the name of a file of a pool.</summary>
    internal static bool IsFile(string text) => text.Length is > 0 and <= MostFileLength && text[0] != '.' && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.');

    private static bool IsName(string text) => VmName.IsName(text);
}
