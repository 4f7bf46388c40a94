namespace Kvm.Sched.Policies;

/// <summary>Least accumulated run time first: T + quantum after each quantum.</summary>
internal sealed class LeastRuntimePolicy(PolicySettings settings) : OrderedPolicy(settings)
{
    public override long Grant(int vcpu, long now) => Settings.Slice;

    public override void Return(int vcpu, long now) => Enter(vcpu, ReadyReason.Preempted, now);

    public override string Describe(int vcpu, long now) => $"has run {InMs(Table.Vcpu(vcpu).Ran)}";

    protected override long KeyOf(int vcpu, ReadyReason reason, long now) => Table.Vcpu(vcpu).Ran;
}
