using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Block.Cache;
using Kvm.Tests.Support;
using Xunit.Abstractions;

namespace Kvm.Devices.Tests.Block.Cache;

public class TinyLfuTests(ITestOutputHelper output)
{
    [Fact]
    public void Entry_of_a_key_is_its_own_for_as_long_as_it_is_kept() =>
        Prop.ForAll(Gen.Choose(4, 200).ToArbitrary(), Gen.Choose(0, 400).ArrayOf(3000).ToArbitrary(), (capacity, keys) =>
        {
            var policy = new TinyLfu(capacity);
            var holders = new Dictionary<int, ulong>();
            foreach (int number in keys)
            {
                ulong key = (ulong)number << 33;
                int entry = policy.Find(key);
                if (entry >= 0)
                {
                    if (entry >= capacity || holders[entry] != key)
                        return false;
                    continue;
                }

                if (holders.Count == capacity && holders.ContainsValue(key) && policy.Contains(key))
                    return false;
                holders[policy.Add(key)] = key;
                if (!policy.Contains(key) || holders.Count > capacity)
                    return false;
            }

            // Whoever is said to be kept is where it was put, and as many are kept as there is room for.
            return holders.All(h => !policy.Contains(h.Value) || policy.Find(h.Value) == h.Key)
                && holders.Count(h => policy.Contains(h.Value)) == Math.Min(capacity, keys.Distinct().Count());
        }).QuickCheckThrowOnFailure();

    [Fact]
    public void Frequencies_are_never_too_small_until_they_are_halved_and_mostly_right()
    {
        var sketch = new FrequencySketch(1000);
        for (int i = 0; i < 200; i++)
        {
            for (int times = 0; times < 1 + i % 15; times++)
                sketch.Count((ulong)i);
        }

        int wrong = 0;
        for (int i = 0; i < 200; i++)
        {
            sketch.Of((ulong)i).Should().BeGreaterThanOrEqualTo(1 + i % 15);
            wrong += sketch.Of((ulong)i) == 1 + i % 15 ? 0 : 1;
        }

        wrong.Should().BeLessThan(10);
        sketch.Of(123_456_789).Should().BeLessThan(3);
        for (int i = 0; i < 10_000; i++)
            sketch.Count((ulong)(1000 + i));
        sketch.Of(14).Should().BeLessThan(15, "what was long ago is forgotten");
    }

    [Fact]
    public void Scan_displaces_next_to_nothing_that_is_asked_for_again_and_again()
    {
        var policy = new TinyLfu(1000);
        for (int round = 0; round < 5; round++)
        {
            for (ulong key = 0; key < 500; key++)
                _ = policy.Find(key) >= 0 ? 0 : policy.Add(key);
        }

        for (ulong key = 10_000; key < 100_000; key++)
            _ = policy.Find(key) >= 0 ? 0 : policy.Add(key);
        Enumerable.Range(0, 500).Count(key => policy.Contains((ulong)key)).Should().BeGreaterThanOrEqualTo(490, "ten were too new to be protected, and a scan of 90 caches ages them");
    }

    /// <summary>Blocks asked for as guests do that share an image: some much more often than others (Zipf), and now and then one that reads everything. The numbers are in docs/disks.md.</summary>
    [Theory]
    [InlineData(0.9, 0)]
    [InlineData(0.9, 20_000)]
    [InlineData(0.7, 20_000)]
    [InlineData(1.1, 20_000)]
    public void Trace_of_shared_images_hits_more_often_than_with_recency_alone(double skew, int scan)
    {
        var (own, recency) = HitRates(skew, scan, 2000);
        output.WriteLine($"skew {skew}, scans of {scan}: {own:P1} of requests hit, {recency:P1} by recency alone");
        own.Should().BeGreaterThan(recency * 1.03);
    }

    /// <summary>The share of requests that hit, of this policy and of the least-recently-used one, on the same trace.</summary>
    private static (double Own, double Recency) HitRates(double skew, int scan, int capacity)
    {
        const int Blocks = 20_000, Requests = 300_000;
        var random = new Random(5);
        double[] share = new double[Blocks];
        double sum = 0;
        for (int i = 0; i < Blocks; i++)
            share[i] = sum += Math.Pow(i + 1, -skew);
        var policy = new TinyLfu(capacity);
        var recent = new LinkedList<ulong>();
        var places = new Dictionary<ulong, LinkedListNode<ulong>>();
        int ownHits = 0, recentHits = 0, asked = 0;
        void Ask(ulong key)
        {
            asked++;
            if (policy.Find(key) >= 0)
                ownHits++;
            else
                policy.Add(key);
            if (places.TryGetValue(key, out var node))
            {
                recentHits++;
                recent.Remove(node);
            }
            else if (places.Count == capacity)
            {
                places.Remove(recent.Last!.Value);
                recent.RemoveLast();
            }

            places[key] = recent.AddFirst(key);
        }

        for (int i = 0; i < Requests; i++)
        {
            if (scan > 0 && i % 100_000 == 99_999)
            {
                for (int at = 0; at < scan; at++)
                    Ask((ulong)(1_000_000 + at));
            }

            int place = Array.BinarySearch(share, random.NextDouble() * sum);
            Ask((ulong)(place < 0 ? ~place : place));
        }

        return ((double)ownHits / asked, (double)recentHits / asked);
    }

    [Fact]
    public void Nothing_is_allocated()
    {
        var policy = new TinyLfu(1000);
        Allocation.Of(i => _ = policy.Find((ulong)(i * 7919L % 3000)) >= 0 ? 0 : policy.Add((ulong)(i * 7919L % 3000))).Should().Be(0);
        policy.Evictions.Should().BePositive();
    }
}
