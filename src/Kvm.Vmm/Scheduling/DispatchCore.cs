using Kvm.Sched;
using Kvm.Sched.Simulation;

namespace Kvm.Vmm.Scheduling;

/// <summary>What a dispatcher is told when it is made.</summary>
public sealed record DispatcherSettings
{
    /// <summary>One of <see cref="PolicyNames.All"/>.</summary>
    public string Policy { get; init; } = "rr";

    /// <summary>What the policy is told.</summary>
    public PolicySettings Rules { get; init; } = new();

    /// <summary>The CPUs it gives away.</summary>
    public CpuTopology Topology { get; init; } = CpuTopology.Flat(1);

    /// <summary>Whether the dispatcher asks for SCHED_FIFO.</summary>
    public bool RealTime { get; init; } = true;

    /// <summary>vCPUs at most.</summary>
    public int Slots { get; init; } = GateTable.DefaultSlots;
}

/// <summary>
/// Between the policy and the gates: tells the scheduler what vCPU threads do, and writes what it decides into the table. Driven by
/// <see cref="Step"/>, with the time as an argument; no thread of its own. A step allocates nothing unless a VM comes or goes.
/// </summary>
internal sealed class DispatchCore
{
    /// <summary>How often vCPUs are looked at while one that halts or wakes would change a decision.</summary>
    public const long LookPeriod = 1_000_000;

    /// <summary>How often they are looked at while it would not.</summary>
    public const long IdleLookPeriod = 20_000_000;

    /// <summary>Halted vCPUs that are looked at in one go: a look takes some 2.5 µs.</summary>
    private const int MostHaltedLooks = 32;

    /// <summary>How often the policy is told what devices did; with the next step, which a VM at work brings about.</summary>
    private const long ServedPeriod = 100_000_000;

    /// <summary>More bytes in one period than any disk's.</summary>
    private const long MostServed = 1L << 40;

    /// <summary>A vCPU that has not parked after so long waits its turn again as ordinary work.</summary>
    private const long LongestHurry = 2_000_000;

    /// <summary>
    /// How long a vCPU whose thread sleeps outside of the guest keeps its CPU: a collection or a lock is over by then, and is no reason to
    /// let another guest run to its end.
    /// </summary>
    private const long LongestPause = 20_000_000;

    /// <summary>What a vCPU that never ran is recorded with, 1 µs.</summary>
    private const long LeastBurst = 1000;

    /// <summary>VMs that ended and are remembered.</summary>
    private const int MostEnded = 64;

    private readonly GateTable _table;
    private readonly Scheduler _scheduler;
    private readonly Func<int, int, IThreadProbe> _probes;
    private readonly SlotAllocator _slots;
    private readonly List<VmSeats> _vms = [];
    private readonly List<VmSeats> _joining = [];
    private readonly List<Seat> _halted = [];
    private readonly Queue<EndedVm> _ended = new();
    private readonly HostBinder? _binder;
    private Seat?[] _seats = new Seat?[64];
    private int _nextHalted;
    private long _nextLook;
    private long _nextServed;
    private bool _targetsDue;
    private long _waiting;

    /// <param name="settings">What was asked for.</param>
    /// <param name="table">The table, of as many slots as the settings say.</param>
    /// <param name="probes">How threads are watched, by process and thread.</param>
    /// <param name="busyTimes">What the host's CPUs do besides, for the policy <c>host</c>; null where nobody tells.</param>
    public DispatchCore(DispatcherSettings settings, GateTable table, Func<int, int, IThreadProbe> probes, CpuBusyTimes? busyTimes = null)
    {
        _table = table;
        _probes = probes;
        _slots = new SlotAllocator(table.Slots);
        _scheduler = new Scheduler(settings.Policy, settings.Topology, settings.Rules);
        _binder = settings.Policy == "host" ? new HostBinder(settings.Topology, busyTimes) : null;
    }

    /// <summary>The job table.</summary>
    public Scheduler Scheduler => _scheduler;

    /// <summary>The VMs, in the order in which they joined.</summary>
    public IReadOnlyList<VmSeats> Vms => _vms;

    /// <summary>The VMs that ended last, in that order.</summary>
    public IReadOnlyCollection<EndedVm> Ended => _ended;

    /// <summary>Told of each burst of a vCPU, when the halt behind it is over or it has ended; on the dispatcher's thread. Null where nobody records.</summary>
    public Action<Seat, RecordedBurst>? WhenBurst { get; set; }

