using System.Runtime.InteropServices;
using Kvm.Sched.Ordering;

namespace Kvm.Sched.Simulation;

/// <summary>
/// Runs jobs through a policy in virtual time. At one instant completions come first, in the order of CPUs; then arrivals, in the order
/// of arrival and file, and wakes; then ends of slices; then the decision. A revoked vCPU parks at once. The same input has the same result.
/// </summary>
public sealed class Simulator
{
    private const int Completion = 0;
    private const int SliceEnd = 1;

    private readonly IReadOnlyList<SimulatedJob> _jobs;
    private readonly SimulationSettings _settings;
    private readonly Scheduler _scheduler;
    private readonly FairSharing _fair;
    private readonly int[] _arrivals;
    private readonly int[] _classes;

    /// <summary>What a vCPU of each job needs while it runs, of all resources.</summary>
    private readonly ResourceVector[] _needs;
    private readonly ResourceVector _host;
    private readonly JobState[] _states;
    private readonly CpuState[] _cpus;
    private readonly IndexedHeap _cpuEvents = new();
    private readonly IndexedHeap _wakes = new();
    private readonly List<Stay> _stays = [];
    private VcpuState[] _vcpus = [];
    private int _nextArrival;
    private long _now;
    private long _events;
    private long _switches;
    private long _migrations;
    private long _ran;
    private bool _staysCut;

    private Simulator(string policy, IReadOnlyList<SimulatedJob> jobs, SimulationSettings settings)
    {
        (_jobs, _settings) = (jobs, settings);
        _scheduler = new Scheduler(policy, settings.Topology, settings.Policy);
        _fair = new FairSharing(settings.Topology.Count);
        _arrivals = [.. Enumerable.Range(0, jobs.Count).OrderBy(job => jobs[job].Arrival)];
        var classes = jobs.Select(job => job.Class).Distinct().Select((name, index) => (name, index)).ToDictionary(pair => pair.name, pair => pair.index);
        _classes = [.. jobs.Select(job => classes[job.Class])];
        _needs = [.. jobs.Select(job => (job.Spec.Needs * (1.0 / job.Spec.Vcpus)) with { Cpu = 1 })];
        _host = settings.Policy.Capacity with { Cpu = settings.Topology.Count };
        _states = new JobState[jobs.Count];
        Array.Fill(_states, new JobState { FirstRun = -1, Finish = -1 });
        _cpus = new CpuState[settings.Topology.Count];
        Array.Fill(_cpus, new CpuState { Last = -1 });
    }

    /// <summary>Runs the jobs.</summary>
    /// <param name="policy">One of <see cref="PolicyNames.All"/>.</param>
    /// <param name="jobs">At most <see cref="SimulationSettings.MostJobs"/>.</param>
    /// <param name="settings">How.</param>
    /// <exception cref="ArgumentException">No such policy, a setting outside its range, or jobs that <see cref="Obstacle"/> names a problem of.</exception>
    public static SimulationResult Run(string policy, IReadOnlyList<SimulatedJob> jobs, SimulationSettings settings)
    {
        ArgumentNullException.ThrowIfNull(jobs);
        ArgumentNullException.ThrowIfNull(settings);
        if (Obstacle(policy, jobs, settings) is { } obstacle)
            throw new ArgumentException(obstacle, nameof(jobs));
        return new Simulator(policy, jobs, settings).Run();
    }

