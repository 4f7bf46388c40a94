using System.Globalization;

namespace Kvm.Vmm.Host;

/// <summary>What the kernel tells of one thread of this process.</summary>
internal static class ThreadInfo
{
    /// <summary>CPU time of a thread in nanoseconds (first field of its schedstat, scheduler/sched-stats.rst); 0 if it is gone or not started.</summary>
    public static long SchedulerTime(int threadId)
    {
        if (threadId == 0)
            return 0;
        try
        {
            string text = File.ReadAllText(string.Create(CultureInfo.InvariantCulture, $"/proc/self/task/{threadId}/schedstat"));
            return long.Parse(text.AsSpan(0, text.IndexOf(' ', StringComparison.Ordinal)), CultureInfo.InvariantCulture);
        }
        catch (Exception e) when (e is IOException or FormatException or UnauthorizedAccessException or ArgumentException)
        {
            return 0;
        }
    }

    /// <summary>The CPU a thread ran on last, and whether it runs or could (proc(5), <c>stat</c>, fields 39 and 3); null if it is gone or not started.</summary>
    public static (int Cpu, bool Runs)? Place(int threadId)
    {
        if (threadId == 0)
            return null;
        try
        {
            string text = File.ReadAllText(string.Create(CultureInfo.InvariantCulture, $"/proc/self/task/{threadId}/stat"));
            // The name, field 2, is in parentheses and may hold anything.
            string[] fields = text[(text.LastIndexOf(')') + 2)..].Split(' ');
            return (int.Parse(fields[39 - 3], CultureInfo.InvariantCulture), fields[0] == "R");
        }
        catch (Exception e) when (e is IOException or FormatException or UnauthorizedAccessException or IndexOutOfRangeException or ArgumentException)
        {
            return null;
        }
    }
}
