using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Limits;

namespace Kvm.Devices.Tests.Limits;

public class TokenBucketTests
{
    private const long Second = 1_000_000_000;

    private static readonly Gen<RateLimit> Rates =
        from size in Gen.Choose(1, 1 << 20)
        from refill in Gen.Choose(1, 2_000_000_000)
        from burst in Gen.Frequency((2, Gen.Constant(0)), (1, Gen.Choose(0, 1 << 20)))
        select new RateLimit(size, refill, burst);

    // Tokens of each request, how long after the last one it comes, and how late its waiter is.
    private static readonly Gen<(int Tokens, int Pause, int Late)[]> Requests =
        (from tokens in Gen.Choose(0, 1 << 21)
         from pause in Gen.Frequency((3, Gen.Constant(0)), (1, Gen.Choose(0, 1_000_000_000)))
         from late in Gen.Frequency((2, Gen.Constant(0)), (1, Gen.Choose(0, 100_000_000)))
         select (tokens, pause, late)).ArrayOf(40);

    [Fact]
    public void Wait_is_the_shortest_after_which_the_request_may_go() =>
        Prop.ForAll(Rates.ToArbitrary(), Requests.ToArbitrary(), (rate, requests) =>
        {
            var bucket = new TokenBucket(rate, 0);
            long now = 0;
            foreach (var (tokens, pause, _) in requests)
            {
                now += pause;
                long wait = bucket.WaitFor(tokens, now);
                if (wait > 0)
                {
                    var early = bucket;
                    if (early.WaitFor(tokens, now + wait - 1) == 0 || bucket.WaitFor(tokens, now + wait) != 0)
                        return false;
                }

                bucket.Take(tokens);
                now += wait;
            }

            return true;
        }).QuickCheckThrowOnFailure();

    [Fact]
    public void Never_more_goes_than_the_bucket_its_bursts_and_what_flows_in() =>
        Prop.ForAll(Rates.ToArbitrary(), Requests.ToArbitrary(), (rate, requests) =>
        {
            var bucket = new TokenBucket(rate, 0);
            long now = 0;
            Int128 gone = 0;
            foreach (var request in requests)
            {
                now += request.Pause;
                if (bucket.WaitFor(request.Tokens, now) is not 0 and var wait)
                {
                    now += wait + request.Late;
                    if (bucket.WaitFor(request.Tokens, now) != 0)
                        return false;
                }

                bucket.Take(request.Tokens);
                // What is larger than the bucket leaves it in debt: the request itself is on top, nothing before it.
                Int128 most = rate.OneTimeBurst + rate.Size + (Int128)now * rate.Size / rate.RefillNanoseconds + 1;
                if (gone + Math.Min(request.Tokens, rate.Size) > most)
                    return false;
                gone += request.Tokens;
            }

            return true;
        }).QuickCheckThrowOnFailure();

    [Theory]
    [InlineData(1000, 0, 1)] // 10 in 10 ms
    [InlineData(10, 0, 1)]
    [InlineData(100_000_000, 0, 131_072)]
    [InlineData(1_000_000, 0, 131_072)] // a request is larger than the bucket
    [InlineData(3_333, 50, 1)]
    public void Backlog_goes_at_the_rate_of_every_second_though_wake_ups_are_late(long rate, long burst, long tokens)
    {
        var random = new Random(7);
        var bucket = new TokenBucket(RateLimit.PerSecond(rate, burst), 0);
        long now = 0;
        for (int second = 1; second <= 20; second++)
        {
            long gone = 0;
            while (true)
            {
                long wait = bucket.WaitFor(tokens, now);
                if (wait == 0)
                {
                    bucket.Take(tokens);
                    gone += tokens;
                    continue;
                }

                if (now + wait >= second * Second)
                    break;
                now += wait + Math.Min(random.Next((int)TokenBucket.MostLate), second * Second - 1 - now - wait);
            }

            // A request more or less is what the second's borders cut.
            ((double)gone).Should().BeApproximately(rate, rate * 0.05 + tokens + (second == 1 ? burst : 0), $"in second {second}");
        }
    }

