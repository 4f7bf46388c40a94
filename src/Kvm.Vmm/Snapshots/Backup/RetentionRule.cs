using System.Globalization;

namespace Kvm.Vmm.Snapshots.Backup;

/// <summary>
/// Which backups are kept: the newest ones, and the newest one of each of so many hours, days, ISO weeks, months and years that have any. One may be kept for
/// several reasons. A pure function of the times.
/// </summary>
public sealed record RetentionRule
{
    /// <summary>How many of the newest.</summary>
    public int Last { get; init; }

    /// <summary>Of how many hours one.</summary>
    public int Hourly { get; init; }

    /// <summary>Of how many days one.</summary>
    public int Daily { get; init; }

    /// <summary>Of how many weeks one, Monday to Sunday.</summary>
    public int Weekly { get; init; }

    /// <summary>Of how many months one.</summary>
    public int Monthly { get; init; }

    /// <summary>Of how many years one.</summary>
    public int Yearly { get; init; }

    /// <summary>True if it would keep none.</summary>
    public bool IsEmpty => Last <= 0 && Hourly <= 0 && Daily <= 0 && Weekly <= 0 && Monthly <= 0 && Yearly <= 0;

    /// <summary>Says of each whether it is kept.</summary>
    /// <param name="times">When they were made, in any order.</param>
    /// <param name="zone">Whose hours and days count.</param>
    public IReadOnlyList<bool> Keeps(IReadOnlyList<DateTimeOffset> times, TimeZoneInfo zone)
    {
        ArgumentNullException.ThrowIfNull(times);
        bool[] kept = new bool[times.Count];
        int[] newestFirst = new int[times.Count];
        for (int i = 0; i < newestFirst.Length; i++)
            newestFirst[i] = i;
        // Of two of the same moment the one that was named first counts as newer.
        Array.Sort(newestFirst, (one, other) => times[other] != times[one] ? times[other].CompareTo(times[one]) : one.CompareTo(other));
        for (int i = 0; i < newestFirst.Length; i++)
            kept[newestFirst[i]] = i < Last;
        foreach (var (count, periodOf) in ((int, Func<DateTime, long>)[])
            [(Hourly, HourOf), (Daily, t => DateOnly.FromDateTime(t).DayNumber), (Weekly, WeekOf), (Monthly, t => t.Year * 12L + t.Month), (Yearly, t => t.Year)])
        {
            long? period = null;
            int periods = 0;
            foreach (int i in newestFirst)
            {
                long mine = periodOf(TimeZoneInfo.ConvertTime(times[i], zone).DateTime);
                if (mine == period)
                    continue;
                period = mine;
                if (periods++ == Math.Max(count, 0))
                    break;
                kept[i] = true;
            }
        }

        return kept;
    }

    private static long HourOf(DateTime time) => DateOnly.FromDateTime(time).DayNumber * 24L + time.Hour;

    private static long WeekOf(DateTime time) => ISOWeek.GetYear(time) * 100L + ISOWeek.GetWeekOfYear(time);
}
