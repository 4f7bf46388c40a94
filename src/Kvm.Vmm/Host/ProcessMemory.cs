using System.Globalization;

namespace Kvm.Vmm.Host;

/// <summary>Memory of this process as the kernel counts it.</summary>
internal static class ProcessMemory
{
    /// <summary>Resident set in bytes (field 2 of /proc/self/statm, in pages), or 0 where it cannot be read.</summary>
    public static long ResidentBytes()
    {
        try
        {
            string[] fields = File.ReadAllText("/proc/self/statm").Split(' ');
            return long.Parse(fields[1], CultureInfo.InvariantCulture) * Environment.SystemPageSize;
        }
        catch (Exception e) when (e is IOException or FormatException or IndexOutOfRangeException or UnauthorizedAccessException)
        {
            return 0;
        }
    }
}
