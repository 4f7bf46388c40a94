using Kvm.Devices.Memory;
using Kvm.Devices.Snapshot;
using Kvm.Vmm.Console;
using Kvm.X86.Deterministic;
using Kvm.X86.Engine;
using Kvm.X86.Interrupts;

namespace Kvm.Vmm.Debugging.History;

/// <summary>What a deterministic machine is made of, for its history.</summary>
/// <param name="Runner">Runs the processors.</param>
/// <param name="Processors">The processors.</param>
/// <param name="Machine">What they share.</param>
/// <param name="Clock">The machine's time.</param>
/// <param name="Chips">The interrupt chips.</param>
/// <param name="Devices">Every device with state.</param>
/// <param name="Console">Where the guest's output goes.</param>
internal sealed record HistoryParts(
    DeterministicRunner Runner, IReadOnlyList<SoftProcessor> Processors, SoftMachine Machine, InstructionClock Clock, ChipSet Chips,
    IReadOnlyList<IStateful> Devices, ConsoleWatcher Console);

/// <summary>A place in a deterministic run: no two states of one run have the same.</summary>
/// <param name="Instructions">Retired by all processors.</param>
/// <param name="Deliveries">Exceptions and interrupts delivered to all of them.</param>
internal readonly record struct RunPlace(ulong Instructions, ulong Deliveries)
{
    /// <summary>Grows with every step.</summary>
    public ulong Events => Instructions + Deliveries;
}

/// <summary>
/// The past of a deterministic machine: checkpoints at marks, and the run again from the nearest one. At a mark the machine is also put into
/// what its checkpoint restores, so that whatever a restore forgets (translations, a timer's rounding) is forgotten in every run through it.
/// </summary>
/// <remarks>On the thread that runs the processors, or on the debugger's while the machine stands still.</remarks>
internal sealed partial class MachineHistory
{
    /// <summary>Instructions between two marks at first; doubled whenever the budget is used up.</summary>
    private const ulong FirstInterval = 4_000_000;

    private readonly HistoryParts _parts;
    private readonly long _budget;
    private readonly List<MachineMoment> _moments = [];
    private readonly List<ulong> _marks = [];
    private readonly List<ulong> _dirty = [];
    private ulong _interval = FirstInterval;
    private ulong _now;

    /// <summary>Begins at the present state.</summary>
    /// <param name="parts">The machine.</param>
    /// <param name="budget">Bytes for copies of pages, beside those of the first checkpoint.</param>
    public MachineHistory(HistoryParts parts, long budget)
    {
        _parts = parts;
        _budget = budget;
        parts.Machine.TrackWrites();
        Begin();
    }

    /// <summary>Checkpoints kept.</summary>
    public int Checkpoints => _moments.Count;

    /// <summary>Bytes of pages kept for all of them but the first.</summary>
    public long Bytes => _moments.Skip(1).Sum(m => m.Bytes);

    /// <summary>Where the machine is.</summary>
    public RunPlace Place
    {
        get
        {
            ulong instructions = 0, deliveries = 0;
            foreach (var processor in _parts.Processors)
            {
                instructions += processor.Instructions;
                deliveries += processor.Deliveries;
            }

            return new RunPlace(instructions, deliveries);
        }
    }

    /// <summary>Where the past begins.</summary>
    public RunPlace Start => _moments[0].Place;

    /// <summary>What was before is forgotten: somebody changed the machine, and a run from there would be another one.</summary>
    public void Begin()
    {
        _moments.Clear();
        _marks.Clear();
        _interval = FirstInterval;
        Add();
    }

    /// <summary>Whether the run stands at a mark, which <see cref="Mark"/> has to make before it goes on.</summary>
    public bool IsAtMark => Place.Instructions >= _parts.Runner.Limit;

    /// <summary>Makes the mark that the run has come to, or makes it again.</summary>
    public void Mark()
    {
        ulong here = Place.Instructions;
        int known = _marks.BinarySearch(here);
        if (known < 0)
        {
            Add();
            Thin();
            return;
        }

        // Seen before: the same state, put into the same form.
        Collect();
        var moment = MachineMoment.Take(_parts, Place);
        moment.Settle(_parts);
        _now = here;
        SetLimit();
    }

    /// <summary>Goes to a place that was passed since <see cref="Start"/>, with no point set.</summary>
    /// <param name="place">One that a run came through.</param>
    public DebugStop GoTo(RunPlace place)
    {
        SetPoints([]);
        Restore(Before(place.Events + 1));
        Advance(place);
        return new DebugStop(DebugStopReason.Requested);
    }

    /// <summary>Restores the last checkpoint before so many events. Null if there is none.</summary>
    public RunPlace? RestoreBefore(ulong events)
    {
        if (events <= Start.Events)
            return null;
        int from = Before(events);
        Restore(from);
        return _moments[from].Place;
    }

