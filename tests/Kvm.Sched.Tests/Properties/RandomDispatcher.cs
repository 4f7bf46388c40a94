namespace Kvm.Sched.Tests.Properties;

/// <summary>
/// Plays a dispatcher by chance: VMs arrive, halt, wake, finish and are killed, slices end early or late, revoked vCPUs take their time to park, CPUs
/// come and go. Every decision is checked against what the dispatcher itself knows.
/// </summary>
internal sealed class RandomDispatcher
{
    private readonly Random _random;
    private readonly Scheduler _scheduler;
    private readonly int[] _on;
    private readonly bool[] _revoking;
    private readonly bool[] _online;
    private readonly bool _pins;
    private readonly Dictionary<int, long> _since = [];
    private long _now;

    public RandomDispatcher(string policy, int seed, bool gang = false, bool pins = false, bool limits = false)
    {
        _random = new Random(seed);
        int cpus = _random.Next(1, 7);
        _pins = pins;
        var topology = cpus % 4 == 0 ? CpuTopology.Uniform(1, 2, cpus / 4, 2) : CpuTopology.Flat(cpus);
        _scheduler = new Scheduler(policy, topology, new PolicySettings
        {
            Gang = gang,
            Boost = 20_000_000,
            Period = 10_000_000,
            Ageing = _random.Next(2) * 5_000_000,
            Limit = limits ? 9_000_000 : 0,
            Capacity = new ResourceVector(0, 100),
        });
        (_on, _revoking, _online) = (new int[cpus], new bool[cpus], new bool[cpus]);
        Array.Fill(_on, -1);
        Array.Fill(_online, true);
    }

    public Scheduler Scheduler => _scheduler;

    /// <summary>What was found wrong, or null.</summary>
    public string? Run(int steps)
    {
        for (int step = 0; step < steps; step++)
        {
            _now += _random.Next(4) == 0 ? 0 : _random.Next(1, 3_000_000);
            Act();
            if (_random.Next(3) == 0)
                continue; // several things happen at one instant
            if ((Decide() ?? Consistent()) is { } wrong)
                return $"step {step}: {wrong}";
        }

        return null;
    }

    /// <summary>Ends everything that is there; the table is empty then.</summary>
    public string? Drain()
    {
        for (int vcpu = 0; vcpu < _scheduler.Table.VcpuEnd; vcpu++)
        {
            if (_scheduler.Table.ReadVcpu(vcpu).State is not (VcpuState.Free or VcpuState.Done))
                Finish(vcpu);
        }

        return Decide() ?? (_scheduler.Table.Vms == 0 && _scheduler.Table.Vcpus == 0 ? Consistent() : "the table is not empty");
    }

    private void Act()
    {
        int cpu = _random.Next(_on.Length), vcpu = _on[cpu];
        switch (_random.Next(12))
        {
            case 0 or 1 when _scheduler.Table.Vcpus < 40:
                _scheduler.Arrive(Spec(), _now);
                break;
            case 2 or 3 when vcpu >= 0:
                _on[cpu] = -1;
                _revoking[cpu] = false;
                _scheduler.Halted(vcpu, _now, Ran(vcpu));
                break;
            case 4 when vcpu >= 0:
                Finish(vcpu);
                break;
            case 5 when Any(VcpuState.Ready) is >= 0 and var waiting && _random.Next(3) == 0:
                Finish(waiting);
                break;
            case 6 when Any(VcpuState.Reserved) is >= 0 and var reserved && _random.Next(2) == 0:
                _scheduler.Halted(reserved, _now, 0);
                break;
            case 7 when _random.Next(8) == 0:
                _online[cpu] = !_online[cpu];
                _scheduler.SetOnline(cpu, _online[cpu], _now);
                break;
            case 8 or 9 when Any(VcpuState.Halted) is >= 0 and var halted:
                _scheduler.Woken(halted, _now);
                break;
            case 10 when _revoking[cpu]:
                Park(cpu);
                break;
            case 11 when vcpu >= 0 && _random.Next(3) == 0:
                _scheduler.Served(_scheduler.Table.ReadVcpu(vcpu).Vm, new ResourceVector(0, 0, 1e6, 10, 1e5));
                break;
            default:
                if (vcpu >= 0 && !_revoking[cpu])
                    _scheduler.SliceEnded(cpu, _now, Ran(vcpu));
                break;
        }
    }

    private JobSpec Spec()
    {
        CpuSet? affinity = null;
        if (_pins && _random.Next(2) == 0)
        {
            affinity = new CpuSet(_on.Length);
            affinity.Add(_random.Next(_on.Length));
            affinity.Add(_random.Next(_on.Length));
        }

        return new JobSpec
        {
            Vcpus = _random.Next(1, 4),
            Priority = _random.Next(4),
            Weight = _random.Next(1, 5),
            Length = _random.Next(3) * 10_000_000L,
            Class = _random.Next(3),
            Needs = new ResourceVector(0, _random.Next(60)),
            Cap = _random.Next(4) == 0 ? 0.4 : 0,
            Reservation = _random.Next(4) == 0 ? 0.3 : 0,
            Affinity = affinity,
        };
    }

