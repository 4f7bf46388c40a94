namespace Kvm.Sched;

/// <summary>
/// The VMs and vCPUs of a scheduler. Slots are numbers that are used again after a VM has gone; the vCPUs of a VM follow one another.
/// Grows by doubling when a VM arrives, and never otherwise. Not thread-safe.
/// </summary>
public sealed class JobTable
{
    private const int IndexBits = 12;

    private readonly Stack<int> _freeVms = new();
    private readonly Dictionary<int, Stack<int>> _freeVcpus = [];
    private VmSlot[] _vms = new VmSlot[64];
    private VcpuSlot[] _vcpus = new VcpuSlot[64];
    private int _vmEnd;
    private int _vcpuEnd;
    private long _arrivals;

    internal JobTable(CpuTopology topology) => (Classes, Online) = (new AffinityClasses(topology.Count), CpuSet.All(topology.Count));

    /// <summary>The number of VMs.</summary>
    public int Vms { get; private set; }

    /// <summary>The number of vCPUs that have not finished.</summary>
    public int Vcpus { get; private set; }

    /// <summary>One more than the highest VM slot that was ever used.</summary>
    public int VmEnd => _vmEnd;

    /// <summary>One more than the highest vCPU slot that was ever used.</summary>
    public int VcpuEnd => _vcpuEnd;

    internal AffinityClasses Classes { get; }

    /// <summary>The CPUs that can be used.</summary>
    internal CpuSet Online { get; }

    /// <summary>Whether none of the CPUs a vCPU may run on can be used.</summary>
    internal bool IsStranded(int vcpu) => Classes[_vcpus[vcpu].Affinity].FirstCommon(Online) < 0;

    /// <summary>Whether a VM has this slot.</summary>
    public bool HasVm(int vm) => (uint)vm < (uint)_vmEnd && _vms[vm].InUse;

    /// <summary>A VM, to be read.</summary>
    public ref readonly VmSlot ReadVm(int vm) => ref _vms[vm];

    /// <summary>A vCPU, to be read.</summary>
    public ref readonly VcpuSlot ReadVcpu(int vcpu) => ref _vcpus[vcpu];

    internal ref VmSlot Vm(int vm) => ref _vms[vm];

    internal ref VcpuSlot Vcpu(int vcpu) => ref _vcpus[vcpu];

    internal ref VmSlot VmOf(int vcpu) => ref _vms[_vcpus[vcpu].Vm];

    /// <summary>A new VM; its vCPUs are halted.</summary>
    internal int Add(in JobSpec spec, long now)
    {
        int count = Math.Clamp(spec.Vcpus, 1, JobSpec.MostVcpus), vm = TakeVm(), first = TakeVcpus(count);
        int affinity = Classes.Take(spec.Affinity);
        for (int i = 1; i < count; i++)
            Classes.Take(spec.Affinity);
        long sequence = ++_arrivals;
        _vms[vm] = new VmSlot
        {
            InUse = true,
            Spec = spec with
            {
                Vcpus = count,
                Priority = Math.Clamp(spec.Priority, -JobSpec.HighestPriority, JobSpec.HighestPriority),
                Weight = double.IsNaN(spec.Weight) ? 1 : Math.Clamp(spec.Weight, JobSpec.LeastWeight, JobSpec.MostWeight),
            },
            Arrival = now,
            FirstVcpu = first,
            Left = count,
            Sequence = sequence,
            Group = -1,
        };
        for (int i = 0; i < count; i++)
        {
            _vcpus[first + i] = new VcpuSlot
            {
                Vm = vm,
                Index = i,
                Cpu = -1,
                LastCpu = -1,
                State = VcpuState.Halted,
                Affinity = affinity,
                InGang = spec.Gang && count > 1,
                Tie = sequence << IndexBits | (long)i,
            };
        }

        Vms++;
        Vcpus += count;
        return vm;
    }

    internal void Finish(int vcpu)
    {
        ref var slot = ref _vcpus[vcpu];
        slot.State = VcpuState.Done;
        Classes.Release(slot.Affinity);
        _vms[slot.Vm].Left--;
        Vcpus--;
    }

    internal void Remove(int vm)
    {
        ref var slot = ref _vms[vm];
        slot.InUse = false;
        for (int i = 0; i < slot.Spec.Vcpus; i++)
            _vcpus[slot.FirstVcpu + i].State = VcpuState.Free;
        _freeVms.Push(vm);
        _freeVcpus[slot.Spec.Vcpus].Push(slot.FirstVcpu);
        Vms--;
    }

    private int TakeVm()
    {
        if (_freeVms.TryPop(out int vm))
            return vm;
        if (_vmEnd == _vms.Length)
            Array.Resize(ref _vms, _vms.Length * 2);
        return _vmEnd++;
    }

    private int TakeVcpus(int count)
    {
        if (!_freeVcpus.TryGetValue(count, out var free))
            _freeVcpus[count] = free = new Stack<int>();
        if (free.TryPop(out int first))
            return first;
        if (_vcpus.Length - _vcpuEnd < count)
            Array.Resize(ref _vcpus, Math.Max(_vcpus.Length * 2, _vcpuEnd + count));
        first = _vcpuEnd;
        _vcpuEnd += count;
        return first;
    }
}
