namespace Kvm.Sched.Policies;

/// <summary>Round robin: one queue, one slice.</summary>
internal sealed class RoundRobinPolicy(PolicySettings settings) : OrderedPolicy(settings)
{
    public override long Grant(int vcpu, long now) => Settings.Slice;

    public override string Describe(int vcpu, long now) => $"slice {InMs(Settings.Slice)}, {Ready.Count} in the queue";

    protected override long KeyOf(int vcpu, ReadyReason reason, long now) => NextPlace();
}
