using System.Globalization;
using Kvm.Sched.Ordering;
using Kvm.Sched.Policies;

namespace Kvm.Sched;

/// <summary>
/// A policy over a job table and CPUs: told what happened (arrived, woke, halted, slice ended, parked, finished), it says what is to be
/// done (<see cref="Decide"/>). A function of what it was told: it has no clock, thread, file or random number, so that the same object
/// drives vCPU threads and the simulator. Times are ns of any one clock and never go back; <c>ran</c> is the CPU time a vCPU used since
/// it was last charged. Events for a vCPU that is not in a state for them are ignored. Nothing is allocated but when a VM arrives.
/// Not thread-safe: one dispatcher owns it.
/// </summary>
public sealed partial class Scheduler
{
    private readonly Policy _policy;
    private readonly CpuState[] _cpus;

    /// <summary>CPUs that can be given away: nobody is on them, or somebody whose slice has ended.</summary>
    private readonly CpuSet _open;

    /// <summary>The open CPUs nobody is on.</summary>
    private readonly CpuSet _idle;

    /// <summary>The idle CPUs whose siblings are idle too; empty where nobody has siblings.</summary>
    private readonly CpuSet _idleCores;

    private readonly CpuSet _online;

    /// <summary>CPUs that went away under a vCPU that was not told yet.</summary>
    private readonly CpuSet _leaving;

    private readonly int[] _chosen;

    /// <summary>CPUs that a revoked vCPU has left and whose next one is named already.</summary>
    private readonly int[] _starts;

    /// <summary>Who runs, by CPU, the first to be stopped at the top; preemptive policies only.</summary>
    private readonly IndexedHeap _running = new();

    private readonly Decision[] _decisions;
    private int _startCount;
    private int _decided;

    /// <summary>Makes a scheduler with no VM in it.</summary>
    /// <param name="policy">One of <see cref="PolicyNames.All"/>.</param>
    /// <param name="topology">The CPUs it gives away.</param>
    /// <param name="settings">What the policy can be told.</param>
    /// <exception cref="ArgumentException">There is no such policy, or a setting lies outside its range.</exception>
    public Scheduler(string policy, CpuTopology topology, PolicySettings settings)
    {
        ArgumentNullException.ThrowIfNull(topology);
        ArgumentNullException.ThrowIfNull(settings);
        ArgumentOutOfRangeException.ThrowIfLessThan(settings.Slice, PolicySettings.ShortestSlice, nameof(settings));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(settings.Slice, PolicySettings.LongestSlice, nameof(settings));
        ArgumentOutOfRangeException.ThrowIfNegative(settings.Ageing, nameof(settings));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(settings.Ageing, PolicySettings.LongestSlice, nameof(settings));
        ArgumentOutOfRangeException.ThrowIfNegative(settings.Limit, nameof(settings));
        ArgumentOutOfRangeException.ThrowIfLessThan(settings.Boost, PolicySettings.ShortestSlice, nameof(settings));
        ArgumentOutOfRangeException.ThrowIfLessThan(settings.Period, PolicySettings.ShortestSlice, nameof(settings));
        Name = policy;
        Topology = topology;
        Settings = settings;
        Table = new JobTable(topology);
        _policy = PolicyNames.Make(policy, settings);
        _policy.Attach(Table, topology);
        _cpus = new CpuState[topology.Count];
        Array.Fill(_cpus, new CpuState { Vcpu = -1, Next = -1 });
        (_open, _idle, _online) = (CpuSet.All(topology.Count), CpuSet.All(topology.Count), Table.Online);
        _leaving = new CpuSet(topology.Count);
        _idleCores = topology.IsFlat ? new CpuSet(topology.Count) : CpuSet.All(topology.Count);
        _chosen = new int[topology.Count];
        _starts = new int[topology.Count];
        _decisions = new Decision[topology.Count * 4];
    }

    /// <summary>The policy's name.</summary>
    public string Name { get; }

