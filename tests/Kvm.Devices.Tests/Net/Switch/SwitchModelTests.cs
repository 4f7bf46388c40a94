using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Switch;
using static Kvm.Devices.Tests.Net.Switch.SwitchLab;

namespace Kvm.Devices.Tests.Net.Switch;

/// <summary>The switch against a naive one, with ports of all kinds.</summary>
public sealed class SwitchModelTests
{
    private static readonly PortOptions[] s_ports =
    [
        new(),
        new() { Isolated = true },
        new() { Isolated = true },
        new() { Vlan = 2 },
        new() { Vlan = 2, Mac = Mac(7) },
        new() { Vlan = 1, Trunk = new VlanSet([2, 3]) },
        new() { Vlan = 0, Trunk = new VlanSet([1, 3]) },
        new() { Role = PortRole.Uplink, Trunk = VlanSet.All },
        new() { IsolationGroup = "red" },
        new() { IsolationGroup = "red", Trunk = new VlanSet([2]) },
        new() { IsolationGroup = "blue" },
    ];

    /// <summary>What a frame is: from where, from and to which address, with which tag; after how many seconds.</summary>
    private readonly record struct Step(int Port, int Source, int Destination, int Tag, int Seconds);

    private sealed class Naive
    {
        private readonly Dictionary<(int Vlan, int Address), (int Port, int Seen)> _known = [];
        private int _now;

        /// <summary>Ports that get the frame, and with which tag (−1 for none).</summary>
        public List<(int Port, int Tag)> Send(Step step)
        {
            _now += step.Seconds;
            var from = s_ports[step.Port];
            int vlan = step.Tag <= 0 ? from.Vlan : from.Trunk?.Contains(step.Tag) == true ? step.Tag : 0;
            if (vlan == 0 || (from.Mac is { } own ? own != Mac(step.Source) : step.Source == 7 && vlan == 2))
                return [];
            if (from.Mac is null)
                _known[(vlan, step.Source)] = (step.Port, _now);
            if (vlan == 2)
                _known[(2, 7)] = (4, _now);
            IEnumerable<int> to = Enumerable.Range(0, s_ports.Length);
            bool isKnown = _known.TryGetValue((vlan, step.Destination), out var known) && _now - known.Seen < 300;
            to = isKnown ? [known.Port] : to.Where(p => step.Destination == 0 || s_ports[p].Mac is null);
            return [.. to.Where(p => p != step.Port && May(from, s_ports[p]) && (s_ports[p].Vlan == vlan || s_ports[p].Trunk?.Contains(vlan) == true))
                .Select(p => (p, s_ports[p].Vlan == vlan ? -1 : vlan))];
        }

        private static bool May(PortOptions a, PortOptions b) => a.Role == PortRole.Uplink || b.Role == PortRole.Uplink
            || (!a.Isolated && !b.Isolated && (a.IsolationGroup.Length == 0 || a.IsolationGroup != b.IsolationGroup));
    }

    private static MacAddress AddressOf(int number) => number == 0 ? MacAddress.Broadcast : Mac(number);

    [Fact]
    public void Frames_go_where_a_naive_switch_sends_them()
    {
        var steps = from port in Gen.Choose(0, s_ports.Length - 1)
                    from source in Gen.Choose(1, 7)
                    from destination in Gen.Choose(0, 7)
                    from tag in Gen.Frequency((3, Gen.Constant(-1)), (1, Gen.Constant(0)), (3, Gen.Choose(1, 4)))
                    from seconds in Gen.Frequency((8, Gen.Constant(0)), (1, Gen.Choose(1, 299)), (1, Gen.Constant(300)))
                    select new Step(port, source, destination, tag, seconds);
        Prop.ForAll(steps.ListOf().Resize(200).ToArbitrary(), all =>
        {
            var lab = new SwitchLab(new SwitchOptions { FloodLimit = new(1_000_000, 1_000_000) });
            var stations = s_ports.Select(p => lab.Add(p)).ToList();
            var naive = new Naive();
            foreach (var step in all)
            {
                lab.Time.Advance(TimeSpan.FromSeconds(step.Seconds));
                int[] Tags(int tag) => tag < 0 ? [] : [tag];
                stations[step.Port].Send(Frame(AddressOf(step.Destination), AddressOf(step.Source), "text", Tags(step.Tag)));
                var expected = naive.Send(step).ToDictionary(e => e.Port, e => Frame(AddressOf(step.Destination), AddressOf(step.Source), "text", Tags(e.Tag)));
                for (int i = 0; i < stations.Count; i++)
                {
                    var got = stations[i].Take();
                    if (expected.TryGetValue(i, out byte[]? frame) ? got is not [var only] || !only.AsSpan().SequenceEqual(frame) : got.Count != 0)
                        return false;
                }
            }

            return true;
        }).QuickCheckThrowOnFailure();
    }

    /// <summary>The table alone: bounded in all and for each port, and never wrong about what it knows.</summary>
    [Fact]
    public void Table_knows_what_it_said_it_learned_and_never_more_than_it_may() =>
        Prop.ForAll(Gen.Zip(Gen.Zip(Gen.Choose(0, 2), Gen.Choose(1, 30)), Gen.Choose(0, 40)).ListOf().Resize(300).ToArbitrary(), steps =>
        {
            const int capacity = 12, most = 5;
            var table = new MacTable(capacity, 3, 100_000_000_000, 12345);
            var model = new Dictionary<int, (int Port, long Seen)>();
            long now = 0;
            foreach (var ((port, address), seconds) in steps)
            {
                now += seconds > 30 ? seconds * 1_000_000_000L : 0;
                var result = table.Learn(1, Mac(address), port, most, now);
                if (result != Learned.NoRoom)
                    model[address] = (port, now);
                foreach (var (known, (at, seen)) in model)
                {
                    if (table.Find(1, Mac(known), now) != (now - seen < 100_000_000_000 ? at : -1))
                        return false;
                }

                if (table.Find(2, Mac(address), now) != -1 || table.Count > capacity
                    || Enumerable.Range(0, 3).Any(p => model.Count(m => m.Value.Port == p && now - m.Value.Seen < 100_000_000_000) > most))
                    return false;
                if (result == Learned.NoRoom && model.Count(m => m.Value.Port == port) < most && table.Count < capacity)
                    return false;
            }

            for (int port = 0; port < 3; port++)
                table.Forget(port);
            return table.Count == 0 && Enumerable.Range(1, 30).All(a => table.Find(1, Mac(a), now) == -1);
        }).QuickCheckThrowOnFailure();
}
