using Kvm.Sched;
using Kvm.Vmm.Scheduling;

namespace Kvm.Vmm.Tests.Scheduling;

/// <summary>A dispatcher's core with vCPU threads that do what the test says, in the test's own time.</summary>
internal sealed class FakeThreads : IDisposable
{
    private readonly Dictionary<int, Thread> _byId = [];
    private readonly DispatcherSettings _settings;
    private int _nextId = 100;

    public FakeThreads(string policy, int cpus = 1, PolicySettings? rules = null, CpuBusyTimes? busyTimes = null)
    {
        Table = GateTable.Create(policy, 64);
        _settings = new DispatcherSettings { Policy = policy, Rules = rules ?? new PolicySettings(), Topology = CpuTopology.Flat(cpus), Slots = 64 };
        Core = new DispatchCore(_settings, Table, (_, thread) => _byId[thread], busyTimes);
    }

    /// <summary>A service that has promised little.</summary>
    public static ServiceView Service { get; } = new(0, 0, 1, new AdmissionLimits(1 << 30, 64), 1, null);

    public GateTable Table { get; }

    public DispatchCore Core { get; }

    public long Now { get; private set; } = 1_000_000_000;

    public long Next { get; private set; }

    /// <summary>A VM whose threads have come to the gate.</summary>
    public Thread[] Join(string name = "vm", JobSpec? job = null)
    {
        var vm = Core.Join(new SchedulingRequest { Name = name }, job ?? new JobSpec(), Now)!;
        var threads = vm.Seats.Select(seat =>
        {
            var thread = new Thread(Table, seat, _nextId++);
            _byId[thread.Id] = thread;
            thread.Park(Now);
            return thread;
        }).ToArray();
        return threads;
    }

    /// <summary>The thread of a VM that has come, was let in and runs.</summary>
    public Thread Enter(string name, JobSpec? job = null)
    {
        var thread = Join(name, job)[0];
        Step();
        thread.Enter();
        return thread;
    }

    /// <summary>Lets time pass and the dispatcher look. Threads with a permit run on from the last step.</summary>
    public void Step(long ms = 0)
    {
        foreach (var thread in _byId.Values.Where(t => t.Runs))
            thread.Clock += ms * 1_000_000;
        Now += ms * 1_000_000;
        Next = Core.Step(Now);
    }

    public VcpuState StateOf(Thread thread) => thread.Seat.Vcpu < 0 ? VcpuState.Done : Core.Scheduler.Table.ReadVcpu(thread.Seat.Vcpu).State;

    public SchedulingView View() => SchedulingView.Of(Core, _settings, Now, why: true);

    /// <summary>What is shown of a VM's first vCPU.</summary>
    public VcpuView Shown(string name) => View().Vms.First(vm => vm.Name == name).Vcpus[0];

    public string Why(string name) => SchedulingText.Why(View(), name)!;

    public void Dispose() => Table.Dispose();

    internal sealed class Thread(GateTable table, Seat seat, int id) : IThreadProbe
    {
        public int Id => id;

        public Seat Seat => seat;

        public long Clock { get; set; }

        public ThreadActivity Does { get; set; } = ThreadActivity.Asleep;

        public int Kicks { get; private set; }

        public bool MayRun => GateControl.IsOpen(table.Control(seat.Slot));

        public bool Runs { get; private set; }

        public void Park(long now)
        {
            table.Come(seat.Slot, id);
            table.Note(seat.Slot, now, Clock, 0);
            table.Answer(seat.Slot, GatePlace.Parked, GateControl.OrderOf(table.Control(seat.Slot)));
            (Runs, Does) = (false, ThreadActivity.Asleep);
        }

        public void Enter()
        {
            if (!MayRun)
                throw new InvalidOperationException("the gate is closed");
            table.Answer(seat.Slot, GatePlace.Inside, GateControl.OrderOf(table.Control(seat.Slot)));
            (Runs, Does) = (true, ThreadActivity.Awake);
        }

        public void Halt() => (Runs, Does) = (false, ThreadActivity.Asleep);

        public void Block() => (Runs, Does) = (false, ThreadActivity.Blocked);

        public void Wake() => (Runs, Does) = (true, ThreadActivity.Awake);

        public void End(long now)
        {
            table.Note(seat.Slot, now, Clock, 0);
            table.Come(seat.Slot, 0);
            table.Answer(seat.Slot, GatePlace.Ended, GateControl.OrderOf(table.Control(seat.Slot)));
            (Runs, Does) = (false, ThreadActivity.Gone);
        }

        public void Die() => (Runs, Does) = (false, ThreadActivity.Gone);

        public long CpuTime() => Does == ThreadActivity.Gone ? -1 : Clock;

        /// <summary>Time it waited in the run queue.</summary>
        public long Asked { get; set; }

        public long Demand() => CpuTime() + Asked;

        public ThreadActivity Activity() => Does;

        public bool Kick()
        {
            Kicks++;
            return Does != ThreadActivity.Gone;
        }

        public bool Hurries { get; private set; }

        public bool Hurry(bool on)
        {
            Hurries = on;
            return true;
        }

        public void Dispose()
        {
        }
    }
}
