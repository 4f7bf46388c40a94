using Kvm.Sched.Policies;

namespace Kvm.Sched;

public sealed partial class Scheduler
{
    /// <summary>
    /// Decides: who is first gets a CPU, who stays stays, who must go is revoked. Of one instant the events come before the decision,
    /// completions first, then arrivals, then ends of slices. Called again at once it decides nothing, unless a vCPU parked in between.
    /// </summary>
    /// <returns>The decisions, in the order in which to apply them; valid until the next call.</returns>
    public ReadOnlySpan<Decision> Decide(long now)
    {
        _decided = 0;
        _policy.Tick(now);
        while (_startCount > 0)
        {
            int cpu = _starts[--_startCount], vcpu = _cpus[cpu].Next;
            _cpus[cpu].Next = -1;
            Start(vcpu, cpu, now);
        }

        for (int cpu = _leaving.First; cpu >= 0; cpu = _leaving.First)
        {
            _leaving.Remove(cpu);
            Evict(cpu, DecisionReason.Stopped, now);
        }

        Fill(now);
        if (_policy.IsPreemptive)
        {
            for (int i = 0; i < _cpus.Length && Preempt(now); i++)
                Fill(now);
        }

        return _decisions.AsSpan(0, _decided);
    }

    /// <summary>Gives the open CPUs to the first of the ready.</summary>
    private void Fill(long now)
    {
        if (_open.Count == 0)
            return;
        if (_policy.Binds || !Table.Classes.IsOne)
            FillConfined(now);
        else
            FillFreely(now);
        if (_open.Count > _idle.Count)
            EvictUnchosen(now);
    }

    private void FillFreely(long now)
    {
        int chosen = 0;
        while (chosen < _open.Count && _policy.Best(_open, now) is >= 0 and var vcpu)
        {
            int gang = GangOf(vcpu);
            if (gang > 1)
            {
                if (_open.Count - chosen < Math.Min(gang, _online.Count))
                    break;
                chosen = ChooseGang(vcpu, chosen, now);
                continue;
            }

            Take(vcpu, now);
            _chosen[chosen++] = vcpu;
        }

        PlaceChosen(chosen, null, now);
    }

    /// <summary>Who is on an open CPU already stays there; only then the others choose.</summary>
    private void PlaceChosen(int chosen, CpuSet? allowed, long now)
    {
        for (int i = 0; i < chosen; i++)
        {
            int vcpu = _chosen[i], cpu = Table.Vcpu(vcpu).Cpu;
            if (cpu < 0 || !_open.Contains(cpu))
                continue;
            GoOn(vcpu, cpu, now);
            _chosen[i] = -1;
        }

        for (int i = 0; i < chosen; i++)
        {
            if (_chosen[i] >= 0)
                Give(_chosen[i], ChooseCpu(_chosen[i], allowed), now);
        }
    }

    /// <summary>The same where some may not run everywhere: each CPU is chosen with its vCPU.</summary>
    private void FillConfined(long now)
    {
        while (_open.Count > 0 && _policy.Best(_open, now) is >= 0 and var vcpu)
        {
            ref readonly var slot = ref Table.Vcpu(vcpu);
            var allowed = Table.Classes[slot.Affinity];
            int gang = GangOf(vcpu);
            if (gang > 1)
            {
                if (_open.CountCommon(allowed) < Math.Min(gang, allowed.CountCommon(_online)))
                    break;
                PlaceChosen(ChooseGang(vcpu, 0, now), allowed, now);
                continue;
            }

            Take(vcpu, now);
            Place(vcpu, allowed, now);
        }
    }

    private void Place(int vcpu, CpuSet allowed, long now)
    {
        int cpu = Table.Vcpu(vcpu).Cpu;
        if (cpu >= 0 && _open.Contains(cpu) && (!_policy.Binds || _policy.BoundTo(vcpu) == cpu))
            GoOn(vcpu, cpu, now);
        else
            Give(vcpu, _policy.Binds ? _policy.BoundTo(vcpu) : ChooseCpu(vcpu, allowed), now);
    }

    /// <summary>How many vCPUs of a gang could start now; 1 for who is in none.</summary>
    private int GangOf(int vcpu)
    {
        if (!Table.Vcpu(vcpu).InGang)
            return 1;
        ref readonly var vm = ref Table.VmOf(vcpu);
        int ready = 0;
        for (int other = vm.FirstVcpu; other < vm.FirstVcpu + vm.Spec.Vcpus; other++)
            ready += Table.Vcpu(other).State == VcpuState.Ready ? 1 : 0;
        return ready;
    }