    /// <summary>Why a simulation would never end, in a sentence; null if it would.</summary>
    public static string? Obstacle(string policy, IReadOnlyList<SimulatedJob> jobs, SimulationSettings settings)
    {
        ArgumentNullException.ThrowIfNull(jobs);
        ArgumentNullException.ThrowIfNull(settings);
        if (jobs.Count > SimulationSettings.MostJobs)
            return $"{jobs.Count} jobs are more than {SimulationSettings.MostJobs}";
        Int128 slices = 0, total = 0;
        foreach (var job in jobs)
        {
            long length = job.Length < SimulatedJob.Endless ? job.Length : settings.Until;
            if (job.Length >= SimulatedJob.Endless && settings.Until == 0)
                return $"job {job.Name} never ends, and the simulation has no end (--until)";
            slices += (Int128)(length / settings.Policy.Slice + 1 + (job.Burst > 0 ? length / job.Burst : 0)) * job.Spec.Vcpus + (job.Recorded?.Sum(vcpu => vcpu.Count) ?? 0);
            total += (Int128)(job.Burst > 0 ? length / job.Burst * job.Halt + length : length) * job.Spec.Vcpus + job.Arrival;
            if (job.Spec.Affinity is { First: var lowest } && lowest >= settings.Topology.Count)
                return $"job {job.Name} may run on CPUs {job.Spec.Affinity} only, and there are {settings.Topology.Count}";
            if (policy == "rap" && job.Spec.Cap > 0)
            {
                double budget = job.Spec.Cap * settings.Policy.Period / (settings.Policy.Gang ? job.Spec.Vcpus : 1);
                if (budget < PolicySettings.ShortestSlice)
                    return $"job {job.Name} may run less than 10 us in a period (cap, --period)";
                slices += (Int128)(length / budget);
            }

            if (policy == "rrp" && Misfit(job.Spec.Needs, settings.Policy.Capacity) is { } kind)
                return $"job {job.Name} needs more {ResourceVector.Names[kind]} than the host has (--capacity)";
        }

        if (policy == "tsp")
            slices += (settings.Until > 0 ? settings.Until : total) / settings.Policy.Boost;
        if (settings.Until == 0 && total > SimulatedJob.LatestTime)
            return "the jobs together take more than a hundred years";
        return slices > SimulationSettings.MostSlices
            ? $"the jobs are worth {slices} slices and bursts, more than {SimulationSettings.MostSlices}: longer slices, shorter jobs or an end (--until) would do"
            : null;
    }

    private static long LengthOf(SimulatedJob job, int vcpu) => job.Recorded?[vcpu].Sum(burst => burst.Ran) ?? job.Length;

    private static int? Misfit(in ResourceVector needs, in ResourceVector capacity)
    {
        for (int kind = 1; kind < ResourceVector.Kinds; kind++)
        {
            if (capacity[kind] > 0 && needs[kind] > capacity[kind])
                return kind;
        }

        return null;
    }

    private SimulationResult Run()
    {
        while (NextInstant() is var instant && instant < long.MaxValue)
        {
            if (_settings.Until > 0 && instant >= _settings.Until)
            {
                Stop(_settings.Until);
                break;
            }

            _now = instant;
            Completions();
            Arrivals();
            SliceEnds();
            Decide();
        }

        return new SimulationResult
        {
            Policy = _scheduler.Name,
            Jobs = [.. _states.Select((state, job) =>
                new JobOutcome(state.FirstRun, state.Finish, state.Wait, state.Ran, state.Entitled, _needs[job].ShareOf(_host) * state.Ran))],
            Stays = _stays,
            StaysCut = _staysCut,
            Measures = Measure(),
        };
    }

    private long NextInstant()
    {
        long next = long.MaxValue;
        if (_cpuEvents.Count > 0)
            next = _cpuEvents.FirstKey;
        if (_nextArrival < _arrivals.Length)
            next = Math.Min(next, _jobs[_arrivals[_nextArrival]].Arrival);
        if (_wakes.Count > 0)
            next = Math.Min(next, _wakes.FirstKey);
        // A timer matters while something can still happen, or could by it: a throttled vCPU has no other event.
        return Math.Min(next, Math.Max(_scheduler.NextTimer, _now));
    }

