using System.Globalization;
using FsCheck;
using FsCheck.Fluent;
using Kvm.Vmm.Snapshots.Backup;

namespace Kvm.Vmm.Tests.Snapshots.Backup;

public sealed class RetentionRuleTests
{
    private static readonly DateTimeOffset s_now = new(2026, 11, 22, 0, 30, 0, TimeSpan.Zero);

    [Theory]
    [InlineData(1, 0, 0, 0, 0, 0, "2026-11-22T00")]
    [InlineData(3, 0, 0, 0, 0, 0, "2026-11-22T00 2026-11-21T23 2026-11-21T05")]
    [InlineData(0, 2, 0, 0, 0, 0, "2026-11-22T00 2026-11-21T23")]
    [InlineData(0, 0, 2, 0, 0, 0, "2026-11-22T00 2026-11-21T23")]
    [InlineData(0, 0, 3, 0, 0, 0, "2026-11-22T00 2026-11-21T23 2026-11-16T12")]
    [InlineData(0, 0, 0, 2, 0, 0, "2026-11-22T00 2026-11-15T12")]
    [InlineData(0, 0, 0, 0, 3, 0, "2026-11-22T00 2026-10-31T12 2026-01-01T12")]
    [InlineData(0, 0, 0, 0, 0, 9, "2026-11-22T00 2025-12-31T12")]
    [InlineData(1, 0, 0, 0, 0, 2, "2026-11-22T00 2025-12-31T12")]
    [InlineData(99, 0, 0, 0, 0, 0, "2026-11-22T00 2026-11-21T23 2026-11-21T05 2026-11-16T12 2026-11-15T12 2026-10-31T12 2026-01-01T12 2025-12-31T12")]
    [InlineData(0, 0, 0, 0, 0, 0, "")]
    [InlineData(-1, -1, -1, -1, -1, -1, "")]
    public void The_newest_of_each_period_that_has_any_is_kept(int last, int hourly, int daily, int weekly, int monthly, int yearly, string kept)
    {
        DateTimeOffset[] times = [.. "2026-11-16T12 2026-11-22T00 2025-12-31T12 2026-11-21T05 2026-11-21T23 2026-11-15T12 2026-10-31T12 2026-01-01T12".Split(' ').Select(Time)];
        var rule = new RetentionRule { Last = last, Hourly = hourly, Daily = daily, Weekly = weekly, Monthly = monthly, Yearly = yearly };
        var keeps = rule.Keeps(times, TimeZoneInfo.Utc);
        times.Where((_, i) => keeps[i]).OrderDescending().Should().Equal(kept.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(Time));
        rule.IsEmpty.Should().Be(kept.Length == 0);
    }

    [Fact]
    public void Days_are_those_of_the_zone()
    {
        DateTimeOffset[] times = [Time("2026-11-21T22"), Time("2026-11-22T00")];
        var east = TimeZoneInfo.CreateCustomTimeZone("east", TimeSpan.FromHours(3), null, null);
        var rule = new RetentionRule { Daily = 5 };
        rule.Keeps(times, TimeZoneInfo.Utc).Should().Equal(true, true);
        rule.Keeps(times, east).Should().Equal(false, true);
    }

    [Fact]
    public void The_first_week_of_a_year_may_begin_in_the_year_before()
    {
        // ISO 8601: Monday 2025-12-29 begins week 1 of 2026.
        DateTimeOffset[] times = [Time("2025-12-28T12"), Time("2025-12-29T12"), Time("2026-01-04T12"), Time("2026-01-05T12")];
        new RetentionRule { Weekly = 9 }.Keeps(times, TimeZoneInfo.Utc).Should().Equal(true, false, true, true);
    }

    [Fact]
    public void Of_two_of_one_moment_one_is_kept() => new RetentionRule { Last = 1 }.Keeps([s_now, s_now], TimeZoneInfo.Utc).Should().Equal(true, false);

    [Fact]
    public void The_newest_is_always_kept_no_more_than_asked_for_and_a_second_time_nothing_goes() => Prop.ForAll(
        Gen.Choose(0, 3 * 365 * 24 * 60).ArrayOf(40).ToArbitrary(), Gen.Choose(0, 4).ArrayOf(6).ToArbitrary(), (minutes, n) =>
        {
            DateTimeOffset[] times = [.. minutes.Select(m => s_now.AddMinutes(-m))];
            var rule = new RetentionRule { Last = n[0], Hourly = n[1], Daily = n[2], Weekly = n[3], Monthly = n[4], Yearly = n[5] };
            var keeps = rule.Keeps(times, TimeZoneInfo.Utc);
            DateTimeOffset[] kept = [.. times.Where((_, i) => keeps[i])];
            return keeps.Count == times.Length && kept.Length <= n.Sum()
                && (rule.IsEmpty || times.Length == 0 || kept.Contains(times.Max()))
                && rule.Keeps(kept, TimeZoneInfo.Utc).All(k => k);
        }).QuickCheckThrowOnFailure();

    private static DateTimeOffset Time(string text) => DateTimeOffset.ParseExact(text, "yyyy-MM-ddTHH", CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal);
}