    /// <summary>From taking a permit away to the thread's being parked.</summary>
    public LatencyCounts RevokeLatency { get; } = new();

    /// <summary>Whether a vCPU that has to leave its CPU may run before ordinary work until it has.</summary>
    public bool MayHurry { get; set; }

    /// <summary>Lets nobody run before ordinary work any more.</summary>
    public void CalmAll()
    {
        foreach (var vm in _vms)
        {
            foreach (var seat in vm.Seats)
                Calm(seat);
        }
    }

    /// <summary>Decisions that were applied, by <see cref="DecisionKind"/>.</summary>
    public long[] Decisions { get; } = new long[3];

    /// <summary>A VM joins: it has slots, and arrives when its threads have come to the gate.</summary>
    /// <returns>Null where no slots are left.</returns>
    public VmSeats? Join(SchedulingRequest request, JobSpec job, long now)
    {
        int first = _slots.Take(job.Vcpus);
        if (first < 0)
            return null;
        var vm = new VmSeats(request, job, first, now);
        for (int i = 0; i < job.Vcpus; i++)
            _table.Clear(first + i, i);
        _vms.Add(vm);
        _joining.Add(vm);
        return vm;
    }

    /// <summary>A VM leaves, whatever its threads do.</summary>
    public void Leave(VmSeats vm, long now)
    {
        if (!_vms.Remove(vm))
            return;
        _joining.Remove(vm);
        _targetsDue = true;
        foreach (var seat in vm.Seats)
        {
            Finish(seat, now);
            seat.Probe?.Dispose();
            _table.Free(seat.Slot, -1);
        }

        _slots.Return(vm.FirstSlot, vm.Seats.Length);
    }

    /// <summary>A CPU comes or goes.</summary>
    public void SetOnline(int cpu, bool online, long now)
    {
        _scheduler.SetOnline(cpu, online, now);
        _binder?.SetOnline(cpu, online, _table);
    }

    /// <summary>Takes in what happened, decides, applies.</summary>
    /// <returns>When to call it again though nothing happens.</returns>
    public long Step(long now)
    {
        TakeArrivals(now);
        if (now >= _nextServed)
            TakeServed(now);
        if (_targetsDue)
            SetTargets();
        if (_binder is not null)
        {
            return _binder.Step(_table, now);
        }

        bool look = now >= _nextLook;
        TakeDepartures(now, look);
        if (look)
            LookAtHalted(now);
        TakeSliceEnds(now);
        foreach (ref readonly var decision in _scheduler.Decide(now))
            Apply(decision, now);
        return NextStep(now, look);
    }

    /// <summary>The thread of a vCPU, or 0.</summary>
    public int ThreadOf(Seat seat) => _table.Read(seat.Slot).ThreadId;

    /// <summary>The host's CPU that a vCPU is bound to, under the policy <c>host</c>; else −1.</summary>
    public int BoundTo(Seat seat) => _binder?.CpuIndexOf(seat) is >= 0 and var cpu ? _scheduler.Topology[cpu].Id : -1;

    /// <summary>Whether none of the CPUs that a vCPU may run on can be used now.</summary>
    public bool IsStranded(Seat seat) => _binder?.IsStranded(seat) ?? (seat.Vcpu >= 0 && _scheduler.ReasonOf(seat.Vcpu) == DecisionReason.NoCpu);

    /// <summary>How often a vCPU's thread could not be put on its CPU, as it says.</summary>
    public int AffinityFailuresOf(Seat seat) => _table.AffinityFailures(seat.Slot);

    /// <summary>How long a vCPU waited, the present wait included.</summary>
    public long WaitedOf(int vcpu, long now)
    {
        ref readonly var slot = ref _scheduler.Table.ReadVcpu(vcpu);
        bool waits = slot.State == VcpuState.Reserved || (slot.State == VcpuState.Ready && slot.Cpu < 0);
        return slot.Waited + (waits ? now - slot.ReadySince : 0);
    }

    /// <summary>Whether a vCPU that halts or wakes would change a decision soon.</summary>
    private bool Contended => _waiting > 0 || _halted.Count > 0;