    private void Completions()
    {
        while (_cpuEvents.Count > 0 && _cpuEvents.FirstKey == _now && _cpuEvents.FirstTie >> 32 == Completion)
        {
            int cpu = _cpuEvents.First, vcpu = _cpus[cpu].Vcpu;
            _cpuEvents.Remove(cpu);
            _events++;
            long ran = Charge(cpu);
            ref var state = ref _vcpus[vcpu];
            EndStay(cpu);
            Entitle(ref state);
            if (state.Remaining == 0)
            {
                Finish(ref state);
                _scheduler.Finished(vcpu, _now, ran);
                continue;
            }

            var job = _jobs[state.Job];
            long halt = job.Recorded is null ? Draw(ref state, job.Halt) : job.Recorded[state.Index][state.Burst].Halted;
            state.BurstLeft = job.Recorded is null ? Draw(ref state, job.Burst) : job.Recorded[state.Index][++state.Burst].Ran;
            halt = Math.Max(1, halt); // an event of its own, however short
            state.Halted += halt;
            _scheduler.Halted(vcpu, _now, ran);
            _wakes.Add(vcpu, _now + halt, _scheduler.Table.ReadVcpu(vcpu).Tie);
        }
    }

    private void Arrivals()
    {
        // Who was there before arrived before.
        while (_wakes.Count > 0 && _wakes.FirstKey == _now)
        {
            int vcpu = _wakes.First;
            _wakes.Remove(vcpu);
            _events++;
            ref var state = ref _vcpus[vcpu];
            state.GivenBefore = _fair.Change(state.Account, 1, _now);
            _scheduler.Woken(vcpu, _now);
        }

        for (; _nextArrival < _arrivals.Length && _jobs[_arrivals[_nextArrival]].Arrival == _now; _nextArrival++)
        {
            _events++;
            Arrive(_arrivals[_nextArrival]);
        }
    }

    private void Arrive(int index)
    {
        var job = _jobs[index];
        int vm = _scheduler.Arrive(
            job.Spec with { Tag = index, Length = job.Length < SimulatedJob.Endless ? job.Length : 0, Class = _classes[index] }, _now);
        ref readonly var slot = ref _scheduler.Table.ReadVm(vm);
        if (_scheduler.Table.VcpuEnd > _vcpus.Length)
            Array.Resize(ref _vcpus, Math.Max(_vcpus.Length * 2, _scheduler.Table.VcpuEnd));
        int account = _fair.AccountOf(slot.Spec.Weight / slot.Spec.Vcpus);
        _states[index].Left = slot.Spec.Vcpus;
        for (int i = 0; i < slot.Spec.Vcpus; i++)
        {
            ref var state = ref _vcpus[slot.FirstVcpu + i];
            state = new VcpuState
            {
                Job = index,
                Index = i,
                Length = LengthOf(job, i),
                Remaining = LengthOf(job, i),
                BurstLeft = job.Recorded is null ? long.MaxValue : job.Recorded[i][0].Ran,
                Account = account,
                GivenBefore = _fair.Change(account, 1, _now),
                Random = (_settings.Seed ?? 0) + (((ulong)(uint)index << 12) + (uint)i) * 0x9E3779B97F4A7C15,
            };
            if (job.Recorded is null && job.Burst > 0 && job.Halt > 0)
                state.BurstLeft = Draw(ref state, job.Burst);
        }
    }

    private void SliceEnds()
    {
        while (_cpuEvents.Count > 0 && _cpuEvents.FirstKey == _now)
        {
            int cpu = _cpuEvents.First;
            _cpuEvents.Remove(cpu);
            _events++;
            _scheduler.SliceEnded(cpu, _now, Charge(cpu));
        }
    }

    private void Decide()
    {
        bool again = true;
        while (again)
        {
            again = false;
            foreach (ref readonly var decision in _scheduler.Decide(_now))
            {
                switch (decision.Kind)
                {
                    case DecisionKind.Run:
                        Begin(decision.Vcpu, decision.Cpu);
                        Arm(decision.Cpu, decision.Slice);
                        break;
                    case DecisionKind.Continue:
                        Arm(decision.Cpu, decision.Slice);
                        break;
                    default:
                        if (_cpuEvents.Contains(decision.Cpu))
                            _cpuEvents.Remove(decision.Cpu);
                        long ran = Charge(decision.Cpu);
                        EndStay(decision.Cpu);
                        _scheduler.Parked(decision.Vcpu, _now, ran);
                        again = true;
                        break;
                }
            }
        }
    }

