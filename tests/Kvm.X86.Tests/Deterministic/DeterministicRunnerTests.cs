using Kvm.Devices.Bus;
using Kvm.Devices.Interrupts;
using Kvm.Devices.Memory;
using Kvm.X86.Deterministic;
using Kvm.X86.Engine;
using Kvm.X86.Interrupts;

namespace Kvm.X86.Tests.Deterministic;

public sealed class DeterministicRunnerTests
{
    private static DeterministicRig Finish(Action<GuestMemory> guest, int processors = 1, ulong quantum = 0, ulong seed = 0) =>
        new DeterministicRig(guest, processors, quantum, seed).Finish();

    [Fact]
    public void The_PIT_ticks_through_the_8259_in_real_mode()
    {
        using var rig = Finish(GuestCode.PitTicks);
        rig.Counter.Should().Be(5);
        // Five periods of 1,193 counts, and some instructions on top.
        rig.Clock.Now.Should().BeInRange(4_999_000, 5_001_000);
        rig.Processors[0].Halts.Should().Be(5);
    }

    [Fact]
    public void A_TSC_deadline_wakes_HLT_each_time_it_is_armed_and_time_passes_at_once()
    {
        using var rig = Finish(memory => GuestCode.DeadlineTicks(memory, 10, 50_000));
        rig.Counter.Should().Be(10);
        rig.Clock.Now.Should().BeInRange(500_000, 501_000);
        rig.Runner.Instructions.Should().BeLessThan(1000, "time passes in HLT, not in instructions");
    }

    [Fact]
    public void A_deadline_in_the_past_interrupts_before_the_next_instruction()
    {
        using var rig = Finish(GuestCode.DeadlineInThePast);
        rig.Other.Should().Be(1);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(0)]
    public void Two_processors_exchange_IPIs_whatever_the_quantum(ulong quantum)
    {
        using var rig = Finish(memory => GuestCode.PingPong(memory, 20), 2, quantum);
        rig.Counter.Should().Be(20);
        rig.Other.Should().BeInRange(19, 20);
    }

    [Fact]
    public void An_NMI_to_oneself_comes_through_with_interrupts_off()
    {
        using var rig = Finish(GuestCode.SelfNmi);
        rig.Counter.Should().Be(1);
    }

    [Fact]
    public void The_APIC_page_moves_over_RAM_with_its_base()
    {
        using var rig = Finish(GuestCode.RelocatedPage);
        rig.Other.Should().Be(0x30, "the processor priority follows the task priority");
        rig.Counter.Should().Be(1, "the interrupt is taken behind the access that asked for it");
        rig.Memory.Read<uint>(0x8080).Should().Be(0, "RAM under the page is untouched");
    }

    [Fact]
    public void Time_is_the_number_of_the_instruction_that_asks()
    {
        using var rig = Finish(GuestCode.TimeAndRandom);
        // Two instructions before the loop; in it RDTSC and seven others with 100 LOOPs.
        for (uint n = 0; n < 8; n++)
            rig.Memory.Read<uint>(GuestCode.Log + (n * 12)).Should().Be(3 + (n * (100 + 9)));
        rig.Clock.Now.Should().Be(rig.Runner.Instructions);
    }

    [Fact]
    public void Random_numbers_follow_from_the_seed()
    {
        using var first = Finish(GuestCode.TimeAndRandom, seed: 1);
        using var again = Finish(GuestCode.TimeAndRandom, seed: 1);
        using var other = Finish(GuestCode.TimeAndRandom, seed: 2);
        again.Outcome.Should().Be(first.Outcome);
        other.Outcome.Memory.Should().NotBe(first.Outcome.Memory);
        other.Outcome.Instructions.Should().Be(first.Outcome.Instructions);
        uint[] numbers = [.. Enumerable.Range(0, 8).SelectMany(n => (uint[])[Number(n, 4), Number(n, 8)])];
        numbers.Should().OnlyHaveUniqueItems();

        uint Number(int round, uint at) => first.Memory.Read<uint>(GuestCode.Log + ((uint)round * 12) + at);
    }

    [Fact]
    public void Two_runs_of_a_race_have_one_winner_and_another_quantum_another()
    {
        using var first = Finish(memory => GuestCode.Race(memory, 5000), 2);
        using var again = Finish(memory => GuestCode.Race(memory, 5000), 2);
        using var finer = Finish(memory => GuestCode.Race(memory, 5000), 2, 777);
        again.Outcome.Should().Be(first.Outcome);
        finer.Outcome.Memory.Should().NotBe(first.Outcome.Memory);
        first.Memory.Memory.TryReadOnlySlice(GuestCode.Log, 5000, out var log).Should().BeTrue();
        log.Contains((byte)1).Should().BeTrue();
        log.Contains((byte)2).Should().BeTrue();
        first.Clock.Now.Should().Be(first.Runner.Instructions, "the processors share one time");
    }

