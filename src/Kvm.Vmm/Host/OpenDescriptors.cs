using System.Globalization;

namespace Kvm.Vmm.Host;

/// <summary>What this process has open, as /proc/self/fd tells.</summary>
internal static class OpenDescriptors
{
    /// <summary>Each descriptor with its file: a path, or what the kernel calls it, such as <c>socket:[1]</c>; ascending.</summary>
    public static IReadOnlyList<(int Number, string File)> Own()
    {
        List<(int Number, string File)> open = [];
        try
        {
            foreach (string path in Directory.GetFileSystemEntries("/proc/self/fd"))
            {
                // Gone meanwhile: that of this very look among them.
                if (new FileInfo(path).LinkTarget is { } file)
                    open.Add((int.Parse(Path.GetFileName(path), CultureInfo.InvariantCulture), file));
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Without /proc nothing is told.
        }

        open.Sort((a, b) => a.Number.CompareTo(b.Number));
        return open;
    }
}