    private void Begin(int vcpu, int cpu)
    {
        ref var state = ref _vcpus[vcpu];
        ref var on = ref _cpus[cpu];
        ref var job = ref _states[state.Job];
        long who = (long)state.Job << 12 | (long)state.Index;
        on.Vcpu = vcpu;
        on.Since = on.ChargedTo = _now;
        if (on.Last != who)
        {
            _switches++;
            on.Since = on.ChargedTo = _now + _settings.SwitchCost;
        }

        on.Last = who;
        if (job.FirstRun < 0)
            job.FirstRun = on.Since;
        if (state.LastCpu != cpu + 1 && state.LastCpu != 0)
            _migrations++;
        state.LastCpu = cpu + 1;
    }

    /// <summary>Sets the CPU's next event. A burst that ends with the slice is a completion.</summary>
    private void Arm(int cpu, long slice)
    {
        ref readonly var on = ref _cpus[cpu];
        ref readonly var state = ref _vcpus[on.Vcpu];
        long completion = on.ChargedTo + Math.Min(state.Remaining, state.BurstLeft);
        long start = Math.Max(_now, on.Since), end = slice > long.MaxValue - start ? long.MaxValue : start + slice;
        var (at, kind) = completion <= end ? (completion, Completion) : (end, SliceEnd);
        if (_cpuEvents.Contains(cpu))
            _cpuEvents.Update(cpu, at, (long)kind << 32 | (long)cpu);
        else
            _cpuEvents.Add(cpu, at, (long)kind << 32 | (long)cpu);
    }

    /// <summary>What the vCPU on a CPU ran since it was last asked. While it ran, its devices were served as it needs.</summary>
    private long Charge(int cpu)
    {
        ref var on = ref _cpus[cpu];
        ref var state = ref _vcpus[on.Vcpu];
        long ran = Math.Max(0, _now - on.ChargedTo);
        on.ChargedTo += ran;
        if (state.Remaining < SimulatedJob.Endless)
            state.Remaining -= ran;
        if (state.BurstLeft < long.MaxValue)
            state.BurstLeft -= ran;
        state.Ran += ran;
        _ran += ran;
        ref readonly var needs = ref _needs[state.Job];
        if (needs.DiskBytes + needs.DiskOperations + needs.Network > 0 && ran > 0)
            _scheduler.Served(_scheduler.Table.ReadVcpu(on.Vcpu).Vm, needs * (ran * 1e-9));
        return ran;
    }

    private void EndStay(int cpu)
    {
        ref readonly var on = ref _cpus[cpu];
        ref readonly var state = ref _vcpus[on.Vcpu];
        if (_settings.MostStays == 0 || _now <= on.Since)
            return;
        if (_stays.Count < _settings.MostStays)
            _stays.Add(new Stay(cpu, state.Job, state.Index, on.Since, _now));
        else
            _staysCut = true;
    }

    private void Entitle(ref VcpuState state) =>
        _states[state.Job].Entitled += _fair.Change(state.Account, -1, _now) - state.GivenBefore;

    private void Finish(ref VcpuState state)
    {
        ref var job = ref _states[state.Job];
        var what = _jobs[state.Job];
        job.Ran += state.Ran;
        job.Wait += (double)(_now - what.Arrival - state.Length - state.Halted) / what.Spec.Vcpus;
        if (--job.Left == 0)
            job.Finish = _now;
    }

