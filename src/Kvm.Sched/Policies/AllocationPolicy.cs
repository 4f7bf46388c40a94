using System.Globalization;
using System.Text;
using Kvm.Sched.Ordering;

namespace Kvm.Sched.Policies;

/// <summary>
/// Resource-allocation priority: each VM has a virtual time, what it was served of the resource it was served most of (as a part of the
/// host's) over its weight; the least goes first. A VM behind its reservation goes before all others, the one most behind first. A VM
/// whose cap is used up waits for the next period.
/// </summary>
internal sealed class AllocationPolicy(PolicySettings settings) : Policy(settings)
{
    private ReadyIndex _fair = null!;
    private ReadyIndex _behind = null!;
    private IndexedHeap _throttled = null!;
    private ResourceVector _capacity;
    private double _clock;

    public override long NextTimer => _throttled.Count > 0 ? _throttled.FirstKey : long.MaxValue;

    public override void Attach(JobTable table, CpuTopology topology)
    {
        base.Attach(table, topology);
        (_fair, _behind, _throttled) = (new ReadyIndex(table), new ReadyIndex(table), new IndexedHeap());
        _capacity = Settings.Capacity with { Cpu = topology.Count };
    }

    public override void Arrived(int vm, long now)
    {
        ref var slot = ref Table.Vm(vm);
        slot.VirtualBase = slot.Virtual = _clock;
        slot.ReservationTag = now;
        slot.Period = now / Settings.Period;
        slot.Budget = FullBudget(slot);
    }

    public override void Enter(int vcpu, ReadyReason reason, long now)
    {
        ref var vm = ref Table.VmOf(vcpu);
        if (reason is ReadyReason.Arrived or ReadyReason.Woken && vm.Active++ == 0)
        {
            // Who did not want the CPU does not save up for later.
            if (vm.Virtual < _clock)
                (vm.VirtualBase, vm.Virtual) = (vm.VirtualBase + (_clock - vm.Virtual), _clock);
            vm.ReservationTag = Math.Max(vm.ReservationTag, now);
        }

        Insert(vcpu, now);
    }

    public override void Return(int vcpu, long now) => Insert(vcpu, now);

    public override void Leave(int vcpu)
    {
        if (_throttled.Contains(vcpu))
        {
            _throttled.Remove(vcpu);
            return;
        }

        _fair.Remove(vcpu);
        if (_behind.Contains(vcpu))
            _behind.Remove(vcpu);
    }

    public override void Stopped(int vcpu, long now) => Table.VmOf(vcpu).Active--;

    public override int Best(CpuSet open, long now)
    {
        while (true)
        {
            int best = _behind.Count > 0 && _behind.Best(open, out long tag) is >= 0 and var behind && tag <= now ? behind : _fair.Best(open, out _);
            if (best < 0 || HasBudget(ref Table.VmOf(best), now))
                return best;
            Leave(best);
            Throttle(best, now);
        }
    }

    public override long Grant(int vcpu, long now)
    {
        ref var vm = ref Table.VmOf(vcpu);
        _clock = Math.Max(_clock, vm.Virtual);
        if (vm.Spec.Cap <= 0)
            return Settings.Slice;
        // Within one period and one budget: a cap is never exceeded.
        long slice = Math.Min(Math.Min(Settings.Slice, PeriodEnd(now) - now), Part(vm));
        vm.Budget -= slice;
        return slice;
    }

    public override void Ran(int vcpu, long ran, long now)
    {
        ref readonly var slot = ref Table.Vcpu(vcpu);
        ref var vm = ref Table.Vm(slot.Vm);
        if (vm.Spec.Cap > 0)
            vm.Budget += slot.Granted - ran;
        if (ran == 0)
            return;
        // Memory is held once, by all vCPUs together.
        vm.Served += new ResourceVector(1, vm.Spec.Needs.Memory / vm.Spec.Vcpus).ShareOf(_capacity) * (ran * 1e-9);
        if (vm.Spec.Reservation > 0)
        {
            long tag = vm.ReservationTag + Worth(vm.Spec, ran);
            // Who used what nobody else wanted is not made to wait for it; but a slice is worth its time, however small the reservation.
            vm.ReservationTag = Math.Clamp(tag, now - Settings.Period, now + Settings.Period + Worth(vm.Spec, Settings.Slice));
        }

        Advance(slot.Vm);
    }

