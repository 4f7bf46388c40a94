namespace Kvm.Sched.Policies;

/// <summary>
/// Shortest job first, or shortest remaining time first: lengths as declared, or learned by class, τ′ = t/2 + τ/2.
/// A class nobody knows anything of has τ = 0: it is tried first, and known from then on.
/// </summary>
internal sealed class ShortestJobPolicy(PolicySettings settings, bool preemptive) : OrderedPolicy(settings)
{
    private const int MostClasses = 65_536;

    private long[] _learned = [];
    private double _errors;
    private double _lengths;

    public override bool IsPreemptive => preemptive;

    public override double? EstimateError => _lengths > 0 ? _errors / _lengths : null;

    public override void Arrived(int vm, long now)
    {
        ref var slot = ref Table.Vm(vm);
        slot.Estimate = IsLearned(slot) ? Known(slot.Spec.Class) : slot.Spec.Length;
    }

    public override void Departed(int vm, long now)
    {
        ref readonly var slot = ref Table.Vm(vm);
        if (!IsLearned(slot) || slot.Spec.Class < 0)
            return;
        int known = Math.Min(slot.Spec.Class, MostClasses - 1);
        if (known >= _learned.Length)
            Array.Resize(ref _learned, Math.Max(known + 1, _learned.Length * 2));
        long length = slot.Ran / slot.Spec.Vcpus;
        // The first of a class was a guess about nothing, and is no error of the rule.
        if (slot.Estimate > 0)
        {
            _errors += Math.Abs(slot.Estimate - length);
            _lengths += length;
        }

        _learned[known] = _learned[known] == 0 ? length : length / 2 + _learned[known] / 2;
    }

    public override long Grant(int vcpu, long now)
    {
        ref var slot = ref Table.Vcpu(vcpu);
        slot.Standing = slot.Key >= Overdue ? slot.Key : now + Remaining(vcpu);
        return ToTheEnd();
    }

    public override void Return(int vcpu, long now)
    {
        ref var slot = ref Table.Vcpu(vcpu);
        if (preemptive && slot.Key < Overdue)
            slot.Key = Remaining(vcpu);
        base.Return(vcpu, now);
    }

    // When it will end if nobody stops it: the order by that does not change while they run.
    public override long RunningKey(int vcpu) => Table.Vcpu(vcpu).Standing;

    public override bool Preempts(int ready, int running, long now)
    {
        ref readonly var slot = ref Table.Vcpu(running);
        return Table.Vcpu(ready).Key < (slot.Standing >= Overdue ? slot.Standing : Math.Max(0, slot.Standing - now));
    }

    public override string Describe(int vcpu, long now) => Table.Vcpu(vcpu).Level > 0
        ? "has used up its limit"
        : $"{InMs(preemptive ? Remaining(vcpu) : Table.VmOf(vcpu).Estimate)} {(preemptive ? "left" : "long")}{(IsLearned(Table.VmOf(vcpu)) ? " as learned" : "")}";

    protected override long KeyOf(int vcpu, ReadyReason reason, long now) =>
        IsOverdue(vcpu, reason) ? OverdueKey() : preemptive ? Remaining(vcpu) : Table.VmOf(vcpu).Estimate;

    private bool IsLearned(in VmSlot slot) => Settings.Learn || slot.Spec.Length <= 0;

    private long Known(int known) => (uint)known < (uint)_learned.Length ? _learned[known] : 0;

    private long Remaining(int vcpu) => Math.Max(0, Table.VmOf(vcpu).Estimate - Table.Vcpu(vcpu).Ran);
}
