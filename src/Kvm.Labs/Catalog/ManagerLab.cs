using Kvm.Labs.Machine;
using Kvm.Vmm.Bare;

namespace Kvm.Labs.Catalog;

/// <summary>Lab 14: a toy manager of virtual machines, whose schedule is compared with the simulator's.</summary>
internal static class ManagerLab
{
    private const int Slice = 2;
    private const ushort RunPort = 0xe4, SleepPort = 0xe5, ComingPort = 0xe6;
    private const uint GaveUp = 2;
    private const int MostTicks = 40;
    private const int EntrySize = 12;
    private const int MostEntries = 8;

    private static readonly Schedules.Guest[] _machines = [new("A", 0, 5), new("B", 1, 3), new("C", 4, 4), new("D", 20, 1)];

    /// <summary>Makes the lab.</summary>
    public static ProgramLab Create() => new(14, "toy-manager", "Repair a toy VM manager and scheduler")
    {
        Plans =
        [
            new(new LabSetup { Program = (board, program) => _ = new Manager(board, program) },
            [
                Checks.Exits(),
                new("no machine waits at the door because the lock is held while another one runs", outcome => Waited(outcome)),
                new("no machine runs after its end", outcome => outcome.Notes.FirstOrDefault(note => note.Contains("after its end", StringComparison.Ordinal))),
                new("the schedule is the simulator's for rr with slices of 2 ms", Compare),
            ]),
        ],
    };

    private static string? Waited(LabOutcome outcome) => outcome.Notes.FirstOrDefault(note => note.Contains("waits at the door", StringComparison.Ordinal));

    private static string? Compare(LabOutcome outcome)
    {
        var expected = Schedules.Joined(Schedules.Of("rr", _machines, Slice).Stretches);
        int clock = 0;
        var seen = new List<Schedules.Stretch>();
        foreach (var exit in outcome.Exits)
        {
            if (exit is { Kind: BareExitKind.PortWrite, Address: RunPort })
                seen.Add(new Schedules.Stretch(NameOf(exit.Value), clock, ++clock));
            else if (exit is { Kind: BareExitKind.PortWrite, Address: SleepPort })
                clock++;
        }

        seen = Schedules.Joined(seen);
        if (seen.SequenceEqual(expected))
            return null;
        int at = seen.Zip(expected).TakeWhile(pair => pair.First == pair.Second).Count();
        return $"from {(at < seen.Count ? seen[at].From : clock)} ms on it is {Text(seen, at)}; the simulator has {Text(expected, at)}";
    }

    private static string Text(List<Schedules.Stretch> stretches, int from) =>
        from >= stretches.Count ? "nothing more" : Schedules.Say(stretches.Skip(from).Take(3)) + (stretches.Count > from + 3 ? ", …" : "");

    private static string NameOf(ulong id) => id >= 1 && id <= (ulong)_machines.Length ? _machines[id - 1].Name : $"machine {id}";

    /// <summary>The machines and the manager's other thread.</summary>
    private sealed class Manager
    {
        private readonly LabBoard _board;
        private readonly ulong? _lock, _count, _queue;
        private readonly int[] _remaining = [.. _machines.Select(machine => machine.Length)];
        private readonly bool[] _waits = new bool[_machines.Length];
        private int _clock;
        private int _arrived;

        public Manager(LabBoard board, Assembling.AssembledProgram program)
        {
            _board = board;
            (_lock, _count, _queue) = (Place(program, "mutex"), Place(program, "count"), Place(program, "queue"));
            board.Ports.Add(RunPort, 1, new LabDevice(null, (_, _, id) => RunMachine(id)));
            board.Ports.Add(SleepPort, 1, new LabDevice(null, (_, _, _) => Tick()));
            board.Ports.Add(ComingPort, 1, new LabDevice((_, _) => (ulong)(_machines.Length - _arrived), null));
            Register();
        }

        private static ulong? Place(Assembling.AssembledProgram program, string name) =>
            program.Symbols.TryGetValue(name, out long value) && value >= 0 && value < LabBoard.MemorySize - (EntrySize * (MostEntries + 1)) ? (ulong)value : null;

        private void RunMachine(ulong id)
        {
            if (id < 1 || id > (ulong)_machines.Length)
                _board.Note($"{_clock} ms: there is no machine {id}");
            else if (_remaining[id - 1]-- <= 0)
                _board.Note($"{_clock} ms: {NameOf(id)} runs after its end: its entry was not removed");
            else
                _board.Note($"{_clock} ms: {NameOf(id)} runs");
            Tick();
        }

        private void Tick()
        {
            if (++_clock >= MostTicks)
            {
                _board.Note($"{_clock} ms: this goes on for too long");
                _board.End(GaveUp);
            }

            Register();
        }

        /// <summary>The other thread: appends whoever has arrived, if it gets the lock.</summary>
        private void Register()
        {
            if (_lock is not { } at || _count is not { } counter || _queue is not { } queue)
            {
                _board.Note("the source has no mutex, count or queue");
                _board.End(GaveUp);
                return;
            }

            while (_arrived < _machines.Length && _machines[_arrived].Arrival <= _clock)
            {
                _board.Memory.TryRead(at, out uint held);
                _board.Memory.TryRead(counter, out uint count);
                if (held != 0 || count >= MostEntries)
                {
                    if (!_waits[_arrived])
                        _board.Note($"{_clock} ms: {_machines[_arrived].Name} waits at the door: {(held != 0 ? "the lock is held" : "the queue is full")}");
                    _waits[_arrived] = true;
                    return;
                }

                ulong entry = queue + (count * EntrySize);
                _board.Memory.TryWrite(entry, (uint)(_arrived + 1));
                _board.Memory.TryWrite(entry + 4, (uint)_machines[_arrived].Length);
                _board.Memory.TryWrite(entry + 8, 0u);
                _board.Memory.TryWrite(counter, count + 1);
                _board.Memory.NotifyWritten(entry, EntrySize);
                _board.Note($"{_clock} ms: {_machines[_arrived].Name} arrives, needs {_machines[_arrived].Length} ms");
                _arrived++;
            }
        }
    }
}
