using Kvm.Sched;

namespace Kvm.Vmm.Scheduling;

/// <summary>One vCPU at a moment; times in ns.</summary>
/// <param name="Index">Its number in the VM.</param>
/// <param name="State">What it does: <c>starting ready running leaving next halted done bound no-cpu</c>; the last: it could run, and no CPU it may run on can be used.</param>
/// <param name="Cpu">The host's CPU it is on, or was on last; −1 for none.</param>
/// <param name="Ran">CPU time charged.</param>
/// <param name="Waited">Time it could have run and did not.</param>
/// <param name="Slices">Slices given.</param>
/// <param name="Migrations">Changes of CPU.</param>
/// <param name="SliceLeft">What is left of its slice; <see cref="long.MaxValue"/> for one without an end, 0 where it has none.</param>
/// <param name="ThreadId">Its thread.</param>
/// <param name="AffinityFailures">How often its thread could not be put on its CPU.</param>
/// <param name="Why">Why it runs or waits, a sentence without its subject; empty unless asked for.</param>
public sealed record VcpuView(
    int Index, string State, int Cpu, long Ran, long Waited, long Slices, long Migrations, long SliceLeft, int ThreadId, int AffinityFailures, string Why);

/// <summary>One VM at a moment; times in ns.</summary>
/// <param name="Name">For people.</param>
/// <param name="ProcessId">Its process.</param>
/// <param name="Job">What its policy was told.</param>
/// <param name="Class">Its class, or nothing.</param>
/// <param name="Age">Since it joined.</param>
/// <param name="PolicyData">What the policy goes by, in words.</param>
/// <param name="Vcpus">Its vCPUs.</param>
public sealed record VmView(string Name, int ProcessId, JobSpec Job, string Class, long Age, string PolicyData, IReadOnlyList<VcpuView> Vcpus);

/// <summary>A VM that has ended, as its scheduler saw it; times in ns.</summary>
/// <param name="Request">What it asked for.</param>
/// <param name="Job">What its policy was told.</param>
/// <param name="Arrived">When its vCPUs were ready.</param>
/// <param name="Finished">When the last of them ended.</param>
/// <param name="Ran">CPU time of all its vCPUs.</param>
/// <param name="Waited">How long they could have run and did not.</param>
/// <param name="Halts">How often they halted.</param>
/// <param name="Halted">For how long.</param>
public sealed record EndedVm(SchedulingRequest Request, JobSpec Job, long Arrived, long Finished, long Ran, long Waited, long Halts, long Halted);

/// <summary>A dispatcher at a moment: a copy that nobody changes.</summary>
public sealed record SchedulingView
{
    /// <summary>The settings.</summary>
    public required DispatcherSettings Settings { get; init; }

    /// <summary>The VMs, in the order in which they joined.</summary>
    public IReadOnlyList<VmView> Vms { get; init; } = [];

    /// <summary>The VMs that ended last, in that order.</summary>
    public IReadOnlyList<EndedVm> Ended { get; init; } = [];

    /// <summary>Decisions applied: run, continue, revoke.</summary>
    public IReadOnlyList<long> Decisions { get; init; } = [0, 0, 0];

    /// <summary>Times from taking a permit away to the thread's being parked in ns: how many, all together, half of them, 99 of 100, the longest.</summary>
    public (long Count, long Sum, long P50, long P99, long Longest) RevokeLatency { get; init; }

    /// <summary>How far learned lengths were off, as a part of the real ones.</summary>
    public double? EstimateError { get; init; }

    internal static SchedulingView Empty(DispatcherSettings settings) => new() { Settings = settings };

    internal static SchedulingView Of(DispatchCore core, DispatcherSettings settings, long now, bool why)
    {
        var latency = core.RevokeLatency;
        return new SchedulingView
        {
            Settings = settings,
            Vms = [.. core.Vms.Select(vm => Of(core, vm, now, why))],
            Ended = [.. core.Ended],
            Decisions = [.. core.Decisions],
            RevokeLatency = (latency.Count, latency.Sum, latency.Percentile(0.5), latency.Percentile(0.99), latency.Longest),
            EstimateError = core.Scheduler.EstimateError,
        };
    }

    private static VmView Of(DispatchCore core, VmSeats vm, long now, bool why)
    {
        var first = Array.Find(vm.Seats, static seat => seat.Vcpu >= 0);
        return new VmView(
            vm.Request.Name, vm.Request.ProcessId, vm.Job, vm.Request.Class, now - vm.Joined, first is null || core.BoundTo(first) >= 0 ? "" : core.Scheduler.Describe(first.Vcpu, now),
            [.. vm.Seats.Select(seat => Of(core, seat, now, why))]);
    }

    private static VcpuView Of(DispatchCore core, Seat seat, long now, bool why)
    {
        int thread = core.ThreadOf(seat), failures = core.AffinityFailuresOf(seat);
        if (seat.Vcpu < 0)
            return new VcpuView(seat.Index, seat.Vm.Arrived == 0 ? "starting" : "done", -1, seat.RanTotal, seat.WaitedTotal, 0, 0, 0, thread, failures, "");
        bool stranded = core.IsStranded(seat);
        ref readonly var slot = ref core.Scheduler.Table.ReadVcpu(seat.Vcpu);
        if (core.BoundTo(seat) is >= 0 and var bound)
            return new VcpuView(seat.Index, stranded ? "no-cpu" : "bound", bound, seat.RanTotal, seat.WaitedTotal, 0, seat.Moves, 0, thread, failures, stranded ? $"runs where the kernel has it: {DecisionReasons.Words(DecisionReason.NoCpu)}" : "");
        int cpu = slot.Cpu >= 0 ? slot.Cpu : slot.LastCpu;
        long left = slot.State == VcpuState.Running ? slot.SliceEnd == long.MaxValue ? long.MaxValue : Math.Max(0, slot.SliceEnd - now) : 0;
        return new VcpuView(
            seat.Index, stranded ? "no-cpu" : NameOf(slot.State), cpu < 0 ? -1 : core.Scheduler.Topology[cpu].Id, seat.RanTotal, core.WaitedOf(seat.Vcpu, now),
            slot.Slices, slot.Migrations, left, thread, failures, why ? core.Scheduler.Why(seat.Vcpu, now) : "");
    }

    private static string NameOf(VcpuState state) => state switch
    {
        VcpuState.Halted => "halted",
        VcpuState.Ready => "ready",
        VcpuState.Running => "running",
        VcpuState.Revoking => "leaving",
        VcpuState.Reserved => "next",
        _ => "done",
    };
}
