using Kvm.Sched;

namespace Kvm.Benchmarks;

/// <summary>A scheduler under load: every CPU busy, everybody else waiting, slices ending and vCPUs halting and waking in turn.</summary>
internal sealed class SchedDriver
{
    private readonly Scheduler _scheduler;
    private readonly int _cpus;
    private readonly bool _replaces;
    private readonly bool _distinct;
    private readonly Random _random = new(1);
    private long _now;
    private int _next;

    /// <summary>VMs of one vCPU, each with priority, weight, length and need of memory of its own.</summary>
    /// <param name="policy">The policy.</param>
    /// <param name="vcpus">How many.</param>
    /// <param name="topology">The CPUs.</param>
    /// <param name="distinct">Whether their needs of disk and network differ too, at random.</param>
    public SchedDriver(string policy, int vcpus, CpuTopology topology, bool distinct = false)
    {
        (_cpus, _distinct) = (topology.Count, distinct);
        // Under rrp the choice is which VM starts: VMs end and others with other needs arrive.
        _replaces = policy == "rrp";
        _scheduler = new Scheduler(policy, topology, new PolicySettings
        {
            Ageing = _replaces ? PolicySettings.LongestSlice : 1_000_000_000,
            Capacity = distinct ? new ResourceVector(0, _cpus * 5000.0, _cpus * 5000.0, _cpus * 5000.0, _cpus * 5000.0) : new ResourceVector(0, _cpus * 5000.0),
        });
        for (int i = 0; i < vcpus; i++)
            Arrive(i);
        Apply();
    }

    /// <summary>One event and the decision after it; of a halt, also the wake and its decision.</summary>
    /// <returns>How many decisions that was.</returns>
    public int Step()
    {
        int cpu = _next++ % _cpus, vcpu = _scheduler.VcpuOn(cpu);
        _now += 1_000_000;
        if (vcpu < 0)
            return Apply();
        if (_replaces)
        {
            _scheduler.Finished(vcpu, _now, 1_000_000);
            Arrive(_next);
            return Apply();
        }

        if ((_next & 1) == 0)
        {
            _scheduler.SliceEnded(cpu, _now, 1_000_000);
            return Apply();
        }

        _scheduler.Halted(vcpu, _now, 1_000_000);
        int decisions = Apply();
        _scheduler.Woken(vcpu, _now);
        return decisions + Apply();
    }

    private void Arrive(int i) => _scheduler.Arrive(new JobSpec
    {
        Priority = i % 16,
        Weight = 1 + i % 7,
        Length = 1_000_000_000L + i * 1000,
        Needs = _distinct
            ? new ResourceVector(0, 1 + _random.Next(8000), 1 + _random.Next(8000), 1 + _random.Next(8000), 1 + _random.Next(8000))
            : new ResourceVector(0, 1000 + i % 5003),
        Reservation = i % 8 == 0 ? 0.001 : 0,
    }, _now);

    private int Apply()
    {
        for (int decisions = 1; ; decisions++)
        {
            bool again = false;
            foreach (ref readonly var decision in _scheduler.Decide(_now))
            {
                if (decision.Kind != DecisionKind.Revoke)
                    continue;
                _scheduler.Parked(decision.Vcpu, _now, 0);
                again = true;
            }

            if (!again)
                return decisions;
        }
    }
}