    /// <summary>Takes a gang's ready vCPUs, as many as there is room for, with one end of their slices.</summary>
    private int ChooseGang(int vcpu, int chosen, long now)
    {
        ref readonly var vm = ref Table.VmOf(vcpu);
        int room = Table.Classes.IsOne ? _open.Count : chosen + _open.CountCommon(Table.Classes[Table.Vcpu(vcpu).Affinity]);
        long slice = long.MaxValue;
        int from = chosen;
        for (int other = vm.FirstVcpu; other < vm.FirstVcpu + vm.Spec.Vcpus && chosen < room; other++)
        {
            if (Table.Vcpu(other).State != VcpuState.Ready)
                continue;
            Take(other, now);
            slice = Math.Min(slice, Table.Vcpu(other).Granted);
            _chosen[chosen++] = other;
        }

        for (int i = from; i < chosen; i++)
            Table.Vcpu(_chosen[i]).Granted = slice;
        return chosen;
    }

    private void Take(int vcpu, long now)
    {
        _policy.Leave(vcpu);
        ref var slot = ref Table.Vcpu(vcpu);
        slot.Granted = _policy.Grant(vcpu, now);
        if (!slot.InGang)
            return;
        ref readonly var vm = ref Table.Vm(slot.Vm);
        // One of a gang that woke late stops with the others.
        for (int other = vm.FirstVcpu; other < vm.FirstVcpu + vm.Spec.Vcpus; other++)
        {
            ref readonly var running = ref Table.Vcpu(other);
            if (running.State == VcpuState.Running && running.SliceEnd > now)
                slot.Granted = Math.Min(slot.Granted, running.SliceEnd - now);
        }
    }

    /// <summary>
    /// Where a vCPU goes: where it was last, else on a core of its own near there; one that has not run yet, near the first vCPU of its VM, or
    /// where the VM's memory is; else the first.
    /// </summary>
    private int ChooseCpu(int vcpu, CpuSet? allowed)
    {
        int last = Table.Vcpu(vcpu).LastCpu;
        if (last >= 0 && _open.Contains(last) && (allowed is null || allowed.Contains(last)))
            return last;
        ref readonly var vm = ref Table.VmOf(vcpu);
        int near = last >= 0 ? last : Table.Vcpu(vm.FirstVcpu).LastCpu;
        // With a core to itself before beside a busy sibling; of each, the nearest.
        int cpu = Topology.IsFlat ? _idle.FirstCommon(allowed, null) : Nearest(_idleCores, near, vm.Spec.Node, allowed);
        if (cpu < 0 && !Topology.IsFlat)
            cpu = Nearest(_idle, near, vm.Spec.Node, allowed);
        return cpu >= 0 ? cpu : _open.FirstCommon(allowed, null);
    }

    private int Nearest(CpuSet from, int near, int node, CpuSet? allowed)
    {
        if (from.Count == 0)
            return -1;
        if (near >= 0 && from.FirstCommon(Topology.CacheOf(near), allowed) is >= 0 and var close)
            return close;
        if ((near >= 0 ? Topology.NodeOf(near) : Topology.OfNode(node)) is { } home && from.FirstCommon(home, allowed) is >= 0 and var cpu)
            return cpu;
        return from.FirstCommon(allowed, null);
    }

    private void GoOn(int vcpu, int cpu, long now)
    {
        _open.Remove(cpu);
        Run(vcpu, cpu, now, DecisionKind.Continue, DecisionReason.GoesOn);
    }

    /// <summary>Gives an open CPU to a vCPU, at once or when the one on it has left.</summary>
    private void Give(int vcpu, int cpu, long now)
    {
        // It may sit on another CPU whose slice ended: that one it must leave first, so it queues again there.
        ref var slot = ref Table.Vcpu(vcpu);
        if (slot.Cpu >= 0)
        {
            Charge(vcpu, now, 0);
            _policy.Return(vcpu, now);
            Evict(slot.Cpu, DecisionReason.Stopped, now);
            return;
        }

        Occupy(cpu);
        if (_cpus[cpu].Vcpu < 0)
        {
            _open.Remove(cpu);
            Start(vcpu, cpu, now);
            return;
        }

        Evict(cpu, DecisionReason.SliceEnded, now);
        _cpus[cpu].Next = vcpu;
        slot.State = VcpuState.Reserved;
        slot.Cpu = cpu;
    }

    private void Start(int vcpu, int cpu, long now)
    {
        ref var slot = ref Table.Vcpu(vcpu);
        slot.Waited += now - slot.ReadySince;
        slot.Migrations += slot.LastCpu >= 0 && slot.LastCpu != cpu ? 1 : 0;
        slot.RunStart = now;
        (slot.Cpu, slot.LastCpu) = (cpu, cpu);
        _cpus[cpu].Vcpu = vcpu;
        Run(vcpu, cpu, now, DecisionKind.Run, DecisionReason.First);
    }

