using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Net.Policy;
using Kvm.Tests.Support;

namespace Kvm.Devices.Tests.Net.Policy;

/// <summary>Who leaves takes its own share along and disturbs nobody else's.</summary>
public sealed class ConsistentHashTests
{
    private static (ulong, int)[] Backends(int count, int weight = 1) => [.. Enumerable.Range(0, count).Select(i => (ConsistentHash.IdOf($"vm{i}"), weight))];

    private static int[] Shares(ConsistentHash hash, int backends)
    {
        int[] shares = new int[backends];
        for (uint i = 0; i < ConsistentHash.Slots; i++)
            shares[hash.Pick(i << 20 | i * 77)]++;
        return shares;
    }

    [Fact]
    public void Nobody_is_picked_where_nobody_is()
    {
        new ConsistentHash([]).Pick(5).Should().Be(ConsistentHash.None);
        new ConsistentHash([(1, 0)]).Pick(5).Should().Be(ConsistentHash.None);
    }

    [Fact]
    public void Every_flow_stays_where_it_is_when_another_backend_leaves_and_comes_back_when_it_does() =>
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(40), Prop.ForAll(
            (from count in Gen.Choose(2, 40) from gone in Gen.Choose(0, count - 1) select (count, gone)).ToArbitrary(),
            x =>
            {
                var all = Backends(x.count);
                var without = all.ToArray();
                without[x.gone].Item2 = 0;
                var before = new ConsistentHash(all);
                var after = new ConsistentHash(without);
                return Enumerable.Range(0, 20_000).Select(i => (uint)i * 2_654_435_761).All(flow =>
                    before.Pick(flow) == x.gone ? after.Pick(flow) != x.gone : after.Pick(flow) == before.Pick(flow));
            }));

    [Fact]
    public void Shares_are_even_and_by_weight()
    {
        Shares(new ConsistentHash(Backends(8)), 8).Should().OnlyContain(share => share > 512 * 0.8 && share < 512 * 1.2);
        var weighted = Backends(4);
        weighted[0].Item2 = 5;
        Shares(new ConsistentHash(weighted), 4)[0].Should().BeInRange((int)(2560 * 0.9), (int)(2560 * 1.1), "5 of 8");
    }

    [Fact]
    public void Order_in_the_list_decides_nothing()
    {
        var all = Backends(7);
        var hash = new ConsistentHash(all);
        var reversed = new ConsistentHash([.. all.Reverse()]);
        Enumerable.Range(0, 10_000).Should().OnlyContain(i => hash.Pick((uint)i * 99_991) == 6 - reversed.Pick((uint)i * 99_991));
    }

    [Fact]
    public void Nothing_is_allocated_by_a_pick()
    {
        var hash = new ConsistentHash(Backends(3));
        Allocation.Of(i => hash.Pick((uint)i)).Should().Be(0);
    }
}
