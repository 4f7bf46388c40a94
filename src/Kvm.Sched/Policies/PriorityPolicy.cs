using System.Globalization;

namespace Kvm.Sched.Policies;

/// <summary>
/// Highest priority first. With ageing a waiting vCPU's priority is p + waited ÷ A: all that wait age alike, so the order among them,
/// since − p·A, does not change while they wait. Who runs keeps the priority it was dispatched with until its slice ends.
/// </summary>
internal sealed class PriorityPolicy(PolicySettings settings, bool preemptive) : OrderedPolicy(settings)
{
    public override bool IsPreemptive => preemptive;

    // Ageing needs moments at which it counts; without preemption those are the ends of jobs.
    public override long Grant(int vcpu, long now)
    {
        ref var slot = ref Table.Vcpu(vcpu);
        slot.Standing = slot.Key >= Overdue ? slot.Key : Settings.Ageing > 0 ? slot.Key - now : slot.Key;
        return preemptive && Settings.Ageing > 0 ? Math.Min(Settings.Slice, ToTheEnd()) : ToTheEnd();
    }

    public override long RunningKey(int vcpu) => Table.Vcpu(vcpu).Standing;

    public override bool Preempts(int ready, int running, long now)
    {
        long key = Table.Vcpu(ready).Key;
        return (key < Overdue && Settings.Ageing > 0 ? key - now : key) < Table.Vcpu(running).Standing;
    }

    public override string Describe(int vcpu, long now)
    {
        ref readonly var slot = ref Table.Vcpu(vcpu);
        double waited = slot.State is VcpuState.Ready or VcpuState.Reserved && Settings.Ageing > 0 ? (now - slot.ReadySince) / (double)Settings.Ageing : 0;
        return slot.Level > 0 ? "has used up its limit" : string.Create(CultureInfo.InvariantCulture, $"priority {Table.VmOf(vcpu).Spec.Priority + waited:0.##}");
    }

    protected override long KeyOf(int vcpu, ReadyReason reason, long now)
    {
        // With ageing who runs too long is overtaken anyway.
        if ((Settings.Ageing == 0 || !preemptive) && IsOverdue(vcpu, reason))
            return OverdueKey();
        long priority = Table.VmOf(vcpu).Spec.Priority;
        return Settings.Ageing > 0 ? now - priority * Settings.Ageing : -priority;
    }
}