    private void Run(int vcpu, int cpu, long now, DecisionKind kind, DecisionReason reason)
    {
        ref var slot = ref Table.Vcpu(vcpu);
        slot.State = VcpuState.Running;
        slot.Slices++;
        slot.RunStart = now;
        slot.SliceEnd = slot.Granted > long.MaxValue - now ? long.MaxValue : now + slot.Granted;
        if (_policy.IsPreemptive)
            _running.Add(cpu, -_policy.RunningKey(vcpu), -slot.Tie);
        Say(kind, vcpu, cpu, slot.Granted, reason);
    }

    /// <summary>The vCPU on an open CPU, which stands in the queue, has to leave.</summary>
    private void Evict(int cpu, DecisionReason reason, long now)
    {
        int vcpu = _cpus[cpu].Vcpu;
        ref var slot = ref Table.Vcpu(vcpu);
        _policy.Leave(vcpu);
        _open.Remove(cpu);
        slot.State = VcpuState.Revoking;
        slot.ReadySince = now;
        Say(DecisionKind.Revoke, vcpu, cpu, 0, slot.Provisional > 0 ? DecisionReason.Preempted : reason);
    }

    private void EvictUnchosen(long now)
    {
        for (int cpu = _open.First; cpu >= 0 && _open.Count > _idle.Count; cpu = _open.Next(cpu))
        {
            if (!_idle.Contains(cpu))
                Evict(cpu, DecisionReason.Stopped, now);
        }
    }

    /// <summary>Stops who runs for the first of the ready, if the policy's order says so.</summary>
    /// <returns>Whether a CPU became open.</returns>
    private bool Preempt(long now)
    {
        if (_running.Count == 0 || _decided + 2 * _cpus.Length > _decisions.Length || _policy.Best(_online, now) is not (>= 0 and var ready))
            return false;
        int gang = GangOf(ready);
        if (gang > 1)
            return PreemptForGang(ready, gang, now);
        int running = Table.Classes.IsOne ? _cpus[_running.First].Vcpu : WorstWithin(Table.Classes[Table.Vcpu(ready).Affinity]);
        if (running < 0 || !_policy.Preempts(ready, running, now))
            return false;
        StopRunning(running, now);
        return true;
    }

    private bool PreemptForGang(int ready, int gang, long now)
    {
        var allowed = Table.Classes[Table.Vcpu(ready).Affinity];
        int missing = Math.Min(gang, allowed.CountCommon(_online)) - _open.CountCommon(allowed);
        if (missing <= 0)
            return false;
        int beaten = 0;
        for (int cpu = allowed.First; cpu >= 0; cpu = allowed.Next(cpu))
            beaten += _running.Contains(cpu) && _policy.Preempts(ready, _cpus[cpu].Vcpu, now) ? 1 : 0;
        if (beaten < missing)
            return false;
        // Fewer open CPUs than it needs would only be swept empty: all or none.
        for (; missing > 0 && WorstWithin(allowed) is >= 0 and var running; missing = Math.Min(gang, allowed.CountCommon(_online)) - _open.CountCommon(allowed))
            StopRunning(running, now);
        return true;
    }

    private int WorstWithin(CpuSet allowed)
    {
        int worst = -1;
        for (int cpu = allowed.First; cpu >= 0; cpu = allowed.Next(cpu))
        {
            if (!_running.Contains(cpu))
                continue;
            int vcpu = _cpus[cpu].Vcpu;
            long key = _policy.RunningKey(vcpu), worstKey = worst < 0 ? long.MinValue : _policy.RunningKey(worst);
            if (worst < 0 || key > worstKey || (key == worstKey && Table.Vcpu(vcpu).Tie > Table.Vcpu(worst).Tie))
                worst = vcpu;
        }

        return worst;
    }

    /// <summary>A running vCPU, and the rest of its gang, may lose its CPU. What it ran is estimated by the time; settled when it parks.</summary>
    private void StopRunning(int vcpu, long now)
    {
        int first = vcpu, end = vcpu + 1;
        if (Table.Vcpu(vcpu).InGang)
        {
            ref readonly var vm = ref Table.VmOf(vcpu);
            (first, end) = (vm.FirstVcpu, vm.FirstVcpu + vm.Spec.Vcpus);
        }

        for (int other = first; other < end; other++)
        {
            ref var slot = ref Table.Vcpu(other);
            if (slot.State != VcpuState.Running)
                continue;
            long ran = Math.Max(0, now - slot.RunStart);
            Charge(other, now, ran);
            slot.Provisional += ran;
            Expire(other, ReadyReason.Preempted, now);
        }
    }

    private void Say(DecisionKind kind, int vcpu, int cpu, long slice, DecisionReason reason)
    {
        Table.Vcpu(vcpu).Reason = reason;
        _decisions[_decided++] = new Decision(kind, vcpu, cpu, slice, reason);
    }
}
