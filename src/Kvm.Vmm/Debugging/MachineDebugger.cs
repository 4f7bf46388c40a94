using Kvm.Devices.Memory;
using Kvm.Vmm.Debugging.History;
using Kvm.Vmm.Vcpu;
using Kvm.X86.Engine;
using Kvm.X86.Paging;
using Kvm.X86.State;

namespace Kvm.Vmm.Debugging;

/// <summary>
/// Stops, inspects and steps a machine: what the gdb stub and the labs are made on. A stop is a stop of all vCPUs; guest time stands still
/// meanwhile on the software engine. Taken before <see cref="VirtualMachine.Start"/>, the guest waits at its first instruction.
/// </summary>
/// <remarks>
/// One thread at a time debugs; <see cref="RequestStop"/> is for any thread. State, memory and points are there while the machine stands
/// still (<see cref="IsStopped"/>), else <see cref="InvalidOperationException"/> is thrown.
/// </remarks>
public sealed class MachineDebugger
{
    private readonly VcpuThread[] _threads;
    private readonly GuestMemory _memory;
    private readonly List<DebugPoint> _points = [];
    private readonly VcpuResume[] _orders;
    private readonly bool _oneThread;
    private readonly ArchitecturalState?[] _states;
    private readonly bool[] _fresh;

    private readonly Func<long, MachineHistory?> _keepHistory;
    private readonly List<RunPlace> _snapshots = [];
    private MachineHistory? _history;
    private bool _changed;
    private volatile bool _goesBack;

    internal MachineDebugger(VcpuThread[] threads, IEngine engine, GuestMemory memory, Action<bool, bool> hold, Func<long, MachineHistory?> keepHistory)
    {
        _keepHistory = keepHistory;
        _threads = threads;
        _memory = memory;
        _oneThread = engine.OneThread;
        _orders = new VcpuResume[threads.Length];
        _states = new ArchitecturalState?[threads.Length];
        _fresh = new bool[threads.Length];
        Hold = new DebugHold(threads.Length, hold);
    }

    /// <summary>Where the vCPU threads wait.</summary>
    internal DebugHold Hold { get; }

    /// <summary>How many vCPUs there are.</summary>
    public int Vcpus => _threads.Length;

    /// <summary>Whether all vCPUs stand still.</summary>
    public bool IsStopped => Hold.IsStopped;

    /// <summary>The points that stop the machine.</summary>
    public IReadOnlyList<DebugPoint> Points => _points;

    /// <summary>Guest-physical memory; what is written is seen by the guest at once.</summary>
    public GuestMemory Memory => _memory;

    /// <summary>Whether the machine can be set back: <see cref="KeepHistory"/> was called, and it is one that repeats.</summary>
    public bool CanGoBack => _history is not null;

    /// <summary>Where a deterministic machine is in its run: instructions retired, and exceptions and interrupts delivered, by all vCPUs.</summary>
    public (ulong Instructions, ulong Deliveries)? Place => _history?.Place is { } place ? (place.Instructions, place.Deliveries) : null;

    /// <summary>
    /// Keeps the past from here on, by checkpoints of what changed (docs/debugging.md, "Backwards"): of a deterministic machine without
    /// virtio devices, before it has run.
    /// </summary>
    /// <param name="budget">Bytes for copies of pages, beside those of the first checkpoint; beyond it checkpoints become fewer, at the end the oldest past goes.</param>
    /// <returns>Null, or why it cannot be.</returns>
    public string? KeepHistory(long budget = DefaultHistoryBytes)
    {
        RequireStopped();
        _history ??= _keepHistory(budget);
        return CanGoBack ? null : "only a machine whose runs repeat, without disks and other virtio devices, can be set back: run with --engine soft --deterministic";
    }

    /// <summary>What <see cref="KeepHistory"/> spends where nothing is said.</summary>
    public const long DefaultHistoryBytes = 256L << 20;

    /// <summary>Checkpoints kept, and bytes of copies of pages for all but the first.</summary>
    public (int Checkpoints, long Bytes) HistorySize => _history is { } history ? (history.Checkpoints, history.Bytes) : (0, 0);

    /// <summary>Remembers the present place for <see cref="RestoreSnapshot"/>: costs nothing, as the past is kept anyhow.</summary>
    /// <returns>Its number.</returns>
    /// <exception cref="InvalidOperationException">No past is kept.</exception>
    public int TakeSnapshot()
    {
        RequireStopped();
        BeginAnew();
        _snapshots.Add((_history ?? throw new InvalidOperationException("no past is kept")).Place);
        return _snapshots.Count - 1;
    }

    /// <summary>Goes to a place that was remembered.</summary>
    /// <returns>Null, or why it cannot be.</returns>
    public string? RestoreSnapshot(int number)
    {
        if ((uint)number >= (uint)_snapshots.Count)
            return $"there is no snapshot {number}: {_snapshots.Count} were taken since the past begins";
        var place = _snapshots[number];
        if (_changed || _history is null || place.Events < _history.Start.Events)
            return "its past was given up, or begins anew with what the debugger changed";
        GoBack(history => history.GoTo(place));
        return null;
    }