    /// <summary>From here to a place ahead, with nobody looking: no point is set.</summary>
    public void Advance(RunPlace place)
    {
        // Run to short of it, where nothing of the last instruction has happened yet; then step.
        if (place.Instructions > 0)
            RunTo(place.Instructions - 1);
        while (Place.Events < place.Events)
            StepOnce();
    }

    /// <summary>Runs on until so many instructions are retired, or a point is hit (true), or something else ends the run.</summary>
    /// <param name="instructions">Where to end; marks on the way are made.</param>
    /// <param name="exit">What ended it.</param>
    /// <param name="processor">Which processor did.</param>
    public bool RunTo(ulong instructions, out SoftExit exit, out int processor)
    {
        while (true)
        {
            processor = -1;
            exit = SoftExit.Limit;
            if (IsAtMark)
                Mark();
            if (Place.Instructions >= instructions)
                return false;
            ulong mark = _parts.Runner.Limit;
            _parts.Runner.Limit = Math.Min(mark, instructions);
            exit = _parts.Runner.Run(out processor);
            _parts.Runner.Limit = mark;
            if (exit != SoftExit.Limit)
                return exit == SoftExit.Debug;
        }
    }

    /// <summary>One step of whichever processor's turn it is; tells which.</summary>
    public int StepOnce()
    {
        if (IsAtMark)
            Mark();
        var before = Place;
        var exit = _parts.Runner.Step(DeterministicRunner.AnyProcessor, out int processor);
        if (exit is SoftExit.Shutdown or SoftExit.Unsupported or SoftExit.Halted && Place == before)
            throw new InvalidOperationException($"the run did not repeat: {exit} at {Place}");
        return processor;
    }

    private void RunTo(ulong instructions)
    {
        while (Place.Instructions < instructions)
        {
            RunTo(instructions, out var exit, out _);
            if (exit is not (SoftExit.Limit or SoftExit.Kicked))
                throw new InvalidOperationException($"the run did not repeat: {exit} at {Place}");
        }
    }

    private void Add()
    {
        Collect();
        bool first = _moments.Count == 0;
        var moment = MachineMoment.Take(_parts, Place);
        moment.Settle(_parts);
        Collect();
        if (first)
            moment.KeepAll(_parts.Machine.Memory);
        else
            moment.Keep(_parts.Machine.Memory, _dirty);
        _dirty.Clear();
        _moments.Add(moment);
        _now = moment.Place.Instructions;
        _marks.Add(_now);
        SetLimit();
    }

    /// <summary>Adds what was written to what must be put back when the machine goes to another place.</summary>
    private void Collect() => _parts.Machine.Dirty!.Take(_dirty);

    /// <summary>The next mark: one that is known, or a new one an interval behind the last.</summary>
    private void SetLimit()
    {
        int next = _marks.BinarySearch(_now + 1);
        next = next < 0 ? ~next : next;
        _parts.Runner.Limit = next < _marks.Count ? _marks[next] : _now + _interval;
    }

    private int Before(ulong events)
    {
        int from = _moments.Count - 1;
        while (from > 0 && _moments[from].Place.Events >= events)
            from--;
        return from;
    }

    private void Restore(int index)
    {
        Collect();
        var pages = new HashSet<ulong>(_dirty);
        for (int later = index + 1; later < _moments.Count; later++)
            pages.UnionWith(_moments[later].Pages.Keys);
        var moment = _moments[index];
        moment.Settle(_parts);
        // Chips write guest memory when they are restored (kvmclock): memory comes behind them.
        Collect();
        pages.UnionWith(_dirty);
        foreach (ulong page in pages)
            _parts.Machine.Memory.TryWrite(page, Content(index, page));
        Collect();
        _dirty.Clear();
        _now = moment.Place.Instructions;
        SetLimit();
    }

    private ReadOnlySpan<byte> Content(int index, ulong page)
    {
        for (int n = index; n >= 0; n--)
        {
            if (_moments[n].Pages.TryGetValue(page, out byte[]? bytes))
                return bytes;
        }

        return s_zeros;
    }

    private static readonly byte[] s_zeros = new byte[GuestMemory.PageSize];

    /// <summary>Drops every second checkpoint while there is more than the budget; at the end the first ones, and with them the oldest past.</summary>
    private void Thin()
    {
        while (Bytes > _budget && _moments.Count > 1)
        {
            int first = _moments.Count > 3 ? 1 : 0;
            for (int n = first; n < _moments.Count - 1; n++)
            {
                _moments[n + 1].Inherit(_moments[n]);
                _moments.RemoveAt(n);
                if (first == 0)
                    break;
            }

            _interval *= 2;
            SetLimit();
        }
    }
}
