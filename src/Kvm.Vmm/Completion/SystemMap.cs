using System.Globalization;

namespace Kvm.Vmm.Completion;

/// <summary>Names of a kernel's addresses, from the System.map that lies beside its image. Read only when something has to be explained.</summary>
internal static class SystemMap
{
    private const long MaxFileSize = 64 << 20;

    /// <summary><c>name+0x12</c> for an address inside a known function, or null.</summary>
    /// <param name="kernelPath">The kernel's image; <c>System.map</c> or <c>System.map-VERSION</c> is looked for in its folder.</param>
    /// <param name="address">A linear address of the guest's kernel.</param>
    public static string? Describe(string kernelPath, ulong address)
    {
        try
        {
            return Find(kernelPath) is { } map ? Nearest(File.ReadLines(map), address) : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>The last text symbol at or below the address. Lines are <c>ffffffff81000000 T _text</c>, in any order.</summary>
    internal static string? Nearest(IEnumerable<string> lines, ulong address)
    {
        string? best = null;
        ulong bestAddress = 0;
        foreach (string line in lines)
        {
            string[] parts = line.Split(' ', 3);
            if (parts.Length == 3 && parts[1] is "T" or "t" or "W" or "w"
                && ulong.TryParse(parts[0], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong start)
                && start <= address && (best is null || start >= bestAddress))
            {
                (best, bestAddress) = (parts[2], start);
            }
        }

        // Farther than any function is long: the address belongs to something else, such as a module.
        const ulong longestFunction = 1 << 20;
        return best is null || address - bestAddress > longestFunction ? null : $"{best}+0x{address - bestAddress:x}";
    }

    /// <summary>The map beside a kernel's image; null where there is none.</summary>
    internal static string? Find(string kernelPath)
    {
        string folder = Path.GetDirectoryName(Path.GetFullPath(kernelPath)) ?? ".";
        string name = Path.GetFileName(kernelPath);
        string version = name.IndexOf('-', StringComparison.Ordinal) is >= 0 and var dash ? name[dash..] : "";
        string[] candidates = [Path.Combine(folder, "System.map" + version), Path.Combine(folder, "System.map")];
        return candidates.FirstOrDefault(f => new FileInfo(f) is { Exists: true, Length: <= MaxFileSize });
    }
}
