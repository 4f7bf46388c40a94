using Kvm.X86.Engine;

namespace Kvm.Vmm.Debugging.History;

/// <summary>Going back: the run again from a checkpoint, up to the place that is looked for.</summary>
internal sealed partial class MachineHistory
{
    private volatile bool _givenUp;

    /// <summary>Ends <see cref="StepBack"/> or <see cref="ContinueBack"/> soon; any thread.</summary>
    public void GiveUp()
    {
        _givenUp = true;
        _parts.Runner.Kick();
    }

    /// <summary>Goes to before the last step that was made, by whichever vCPU.</summary>
    public DebugStop StepBack()
    {
        _givenUp = false;
        var here = Place;
        SetPoints([]);
        if (here.Events <= Start.Events)
            return new DebugStop(DebugStopReason.HistoryEnd);
        int vcpu = GoBefore(here);
        return new DebugStop(DebugStopReason.Step, vcpu);
    }

    /// <summary>Goes to the last point that was hit before the present place, or to where the past begins.</summary>
    /// <remarks>At a watchpoint that is before the instruction that accessed the bytes, so that they are as they were.</remarks>
    public DebugStop ContinueBack(IReadOnlyList<DebugPoint> points)
    {
        _givenUp = false;
        for (var bound = Place; ;)
        {
            if (RestoreBefore(bound.Events) is not { } from)
            {
                SetPoints([]);
                GoTo(Start);
                return new DebugStop(DebugStopReason.HistoryEnd);
            }

            SetPoints(points);
            var last = LastHit(bound, points);
            SetPoints([]);
            if (_givenUp)
                return new DebugStop(DebugStopReason.Requested);
            if (last is not { } hit)
            {
                bound = from;
                continue;
            }

            if (hit.IsBehind)
                GoBefore(hit.Place);
            else
                GoTo(hit.Place);
            var reason = hit.Point.Kind == DebugPointKind.Execute ? DebugStopReason.Breakpoint : DebugStopReason.Watchpoint;
            return new DebugStop(reason, hit.Vcpu, hit.Point);
        }
    }

    /// <summary>A point that was hit.</summary>
    /// <param name="Place">Where; of a watchpoint that a run came upon, behind its instruction.</param>
    /// <param name="IsBehind">Whether that is behind the instruction.</param>
    /// <param name="Vcpu">Who hit it.</param>
    /// <param name="Point">What was hit.</param>
    private readonly record struct PointHit(RunPlace Place, bool IsBehind, int Vcpu, DebugPoint Point);

    /// <summary>Runs from here up to a place and tells the last point on the way.</summary>
    private PointHit? LastHit(RunPlace bound, IReadOnlyList<DebugPoint> points)
    {
        PointHit? last = null;
        while (!_givenUp && RunTo(bound.Instructions, out var exit, out int processor) | exit == SoftExit.Kicked)
        {
            if (exit == SoftExit.Kicked)
                continue;
            var hit = _parts.Processors[processor].Hit;
            if (hit.Cause == DebugCause.Watchpoint)
            {
                last = new PointHit(Place, true, processor, hit.Point);
                continue;
            }

            if (hit.Cause == DebugCause.Breakpoint && Place.Events < bound.Events)
                last = new PointHit(Place, false, processor, hit.Point);
            last = StepOver(bound) ?? last;
        }

        // All of the bound's instructions are retired: what is left are deliveries, each of which may come from a breakpoint.
        while (!_givenUp && Place.Events < bound.Events)
        {
            ulong at = _parts.Processors[_parts.Runner.Turn.Turn].CodeAddress;
            foreach (var point in points)
            {
                if (point.Kind == DebugPointKind.Execute && point.Address == at)
                    last = new PointHit(Place, false, _parts.Runner.Turn.Turn, point);
            }

            last = StepOver(bound) ?? last;
        }

        return last;
    }

    /// <summary>One step; the watchpoint that it hit, if it did so before the bound.</summary>
    private PointHit? StepOver(RunPlace bound)
    {
        var before = Place;
        int processor = StepOnce();
        if (processor < 0 || Place.Events > bound.Events || _parts.Processors[processor].Hit is not { Cause: DebugCause.Watchpoint } hit)
            return null;
        return new PointHit(before, false, processor, hit.Point);
    }

    /// <summary>Goes to the last place before another one; tells whose step lies between them.</summary>
    private int GoBefore(RunPlace place)
    {
        RestoreBefore(place.Events);
        if (place.Instructions > 2)
            RunTo(place.Instructions - 2);
        var last = Place;
        int vcpu = 0;
        while (Place.Events < place.Events)
        {
            last = Place;
            vcpu = StepOnce();
        }

        GoTo(last);
        return Math.Max(vcpu, 0);
    }

    private void SetPoints(IReadOnlyList<DebugPoint> points)
    {
        foreach (var processor in _parts.Processors)
            processor.SetDebugPoints([.. points]);
    }
}
