using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Block.Scheduling;

namespace Kvm.Devices.Tests.Block.Scheduling;

public class FairShareTests
{
    private const int MostCost = 1 << 20;

    private static readonly Gen<(int[] Weights, int Depth)> Users =
        from count in Gen.Choose(2, 6)
        from weights in Gen.Choose(1, 1000).ArrayOf(count)
        from depth in Gen.Choose(1, 8)
        select (weights, depth);

    /// <summary>Users that always wait, with requests of any size: what each got is what its weight promises, at every moment.</summary>
    [Fact]
    public void Weights_are_honoured_at_every_moment_within_a_few_requests_of_each() =>
        Prop.ForAll(Users.ToArbitrary(), Gen.Choose(0, int.MaxValue - 1).ToArbitrary(), (users, seed) =>
        {
            var (weights, depth) = users;
            var random = new Random(seed);
            var share = new FairShare(depth);
            var served = new double[weights.Length];
            var costs = new long[weights.Length];
            var waits = new bool[weights.Length];
            int begun = 0;
            foreach (int weight in weights)
                share.Join(weight);
            void Ask(int user)
            {
                while (!waits[user])
                {
                    costs[user] = random.Next(1, MostCost);
                    waits[user] = !share.TryBegin(user, costs[user]);
                    if (!waits[user])
                        Served(user);
                }
            }

            void Served(int user)
            {
                served[user] += costs[user];
                begun++;
            }

            Ask(0); // fills the disk; from then on all wait
            for (int user = 1; user < weights.Length; user++)
                Ask(user);
            Array.Clear(served);
            for (int i = 0; i < 2000; i++)
            {
                begun--;
                int next = share.End();
                if (next < 0 || !waits[next])
                    return false;
                waits[next] = false;
                Served(next);
                Ask(next);
                if (begun > depth)
                    return false;
                for (int a = 0; a < weights.Length; a++)
                {
                    for (int b = 0; b < weights.Length; b++)
                    {
                        // The bound of the paper, for requests begun, with the first one's head start.
                        double bound = (depth + 1) * ((double)MostCost / weights[a] + (double)MostCost / weights[b]);
                        if (served[a] / weights[a] - served[b] / weights[b] > bound)
                            return false;
                    }
                }
            }

            return true;
        }).QuickCheckThrowOnFailure();

    [Fact]
    public void Nobody_who_waits_is_passed_by_for_ever()
    {
        var share = new FairShare(1);
        int small = share.Join(1), large = share.Join(1000);
        share.TryBegin(large, 1000).Should().BeTrue();
        share.TryBegin(small, 1000).Should().BeFalse();
        share.TryBegin(large, 1000).Should().BeFalse();
        int turns = 0;
        for (int next = share.End(); next != small; next = share.End(), turns++)
            share.TryBegin(large, 1000).Should().BeFalse();
        turns.Should().BeLessThan(3, "it had had nothing yet");
        share.TryBegin(small, 1000).Should().BeFalse();
        for (int next = share.End(); next != small; next = share.End(), turns++)
            share.TryBegin(large, 1000).Should().BeFalse();
        turns.Should().BeInRange(990, 1010);
    }

    [Fact]
    public void Idle_user_saves_nothing_up()
    {
        var share = new FairShare(1);
        int busy = share.Join(1), idle = share.Join(1);
        for (int i = 0; i < 100; i++)
        {
            share.TryBegin(busy, 1000).Should().BeTrue();
            share.End().Should().Be(-1);
        }

        share.TryBegin(busy, 1000).Should().BeTrue();
        int turnsOfBusy = 0;
        share.TryBegin(idle, 1000).Should().BeFalse();
        share.TryBegin(busy, 1000).Should().BeFalse();
        for (int i = 0; i < 20; i++)
        {
            int next = share.End();
            turnsOfBusy += next == busy ? 1 : 0;
            share.TryBegin(next, 1000).Should().BeFalse();
        }

        turnsOfBusy.Should().BeInRange(9, 11);
    }

    [Fact]
    public void Who_gives_up_is_not_served_and_who_leaves_makes_room_for_another()
    {
        var share = new FairShare(1);
        int a = share.Join(1), b = share.Join(1);
        share.TryBegin(a, 1).Should().BeTrue();
        share.TryBegin(b, 1).Should().BeFalse();
        share.GiveUp(b);
        share.End().Should().Be(-1);
        share.Leave(b);
        share.Join(7).Should().Be(b);
    }
}