    private long NextStep(long now, bool looked)
    {
        long next = _scheduler.NextTimer;
        int onCpus = 0;
        for (int cpu = 0; cpu < _scheduler.Topology.Count; cpu++)
        {
            int vcpu = _scheduler.VcpuOn(cpu);
            if (vcpu < 0)
                continue;
            onCpus++;
            ref readonly var slot = ref _scheduler.Table.ReadVcpu(vcpu);
            if (slot.State == VcpuState.Running)
                next = Math.Min(next, slot.SliceEnd);
        }

        _waiting = _scheduler.Table.Vcpus - onCpus - _halted.Count;
        if (looked || Contended)
            _nextLook = Math.Min(looked ? long.MaxValue : _nextLook, now + (Contended ? LookPeriod : IdleLookPeriod));
        return onCpus + _halted.Count > 0 ? Math.Min(next, _nextLook) : next;
    }

    private void TakeArrivals(long now)
    {
        for (int i = _joining.Count - 1; i >= 0; i--)
        {
            var vm = _joining[i];
            if (!HasCome(vm))
                continue;
            _joining.RemoveAt(i);
            Arrive(vm, now);
        }
    }

    /// <summary>What devices did for each VM, as its process says; what goes back or is more than any host does is nothing.</summary>
    private void TakeServed(long now)
    {
        _nextServed = now + ServedPeriod;
        foreach (var vm in _vms)
        {
            var served = _table.Served(vm.FirstSlot);
            var more = served.Since(vm.Served);
            vm.Served = served;
            if (vm.Arrived == 0 || vm.Seats[0].Vcpu < 0 || more == default)
                continue;
            if (more is { DiskBytes: >= 0 and <= MostServed, DiskOperations: >= 0 and <= MostServed, NetworkBytes: <= MostServed })
                _scheduler.Served(_scheduler.Table.ReadVcpu(vm.Seats[0].Vcpu).Vm, new ResourceVector(0, 0, more.DiskBytes, more.DiskOperations, more.NetworkBytes));
        }
    }

    /// <summary>Says what memory each VM is to be left with, and what part of its devices' limits holds; when VMs have come or gone, under the policy that divides them.</summary>
    private void SetTargets()
    {
        _targetsDue = false;
        if (_scheduler.Name != "rap")
            return;
        var targets = new ResourceTarget[_scheduler.Table.Vms];
        int count = _scheduler.Targets(targets);
        var byVm = new Dictionary<int, ResourceVector>(count);
        foreach (var target in targets.AsSpan(0, count))
            byVm[target.Vm] = target.Amount;
        foreach (var vm in _vms)
        {
            if (vm.Seats[0].Vcpu < 0 || !byVm.TryGetValue(_scheduler.Table.ReadVcpu(vm.Seats[0].Vcpu).Vm, out var target))
                continue;
            _table.SetMemoryTarget(vm.FirstSlot, target.Memory < vm.Job.Needs.Memory ? (int)(target.Memory / (1 << 20)) : 0);
            var needs = vm.Job.Needs;
            _table.SetDeviceParts(vm.FirstSlot, new DeviceParts(
                PerMille(target.DiskBytes, needs.DiskBytes), PerMille(target.DiskOperations, needs.DiskOperations), PerMille(target.Network, needs.Network)));
        }
    }

    private static int PerMille(double part, double of) => part < of ? Math.Clamp((int)(part / of * 1000), 1, 999) : 0;

    private bool HasCome(VmSeats vm)
    {
        foreach (var seat in vm.Seats)
        {
            if (_table.Read(seat.Slot) is not { Place: GatePlace.Parked, Current: true, ThreadId: > 0 })
                return false;
        }

        return true;
    }

    private void Arrive(VmSeats vm, long now)
    {
        vm.Arrived = now;
        _targetsDue = true;
        int first = _scheduler.Table.ReadVm(_scheduler.Arrive(vm.Job, now)).FirstVcpu;
        while (_seats.Length < first + vm.Seats.Length)
            Array.Resize(ref _seats, _seats.Length * 2);
        foreach (var seat in vm.Seats)
        {
            seat.Probe = _probes(vm.Request.ProcessId, _table.Read(seat.Slot).ThreadId);
            seat.Clock = Math.Max(0, seat.Probe.CpuTime());
            seat.ChargedAt = now;
            seat.Vcpu = first + seat.Index;
            _seats[seat.Vcpu] = seat;
            _binder?.Add(seat, vm.Job, _table, now);
            Show(seat);
        }
    }

