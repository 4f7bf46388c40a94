using Kvm.Sched.Ordering;

namespace Kvm.Sched.Policies;

/// <summary>
/// Placement and pinning alone: each vCPU is bound to a CPU (<see cref="Placement"/>), and the kernel slices time there. For the
/// simulator the kernel is a round robin on each CPU.
/// </summary>
internal sealed class HostPolicy(PolicySettings settings) : Policy(settings)
{
    private readonly HeapPositions _positions = new();
    private IndexedHeap?[] _queues = [];
    private CpuSet _waiting = null!;
    private Placement _placement = null!;
    private long _sequence;

    public override bool Binds => true;

    public override void Attach(JobTable table, CpuTopology topology)
    {
        base.Attach(table, topology);
        _queues = new IndexedHeap?[topology.Count];
        _waiting = new CpuSet(topology.Count);
        _placement = new Placement(topology);
    }

    public override void Enter(int vcpu, ReadyReason reason, long now)
    {
        ref var slot = ref Table.Vcpu(vcpu);
        if (reason is ReadyReason.Arrived or ReadyReason.Woken)
        {
            var allowed = slot.Affinity == 0 ? null : Table.Classes[slot.Affinity];
            int near = slot.Index > 0 ? BoundTo(Table.Vm(slot.Vm).FirstVcpu) : -1;
            slot.Standing = _placement.Choose(reason == ReadyReason.Woken ? (int)slot.Standing : -1, Table.Vm(slot.Vm).Spec.Node, allowed, near);
            _placement.Add((int)slot.Standing);
        }

        slot.Key = ++_sequence;
        Insert(vcpu);
    }

    public override void Return(int vcpu, long now) => Insert(vcpu);

    public override void Leave(int vcpu)
    {
        int cpu = BoundTo(vcpu);
        var queue = _queues[cpu]!;
        queue.Remove(vcpu);
        if (queue.Count == 0)
            _waiting.Remove(cpu);
    }

    public override void Stopped(int vcpu, long now)
    {
        int cpu = BoundTo(vcpu);
        _placement.Remove(cpu);
        // A CPU with nothing to do takes the first of the longest queue, if that is on more than one's way there.
        if (_placement.Load(cpu) == 0 && _placement.Longest() is >= 0 and var from && _queues[from] is { Count: > 0 } queue && _placement.Load(from) > 1)
            Move(queue.First, cpu);
    }

    public override int Best(CpuSet open, long now) => _waiting.FirstCommon(open) is >= 0 and var cpu ? _queues[cpu]!.First : -1;

    public override int BoundTo(int vcpu) => (int)Table.Vcpu(vcpu).Standing;

    public override long Grant(int vcpu, long now) => Settings.Slice;

    public override string Describe(int vcpu, long now) => $"bound to CPU {Topology[BoundTo(vcpu)].Id} with {_placement.Load(BoundTo(vcpu))} vCPUs";

    private void Move(int vcpu, int cpu)
    {
        ref var slot = ref Table.Vcpu(vcpu);
        // Who is still on its CPU stays there; who is confined may not follow.
        if (slot.Cpu >= 0 || (slot.Affinity != 0 && !Table.Classes[slot.Affinity].Contains(cpu)))
            return;
        Leave(vcpu);
        _placement.Remove((int)slot.Standing);
        _placement.Add(cpu);
        slot.Standing = cpu;
        Insert(vcpu);
    }

    private void Insert(int vcpu)
    {
        ref readonly var slot = ref Table.Vcpu(vcpu);
        int cpu = (int)slot.Standing;
        (_queues[cpu] ??= new IndexedHeap(_positions)).Add(vcpu, slot.Key, slot.Tie);
        _waiting.Add(cpu);
    }
}
