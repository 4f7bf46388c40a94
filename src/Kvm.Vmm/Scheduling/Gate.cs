using Kvm.Interop;

namespace Kvm.Vmm.Scheduling;

/// <summary>
/// What one vCPU thread passes before each entry into the guest. While the dispatcher has closed it the thread sleeps on a word of the
/// table; when it opens with another CPU than before, the thread moves there. <see cref="Pass"/> and <see cref="Leave"/> belong to the
/// thread, the rest to any.
/// </summary>
internal sealed class Gate
{
    /// <summary>How often a parked thread looks whether the dispatcher still lives.</summary>
    private const long LookPeriod = 250_000_000;

    private readonly GateTable _table;
    private readonly GateSeats _seats;
    private readonly int _slot;
    private int _answered = -1;
    private int _cpu = -1;
    private int _threadId;
    private int[] _home = [];
    private long _parkedTotal;

    internal Gate(GateTable table, GateSeats seats, int slot)
    {
        _table = table;
        _seats = seats;
        _slot = slot;
    }

    /// <summary>How long the thread was parked so far, in ns.</summary>
    public long ParkedTotal => Volatile.Read(ref _parkedTotal);

    /// <summary>The thread's first deed, once its kick signal is blocked: from now on it may be kicked.</summary>
    public void Enter()
    {
        _home = HostThread.GetAffinity(0);
        Volatile.Write(ref _threadId, ThreadSignals.CurrentThreadId());
        _table.Come(_slot, _threadId);
    }

    /// <summary>Waits until the vCPU may run.</summary>
    /// <param name="requests">The thread's request word: the wait ends when it is not 0.</param>
    /// <returns>ns that the thread was parked; −1 where it may not run but was asked for something.</returns>
    public long Pass(ref int requests)
    {
        long since = 0;
        while (true)
        {
            // In this order: what is asked after the word was read changes the word.
            int control = _table.Control(_slot);
            bool asked = Volatile.Read(ref requests) != 0;
            if (_seats.Lost || GateControl.IsOpen(control))
            {
                if (_seats.Lost)
                    GoHome();
                else
                    Follow(control);
                return since == 0 ? 0 : Unpark(since);
            }

            if (asked)
            {
                if (since != 0)
                    Unpark(since);
                return -1;
            }

            if (since == 0 || _answered != GateControl.OrderOf(control))
                Park(control, ref since);
            if (_table.WaitForOrder(_slot, control, HostClock.Monotonic() + LookPeriod) == -Errno.ETIMEDOUT && !_table.IsAlive(HostClock.Monotonic()))
                _seats.Lose("the scheduler does not answer any more");
        }
    }

    /// <summary>Makes a parked thread look at its requests.</summary>
    public void Interrupt() => _table.Attend(_slot);

    /// <summary>The thread's last deed: nobody may kick it any more.</summary>
    public void Leave()
    {
        _table.Come(_slot, 0);
        _table.Note(_slot, HostClock.Monotonic(), HostThread.CurrentCpuTime(), _parkedTotal);
        _table.Answer(_slot, GatePlace.Ended, GateControl.OrderOf(_table.Control(_slot)));
        _table.Ring();
    }

    /// <summary>Lets the thread run where it could before there was a scheduler. Any thread.</summary>
    internal void Release()
    {
        int thread = Volatile.Read(ref _threadId);
        if (thread != 0 && _home.Length > 0)
        {
            _ = HostThread.SetAffinity(thread, _home);
            // The dispatcher may have been killed while it hurried the thread to the gate.
            if (HostThread.IsRealTime(thread))
                _ = HostThread.SetOrdinary(thread);
        }

        Interrupt();
    }

    private void Park(int control, ref long since)
    {
        long now = HostClock.Monotonic();
        if (since == 0)
            since = now;
        _answered = GateControl.OrderOf(control);
        _table.Note(_slot, now, HostThread.CurrentCpuTime(), _parkedTotal);
        _table.Answer(_slot, GatePlace.Parked, _answered);
        _table.Ring();
    }

