using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Block.Scheduling;
using Kvm.Tests.Support;

namespace Kvm.Devices.Tests.Block.Scheduling;

public class ElevatorTests
{
    private const int Depth = 64;

    // Where each request is, whether it changes something, and nanoseconds until the next event.
    private static readonly Gen<(int Position, bool Write, int Pause)[]> Requests =
        (from position in Gen.Choose(0, 1000)
         from write in Gen.Elements(false, true)
         from pause in Gen.Frequency((3, Gen.Constant(0)), (1, Gen.Choose(0, 2_000_000_000)))
         select (position, write, pause)).ArrayOf(Depth);

    [Fact]
    public void Every_request_comes_out_once_and_none_before_one_that_ran_out_of_patience_earlier() =>
        Prop.ForAll(Requests.ToArbitrary(), Gen.Choose(0, int.MaxValue - 1).ToArbitrary(), (requests, seed) =>
        {
            var random = new Random(seed);
            var elevator = new Elevator(Depth);
            var inside = new Dictionary<int, long>();
            long now = 0;
            int added = 0, taken = 0;
            while (taken < requests.Length)
            {
                if (added < requests.Length && random.Next(3) != 0)
                {
                    var (position, write, pause) = requests[added];
                    now += pause;
                    elevator.Add(added, (ulong)position * 512, 512, write, now);
                    inside.Add(added++, now + (write ? Elevator.WritePatience : Elevator.ReadPatience));
                    continue;
                }

                if (!elevator.TryNext(now, out int tag))
                {
                    if (inside.Count != 0)
                        return false;
                    continue;
                }

                long earliest = inside.Values.Min();
                if (!inside.Remove(tag, out long deadline) || (earliest <= now && deadline != earliest))
                    return false;
                taken++;
            }

            return elevator.Count == 0;
        }).QuickCheckThrowOnFailure();

    [Fact]
    public void Request_behind_an_endless_stream_elsewhere_goes_when_its_patience_ends()
    {
        var elevator = new Elevator(Depth);
        elevator.Add(0, 1 << 30, 512, isWrite: false, 0);
        long now = 0;
        // A stream that the sweep never leaves: each request is where the head just was.
        for (int i = 0; ; i++)
        {
            elevator.Add(1 + i % 2, (ulong)i * 512, 512, isWrite: false, now);
            elevator.TryNext(now, out int tag).Should().BeTrue();
            if (tag == 0)
                break;
            now += 10_000_000;
        }

        now.Should().Be(Elevator.ReadPatience);
        elevator.Expired.Should().Be(1);
    }

    [Fact]
    public void Sweep_goes_upwards_and_begins_again_at_the_front()
    {
        var elevator = new Elevator(Depth);
        int[] positions = [50, 10, 90, 30, 70];
        for (int tag = 0; tag < positions.Length; tag++)
            elevator.Add(tag, (ulong)positions[tag] * 512, 512, tag % 2 == 0, 0);
        elevator.TryNext(0, out int first).Should().BeTrue();
        positions[first].Should().Be(10);
        elevator.Add(1, 5 * 512, 512, false, 0);
        positions[1] = 5;
        var order = new List<int>();
        while (elevator.TryNext(0, out int tag))
            order.Add(positions[tag]);
        order.Should().Equal(30, 50, 70, 90, 5);
    }

    [Fact]
    public void Adjacent_is_only_what_begins_at_the_end_and_is_of_the_same_kind()
    {
        var elevator = new Elevator(Depth);
        elevator.Add(0, 0, 4096, false, 0);
        elevator.Add(1, 4096, 512, true, 0);
        elevator.Add(2, 4096, 0, false, 0);
        elevator.Add(3, 4096, 512, false, 0);
        elevator.Add(4, 8192, 512, false, 0);
        elevator.TryNext(0, out int tag).Should().BeTrue();
        tag.Should().Be(0);
        elevator.AdjacentTo(0).Should().Be(3);
        elevator.Take(3);
        elevator.AdjacentTo(3).Should().Be(-1, "4608 is free");
        elevator.AdjacentTo(0).Should().Be(-1, "what is left there is a change, or stands alone");
        elevator.Count.Should().Be(3);
    }

    /// <summary>
    /// A simulated disk: a request takes a time that grows with the way from the last one. The numbers are in docs/disks.md.
    /// </summary>
    [Fact]
    public void Simulated_disk_with_arms_moves_them_a_quarter_as_far_as_in_the_order_of_arrival()
    {
        long inOrder = Simulate(sorted: false), sorted = Simulate(sorted: true);
        sorted.Should().BeLessThan(inOrder / 4);
    }

    private static long Simulate(bool sorted)
    {
        var random = new Random(3);
        var elevator = new Elevator(Depth);
        var positions = new long[Depth];
        var arrivals = new Queue<int>();
        long head = 0, way = 0, now = 0;
        void Arrive(int tag)
        {
            positions[tag] = random.NextInt64(1L << 40);
            arrivals.Enqueue(tag);
            elevator.Add(tag, (ulong)positions[tag], 4096, false, now);
        }

        for (int tag = 0; tag < Depth; tag++)
            Arrive(tag);
        for (int i = 0; i < 10_000; i++)
        {
            if (!sorted)
                elevator.Take(arrivals.Peek());
            int tag = arrivals.Dequeue();
            if (sorted)
                elevator.TryNext(now, out tag).Should().BeTrue();
            way += Math.Abs(positions[tag] - head) >> 20;
            // 1 ms for the rotation, up to 8 ms for the way of the arm.
            now += 1_000_000 + (Math.Abs(positions[tag] - head) >> 17);
            head = positions[tag];
            Arrive(tag);
        }

        return way;
    }

    [Fact]
    public void Nothing_is_allocated()
    {
        var elevator = new Elevator(Depth);
        Allocation.Of(i =>
        {
            elevator.Add(i % Depth, (ulong)i * 7919 % 1000 * 512, 512, i % 3 == 0, i);
            if (elevator.Count == Depth / 2)
            {
                while (elevator.TryNext(i, out _))
                {
                }
            }
        }).Should().Be(0);
    }
}
