using System.Globalization;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Snapshots.Backup;

/// <summary>What backups are called: the name of what is backed up and the time, <c>web1-20261122T003000Z</c>, so that they sort.</summary>
public static class BackupName
{
    private const string Form = "'-'yyyyMMdd'T'HHmmss'Z'";
    private const int FormLength = 17;

    /// <summary>The most characters of the name of what is backed up.</summary>
    public const int MostNameLength = SnapshotFormat.MostNameLength - FormLength;

    /// <summary>The name of a backup.</summary>
    /// <param name="name">What is backed up.</param>
    /// <param name="time">When.</param>
    /// <exception cref="VmmException">The name is none, or too long (<see cref="SnapshotErrors.BadName"/>).</exception>
    public static string Of(string name, DateTimeOffset time)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (name.Length > MostNameLength)
            throw new VmmException(SnapshotErrors.BadName, $"{Configuration.VisibleText.Quote(name)} has more than {MostNameLength} characters, which leaves no room for the time");
        ManifestText.ThrowIfNoName(name);
        return name + time.UtcDateTime.ToString(Form, CultureInfo.InvariantCulture);
    }

    /// <summary>True for the name of a backup of <paramref name="name"/>.</summary>
    /// <param name="backup">Any name.</param>
    /// <param name="name">What is backed up.</param>
    public static bool IsOf(string backup, string name)
    {
        ArgumentNullException.ThrowIfNull(backup);
        ArgumentNullException.ThrowIfNull(name);
        return backup.Length == name.Length + FormLength && backup.StartsWith(name, StringComparison.Ordinal)
            && DateTime.TryParseExact(backup.AsSpan(name.Length), Form, CultureInfo.InvariantCulture, DateTimeStyles.None, out _);
    }
}
