namespace Kvm.Sched.Policies;

/// <summary>Round robin: one queue, one slice.</summary>
internal sealed class RoundRobinPolicy(PolicySettings settings) : OrderedPolicy(settings)
{
    public override long Grant(int vcpu, long now) => Settings.Slice;

    protected override long KeyOf(int vcpu, ReadyReason reason, long now) => NextPlace();
}