    [Theory]
    [InlineData(1)]
    [InlineData(63)]
    [InlineData(1009)]
    public void A_run_in_pieces_stops_to_the_instruction_and_is_the_same_run(ulong piece)
    {
        using var whole = Finish(GuestCode.Strings);
        using var pieces = new DeterministicRig(GuestCode.Strings);
        ulong done = 0;
        while (pieces.Ended == 0)
        {
            var exit = pieces.Processors[0].Run(piece);
            ulong ran = pieces.Processors[0].Instructions - done;
            done += ran;
            if (pieces.Ended == 0)
            {
                exit.Should().Be(SoftExit.Limit);
                ran.Should().Be(piece);
            }
        }

        pieces.Runner.Instructions.Should().BeInRange(whole.Runner.Instructions, whole.Runner.Instructions + 2, "it may go on to its HLT");
        pieces.Outcome.Memory.Should().Be(whole.Outcome.Memory);
    }

    [Fact]
    public void A_kick_from_another_thread_cannot_be_told_by_the_guest()
    {
        using var quiet = Finish(memory => GuestCode.Race(memory, 5000), 2);
        using var kicked = new DeterministicRig(memory => GuestCode.Race(memory, 5000), 2);
        using var stop = new ManualResetEventSlim();
        var kicker = new Thread(() =>
        {
            while (!stop.IsSet)
                kicked.Runner.Kick();
        });
        kicker.Start();
        while (kicked.Ended == 0)
            kicked.Runner.Run(out _).Should().Be(SoftExit.Kicked);
        stop.Set();
        kicker.Join();
        kicked.Outcome.Should().Be(quiet.Outcome);
    }

    [Fact]
    public void An_endless_loop_heeds_a_kick()
    {
        using var rig = new DeterministicRig(GuestCode.Endless);
        rig.Runner.Kick();
        rig.Runner.Run(out int processor).Should().Be(SoftExit.Kicked);
        processor.Should().Be(-1);
        rig.Runner.Instructions.Should().Be(0);
        using var timer = new Timer(_ => rig.Runner.Kick(), null, 1, Timeout.Infinite);
        rig.Runner.Run(out _).Should().Be(SoftExit.Kicked);
        rig.Runner.Instructions.Should().BePositive();
    }

    /// <summary>A device with an acknowledge port; it has three things to say and asserts its wire until all are heard.</summary>
    private sealed class Talker(IInterruptLine line) : IBusDevice
    {
        private int _left = 3;

        public void Read(ulong offset, Span<byte> data) => data.Clear();

        public void Write(ulong offset, ReadOnlySpan<byte> data)
        {
            if (--_left == 0)
                line.Set(false);
        }
    }

    [Fact]
    public void A_level_interrupt_comes_again_until_the_device_lets_go()
    {
        using var rig = new DeterministicRig(GuestCode.Listener);
        rig.Chips.IoApic.Write(0, [0x38]);
        rig.Chips.IoApic.Write(0x10, [0x61, 0x80, 0, 0]);
        var line = rig.Chips.Connect(20);
        rig.Ports.Add(0xe0, 1, new Talker(line));
        rig.Runner.Run(out _).Should().Be(SoftExit.Halted, "nothing will happen by itself");
        line.Set(true);
        rig.Finish();
        rig.Counter.Should().Be(3);
        rig.Chips.Processors[0].Pending.Should().Be(InterruptEvents.None);
    }

    [Fact]
    public void A_halt_with_interrupts_off_is_the_end_though_timers_go_on()
    {
        using var rig = new DeterministicRig(memory =>
        {
            GuestCode.Dead(memory);
        }, 2);
        var clock = new GuestTimeProvider(rig.Chips.Timers, DateTimeOffset.UnixEpoch);
        using var timer = clock.CreateTimer(_ => { }, null, TimeSpan.FromMilliseconds(1), TimeSpan.FromMilliseconds(1));
        rig.Runner.Run(out _).Should().Be(SoftExit.Halted);
        rig.Clock.Now.Should().Be(2);
    }

    [Fact]
    public void Interrupts_and_halts_allocate_nothing()
    {
        static long AllocatedBy(short interrupts)
        {
            using var rig = new DeterministicRig(memory => GuestCode.DeadlineTicks(memory, interrupts, 100_000));
            long before = GC.GetAllocatedBytesForCurrentThread();
            rig.Runner.Run(out _).Should().Be(SoftExit.Kicked);
            return GC.GetAllocatedBytesForCurrentThread() - before;
        }

        _ = AllocatedBy(20);
        Allocation.Least(() => AllocatedBy(2020)).Should().Be(Allocation.Least(() => AllocatedBy(20)));
    }

    [Fact]
    public void Only_time_from_instructions_will_do()
    {
        using var rig = new DeterministicRig(GuestCode.Dead);
        var timers = new TimerQueue(new HostGuestClock());
        rig.Invoking(r => new DeterministicRunner(r.Processors, timers)).Should().Throw<ArgumentException>();
        rig.Invoking(r => new DeterministicRunner([], r.Chips.Timers)).Should().Throw<ArgumentException>();
    }
}