    /// <summary>The vCPUs on CPUs that ended, halted or parked.</summary>
    private void TakeDepartures(long now, bool look)
    {
        for (int cpu = 0; cpu < _scheduler.Topology.Count; cpu++)
        {
            int vcpu = _scheduler.VcpuOn(cpu);
            if (vcpu < 0)
                continue;
            var seat = _seats[vcpu]!;
            var answer = _table.Read(seat.Slot);
            var state = _scheduler.Table.ReadVcpu(vcpu).State;
            if (answer.Place == GatePlace.Ended)
                Finish(seat, now);
            else if (state == VcpuState.Revoking && answer is { Place: GatePlace.Parked, Current: true })
                NoteParked(seat, answer.ParkedAt, now);
            else if (look)
                LookAt(seat, answer, state, now);
        }
    }

    /// <summary>A thread that sleeps for longer than a moment holds no CPU: a shorter moment in the guest, where it has halted, than elsewhere.</summary>
    private void LookAt(Seat seat, in GateAnswer answer, VcpuState state, long now)
    {
        if (state == VcpuState.Running && answer is not { Place: GatePlace.Inside, Current: true })
        {
            seat.SleepClock = -1;
            return;
        }

        // Whatever keeps it from leaving may need the CPU itself.
        if (seat.Hurries && now - seat.RevokedAt > LongestHurry)
            Calm(seat);
        var activity = seat.Probe!.Activity();
        switch (activity)
        {
            case ThreadActivity.Gone:
                Finish(seat, now);
                return;
            case ThreadActivity.Awake:
                seat.SleepClock = -1;
                return;
        }

        long clock = seat.Probe.CpuTime();
        if (clock != seat.SleepClock)
            (seat.SleepClock, seat.SleepSince) = (clock, now);
        else if (state == VcpuState.Revoking)
            NoteParked(seat, 0, now);
        else if (state == VcpuState.Running && (activity != ThreadActivity.Blocked || now - seat.SleepSince >= LongestPause))
            Halt(seat, now);
    }

    private void Halt(Seat seat, long now)
    {
        _scheduler.Halted(seat.Vcpu, now, Ran(seat, now));
        seat.HaltedAt = now;
        seat.Halts++;
        // No kick: it stays in KVM_RUN, where an interrupt wakes it. What is closed is its way back in.
        _table.Close(seat.Slot);
        _halted.Add(seat);
        Show(seat);
    }

    private void LookAtHalted(long now)
    {
        for (int looks = Math.Min(_halted.Count, MostHaltedLooks); looks > 0; looks--)
        {
            if (_nextHalted >= _halted.Count)
                _nextHalted = 0;
            var seat = _halted[_nextHalted];
            var answer = _table.Read(seat.Slot);
            var activity = seat.Probe!.Activity();
            if (answer.Place == GatePlace.Ended)
                Finish(seat, now);
            else if (answer is { Place: GatePlace.Parked, Current: true } || activity == ThreadActivity.Awake)
                Wake(seat, now);
            else if (activity == ThreadActivity.Gone)
                Finish(seat, now);
            else
                _nextHalted++;
        }
    }

    private void Wake(Seat seat, long now)
    {
        RemoveHalted(seat);
        seat.HaltedTotal += now - seat.HaltedAt;
        NoteBurst(seat, now - seat.HaltedAt);
        seat.SleepClock = -1;
        _scheduler.Woken(seat.Vcpu, now);
        // If the policy does not let it run at once it goes to the gate; if it does, with the CPU it is given.
        if (_table.Read(seat.Slot) is not { Place: GatePlace.Parked, Current: true })
            seat.Probe!.Kick();
        Show(seat);
    }

    private void RemoveHalted(Seat seat)
    {
        int at = _halted.IndexOf(seat);
        if (at < 0)
            return;
        _halted[at] = _halted[^1];
        _halted.RemoveAt(_halted.Count - 1);
    }

    private void TakeSliceEnds(long now)
    {
        for (int cpu = 0; cpu < _scheduler.Topology.Count; cpu++)
        {
            int vcpu = _scheduler.VcpuOn(cpu);
            if (vcpu < 0)
                continue;
            ref readonly var slot = ref _scheduler.Table.ReadVcpu(vcpu);
            if (slot.State == VcpuState.Running && slot.SliceEnd <= now)
                _scheduler.SliceEnded(cpu, now, Ran(_seats[vcpu]!, now));
        }
    }

