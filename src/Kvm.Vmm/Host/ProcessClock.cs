using System.Globalization;

namespace Kvm.Vmm.Host;

/// <summary>Time since this process was started by the kernel: what a user who typed the command waits for.</summary>
internal static class ProcessClock
{
    /// <summary>Clock ticks a second in /proc files: USER_HZ, 100 on every x86 Linux.</summary>
    private const long UserHz = 100;

    private static readonly TimeSpan s_start = ReadStart();

    /// <summary>Time since the process was started, to the 10 ms that /proc/self/stat gives.</summary>
    public static TimeSpan SinceProcessStart()
    {
        // Environment.TickCount64 is CLOCK_BOOTTIME or CLOCK_MONOTONIC in whole milliseconds; Stopwatch is CLOCK_MONOTONIC.
        var now = TimeSpan.FromSeconds((double)System.Diagnostics.Stopwatch.GetTimestamp() / System.Diagnostics.Stopwatch.Frequency);
        return now > s_start ? now - s_start : TimeSpan.FromTicks(1);
    }

    /// <summary>Field 22 of /proc/self/stat (man 5 proc): start time since boot, in ticks.</summary>
    private static TimeSpan ReadStart()
    {
        try
        {
            string stat = File.ReadAllText("/proc/self/stat");
            // The name in parentheses may hold anything; the fields after the last one are plain.
            string[] fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
            return TimeSpan.FromSeconds((double)long.Parse(fields[22 - 3], CultureInfo.InvariantCulture) / UserHz);
        }
        catch (Exception e) when (e is IOException or FormatException or IndexOutOfRangeException or UnauthorizedAccessException)
        {
            return TimeSpan.FromSeconds((double)System.Diagnostics.Stopwatch.GetTimestamp() / System.Diagnostics.Stopwatch.Frequency);
        }
    }
}