    /// <summary>Sets the machine back by the last step any vCPU made, and waits for it; <see cref="RequestStop"/> ends the wait.</summary>
    /// <exception cref="InvalidOperationException">No past is kept.</exception>
    public DebugStop StepBack() => GoBack(history => history.StepBack());

    /// <summary>
    /// Sets the machine back to the last breakpoint or watchpoint it came by, else to where its past begins, and waits for it;
    /// <see cref="RequestStop"/> ends the wait, somewhere on the way. At a watchpoint the access is not made yet.
    /// </summary>
    /// <exception cref="InvalidOperationException">No past is kept.</exception>
    public DebugStop ContinueBack() => GoBack(history => history.ContinueBack(_points));

    /// <summary>Has all vCPUs stop soon; any thread.</summary>
    public void RequestStop()
    {
        if (_goesBack)
            _history?.GiveUp();
        Hold.Halt(new DebugStop(DebugStopReason.Requested));
        Nudge();
    }

    /// <summary>Stops all vCPUs and waits until they stand still.</summary>
    public DebugStop Stop()
    {
        RequestStop();
        Hold.TryWait(Timeout.InfiniteTimeSpan, out var stop);
        return stop;
    }

    /// <summary>Waits until the machine stands still, or has ended. False if that took longer than <paramref name="patience"/>.</summary>
    public bool TryWait(TimeSpan patience, out DebugStop stop) => Hold.TryWait(patience, out stop);

    /// <summary>Lets the machine go on. vCPUs that are at a breakpoint first make one step; if that stops the machine, so be it.</summary>
    /// <returns>Null, or why it cannot be.</returns>
    public string? Continue()
    {
        for (int vcpu = 0; vcpu < Vcpus; vcpu++)
        {
            if (_points.Count == 0 || !IsAtBreakpoint(vcpu))
                continue;
            if (Refusal(vcpu) is { } refusal)
                return refusal;
            if (Step(vcpu) is { Reason: not DebugStopReason.Step })
                return null;
        }

        Array.Fill(_orders, VcpuResume.Run);
        return Resume(_orders);
    }

    /// <summary>
    /// One vCPU makes one step, the others stand still (on a deterministic machine they run as their turns come, as in any run of it).
    /// Waits for it; a vCPU that waits for an interrupt steps when one comes, or when <see cref="RequestStop"/> ends the wait.
    /// </summary>
    /// <exception cref="InvalidOperationException">The engine cannot step there; <see cref="Refusal"/> says why.</exception>
    public DebugStop Step(int vcpu)
    {
        Array.Clear(_orders);
        _orders[vcpu] = VcpuResume.Step;
        if (Resume(_orders) is { } refusal)
            throw new InvalidOperationException(refusal);
        Hold.TryWait(Timeout.InfiniteTimeSpan, out var stop);
        return stop;
    }

    /// <summary>Why a vCPU cannot make a step where it is, for people; null where it can.</summary>
    public string? Refusal(int vcpu)
    {
        RequireStopped();
        return _threads[vcpu].Engine.WhyNoStep();
    }

    /// <summary>
    /// Lets each vCPU do what is ordered. A vCPU that is to run and is at a breakpoint stops there again at once: debuggers take the
    /// breakpoint away, step and put it back.
    /// </summary>
    /// <param name="orders">One for each vCPU; of several that are to step, the first is the one where one thread runs all.</param>
    /// <returns>Null, or why it cannot be.</returns>
    public string? Resume(ReadOnlySpan<VcpuResume> orders)
    {
        RequireStopped();
        VcpuResume[] threads = [.. orders[..Vcpus]];
        int stepped = Array.IndexOf(threads, VcpuResume.Step);
        for (int vcpu = 0; vcpu < Vcpus; vcpu++)
        {
            if (threads[vcpu] == VcpuResume.Step && Refusal(vcpu) is { } refusal)
                return refusal;
        }

        if (_oneThread)
        {
            // The first vCPU's thread runs all of them; the others only wait for the end.
            Array.Fill(threads, stepped >= 0 || Array.IndexOf(threads, VcpuResume.Run) >= 0 ? VcpuResume.Run : VcpuResume.Stay);
            if (stepped >= 0)
                threads[0] = VcpuResume.Step;
        }

        BeginAnew();
        Array.Clear(_fresh);
        return Hold.TryResume(threads, _oneThread ? stepped : -1) ? null : Ended;
    }

    /// <summary>Adds a breakpoint or watchpoint; one that is there already is not added again.</summary>
    /// <returns>Null, or why the engine cannot stop there.</returns>
    public string? Add(DebugPoint point)
    {
        RequireStopped();
        if (_points.Contains(point))
            return null;
        foreach (var thread in _threads)
        {
            if (thread.Engine.WhyNot(point) is { } refusal)
                return refusal;
        }

        _points.Add(point);
        Publish();
        return null;
    }

