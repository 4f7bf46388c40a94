using System.Globalization;

namespace Kvm.Manager.Memory;

/// <summary>What the host's kernel says of its memory. Thread-safe: no state.</summary>
public static class HostMemory
{
    /// <summary>Reads <c>/proc/meminfo</c> and <c>/proc/pressure/memory</c>; a kernel without the latter has no pressure.</summary>
    public static MemoryHost Now() => Parse(Text("/proc/meminfo"), Text("/proc/pressure/memory"));

    /// <summary>Understands both files.</summary>
    public static MemoryHost Parse(string meminfo, string pressure)
    {
        ArgumentNullException.ThrowIfNull(meminfo);
        ArgumentNullException.ThrowIfNull(pressure);
        double waits = 0;
        if (pressure.StartsWith("some ", StringComparison.Ordinal) && pressure.IndexOf("avg10=", StringComparison.Ordinal) is >= 0 and var at)
            _ = double.TryParse(pressure.AsSpan(at + 6, Math.Max(0, pressure.IndexOf(' ', at) - at - 6)), NumberStyles.Float, CultureInfo.InvariantCulture, out waits);
        return new MemoryHost(Kilobytes(meminfo, "MemTotal:"), Kilobytes(meminfo, "MemAvailable:"), waits);
    }

    private static ulong Kilobytes(string meminfo, string name)
    {
        foreach (var line in meminfo.AsSpan().EnumerateLines())
        {
            if (line.StartsWith(name) && ulong.TryParse(line[name.Length..].Trim().TrimEnd("kB ").Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out ulong kilobytes))
                return kilobytes << 10;
        }

        return 0;
    }

    private static string Text(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }
}
