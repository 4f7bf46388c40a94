using Kvm.Interop;
using Kvm.Vmm.Scheduling;

namespace Kvm.Vmm.Tests.Scheduling;

public sealed class GateTests : IDisposable
{
    private readonly GateTable _table = GateTable.Create("rr", 2);
    private readonly GateSeats _seats;
    private int _requests;

    public GateTests() => _seats = new GateSeats(_table, 0, 2);

    public void Dispose() => _table.Dispose();

    [Fact]
    public void An_open_gate_is_passed_on_the_CPU_it_names()
    {
        int cpu = HostThread.GetAffinity(0)[^1];
        _table.Clear(0, 0);
        _table.Open(0, cpu, long.MaxValue);
        (long parked, int[] where) = (-1, []);

        OnThread(gate =>
        {
            parked = gate.Pass(ref _requests);
            where = HostThread.GetAffinity(0);
        });

        parked.Should().Be(0);
        where.Should().Equal(cpu);
    }

    [Fact]
    public void A_closed_gate_is_waited_at_until_it_opens()
    {
        _table.Clear(0, 0);
        long parked = 0;
        var thread = Start(gate => parked = gate.Pass(ref _requests));
        WaitFor(GatePlace.Parked);

        _table.Open(0, -1, long.MaxValue);
        thread.Join();

        parked.Should().BePositive();
        _seats[0].ParkedTotal.Should().Be(parked);
        _table.ParkedTotal(0).Should().Be(parked, "it left after it had noted that");
    }

    [Fact]
    public void A_request_ends_the_wait_without_a_permit()
    {
        _table.Clear(0, 0);
        long parked = 0;
        var thread = Start(gate => parked = gate.Pass(ref _requests));
        WaitFor(GatePlace.Parked);

        Interlocked.Or(ref _requests, 1);
        _seats[0].Interrupt();
        thread.Join();

        parked.Should().Be(-1);
    }

    [Fact]
    public void A_thread_that_ended_says_so_and_cannot_be_kicked()
    {
        _table.Clear(0, 0);
        _table.Open(0, -1, long.MaxValue);

        OnThread(gate => gate.Pass(ref _requests));

        var answer = _table.Read(0);
        answer.Place.Should().Be(GatePlace.Ended);
        answer.ThreadId.Should().Be(0);
        answer.CpuTime.Should().BePositive();
    }

    [Fact]
    public void A_lost_scheduler_opens_every_gate_and_gives_the_CPUs_back()
    {
        int[] home = HostThread.GetAffinity(0);
        _table.Clear(0, 0);
        _table.Open(0, home[0], long.MaxValue);
        string? told = null;
        _seats.WhenLost = why => told = why;
        int[] where = [];
        using var inside = new ManualResetEventSlim();
        using var closed = new ManualResetEventSlim();
        var thread = Start(gate =>
        {
            gate.Pass(ref _requests);
            inside.Set();
            closed.Wait();
            gate.Pass(ref _requests);
            where = HostThread.GetAffinity(0);
        });
        inside.Wait();
        _table.Close(0);
        closed.Set();

        _seats.Lose("gone");
        thread.Join();

        told.Should().Be("gone");
        where.Should().Equal(home);
    }

    [Fact]
    public void A_table_that_was_closed_is_noticed_by_who_waits()
    {
        _table.Clear(0, 0);
        string? told = null;
        _seats.WhenLost = why => told = why;
        var thread = Start(gate => gate.Pass(ref _requests));
        WaitFor(GatePlace.Parked);

        _table.Close();
        thread.Join();

        told.Should().NotBeNull();
    }

    [Fact]
    public void A_CPU_that_is_not_there_stops_nobody()
    {
        int[] where = [];
        int[] home = HostThread.GetAffinity(0);
        _table.Clear(0, 0);
        _table.Open(0, 8000, long.MaxValue);

        OnThread(gate =>
        {
            gate.Pass(ref _requests);
            where = HostThread.GetAffinity(0);
        });

        where.Should().Equal(home);
    }

    [Fact]
    public void Passing_an_open_gate_allocates_nothing()
    {
        _table.Clear(0, 0);
        _table.Open(0, -1, long.MaxValue);
        long allocated = -1;

        OnThread(gate => allocated = Allocation.Of(_ => gate.Pass(ref _requests)));

        allocated.Should().Be(0);
    }

    private void OnThread(Action<Gate> act) => Start(act).Join();

    private Thread Start(Action<Gate> act)
    {
        var thread = new Thread(() =>
        {
            _seats[0].Enter();
            act(_seats[0]);
            _seats[0].Leave();
        });
        thread.Start();
        return thread;
    }

    private void WaitFor(GatePlace place)
    {
        while (true)
        {
            int bell = _table.Bell;
            if (_table.Read(0) is { Current: true } answer && answer.Place == place)
                return;
            _table.WaitForBell(bell, HostClock.Monotonic() + 1_000_000_000);
        }
    }
}
