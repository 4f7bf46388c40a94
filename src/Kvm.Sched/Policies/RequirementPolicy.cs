using System.Globalization;
using Kvm.Sched.Ordering;

namespace Kvm.Sched.Policies;

/// <summary>
/// Resource-requirement priority: of the waiting VMs that fit, the one with the smallest maximum of need ÷ free over all resources
/// starts, with all its vCPUs, and keeps what it needs until it ends. A VM that has waited for the ageing goes before all others, and
/// while it does not fit nobody else starts. vCPUs of started VMs that wake go before waiting VMs; those that used up their limit go
/// behind them, and meanwhile need no CPU.
/// </summary>
internal sealed class RequirementPolicy(PolicySettings settings) : Policy(settings)
{
    private const long DefaultAgeing = 1_000_000_000;

    private static readonly ResourceVector OneCpu = new(1);

    private readonly long _ageing = settings.Ageing > 0 ? settings.Ageing : DefaultAgeing;
    private readonly NeedGroups _groups = new();
    private ReadyIndex _started = null!;
    private ReadyIndex _overdue = null!;
    private ResourceVector _free;
    private int _firstWaiting = -1;
    private int _lastWaiting = -1;
    private long _sequence;

    public override void Attach(JobTable table, CpuTopology topology)
    {
        base.Attach(table, topology);
        (_started, _overdue) = (new ReadyIndex(table), new ReadyIndex(table));
        var host = Settings.Capacity;
        _free = new ResourceVector(topology.Count, Endless(host.Memory), Endless(host.DiskBytes), Endless(host.DiskOperations), Endless(host.Network));
    }

    public override void Enter(int vcpu, ReadyReason reason, long now)
    {
        ref var slot = ref Table.Vcpu(vcpu);
        slot.Key = ++_sequence;
        slot.Level = reason == ReadyReason.SliceEnded ? 1 : 0;
        if (reason == ReadyReason.Woken && Table.Vm(slot.Vm).Started)
            _free -= OneCpu;
        Insert(vcpu, now);
    }

    public override void Return(int vcpu, long now) => Insert(vcpu, now);

    public override void Leave(int vcpu)
    {
        ref var vm = ref Table.VmOf(vcpu);
        if (_overdue.Contains(vcpu))
        {
            _overdue.Remove(vcpu);
            _free -= OneCpu;
        }
        else if (_started.Contains(vcpu))
        {
            _started.Remove(vcpu);
        }
        else if (--vm.Waiting == 0)
        {
            TakeFromWaiting(Table.Vcpu(vcpu).Vm);
        }
    }

    public override void Stopped(int vcpu, long now)
    {
        if (Table.VmOf(vcpu).Started)
            _free += OneCpu;
    }

    public override void Departed(int vm, long now)
    {
        ref var slot = ref Table.Vm(vm);
        if (slot.Started)
            _free += slot.Spec.Needs with { Cpu = 0 };
    }

    public override int Best(CpuSet open, long now)
    {
        if (_started.Count > 0 && _started.Best(open, out _) is >= 0 and var next)
            return next;
        // One that no CPU is there for holds nobody back.
        int first = _firstWaiting;
        while (first >= 0 && Table.IsStranded(Table.Vm(first).FirstVcpu))
            first = Table.Vm(first).WaitNext;
        if (first < 0)
            return _overdue.Best(open, out _);
        ref readonly var oldest = ref Table.Vm(first);
        if (now - oldest.WaitingSince < _ageing)
            return _groups.Best(_free, Table, open) is >= 0 and var vm ? FirstReady(Table.Vm(vm)) : _overdue.Best(open, out _);
        var needs = NeedsOf(oldest);
        if (needs.FitsIn(_free))
            return MayRun(first, open) ? FirstReady(oldest) : -1;
        // For CPUs it waits with nobody going before it; what else it needs may be held by those that could end.
        return (needs with { Cpu = 0 }).FitsIn(_free with { Cpu = 0 }) ? -1 : _overdue.Best(open, out _);
    }

