using Kvm.Sched.Ordering;

namespace Kvm.Sched.Policies;

/// <summary>
/// Time-sliced priority: slice = base × (1 + priority − lowest); the highest level first and, within a level, who queued first; a level
/// down after a full slice, one up (to the priority at most) after a halt; every boost period all go to the highest level, where who
/// waits longest is first. A boost costs nothing: whoever queued before it stands in a second order, by queueing, that is looked at first.
/// </summary>
internal sealed class TimeSlicedPriorityPolicy(PolicySettings settings) : Policy(settings)
{
    private ReadyIndex _byLevel = null!;
    private ReadyIndex _byAge = null!;
    private long _sequence;
    private long _boosted;
    private long _nextBoost = settings.Boost;
    private int _epoch;
    private int _lowest = int.MaxValue;
    private int _highest = int.MinValue;

    public override bool IsPreemptive => true;

    public override long NextTimer => _byAge.Count > 0 ? _nextBoost : long.MaxValue;

    public override void Attach(JobTable table, CpuTopology topology)
    {
        base.Attach(table, topology);
        (_byLevel, _byAge) = (new ReadyIndex(table), new ReadyIndex(table));
    }

    public override void Arrived(int vm, long now)
    {
        int priority = Table.Vm(vm).Spec.Priority;
        (_lowest, _highest) = (Math.Min(_lowest, priority), Math.Max(_highest, priority));
    }

    public override void Enter(int vcpu, ReadyReason reason, long now)
    {
        ref var slot = ref Table.Vcpu(vcpu);
        int priority = Table.VmOf(vcpu).Spec.Priority;
        if (slot.Epoch != _epoch)
            (slot.Epoch, slot.Level) = (_epoch, _highest);
        if (reason == ReadyReason.Preempted && slot.SliceLeft <= 0)
            reason = ReadyReason.SliceEnded;
        slot.Level = reason switch
        {
            ReadyReason.Arrived => priority,
            ReadyReason.Woken => Math.Max(slot.Level, Math.Min(slot.Level + 1, priority)),
            ReadyReason.SliceEnded => Math.Max(_lowest, slot.Level - 1),
            _ => slot.Level,
        };
        // Who was stopped by another keeps its place and the rest of its slice.
        if (reason != ReadyReason.Preempted)
            (slot.Sequence, slot.SliceLeft) = (++_sequence, Slice(priority));
        Insert(vcpu);
    }

    public override void Return(int vcpu, long now) => Insert(vcpu);

    public override void Leave(int vcpu)
    {
        _byLevel.Remove(vcpu);
        _byAge.Remove(vcpu);
    }

    public override int Best(CpuSet open, long now)
    {
        int oldest = _byAge.Best(open, out long sequence);
        return oldest >= 0 && sequence <= _boosted ? oldest : _byLevel.Best(open, out _);
    }

    public override long Grant(int vcpu, long now)
    {
        ref var slot = ref Table.Vcpu(vcpu);
        slot.Standing = -LevelOf(slot);
        (slot.Epoch, slot.Level) = (_epoch, LevelOf(slot));
        // Who was slow to leave its CPU has used up more than its slice.
        return Math.Max(slot.SliceLeft, PolicySettings.ShortestSlice);
    }

    public override void Ran(int vcpu, long ran, long now) => Table.Vcpu(vcpu).SliceLeft -= ran;

    public override long RunningKey(int vcpu) => Table.Vcpu(vcpu).Standing;

    public override bool Preempts(int ready, int running, long now) => -LevelOf(Table.Vcpu(ready)) < Table.Vcpu(running).Standing;

    public override void Tick(long now)
    {
        if (now < _nextBoost)
            return;
        _nextBoost = (now / Settings.Boost + 1) * Settings.Boost;
        _epoch++;
        _boosted = _sequence;
    }

    public override string Describe(int vcpu, long now)
    {
        ref readonly var slot = ref Table.Vcpu(vcpu);
        return $"level {LevelOf(slot)} of priority {Table.VmOf(vcpu).Spec.Priority}, {InMs(Math.Max(0, slot.SliceLeft))} of its slice left";
    }

    private int LevelOf(in VcpuSlot slot) => slot.Epoch == _epoch ? slot.Level : _highest;

    private void Insert(int vcpu)
    {
        ref readonly var slot = ref Table.Vcpu(vcpu);
        _byLevel.Add(vcpu, -slot.Level, slot.Sequence);
        _byAge.Add(vcpu, slot.Sequence, 0);
    }

    private long Slice(int priority) =>
        (long)Int128.Min((Int128)Settings.Slice * (1 + priority - _lowest), PolicySettings.LongestSlice);
}