    private long Unpark(long since)
    {
        long parked = HostClock.Monotonic() - since;
        Volatile.Write(ref _parkedTotal, _parkedTotal + parked);
        return parked;
    }

    private void Follow(int control)
    {
        int order = GateControl.OrderOf(control);
        if (order == _answered)
            return;
        int cpu = _table.CpuOf(_slot);
        // Also to the CPU it was on: one that went away and came back has lost those who were bound to it.
        if (cpu >= 0 ? HostThread.SetAffinity(0, [cpu]) != 0 : _cpu >= 0 && HostThread.SetAffinity(0, _home) != 0)
            _table.NoteAffinityFailure(_slot);
        _cpu = cpu;
        _answered = order;
        _table.Answer(_slot, GatePlace.Inside, order);
    }

    private void GoHome()
    {
        if (_cpu < 0)
            return;
        _cpu = -1;
        _ = HostThread.SetAffinity(0, _home);
    }
}

/// <summary>
/// A machine's places at a scheduler: one gate for each vCPU. When the scheduler is lost every gate opens, each thread may run where it
/// could before, and <see cref="WhenLost"/> is told once.
/// </summary>
public sealed class GateSeats
{
    private readonly Gate[] _gates;
    private volatile bool _lost;
    private volatile string? _why;
    private Action<string>? _whenLost;
    private int _released;
    private int _told;

    private readonly GateTable _table;
    private readonly int _firstSlot;
    private int _memoryTarget;
    private DeviceParts _parts;

    internal GateSeats(GateTable table, int firstSlot, int count)
    {
        (_table, _firstSlot) = (table, firstSlot);
        _gates = [.. Enumerable.Range(firstSlot, count).Select(slot => new Gate(table, this, slot))];
    }

    /// <summary>What the machine's devices did so far.</summary>
    internal Func<DeviceService>? Served { get; set; }

    /// <summary>Takes how much memory the machine is to be left with, in bytes; 0 for all.</summary>
    internal Action<ulong>? LeaveMemory { get; set; }

    /// <summary>Takes what part of its devices' limits is to hold.</summary>
    internal Action<DeviceParts>? Restrict { get; set; }

    /// <summary>
    /// Tells the scheduler what the machine's devices did, and the machine what memory it is to have, for policies that divide more than
    /// CPUs. Any one thread, now and then.
    /// </summary>
    internal void Publish()
    {
        int target = _table.MemoryTarget(_firstSlot);
        if (target != _memoryTarget && LeaveMemory is { } leave)
        {
            _memoryTarget = target;
            leave((ulong)target << 20);
        }

        var parts = _table.DeviceParts(_firstSlot);
        if (parts != _parts && Restrict is { } restrict)
        {
            _parts = parts;
            restrict(parts);
        }

        if (Served?.Invoke() is { } served)
            _table.NoteServed(_firstSlot, served);
    }

    /// <summary>Called once, on any thread, when the scheduler is lost, or at once if it was lost before; says why. Must not block or throw.</summary>
    public Action<string>? WhenLost
    {
        get => Volatile.Read(ref _whenLost);
        set
        {
            Volatile.Write(ref _whenLost, value);
            Tell();
        }
    }

    /// <summary>The number of vCPUs.</summary>
    public int Count => _gates.Length;

    internal bool Lost => _lost;

    internal Gate this[int vcpu] => _gates[vcpu];

    /// <summary>Opens the gates for good.</summary>
    internal void Lose(string why)
    {
        if (Interlocked.Exchange(ref _released, 1) != 0)
            return;
        _lost = true;
        foreach (var gate in _gates)
            gate.Release();
        Restrict?.Invoke(default);
        _why = why;
        Tell();
    }

    private void Tell()
    {
        if (_why is { } why && WhenLost is { } tell && Interlocked.Exchange(ref _told, 1) == 0)
            tell(why);
    }
}