    private void Finish(int vcpu)
    {
        int cpu = Array.IndexOf(_on, vcpu);
        if (cpu >= 0)
            (_on[cpu], _revoking[cpu]) = (-1, false);
        _scheduler.Finished(vcpu, _now, cpu >= 0 ? Ran(vcpu) : 0);
    }

    private void Park(int cpu)
    {
        int vcpu = _on[cpu];
        (_on[cpu], _revoking[cpu]) = (-1, false);
        _scheduler.Parked(vcpu, _now, Ran(vcpu));
    }

    private long Ran(int vcpu)
    {
        long ran = _now - _since.GetValueOrDefault(vcpu, _now);
        _since[vcpu] = _now;
        return ran;
    }

    private int Any(VcpuState state)
    {
        int start = _random.Next(Math.Max(1, _scheduler.Table.VcpuEnd));
        for (int i = 0; i < _scheduler.Table.VcpuEnd; i++)
        {
            int vcpu = (start + i) % _scheduler.Table.VcpuEnd;
            if (_scheduler.Table.ReadVcpu(vcpu).State == state && Array.IndexOf(_on, vcpu) < 0)
                return vcpu;
        }

        return -1;
    }

    private string? Decide()
    {
        foreach (var decision in _scheduler.Decide(_now))
        {
            int vcpu = decision.Vcpu, cpu = decision.Cpu;
            ref readonly var slot = ref _scheduler.Table.ReadVcpu(vcpu);
            switch (decision.Kind)
            {
                case DecisionKind.Run when _on[cpu] >= 0 || Array.IndexOf(_on, vcpu) >= 0 || !_online[cpu]:
                    return $"{decision}: vCPU or CPU is taken, or the CPU is offline";
                case DecisionKind.Run or DecisionKind.Continue when decision.Slice <= 0:
                    return $"{decision}: no slice";
                case DecisionKind.Continue or DecisionKind.Revoke when _on[cpu] != vcpu || _revoking[cpu]:
                    return $"{decision}: another is on the CPU, or it was revoked already";
                case DecisionKind.Run when _scheduler.Table.ReadVm(slot.Vm).Spec.Affinity is { } allowed && !allowed.Contains(cpu):
                    return $"{decision}: not allowed there";
                case DecisionKind.Run:
                    _on[cpu] = vcpu;
                    _since[vcpu] = _now;
                    break;
                case DecisionKind.Revoke:
                    _revoking[cpu] = true;
                    break;
            }
        }

        // Half of the time everybody parks at once.
        if (_random.Next(2) == 0 && Array.IndexOf(_revoking, true) >= 0)
        {
            for (int cpu = 0; cpu < _on.Length; cpu++)
            {
                if (_revoking[cpu])
                    Park(cpu);
            }

            return Decide();
        }

        return null;
    }

    /// <summary>The table says what the dispatcher knows, and nobody waits beside an idle CPU.</summary>
    private string? Consistent()
    {
        for (int cpu = 0; cpu < _on.Length; cpu++)
        {
            if (_scheduler.VcpuOn(cpu) != _on[cpu])
                return $"CPU {cpu}: the scheduler has {_scheduler.VcpuOn(cpu)}, the dispatcher {_on[cpu]}";
            if (_on[cpu] < 0)
                continue;
            var state = _scheduler.Table.ReadVcpu(_on[cpu]).State;
            if (state != (_revoking[cpu] ? VcpuState.Revoking : VcpuState.Running))
                return $"CPU {cpu}: vCPU {_on[cpu]} is {state}";
        }

        if (Array.IndexOf(_revoking, true) >= 0 || _scheduler.Settings.Gang || _scheduler.Name is "host" or "rrp")
            return null;
        for (int vcpu = 0; vcpu < _scheduler.Table.VcpuEnd; vcpu++)
        {
            ref readonly var slot = ref _scheduler.Table.ReadVcpu(vcpu);
            if (slot.State != VcpuState.Ready || (_scheduler.Name == "rap" && _scheduler.Table.ReadVm(slot.Vm).Spec.Cap > 0))
                continue;
            for (int cpu = 0; cpu < _on.Length; cpu++)
            {
                if (_on[cpu] < 0 && _online[cpu] && _scheduler.Table.ReadVm(slot.Vm).Spec.Affinity?.Contains(cpu) != false)
                    return $"vCPU {vcpu} waits while CPU {cpu} idles";
            }
        }

        return null;
    }
}