    /// <summary>The end came before the jobs': charges who runs, and entitles who is there.</summary>
    private void Stop(long now)
    {
        _now = now;
        for (int cpu = 0; cpu < _cpus.Length; cpu++)
        {
            if (_scheduler.VcpuOn(cpu) < 0)
                continue;
            Charge(cpu);
            EndStay(cpu);
        }

        for (int vcpu = 0; vcpu < _scheduler.Table.VcpuEnd; vcpu++)
        {
            if (_scheduler.Table.ReadVcpu(vcpu).State is not (Sched.VcpuState.Free or Sched.VcpuState.Done))
                _states[_vcpus[vcpu].Job].Ran += _vcpus[vcpu].Ran;
            if (_scheduler.Table.ReadVcpu(vcpu).State is not (Sched.VcpuState.Free or Sched.VcpuState.Done or Sched.VcpuState.Halted))
                Entitle(ref _vcpus[vcpu]);
        }
    }

    /// <summary>The mean itself, or where there is a seed an exponential number around it.</summary>
    private long Draw(ref VcpuState state, long mean)
    {
        if (_settings.Seed is null)
            return mean;
        // SplitMix64: each vCPU has a sequence of its own, so that every policy sees the same bursts.
        ulong z = state.Random += 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        double uniform = ((z ^ (z >> 31)) >> 11) * (1.0 / (1UL << 53));
        return Math.Max(1_000, (long)(-Math.Log(1 - uniform) * mean));
    }

    private Measures Measure()
    {
        List<double> turnaround = [], wait = [], response = [];
        int finished = 0;
        long misses = 0;
        double sum = 0, squares = 0, errors = 0;
        int entitled = 0;
        for (int i = 0; i < _states.Length; i++)
        {
            ref readonly var state = ref _states[i];
            var job = _jobs[i];
            if (state.Finish >= 0)
            {
                finished++;
                turnaround.Add(state.Finish - job.Arrival);
                wait.Add(state.Wait);
                response.Add(state.FirstRun - job.Arrival);
            }

            misses += job.Deadline > 0 && (state.Finish < 0 ? _now : state.Finish) - job.Arrival > job.Deadline ? 1 : 0;
            if (state.Entitled <= 0)
                continue;
            double part = state.Ran / state.Entitled;
            (sum, squares, errors, entitled) = (sum + part, squares + part * part, errors + Math.Abs(part - 1), entitled + 1);
        }

        double span = _arrivals.Length > 0 ? (_now - _jobs[_arrivals[0]].Arrival) * (double)_cpus.Length : 0;
        return new Measures
        {
            Turnaround = Distribution.Of([.. turnaround]),
            Wait = Distribution.Of([.. wait]),
            Response = Distribution.Of([.. response]),
            Jain = squares > 0 ? sum * sum / (entitled * squares) : 1,
            ShareError = entitled > 0 ? errors / entitled : 0,
            Utilization = span > 0 ? _ran / span : 0,
            Switches = _switches,
            Migrations = _migrations,
            DeadlineMisses = misses,
            Finished = finished,
            Unfinished = _states.Length - finished,
            End = _now,
            Events = _events,
            EstimateError = _scheduler.EstimateError,
        };
    }

    [StructLayout(LayoutKind.Auto)]
    private struct VcpuState
    {
        public int Job;
        public int Index;
        public int Burst;
        public int Account;
        public int LastCpu;
        public long Length;
        public long Remaining;
        public long BurstLeft;
        public long Ran;
        public long Halted;
        public double GivenBefore;
        public ulong Random;
    }

    [StructLayout(LayoutKind.Auto)]
    private struct JobState
    {
        public long FirstRun;
        public long Finish;
        public long Ran;
        public double Wait;
        public double Entitled;
        public int Left;
    }

    [StructLayout(LayoutKind.Auto)]
    private struct CpuState
    {
        public int Vcpu;

        /// <summary>From when the vCPU runs, after the cost of the switch.</summary>
        public long Since;
        public long ChargedTo;

        /// <summary>Who was on it last: job and vCPU, −1 for nobody.</summary>
        public long Last;
    }
}