    public override long Grant(int vcpu, long now)
    {
        ref var vm = ref Table.VmOf(vcpu);
        Table.Vcpu(vcpu).Level = 0;
        if (!vm.Started)
            Begin(ref vm, vcpu);
        return Settings.Limit > 0 ? Settings.Limit : long.MaxValue;
    }

    public override string Describe(int vcpu, long now)
    {
        ref readonly var vm = ref Table.VmOf(vcpu);
        if (vm.Started)
            return Table.Vcpu(vcpu).Level > 0 ? "has used up its limit" : "its VM has what it needs";
        double fit = (NeedsOf(vm) / _free).Largest();
        string due = now - vm.WaitingSince >= _ageing ? "; has waited so long that nobody goes before it" : "";
        return fit <= 1
            ? string.Create(CultureInfo.InvariantCulture, $"needs {fit:0.###} of what is free{due}")
            : $"needs more than is free{due}";
    }

    private static double Endless(double amount) => amount > 0 ? amount : double.PositiveInfinity;

    /// <summary>A VM that needs more CPUs than there are takes all of them.</summary>
    private ResourceVector NeedsOf(in VmSlot vm) => vm.Spec.Needs with { Cpu = Math.Min(vm.Spec.Vcpus, Topology.Count) };

    private bool MayRun(int vm, CpuSet open)
    {
        int affinity = Table.Vcpu(Table.Vm(vm).FirstVcpu).Affinity;
        return affinity == 0 || Table.Classes[affinity].FirstCommon(open) >= 0;
    }

    private int FirstReady(in VmSlot vm)
    {
        int vcpu = vm.FirstVcpu;
        while (Table.Vcpu(vcpu).State != VcpuState.Ready)
            vcpu++;
        return vcpu;
    }

    /// <summary>One vCPU of a waiting VM was taken: the VM has what it needs, and its other vCPUs are next.</summary>
    private void Begin(ref VmSlot vm, int taken)
    {
        int others = vm.Waiting;
        vm.Started = true;
        _free -= vm.Spec.Needs with { Cpu = others + 1 };
        if (others == 0)
            return;
        vm.Waiting = 0;
        TakeFromWaiting(Table.Vcpu(vm.FirstVcpu).Vm);
        for (int vcpu = vm.FirstVcpu; vcpu < vm.FirstVcpu + vm.Spec.Vcpus && others > 0; vcpu++)
        {
            ref readonly var slot = ref Table.Vcpu(vcpu);
            // The one that was taken is still called ready.
            if (slot.State != VcpuState.Ready || vcpu == taken)
                continue;
            _started.Add(vcpu, slot.Key, slot.Tie);
            others--;
        }
    }

    private void Insert(int vcpu, long now)
    {
        ref readonly var slot = ref Table.Vcpu(vcpu);
        ref var vm = ref Table.Vm(slot.Vm);
        if (!vm.Started)
        {
            if (vm.Waiting++ == 0)
                AppendWaiting(slot.Vm, now);
        }
        else if (slot.Level == 0)
        {
            _started.Add(vcpu, slot.Key, slot.Tie);
        }
        else
        {
            _overdue.Add(vcpu, slot.Key, slot.Tie);
            _free += OneCpu;
        }
    }

    private void AppendWaiting(int vm, long now)
    {
        ref var slot = ref Table.Vm(vm);
        slot.WaitingSince = now;
        (slot.WaitPrevious, slot.WaitNext) = (_lastWaiting, -1);
        if (_lastWaiting >= 0)
            Table.Vm(_lastWaiting).WaitNext = vm;
        else
            _firstWaiting = vm;
        _lastWaiting = vm;
        _groups.Append(Table, vm, NeedsOf(slot), Table.Vcpu(slot.FirstVcpu).Affinity);
    }

    private void TakeFromWaiting(int vm)
    {
        ref var slot = ref Table.Vm(vm);
        if (slot.WaitPrevious >= 0)
            Table.Vm(slot.WaitPrevious).WaitNext = slot.WaitNext;
        else
            _firstWaiting = slot.WaitNext;
        if (slot.WaitNext >= 0)
            Table.Vm(slot.WaitNext).WaitPrevious = slot.WaitPrevious;
        else
            _lastWaiting = slot.WaitPrevious;
        _groups.Remove(Table, vm);
    }
}
