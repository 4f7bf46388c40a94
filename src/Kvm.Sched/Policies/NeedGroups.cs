using System.Numerics;

namespace Kvm.Sched.Policies;

/// <summary>
/// Waiting VMs by what they need: those with equal needs form a queue, and only its head can be the best fit. What is free changes
/// with every start and end, so no order lasts; the groups are compared anew, several at a time, in columns of numbers.
/// </summary>
internal sealed class NeedGroups
{
    private const double Near = 1e-9;

    private readonly Dictionary<Key, int> _known = [];
    private readonly Stack<int> _unused = new();
    private readonly double[][] _columns = [.. Enumerable.Range(0, ResourceVector.Kinds).Select(_ => Array.Empty<double>())];
    private double[] _heads = [];
    private Group[] _groups = [];
    private int _end;

    /// <summary>Adds a VM at the end of its group's queue.</summary>
    public void Append(JobTable table, int vm, in ResourceVector needs, int affinity)
    {
        if (!_known.TryGetValue(new Key(needs, affinity), out int index))
        {
            if (!_unused.TryPop(out index))
                index = NewIndex();
            _known.Add(new Key(needs, affinity), index);
            _groups[index] = new Group { First = -1, Last = -1, Needs = needs, Affinity = affinity };
            for (int kind = 0; kind < ResourceVector.Kinds; kind++)
                _columns[kind][index] = needs[kind];
        }

        ref var group = ref _groups[index];
        ref var slot = ref table.Vm(vm);
        (slot.Group, slot.GroupPrevious, slot.GroupNext) = (index, group.Last, -1);
        if (group.Last >= 0)
            table.Vm(group.Last).GroupNext = vm;
        else
            (group.First, _heads[index]) = (vm, slot.Sequence);
        group.Last = vm;
    }

    public void Remove(JobTable table, int vm)
    {
        ref var slot = ref table.Vm(vm);
        ref var group = ref _groups[slot.Group];
        if (slot.GroupPrevious >= 0)
            table.Vm(slot.GroupPrevious).GroupNext = slot.GroupNext;
        else
            group.First = slot.GroupNext;
        if (slot.GroupNext >= 0)
            table.Vm(slot.GroupNext).GroupPrevious = slot.GroupPrevious;
        else
            group.Last = slot.GroupPrevious;
        if (group.First < 0)
        {
            _known.Remove(new Key(group.Needs, group.Affinity));
            _unused.Push(slot.Group);
            // Fits nowhere: is passed over.
            _columns[0][slot.Group] = double.PositiveInfinity;
        }
        else
        {
            _heads[slot.Group] = table.Vm(group.First).Sequence;
        }

        slot.Group = -1;
    }

    /// <summary>The VM that fits best, of equals (to a part in 10⁹) the one that waits longest; −1 where none fits.</summary>
    public int Best(in ResourceVector free, JobTable table, CpuSet open)
    {
        Span<double> inverse = stackalloc double[ResourceVector.Kinds];
        for (int kind = 0; kind < ResourceVector.Kinds; kind++)
            inverse[kind] = free[kind] > 0 ? 1 / free[kind] : double.MaxValue;
        int best = -1;
        double bestScore = 1 + Near, bestHead = double.MaxValue;
        for (int at = 0; at < _end; at += Vector<double>.Count)
        {
            var score = Vector<double>.Zero;
            for (int kind = 0; kind < ResourceVector.Kinds; kind++)
            {
                if (inverse[kind] > 0)
                    score = Vector.Max(score, new Vector<double>(_columns[kind], at) * inverse[kind]);
            }

            var better = Vector.LessThan(score, new Vector<double>(bestScore * (1 - Near)));
            var earlier = Vector.LessThan(new Vector<double>(_heads, at), new Vector<double>(bestHead));
            better |= Vector.LessThanOrEqual(score, new Vector<double>(bestScore * (1 + Near))) & earlier;
            if (better == Vector<long>.Zero)
                continue;
            for (int lane = 0; lane < Vector<double>.Count; lane++)
            {
                if (score[lane] > bestScore * (1 + Near) || (score[lane] >= bestScore * (1 - Near) && _heads[at + lane] >= bestHead))
                    continue;
                ref readonly var group = ref _groups[at + lane];
                // The quotients are a little off, the amounts are not.
                if (!group.Needs.FitsIn(free) || (group.Affinity != 0 && table.Classes[group.Affinity].FirstCommon(open) < 0))
                    continue;
                (best, bestScore, bestHead) = (at + lane, score[lane], _heads[at + lane]);
            }
        }

        return best < 0 ? -1 : _groups[best].First;
    }

    private int NewIndex()
    {
        if (_end == _groups.Length)
        {
            int length = Math.Max(64, _end * 2);
            Array.Resize(ref _groups, length);
            Array.Resize(ref _heads, length);
            foreach (ref double[] column in _columns.AsSpan())
                Array.Resize(ref column, length);
            _columns[0].AsSpan(_end).Fill(double.PositiveInfinity);
        }

        return _end++;
    }

    private readonly record struct Key(ResourceVector Needs, int Affinity);

    private struct Group
    {
        public int First;
        public int Last;
        public ResourceVector Needs;
        public int Affinity;
    }
}