    private void Finish(Seat seat, long now)
    {
        if (seat.Vcpu < 0)
            return;
        RemoveHalted(seat);
        Calm(seat);
        long ran = Ran(seat, now);
        int vcpu = seat.Vcpu;
        if (_binder is null)
            seat.WaitedTotal = WaitedOf(vcpu, now);
        NoteBurst(seat, 0);
        _scheduler.Finished(vcpu, now, ran);
        seat.Vcpu = -1;
        _seats[vcpu] = null;
        _binder?.Remove(seat);
        if (Array.TrueForAll(seat.Vm.Seats, static other => other.Vcpu < 0))
            NoteEnd(seat.Vm, now);
    }

    private void NoteBurst(Seat seat, long halted)
    {
        // A vCPU that never ran is one of its VM all the same, and a trace says something of each.
        long least = seat.BurstStart == 0 && halted == 0 ? LeastBurst : 0;
        WhenBurst?.Invoke(seat, new RecordedBurst(Math.Max(least, seat.RanTotal - seat.BurstStart), halted));
        seat.BurstStart = seat.RanTotal;
    }

    private void NoteEnd(VmSeats vm, long now)
    {
        if (_ended.Count == MostEnded)
            _ended.Dequeue();
        _ended.Enqueue(new EndedVm(
            vm.Request, vm.Job, vm.Arrived, now, vm.Seats.Sum(s => s.RanTotal), vm.Seats.Sum(s => s.WaitedTotal), vm.Seats.Sum(s => s.Halts), vm.Seats.Sum(s => s.HaltedTotal)));
    }

    private void NoteParked(Seat seat, long parkedAt, long now)
    {
        if (seat.RevokedAt != 0)
            RevokeLatency.Add(parkedAt >= seat.RevokedAt && parkedAt <= now ? parkedAt - seat.RevokedAt : now - seat.RevokedAt);
        seat.RevokedAt = 0;
        seat.SleepClock = -1;
        Calm(seat);
        _scheduler.Parked(seat.Vcpu, now, Ran(seat, now));
        Show(seat);
    }

    private static void Calm(Seat seat)
    {
        if (!seat.Hurries)
            return;
        seat.Hurries = false;
        seat.Probe!.Hurry(false);
    }

    /// <summary>CPU time since the last charge: never more than has passed, whatever the thread's process says.</summary>
    private long Ran(Seat seat, long now)
    {
        var answer = _table.Read(seat.Slot);
        long clock = seat.Probe?.CpuTime() ?? -1;
        if (answer is { Place: GatePlace.Parked or GatePlace.Ended, Current: true })
            clock = Math.Max(clock, answer.CpuTime);
        long ran = Math.Clamp(clock - seat.Clock, 0, Math.Max(0, now - seat.ChargedAt));
        seat.Clock += ran;
        seat.ChargedAt = now;
        seat.RanTotal += ran;
        return ran;
    }

    private void Apply(in Decision decision, long now)
    {
        Decisions[(int)decision.Kind]++;
        var seat = _seats[decision.Vcpu]!;
        long end = decision.Slice > long.MaxValue - now ? long.MaxValue : now + decision.Slice;
        switch (decision.Kind)
        {
            case DecisionKind.Run:
                bool parked = _table.Read(seat.Slot) is { Place: GatePlace.Parked, Current: true };
                seat.SleepClock = -1;
                _table.Open(seat.Slot, _scheduler.Topology[decision.Cpu].Id, end);
                // One that woke in the guest, or sleeps in a device, has to come by and see where it may run.
                if (!parked)
                    seat.Probe!.Kick();
                break;
            case DecisionKind.Continue:
                _table.Prolong(seat.Slot, end);
                break;
            case DecisionKind.Revoke:
                seat.RevokedAt = now;
                _table.Close(seat.Slot);
                seat.Hurries = MayHurry && (MayHurry = seat.Probe!.Hurry(true));
                seat.Probe!.Kick();
                break;
        }

        Show(seat);
    }

    private void Show(Seat seat)
    {
        if (seat.Vcpu < 0)
            return;
        ref readonly var slot = ref _scheduler.Table.ReadVcpu(seat.Vcpu);
        _table.Show(seat.Slot, new GateNumbers(slot.Ran, slot.Waited, slot.Slices, slot.Migrations, (int)slot.State, (int)_scheduler.ReasonOf(seat.Vcpu)));
    }
}
