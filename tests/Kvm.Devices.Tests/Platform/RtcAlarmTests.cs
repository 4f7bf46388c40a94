using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Platform;

namespace Kvm.Devices.Tests.Platform;

public sealed class RtcAlarmTests
{
    [Theory]
    [InlineData(null, null, null, 100, 101)]
    [InlineData(0, 0, 0, 0, 86_400)]
    [InlineData(0, 0, 1, 0, 1)]
    [InlineData(23, 59, 59, 86_398, 86_399)]
    [InlineData(23, 59, 59, 86_399, 172_799)]
    [InlineData(5, null, 7, 0, 5 * 3600 + 7)]
    [InlineData(null, 30, null, 1_800, 1_801)]
    [InlineData(null, 30, null, 1_859, 5_400)]
    public void Next_match_is_the_first_after_the_given_second(int? hour, int? minute, int? second, long after, long expected) =>
        new RtcAlarm(hour, minute, second).NextAfter(after).Should().Be(expected);

    [Theory]
    [InlineData(24, null, null)]
    [InlineData(null, 60, null)]
    [InlineData(null, null, 60)]
    [InlineData(-1, null, null)]
    public void Impossible_field_never_matches(int? hour, int? minute, int? second) =>
        new RtcAlarm(hour, minute, second).NextAfter(0).Should().BeNull();

    [Fact]
    public void Next_match_equals_that_of_a_search_second_by_second()
    {
        var field = (int top) => Gen.OneOf(Gen.Constant<int?>(null), Gen.Choose(0, top).Select(v => (int?)v));
        var cases = from h in field(23)
                    from m in field(59)
                    from s in field(59)
                    from after in Gen.Choose(0, 200_000)
                    select (h, m, s, after);
        Prop.ForAll(cases.ToArbitrary(), c =>
        {
            long t = c.after + 1;
            while ((c.h is { } h && t / 3600 % 24 != h) || (c.m is { } m && t / 60 % 60 != m) || (c.s is { } s && t % 60 != s))
                t++;
            return new RtcAlarm(c.h, c.m, c.s).NextAfter(c.after) == t;
        }).QuickCheckThrowOnFailure();
    }
}
