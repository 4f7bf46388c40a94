using Kvm.Sched.Ordering;

namespace Kvm.Sched.Policies;

/// <summary>A policy whose order is one number for each ready vCPU, then arrival.</summary>
internal abstract class OrderedPolicy(PolicySettings settings) : Policy(settings)
{
    /// <summary>Keys of vCPUs that used up their limit: behind all others, the first of them first.</summary>
    protected const long Overdue = 1L << 62;

    private long _sequence;

    protected ReadyIndex Ready { get; private set; } = null!;

    public override void Attach(JobTable table, CpuTopology topology)
    {
        base.Attach(table, topology);
        Ready = new ReadyIndex(table);
    }

    public override void Enter(int vcpu, ReadyReason reason, long now)
    {
        ref var slot = ref Table.Vcpu(vcpu);
        slot.Key = KeyOf(vcpu, reason, now);
        Ready.Add(vcpu, slot.Key, slot.Tie);
    }

    public override void Return(int vcpu, long now)
    {
        ref readonly var slot = ref Table.Vcpu(vcpu);
        Ready.Add(vcpu, slot.Key, slot.Tie);
    }

    public override void Leave(int vcpu) => Ready.Remove(vcpu);

    public override int Best(CpuSet open, long now) => Ready.Best(open, out _);

    protected abstract long KeyOf(int vcpu, ReadyReason reason, long now);

    /// <summary>The next place at the end of a queue.</summary>
    protected long NextPlace() => ++_sequence;

    /// <summary>Policies that run to the end: whether the vCPU used up its limit since it last halted, so that it queues behind all that did not.</summary>
    protected bool IsOverdue(int vcpu, ReadyReason reason)
    {
        ref int overdue = ref Table.Vcpu(vcpu).Level;
        if (reason == ReadyReason.Woken)
            overdue = 0;
        else if (reason == ReadyReason.SliceEnded)
            overdue = 1;
        return overdue > 0;
    }

    protected long OverdueKey() => Overdue + NextPlace();

    /// <summary>The slice of a policy that runs to the end.</summary>
    protected long ToTheEnd() => Settings.Limit > 0 ? Settings.Limit : long.MaxValue;
}
