using FsCheck;
using FsCheck.Fluent;
using Kvm.Manager.Memory;

namespace Kvm.Manager.Tests.Memory;

/// <summary>The policy, in a simulation: guests use what they use, balloons follow within a step, and the host has what they leave.</summary>
public sealed class MemoryPolicyTests
{
    private const ulong MiB = 1 << 20, GiB = 1 << 30;

    [Fact]
    public void A_quarter_of_a_gigabyte_goes_from_an_idle_guest_to_one_that_runs_short_within_five_seconds()
    {
        // The host has nothing to spare: what one gets the other has to give.
        var world = new World(4 * GiB, Part(4 * GiB, MemoryPolicy.HostHigh));
        world.Add("idle", GiB, used: 200 * MiB, min: 256 * MiB, max: 2 * GiB);
        world.Add("busy", GiB, used: 960 * MiB, min: 256 * MiB, max: 2 * GiB);
        world["busy"].Used = 1016 * MiB;
        for (int second = 0; second < 5; second++)
            world.Step();
        world["busy"].Target.Should().BeGreaterThanOrEqualTo(GiB + (200 * MiB));
        world["idle"].Target.Should().BeLessThanOrEqualTo(GiB - (200 * MiB));
        world.Failed.Should().BeFalse();
        (world["busy"].Target - world["busy"].Used).Should().BeGreaterThan(world["busy"].Target / 10, "it does not run short any more");
    }

    [Fact]
    public void When_the_host_runs_short_what_is_idle_goes_first_and_the_lighter_guest_gives_more()
    {
        var moves = MemoryPolicy.Decide(new MemoryHost(16 * GiB, GiB, 0),
            [Guest("light", 4 * GiB, 3 * GiB, weight: 1), Guest("heavy", 4 * GiB, 3 * GiB, weight: 10), Guest("busy", 4 * GiB, 100 * MiB)]);
        moves.Select(move => move.Name).Should().Equal("light", "heavy");
        (4 * GiB - moves[0].Target).Should().BeGreaterThan(5 * (4 * GiB - moves[1].Target));
    }

    [Fact]
    public void Used_memory_is_taken_only_under_pressure_and_never_below_the_minimum()
    {
        MemoryGuest[] guests = [new("one", 3 * GiB, 4 * GiB, 100, 4 * GiB, 4 * GiB, 100 * MiB)];
        MemoryPolicy.Decide(new MemoryHost(16 * GiB, GiB, 0), guests).Should().BeEmpty();
        MemoryPolicy.Decide(new MemoryHost(16 * GiB, 100 * MiB, 50), guests).Should().ContainSingle().Which.Target.Should().Be(3 * GiB);
    }

    [Fact]
    public void Who_does_not_say_how_it_uses_its_memory_gives_nothing_and_gets_nothing()
    {
        MemoryGuest[] guests = [new("mute", GiB, 4 * GiB, 100, 2 * GiB, 2 * GiB, null)];
        MemoryPolicy.Decide(new MemoryHost(16 * GiB, GiB, 0), guests).Should().BeEmpty();
        MemoryPolicy.Decide(new MemoryHost(16 * GiB, 10 * GiB, 0), guests).Should().BeEmpty();
    }

    [Fact]
    public void Who_still_does_what_it_was_asked_for_is_not_asked_for_more()
    {
        MemoryGuest[] guests = [new("slow", GiB, 4 * GiB, 100, 2 * GiB, 3 * GiB, 2 * GiB)];
        MemoryPolicy.Decide(new MemoryHost(16 * GiB, GiB, 0), guests).Should().BeEmpty();
    }

    [Fact]
    public void Decisions_stay_between_minimum_and_maximum_and_give_no_more_than_there_is()
    {
        var guest = from min in Gen.Choose(1, 40)
                    from more in Gen.Choose(0, 100)
                    from at in Gen.Choose(0, 100)
                    from available in Gen.Choose(-10, 100)
                    from weight in Gen.Choose(1, 1000)
                    let max = (ulong)(min + more) * 32 * MiB
                    let target = ((ulong)min * 32 * MiB) + ((max - ((ulong)min * 32 * MiB)) * (ulong)at / 100)
                    select new MemoryGuest("", (ulong)min * 32 * MiB, max, weight, target, target, available < 0 ? null : target * (ulong)available / 100);
        var world = from guests in Gen.ListOf(guest, 6)
                    from available in Gen.Choose(0, 100)
                    from pressure in Gen.Choose(0, 30)
                    select (Host: new MemoryHost(16 * GiB, 16 * GiB * (ulong)available / 100, pressure), Guests: guests.Select((g, i) => g with { Name = $"g{i}" }).ToList());
        Prop.ForAll(world.ToArbitrary(), at =>
        {
            var moves = MemoryPolicy.Decide(at.Host, at.Guests);
            decimal given = 0;
            foreach (var move in moves)
            {
                var before = at.Guests.Single(g => g.Name == move.Name);
                if (move.Target < before.Min || move.Target > before.Max)
                    return false;
                given += move.Target > before.Target ? move.Target - before.Target : 0;
            }

            return given <= at.Host.Available && moves.Select(move => move.Name).Distinct().Count() == moves.Count;
        }).QuickCheckThrowOnFailure();
    }

    [Fact]
    public void Where_nothing_changes_everything_comes_to_rest()
    {
        var worlds = from used in Gen.ListOf(Gen.Choose(10, 95), 5) from free in Gen.Choose(1, 60) select (used, free);
        Prop.ForAll(worlds.ToArbitrary(), at =>
        {
            var world = new World(32 * GiB, 32 * GiB * (ulong)at.free / 100);
            for (int i = 0; i < 5; i++)
                world.Add($"g{i}", 2 * GiB, used: 2 * GiB * (ulong)at.used[i] / 100, min: 256 * MiB, max: 4 * GiB);
            for (int i = 0; i < 100; i++)
                world.Step();
            return world.Step() == 0 && !world.Failed;
        }).QuickCheckThrowOnFailure();
    }

    private static MemoryGuest Guest(string name, ulong target, ulong available, int weight = 100) => new(name, 512 * MiB, 8 * GiB, weight, target, target, available);

    private static ulong Part(ulong of, double part) => (ulong)(of * part);

    /// <summary>Guests that use what they use, and a host that has what they do not hold.</summary>
    private sealed class World(ulong total, ulong available)
    {
        private readonly List<Simulated> _guests = [];
        private ulong _available = available;

        /// <summary>A guest had less than it uses: an allocation of it failed.</summary>
        public bool Failed { get; private set; }

        public Simulated this[string name] => _guests.Single(guest => guest.Name == name);

        public void Add(string name, ulong target, ulong used, ulong min, ulong max) => _guests.Add(new Simulated(name, min, max) { Target = target, Used = used });

        /// <summary>A second goes by; how many targets moved.</summary>
        public int Step()
        {
            var moves = MemoryPolicy.Decide(new MemoryHost(total, _available, 0), [.. _guests.Select(g => new MemoryGuest(g.Name, g.Min, g.Max, 100, g.Target, g.Target, g.Target - Math.Min(g.Target, g.Used)))]);
            foreach (var move in moves)
            {
                var guest = this[move.Name];
                _available = _available + guest.Target - move.Target;
                guest.Target = move.Target;
                Failed |= guest.Target < guest.Used;
            }

            return moves.Count;
        }
    }

    private sealed class Simulated(string name, ulong min, ulong max)
    {
        public string Name => name;

        public ulong Min => min;

        public ulong Max => max;

        public ulong Target { get; set; }

        public ulong Used { get; set; }
    }
}