    /// <summary>The CPUs.</summary>
    public CpuTopology Topology { get; }

    /// <summary>What the policy was told.</summary>
    public PolicySettings Settings { get; }

    /// <summary>The VMs and vCPUs.</summary>
    public JobTable Table { get; }

    /// <summary>When <see cref="Decide"/> is to be called though nothing happens; <see cref="long.MaxValue"/> for never.</summary>
    public long NextTimer => _policy.NextTimer;

    /// <summary>How far learned lengths were from the real ones, as a part of these; null where none was learned.</summary>
    public double? EstimateError => _policy.EstimateError;

    /// <summary>The vCPU on a CPU, or −1.</summary>
    public int VcpuOn(int cpu) => _cpus[cpu].Vcpu;

    /// <summary>The CPU that was given to this vCPU and that another is still to leave; −1 for none.</summary>
    public int ReservedFor(int vcpu) => Table.ReadVcpu(vcpu).State == VcpuState.Reserved ? Table.ReadVcpu(vcpu).Cpu : -1;

    /// <summary>A VM arrives and its vCPUs are ready.</summary>
    /// <returns>Its slot in the table.</returns>
    public int Arrive(in JobSpec spec, long now)
    {
        // Where the kernel slices time, nobody can start several together.
        int vm = Table.Add(spec with { Gang = (spec.Gang || Settings.Gang) && !_policy.Binds }, now);
        _policy.Arrived(vm, now);
        int first = Table.Vm(vm).FirstVcpu, end = first + Table.Vm(vm).Spec.Vcpus;
        for (int vcpu = first; vcpu < end; vcpu++)
            Queue(vcpu, ReadyReason.Arrived, now);
        return vm;
    }

    /// <summary>A halted vCPU has something to do.</summary>
    public void Woken(int vcpu, long now)
    {
        if (Table.Vcpu(vcpu).State == VcpuState.Halted)
            Queue(vcpu, ReadyReason.Woken, now);
    }

    /// <summary>A vCPU waits for an interrupt and has left its CPU.</summary>
    public void Halted(int vcpu, long now, long ran)
    {
        if (Detach(vcpu, now, ran))
            Table.Vcpu(vcpu).State = VcpuState.Halted;
    }

    /// <summary>A vCPU will never run again. With the last one its VM leaves the table.</summary>
    public void Finished(int vcpu, long now, long ran)
    {
        if (Table.Vcpu(vcpu).State is VcpuState.Free or VcpuState.Done)
            return;
        Detach(vcpu, now, ran);
        int vm = Table.Vcpu(vcpu).Vm;
        Table.Finish(vcpu);
        if (Table.Vm(vm).Left > 0)
            return;
        _policy.Departed(vm, now);
        Table.Remove(vm);
    }

    /// <summary>The slice of the vCPU on this CPU has ended. It runs on until <see cref="Decide"/> says otherwise.</summary>
    public void SliceEnded(int cpu, long now, long ran)
    {
        int vcpu = _cpus[cpu].Vcpu;
        if (vcpu < 0 || Table.Vcpu(vcpu).State != VcpuState.Running)
            return;
        Settle(vcpu, now, ran);
        Expire(vcpu, ReadyReason.SliceEnded, now);
    }

    /// <summary>A revoked vCPU has left its CPU.</summary>
    public void Parked(int vcpu, long now, long ran)
    {
        ref var slot = ref Table.Vcpu(vcpu);
        if (slot.State != VcpuState.Revoking)
            return;
        Settle(vcpu, now, ran);
        slot.State = VcpuState.Ready;
        Empty(slot.Cpu);
        slot.Cpu = -1;
        _policy.Return(vcpu, now);
    }

    /// <summary>The VM's devices served it bytes or operations; <see cref="ResourceVector.Cpu"/> is not looked at.</summary>
    public void Served(int vm, in ResourceVector amount)
    {
        if (Table.HasVm(vm))
            _policy.Served(vm, amount);
    }

