using System.Diagnostics;
using System.Globalization;
using Kvm.Interop;

namespace Kvm.Vmm.Host;

/// <summary>Time since this process was started by the kernel: what a user who typed the command waits for. Thread-safe.</summary>
public static class ProcessClock
{
    /// <summary>Clock ticks a second in /proc files: USER_HZ, 100 on every x86 Linux.</summary>
    private const long UserHz = 100;

    private static readonly TimeSpan s_start = ReadStart();

    /// <summary>
    /// Time since the process was started. The kernel tells the start to 10 ms; where the first call comes early in the process, which
    /// until then has only computed, its CPU time tells the rest.
    /// </summary>
    public static TimeSpan SinceProcessStart()
    {
        var now = Now();
        return now > s_start ? now - s_start : TimeSpan.FromTicks(1);
    }

    /// <summary>The start within the tick that /proc/self/stat names.</summary>
    /// <param name="tick">The beginning of that tick.</param>
    /// <param name="now">The moment of asking, on the same clock.</param>
    /// <param name="used">CPU time the process has used until then.</param>
    internal static TimeSpan Refine(TimeSpan tick, TimeSpan now, TimeSpan used)
    {
        var latest = tick + TimeSpan.FromSeconds(1.0 / UserHz);
        var start = now - used;
        return start < tick ? tick : start > latest ? latest : start;
    }

    // CLOCK_MONOTONIC.
    private static TimeSpan Now() => Stopwatch.GetElapsedTime(0);

    /// <summary>Field 22 of /proc/self/stat (man 5 proc): start time since boot, in ticks of CLOCK_BOOTTIME.</summary>
    private static TimeSpan ReadStart()
    {
        var used = TimeSpan.FromMicroseconds(Math.Max(HostThread.CpuTime(Environment.ProcessId), 0) / 1000.0);
        var now = Now();
        try
        {
            string stat = File.ReadAllText("/proc/self/stat");
            // The name in parentheses may hold anything; the fields after the last one are plain.
            string[] fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
            var sinceBoot = TimeSpan.FromSeconds((double)long.Parse(fields[22 - 3], CultureInfo.InvariantCulture) / UserHz);
            return Refine(sinceBoot - TimeSpan.FromMicroseconds(HostClock.SuspendedNanoseconds() / 1000.0), now, used);
        }
        catch (Exception e) when (e is IOException or FormatException or IndexOutOfRangeException or UnauthorizedAccessException)
        {
            return now - used;
        }
    }
}
