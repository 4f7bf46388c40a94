using Kvm.Interop;
using Kvm.Vmm;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Scheduling;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.Boot.Tests.Scheduling;

/// <summary>A real guest behind a gate that the test opens and closes itself.</summary>
public sealed class GatedGuestTests : IDisposable
{
    private readonly GateTable _table = GateTable.Create("rr", 4);
    private readonly GateSeats _seats;

    public GatedGuestTests()
    {
        _table.Clear(0, 0);
        _seats = new GateSeats(_table, 0, 1);
    }

    public void Dispose() => _table.Dispose();

    [SkippableFact]
    public void A_guest_runs_when_its_gate_opens_and_stops_when_it_closes()
    {
        var result = Run(UserKernel.Spin(), vm =>
        {
            WaitFor(GatePlace.Parked);
            for (int round = 0; round < 20; round++)
            {
                long before = _table.Read(0).CpuTime;
                _table.Open(0, HostThread.GetAffinity(0)[0], long.MaxValue);
                WaitFor(GatePlace.Inside);
                UntilItRan(before + 1_000_000);

                _table.Close(0);
                ThreadSignals.Kick(Environment.ProcessId, _table.Read(0).ThreadId).Should().BeTrue();
                WaitFor(GatePlace.Parked);

                var parked = _table.Read(0);
                HostThread.CpuTime(parked.ThreadId).Should().BeInRange(parked.CpuTime, parked.CpuTime + 2_000_000, "it sleeps");
            }

            vm.Stop(VmOutcome.StoppedByUser);
        });

        result.Outcome.Should().Be(VmOutcome.StoppedByUser);
        result.Vcpus[0].Waited.Should().BePositive();
        result.Vcpus[0].AllocatedBytes.Should().Be(0);
    }

    [SkippableFact]
    public void A_guest_that_never_got_its_turn_can_be_stopped()
    {
        var result = Run(UserKernel.Spin(), vm =>
        {
            WaitFor(GatePlace.Parked);
            vm.Stop(VmOutcome.StoppedByUser);
        });

        result.Outcome.Should().Be(VmOutcome.StoppedByUser);
        _table.Read(0).Place.Should().Be(GatePlace.Ended);
    }

    [SkippableFact]
    public void A_guest_whose_scheduler_is_lost_runs_to_its_end()
    {
        var result = Run(UserKernel.Count(1_000_000), vm =>
        {
            WaitFor(GatePlace.Parked);
            _seats.Lose("test");
        });

        result.Outcome.Should().Be(VmOutcome.DebugExit);
        result.ExitCode.Should().Be(0);
    }

    [SkippableFact]
    public void Time_at_the_gate_is_stolen_time_to_the_guest()
    {
        const long parkedFor = 300_000_000;
        byte[] untilStolen = TinyKernel.Assemble(a =>
        {
            const uint steal = 0x50_0000;
            var again = a.CreateLabel();
            a.mov(ecx, 0x4b564d03); // MSR_KVM_STEAL_TIME
            a.mov(eax, steal | 1);
            a.xor(edx, edx);
            a.wrmsr();
            a.Label(ref again);
            a.cmp(__dword_ptr[steal], (int)(parkedFor - 50_000_000));
            a.jb(again);
            a.DebugExit(0);
        });

        var result = Run(untilStolen, vm =>
        {
            WaitFor(GatePlace.Parked);
            _table.Open(0, -1, long.MaxValue);
            WaitFor(GatePlace.Inside);
            int thread = _table.Read(0).ThreadId;
            long enough = _table.Read(0).CpuTime + 10_000_000;
            bool ended = false;
            SpinWait.SpinUntil(() => (ended = _table.Read(0).Place == GatePlace.Ended) || HostThread.CpuTime(thread) >= enough, TimeSpan.FromSeconds(60)).Should().BeTrue();
            // Where the test itself was held up, the wait at the start was long enough already.
            if (ended)
                return;
            _table.Close(0);
            ThreadSignals.Kick(Environment.ProcessId, thread);
            SpinWait.SpinUntil(() => (ended = _table.Read(0).Place == GatePlace.Ended) || _table.Read(0) is { Current: true, Place: GatePlace.Parked }, TimeSpan.FromSeconds(60)).Should().BeTrue();
            if (ended)
                return;
            long since = _table.Read(0).ParkedAt;
            SpinWait.SpinUntil(() => HostClock.Monotonic() - since >= parkedFor);
            _table.Open(0, -1, long.MaxValue);
        });

        Skip.If(result.Outcome == VmOutcome.TripleFault, "this KVM offers no steal time");
        result.Outcome.Should().Be(VmOutcome.DebugExit);
    }

    [SkippableFact]
    public void The_software_engine_takes_no_policy()
    {
        Action build = () => VirtualMachine.Build(
            new VmConfig { KernelPath = "/dev/null", MemoryBytes = 16 << 20, Engine = EngineChoice.Soft }, new VmHost { Seats = _seats });

        build.Should().Throw<VmmException>().Which.Error.Id.Should().Be("KVM0211");
    }

    private RunResult Run(byte[] kernel, Action<VirtualMachine> meanwhile)
    {
        TinyMachine.RequireKvm();
        return TinyMachine.Run(kernel, meanwhile: meanwhile, quiet: true, seats: _seats).Result;
    }

    private void UntilItRan(long cpuTime)
    {
        int thread = _table.Read(0).ThreadId;
        SpinWait.SpinUntil(() => HostThread.CpuTime(thread) >= cpuTime, TimeSpan.FromSeconds(20)).Should().BeTrue();
    }

    private void WaitFor(GatePlace place) => SpinWait.SpinUntil(
        () => _table.Read(0) is { Current: true } answer && answer.Place == place, TimeSpan.FromSeconds(20)).Should().BeTrue();
}