    [Fact]
    public void Lateness_is_made_up_for_once_and_to_a_limit_and_rest_saves_up_nothing_but_the_bucket()
    {
        const long Millisecond = 1_000_000;
        var bucket = new TokenBucket(new RateLimit(10, 10 * Millisecond), 0);
        int Burst(long now)
        {
            int count = 0;
            for (; bucket.WaitFor(1, now) == 0; count++)
                bucket.Take(1);
            return count;
        }

        Burst(0).Should().Be(10);
        Burst(31 * Millisecond).Should().Be(31, "the next was due at 1 ms, 30 ms late, and nothing of that is lost");
        Burst(1000 * Millisecond).Should().Be(1 + 10 + 40, "that was too late to be made up for");
        bucket.WaitFor(1, 1001 * Millisecond).Should().Be(0);
        bucket.Take(1);
        Burst(5000 * Millisecond).Should().Be(10, "nobody waited");
    }

    [Fact]
    public void One_time_burst_is_spent_first_and_does_not_come_again()
    {
        var bucket = new TokenBucket(new RateLimit(10, 1000, 5), 0);
        bucket.WaitFor(15, 0).Should().Be(0);
        bucket.Take(15);
        bucket.WaitFor(1, 0).Should().Be(100);
        bucket.WaitFor(10, 1_000_000).Should().Be(0);
        bucket.Take(10);
        bucket.WaitFor(1, 1_000_000).Should().Be(100);
    }

    [Fact]
    public void What_is_larger_than_the_bucket_waits_for_a_full_one_and_is_paid_for_afterwards()
    {
        var bucket = new TokenBucket(new RateLimit(10, 1000), 0);
        bucket.Take(5);
        bucket.WaitFor(100, 0).Should().Be(500);
        bucket.WaitFor(100, 500).Should().Be(0);
        bucket.Take(100);
        bucket.WaitFor(1, 500).Should().Be(9_100);
    }

    [Fact]
    public void Largest_numbers_do_not_overflow()
    {
        var bucket = new TokenBucket(new RateLimit(long.MaxValue, long.MaxValue, long.MaxValue), 0);
        bucket.WaitFor(long.MaxValue, long.MaxValue).Should().Be(0);
        bucket.Take(long.MaxValue);
        bucket.Take(long.MaxValue);
        bucket.Take(long.MaxValue);
        bucket.WaitFor(long.MaxValue, long.MaxValue).Should().BePositive();
    }

    [Theory]
    [InlineData(1000, 0, 10, 10_000_000)]
    [InlineData(10, 0, 1, 100_000_000)]
    [InlineData(10, 30, 30, 3_000_000_000)]
    [InlineData(1000, 5, 10, 10_000_000)]
    [InlineData(1L << 50, 0, (1L << 50) / 100, 9_999_999)]
    public void Rate_per_second_is_a_bucket_of_ten_milliseconds_or_of_its_burst(long rate, long burst, long size, long refill) =>
        RateLimit.PerSecond(rate, burst).Should().Be(new RateLimit(size, refill));

    [Theory]
    [InlineData(1000, 1_000)]
    [InlineData(500, 2_000)]
    [InlineData(1, 1_000_000)]
    public void A_part_of_a_rate_has_the_same_bucket_that_fills_later(int perMille, long refill) =>
        new RateLimit(10, 1_000, 7).Part(perMille).Should().Be(new RateLimit(10, refill));

    [Theory]
    [InlineData(0)]
    [InlineData(1001)]
    public void A_part_that_is_none_is_refused(int perMille)
    {
        var part = () => new RateLimit(10, 1_000).Part(perMille);

        part.Should().Throw<ArgumentOutOfRangeException>();
    }

    [Fact]
    public void Tokens_a_second_are_those_of_the_rate() => new RateLimit(10, 4_000_000).Rate.Should().Be(2500);

    [Fact]
    public void Impossible_limits_are_refused()
    {
        foreach (var limit in new[] { new RateLimit(0, 1), new RateLimit(1, 0), new RateLimit(1, 1, -1), default })
        {
            var act = () => new TokenBucket(limit, 0);
            act.Should().Throw<ArgumentOutOfRangeException>();
        }
    }
}