    /// <summary>
    /// What each VM is to have of memory, disk and network from now on: its needs; under <c>rap</c>, where they are more than the host has
    /// (<see cref="PolicySettings.Capacity"/>), its weighted part. Asked for when VMs have come or gone, not at each decision.
    /// </summary>
    /// <param name="targets">Takes one for each VM; <see cref="JobTable.Vms"/> are enough.</param>
    /// <returns>How many were written.</returns>
    public int Targets(Span<ResourceTarget> targets) => ResourceTargets.Divide(Table, Name == "rap" ? Settings.Capacity : default, targets);

    /// <summary>What the policy knows of a vCPU, in words: for people, so it allocates.</summary>
    public string Describe(int vcpu, long now) => _policy.Describe(vcpu, now);

    /// <summary>Why a vCPU runs or waits.</summary>
    public DecisionReason ReasonOf(int vcpu)
    {
        ref readonly var slot = ref Table.ReadVcpu(vcpu);
        return slot is { State: VcpuState.Ready, Cpu: < 0 } && Table.IsStranded(vcpu) ? DecisionReason.NoCpu : slot.Reason;
    }

    /// <summary>The same in a sentence without a subject: for people, so it allocates.</summary>
    public string Why(int vcpu, long now)
    {
        ref readonly var slot = ref Table.ReadVcpu(vcpu);
        string state = slot.State switch
        {
            VcpuState.Running => $"runs on CPU {Topology[slot.Cpu].Id}",
            VcpuState.Halted => "is halted and needs no CPU",
            VcpuState.Revoking => $"is leaving CPU {Topology[slot.Cpu].Id}",
            VcpuState.Reserved => $"is next on CPU {Topology[slot.Cpu].Id}",
            VcpuState.Ready => string.Create(CultureInfo.InvariantCulture, $"waits since {(now - slot.ReadySince) / 1e6:0.###} ms"),
            _ => "has finished",
        };
        return slot.State is VcpuState.Halted or VcpuState.Done or VcpuState.Free
            ? state
            : $"{state}: {DecisionReasons.Words(ReasonOf(vcpu))} ({Name}: {Describe(vcpu, now)})";
    }

    /// <summary>A CPU comes or goes. Whoever is on one that goes is revoked by the next decision.</summary>
    public void SetOnline(int cpu, bool online, long now)
    {
        if (_online.Contains(cpu) == online)
            return;
        if (online)
        {
            _online.Add(cpu);
            int vcpu = _cpus[cpu].Vcpu;
            if (vcpu < 0)
                Open(cpu);
            else if (_leaving.Contains(cpu))
                _open.Add(cpu);
            _leaving.Remove(cpu);
            return;
        }

        _online.Remove(cpu);
        if (_cpus[cpu].Next >= 0)
            CancelReservation(_cpus[cpu].Next, now);
        int on = _cpus[cpu].Vcpu;
        if (on >= 0 && Table.Vcpu(on).State == VcpuState.Running)
            Expire(on, ReadyReason.Preempted, now);
        if (on >= 0 && Table.Vcpu(on).State == VcpuState.Ready)
            _leaving.Add(cpu);
        _open.Remove(cpu);
        Occupy(cpu);
    }

    private void Queue(int vcpu, ReadyReason reason, long now)
    {
        ref var slot = ref Table.Vcpu(vcpu);
        slot.State = VcpuState.Ready;
        slot.ReadySince = now;
        _policy.Enter(vcpu, reason, now);
    }

    /// <summary>A running vCPU may lose its CPU: it queues, and its CPU can be given away.</summary>
    private void Expire(int vcpu, ReadyReason reason, long now)
    {
        int cpu = Table.Vcpu(vcpu).Cpu;
        if (_running.Contains(cpu))
            _running.Remove(cpu);
        _open.Add(cpu);
        Queue(vcpu, reason, now);
    }