    /// <summary>Takes a point away; false if there is none such.</summary>
    public bool Remove(DebugPoint point)
    {
        RequireStopped();
        if (!_points.Remove(point))
            return false;
        Publish();
        return true;
    }

    /// <summary>Takes all points away.</summary>
    public void Clear()
    {
        RequireStopped();
        if (_points.Count == 0)
            return;
        _points.Clear();
        Publish();
    }

    /// <summary>Copies a vCPU's state out.</summary>
    public void ReadState(int vcpu, ArchitecturalState state)
    {
        State(vcpu).CopyTo(state);
    }

    /// <summary>Replaces a vCPU's state.</summary>
    public void WriteState(int vcpu, ArchitecturalState state)
    {
        RequireStopped();
        (_fresh[vcpu], _changed) = (false, true);
        Hold.ForgetFault();
        _threads[vcpu].Engine.Restore(state);
    }

    /// <summary>Reads memory through a vCPU's page tables; false, with nothing promised about <paramref name="bytes"/>, where an address leads nowhere.</summary>
    public bool TryReadMemory(int vcpu, ulong linear, Span<byte> bytes)
    {
        var state = State(vcpu);
        while (!bytes.IsEmpty)
        {
            int part = (int)Math.Min((ulong)bytes.Length, GuestMemory.PageSize - (linear % GuestMemory.PageSize));
            if (!PageTables.TryTranslate(_memory, state, linear, out ulong physical) || !_memory.TryRead(physical, bytes[..part]))
                return false;
            linear += (ulong)part;
            bytes = bytes[part..];
        }

        return true;
    }

    /// <summary>Writes memory through a vCPU's page tables, whatever they forbid; false, with nothing written, where an address leads nowhere.</summary>
    public bool TryWriteMemory(int vcpu, ulong linear, ReadOnlySpan<byte> bytes)
    {
        var state = State(vcpu);
        _changed = true;
        for (bool probe = true; ; probe = false)
        {
            for (int done = 0; done < bytes.Length;)
            {
                ulong at = linear + (ulong)done;
                int part = (int)Math.Min((ulong)(bytes.Length - done), GuestMemory.PageSize - (at % GuestMemory.PageSize));
                if (!PageTables.TryTranslate(_memory, state, at, out ulong physical)
                    || !(probe ? _memory.Contains(physical, (ulong)part) : _memory.TryWrite(physical, bytes.Slice(done, part))))
                {
                    return false;
                }

                done += part;
            }

            if (!probe)
                return true;
        }
    }

    /// <summary>Writes guest-physical memory; false, with nothing written, where there is none.</summary>
    public bool TryWritePhysical(ulong physical, ReadOnlySpan<byte> bytes)
    {
        RequireStopped();
        _changed = true;
        return _memory.TryWrite(physical, bytes);
    }

    /// <summary>The breakpoint at a linear address, if one is set there.</summary>
    public DebugPoint? FindBreakpoint(ulong linear)
    {
        foreach (var point in _points)
        {
            if (point.Kind == DebugPointKind.Execute && point.Address == linear)
                return point;
        }

        return null;
    }

    /// <summary>A vCPU's state, taken once while the machine stands still: with KVM that is twenty calls.</summary>
    private ArchitecturalState State(int vcpu)
    {
        RequireStopped();
        var state = _states[vcpu] ??= new ArchitecturalState();
        if (!_fresh[vcpu])
            _threads[vcpu].Engine.Save(state);
        _fresh[vcpu] = true;
        return state;
    }

    private static string Ended => "the guest has ended";

    /// <summary>Makes every thread look at the hold.</summary>
    internal void Nudge()
    {
        foreach (var thread in _threads)
            thread.Nudge();
    }

    private DebugStop GoBack(Func<MachineHistory, DebugStop> how)
    {
        RequireStopped();
        var history = _history ?? throw new InvalidOperationException("no past is kept");
        if (!Hold.TryBorrow())
            return new DebugStop(DebugStopReason.Ended);
        BeginAnew();
        _goesBack = true;
        Hold.ForgetFault();
        try
        {
            return how(history);
        }
        finally
        {
            _goesBack = false;
            Array.Clear(_fresh);
            Publish();
        }
    }

    /// <summary>What a debugger changed no run would have come to: the past begins here.</summary>
    private void BeginAnew()
    {
        if (_changed && _history is not null)
        {
            _history.Begin();
            _snapshots.Clear();
        }

        _changed = false;
    }

    private bool IsAtBreakpoint(int vcpu) => FindBreakpoint(State(vcpu).CodeAddress) is not null;

    private void Publish()
    {
        foreach (var thread in _threads)
            thread.Engine.SetDebugPoints(_points);
    }

    private void RequireStopped()
    {
        if (!IsStopped)
            throw new InvalidOperationException("the guest runs: stop it first");
    }
}