    public override void Served(int vm, in ResourceVector amount)
    {
        Table.Vm(vm).Served += (amount with { Cpu = 0, Memory = 0 }).ShareOf(_capacity);
        Advance(vm);
    }

    public override void Tick(long now)
    {
        while (_throttled.Count > 0 && _throttled.FirstKey <= now)
        {
            int vcpu = _throttled.First;
            _throttled.Remove(vcpu);
            Insert(vcpu, now);
        }
    }

    public override string Describe(int vcpu, long now)
    {
        ref readonly var vm = ref Table.VmOf(vcpu);
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"virtual time {vm.Virtual:0.######} s at weight {vm.Spec.Weight}; served");
        var slice = ((vm.Spec.Needs * (1.0 / vm.Spec.Vcpus)) with { Cpu = 1 }).ShareOf(_capacity) * (Settings.Slice * 1e-9);
        for (int kind = 0; kind < ResourceVector.Kinds; kind++)
        {
            if (vm.Served[kind] > 0 || slice[kind] > 0)
                text.Append(CultureInfo.InvariantCulture, $" {ResourceVector.Names[kind]} {vm.Served[kind]:0.######} + {slice[kind]:0.######} s");
        }

        if (vm.Spec.Cap > 0)
            text.Append(CultureInfo.InvariantCulture, $"; {InMs(Math.Max(0, vm.Budget))} of its cap left");
        return text.ToString();
    }

    /// <summary>The order of non-negative floating-point numbers is that of their bits.</summary>
    private static long Order(double value) => BitConverter.DoubleToInt64Bits(value);

    private void Advance(int vm)
    {
        ref var slot = ref Table.Vm(vm);
        slot.Virtual = slot.VirtualBase + Math.Max(0, slot.Served.Largest()) / slot.Spec.Weight;
        for (int vcpu = slot.FirstVcpu; vcpu < slot.FirstVcpu + slot.Spec.Vcpus; vcpu++)
        {
            if (_fair.Contains(vcpu))
                _fair.Update(vcpu, Order(slot.Virtual), Table.Vcpu(vcpu).Tie);
            if (_behind.Contains(vcpu))
                _behind.Update(vcpu, slot.ReservationTag, Table.Vcpu(vcpu).Tie);
        }
    }

    private void Insert(int vcpu, long now)
    {
        ref var vm = ref Table.VmOf(vcpu);
        if (!HasBudget(ref vm, now))
        {
            Throttle(vcpu, now);
            return;
        }

        long tie = Table.Vcpu(vcpu).Tie;
        _fair.Add(vcpu, Order(vm.Virtual), tie);
        if (vm.Spec.Reservation > 0)
            _behind.Add(vcpu, vm.ReservationTag, tie);
    }

    /// <summary>The time over which a reservation grants so much CPU time.</summary>
    private static long Worth(in JobSpec spec, long ran) => (long)Math.Min(ran / spec.Reservation, long.MaxValue / 4);

    private void Throttle(int vcpu, long now) => _throttled.Add(vcpu, PeriodEnd(now), Table.Vcpu(vcpu).Tie);

    private long PeriodEnd(long now) => (now / Settings.Period + 1) * Settings.Period;

    // Less than a slice a period would be none at all.
    private long FullBudget(in VmSlot vm) => (long)Math.Clamp(vm.Spec.Cap * Settings.Period, LeastBudget(vm.Spec), long.MaxValue / 4);

    private static long LeastBudget(in JobSpec spec) => PolicySettings.ShortestSlice * (spec.Gang ? spec.Vcpus : 1);

    private bool HasBudget(ref VmSlot vm, long now)
    {
        if (vm.Spec.Cap <= 0)
            return true;
        long period = now / Settings.Period;
        if (vm.Period != period)
            (vm.Period, vm.Budget) = (period, FullBudget(vm));
        return Part(vm) >= PolicySettings.ShortestSlice && PeriodEnd(now) - now >= PolicySettings.ShortestSlice;
    }

    // A gang starts together, on equal parts.
    private static long Part(in VmSlot vm) => vm.Spec.Gang ? vm.Budget / vm.Spec.Vcpus : vm.Budget;
}