    /// <summary>A vCPU leaves whatever it is in: a CPU, the queue, a reservation.</summary>
    /// <returns>False if it was in none.</returns>
    private bool Detach(int vcpu, long now, long ran)
    {
        ref var slot = ref Table.Vcpu(vcpu);
        switch (slot.State)
        {
            case VcpuState.Running:
                if (_running.Contains(slot.Cpu))
                    _running.Remove(slot.Cpu);
                Settle(vcpu, now, ran);
                Empty(slot.Cpu);
                break;
            case VcpuState.Revoking:
                Settle(vcpu, now, ran);
                Empty(slot.Cpu);
                break;
            case VcpuState.Ready when slot.Cpu >= 0:
                _policy.Leave(vcpu);
                Settle(vcpu, now, ran);
                Empty(slot.Cpu);
                break;
            case VcpuState.Ready:
                _policy.Leave(vcpu);
                slot.Waited += now - slot.ReadySince;
                break;
            case VcpuState.Reserved:
                _cpus[slot.Cpu].Next = -1;
                slot.Waited += now - slot.ReadySince;
                Charge(vcpu, now, 0);
                ReopenIfLeft(slot.Cpu);
                break;
            default:
                return false;
        }

        slot.Cpu = -1;
        _policy.Stopped(vcpu, now);
        return true;
    }

    /// <summary>Nobody is on the CPU any more.</summary>
    private void Empty(int cpu)
    {
        ref var state = ref _cpus[cpu];
        state.Vcpu = -1;
        _leaving.Remove(cpu);
        if (state.Next >= 0)
            _starts[_startCount++] = cpu;
        else if (_online.Contains(cpu))
            Open(cpu);
        else
            _open.Remove(cpu);
    }

    private void Open(int cpu)
    {
        _open.Add(cpu);
        _idle.Add(cpu);
        if (Topology.IsFlat)
            return;
        foreach (int sibling in Topology.CoreOf(cpu))
        {
            if (!_idle.Contains(sibling))
                return;
        }

        foreach (int sibling in Topology.CoreOf(cpu))
            _idleCores.Add(sibling);
    }

    /// <summary>The CPU is not idle any more.</summary>
    private void Occupy(int cpu)
    {
        _idle.Remove(cpu);
        foreach (int sibling in Topology.CoreOf(cpu))
            _idleCores.Remove(sibling);
    }

    private void CancelReservation(int vcpu, long now)
    {
        ref var slot = ref Table.Vcpu(vcpu);
        int cpu = slot.Cpu;
        _cpus[cpu].Next = -1;
        slot.State = VcpuState.Ready;
        slot.Cpu = -1;
        Charge(vcpu, now, 0);
        _policy.Return(vcpu, now);
        ReopenIfLeft(cpu);
    }

    // The CPU's last vCPU may have left it already, and then it stands among the starts.
    private void ReopenIfLeft(int cpu)
    {
        if (_cpus[cpu].Vcpu >= 0)
            return;
        int at = Array.IndexOf(_starts, cpu, 0, _startCount);
        if (at >= 0)
            _starts[at] = _starts[--_startCount];
        if (_online.Contains(cpu))
            Open(cpu);
    }

    private void Charge(int vcpu, long now, long ran)
    {
        ref var slot = ref Table.Vcpu(vcpu);
        slot.Ran += ran;
        Table.Vm(slot.Vm).Ran += ran;
        _policy.Ran(vcpu, ran, now);
        slot.Granted = 0;
    }

    // What was charged by estimate when it was preempted is part of what it ran.
    private void Settle(int vcpu, long now, long ran)
    {
        ref var slot = ref Table.Vcpu(vcpu);
        long rest = ran - slot.Provisional;
        slot.Provisional = 0;
        Charge(vcpu, now, rest);
    }

    private struct CpuState
    {
        /// <summary>Who is on it, or −1.</summary>
        public int Vcpu;

        /// <summary>Who was named to be on it next, while the one before has not left; or −1.</summary>
        public int Next;
    }
}
