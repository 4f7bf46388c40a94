namespace Kvm.Sched.Policies;

/// <summary>First come, first served: the queue is in the order of becoming ready, and who runs does so until it halts or ends.</summary>
internal sealed class FcfsPolicy(PolicySettings settings) : OrderedPolicy(settings)
{
    public override long Grant(int vcpu, long now) => ToTheEnd();

    public override string Describe(int vcpu, long now) => $"ready since {InMs(now - Table.Vcpu(vcpu).ReadySince)}";

    protected override long KeyOf(int vcpu, ReadyReason reason, long now) => NextPlace();
}
