using Iced.Intel;
using Kvm.Devices.Bus;
using Kvm.Devices.Interrupts;
using Kvm.X86.Interrupts;
using Kvm.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.X86.Tests.Interrupts.Guests;

/// <summary>Small guests in real mode whose code programs the chips and takes their interrupts.</summary>
public sealed class GuestInterruptTests : IDisposable
{
    private const ushort Counter = 0x500, Other = 0x504;
    private const ulong Main = 0x1000, Handler = 0x1800, Second = 0x2000;
    private readonly TestMemory _memory = new(0x8000);
    private readonly ManualGuestClock _clock = new();
    private readonly IoBus _ports = new();
    private readonly IoBus _mmio = new();
    private readonly List<SteppedProcessor> _processors = [];
    private ChipSet? _board;

    public void Dispose()
    {
        _processors.ForEach(p => p.Dispose());
        _memory.Dispose();
    }

    private ChipSet Board(int processors = 1)
    {
        _board = new ChipSet(new ChipSetOptions { Clock = _clock, Memory = _memory.Memory, Processors = processors });
        _board.Register(_ports, _mmio);
        foreach (var chips in _board.Processors)
            _processors.Add(new SteppedProcessor(_memory.Memory, _ports, _mmio, chips));
        _processors[0].Enter(0, (ushort)Main);
        return _board;
    }

    private void Code(ulong address, Action<Assembler> code) => SteppedProcessor.Assemble(_memory.Memory, address, code);

    /// <summary>
    /// One thread in turn for all processors; an instruction takes a nanosecond, and when all halt time goes to the next
    /// deadline, as in deterministic mode. Ends when nothing will ever happen.
    /// </summary>
    private void Run(int limit = 200_000)
    {
        for (int i = 0; i < limit; i++)
        {
            bool any = false;
            foreach (var processor in _processors)
                any |= processor.Step();
            _clock.Advance(1);
            if (!any)
            {
                if (_board!.Timers.NextDeadline == TimerQueue.Never)
                    return;
                _clock.AdvanceTo(_board.Timers.NextDeadline);
            }

            if (_board!.Timers.NextDeadline <= _clock.Now)
                _board.Timers.Advance();
        }

        throw new TimeoutException("the guest did not end");
    }

    private static void EnableX2(Assembler a, uint apicBase)
    {
        SteppedProcessor.Wrmsr(a, 0x1b, apicBase | 0xc00);
        SteppedProcessor.Wrmsr(a, 0x80f, 0x1ff);
    }

    private static void CountAndReturn(Assembler a, ushort counter, Action<Assembler> eoi)
    {
        a.push(ax);
        a.push(cx);
        a.push(dx);
        a.inc(__word_ptr[counter]);
        eoi(a);
        a.pop(dx);
        a.pop(cx);
        a.pop(ax);
        a.iret();
    }

    /// <summary>HLT with interrupts on until a counter has reached a number; then stop for good.</summary>
    private static void HaltUntil(Assembler a, ushort counter, short count, Action<Assembler>? stop = null)
    {
        var again = a.CreateLabel();
        var done = a.CreateLabel();
        a.Label(ref again);
        a.cli();
        a.cmp(__word_ptr[counter], count);
        a.jge(done);
        // No interrupt is taken between STI and HLT: a wake-up cannot be lost.
        a.sti();
        a.hlt();
        a.jmp(again);
        a.Label(ref done);
        stop?.Invoke(a);
        a.cli();
        a.hlt();
    }

    [Fact]
    public void The_PIT_ticks_through_the_8259_in_real_mode()
    {
        Code(Main, a =>
        {
            foreach (var (port, value) in new (byte, byte)[]
            {
                (0x20, 0x11), (0x21, 0x08), (0x21, 0x04), (0x21, 0x01),
                (0xa0, 0x11), (0xa1, 0x70), (0xa1, 0x02), (0xa1, 0x01),
                (0x21, 0xfe), (0xa1, 0xff), (0x43, 0x34), (0x40, 0xa9), (0x40, 0x04),
            })
                SteppedProcessor.Out(a, port, value);
            HaltUntil(a, Counter, 5, b => SteppedProcessor.Out(b, 0x43, 0x30));
        });
        Code(Handler, a => CountAndReturn(a, Counter, b => SteppedProcessor.Out(b, 0x20, 0x20)));
        SteppedProcessor.SetVector(_memory.Memory, 8, (ushort)Handler);
        Board();
        Run();
        _memory.Read<ushort>(Counter).Should().Be(5);
        // Five periods of 1193 ticks: 5 ms, and the instructions in between are on top of it.
        _clock.Now.Should().BeCloseTo(5_000_000, 20_000);
    }

    [Fact]
    public void A_TSC_deadline_wakes_HLT_each_time_it_is_armed()
    {
        Code(Main, a =>
        {
            EnableX2(a, 0xfee0_0900);
            SteppedProcessor.Wrmsr(a, 0x832, 0x400e0);
            Arm(a);
            HaltUntil(a, Counter, 10, b => SteppedProcessor.Wrmsr(b, 0x6e0, 0));
        });
        Code(Handler, a => CountAndReturn(a, Counter, b =>
        {
            Arm(b);
            SteppedProcessor.Wrmsr(b, 0x80b, 0);
        }));
        SteppedProcessor.SetVector(_memory.Memory, 0xe0, (ushort)Handler);
        Board();
        Run();
        _memory.Read<ushort>(Counter).Should().Be(10);
        _clock.Now.Should().BeGreaterThan(10 * 50_000UL).And.BeLessThan(10 * 51_000UL);

        static void Arm(Assembler a)
        {
            a.rdtsc();
            a.add(eax, 50_000);
            a.adc(edx, 0);
            a.mov(ecx, 0x6e0);
            a.wrmsr();
        }
    }

    [Fact]
    public void A_deadline_in_the_past_interrupts_the_next_instruction()
    {
        Code(Main, a =>
        {
            EnableX2(a, 0xfee0_0900);
            SteppedProcessor.Wrmsr(a, 0x832, 0x400e0);
            a.sti();
            SteppedProcessor.Wrmsr(a, 0x6e0, 1);
            a.mov(ax, __word_ptr[Counter]);
            a.mov(__word_ptr[Other], ax);
            a.cli();
            a.hlt();
        });
        Code(Handler, a => CountAndReturn(a, Counter, b => SteppedProcessor.Wrmsr(b, 0x80b, 0)));
        SteppedProcessor.SetVector(_memory.Memory, 0xe0, (ushort)Handler);
        Board();
        Run();
        _memory.Read<ushort>(Other).Should().Be(1);
    }

    [Fact]
    public void INIT_SIPI_starts_a_second_processor_and_the_two_exchange_IPIs()
    {
        Code(Main, a =>
        {
            EnableX2(a, 0xfee0_0900);
            SteppedProcessor.Wrmsr(a, 0x830, (1UL << 32) | 0x4500);
            SteppedProcessor.Wrmsr(a, 0x830, (1UL << 32) | 0x4600 | (Second >> 12));
            SteppedProcessor.Wrmsr(a, 0x830, (1UL << 32) | 0x4600 | (Second >> 12));
            HaltUntil(a, Counter, 20);
        });
        // The second processor says hello; each handler then answers the other.
        Code(Second, a =>
        {
            a.xor(ax, ax);
            a.mov(ds, ax);
            EnableX2(a, 0xfee0_0800);
            SteppedProcessor.Wrmsr(a, 0x830, 0x51);
            HaltUntil(a, Other, 19);
        });
        Code(Handler, a => CountAndReturn(a, Counter, b =>
        {
            SteppedProcessor.Wrmsr(b, 0x80b, 0);
            SteppedProcessor.Wrmsr(b, 0x830, (1UL << 32) | 0x52);
        }));
        Code(Handler + 0x100, a => CountAndReturn(a, Other, b =>
        {
            SteppedProcessor.Wrmsr(b, 0x80b, 0);
            SteppedProcessor.Wrmsr(b, 0x830, 0x51);
        }));
        SteppedProcessor.SetVector(_memory.Memory, 0x51, (ushort)Handler);
        SteppedProcessor.SetVector(_memory.Memory, 0x52, (ushort)(Handler + 0x100));
        Board(2);
        _processors[1].Activity.Should().Be(ActivityState.WaitForSipi);
        Run();
        _memory.Read<ushort>(Counter).Should().Be(20);
        _memory.Read<ushort>(Other).Should().Be(19);
    }

    [Fact]
    public void An_NMI_IPI_to_oneself_comes_through_with_interrupts_off()
    {
        Code(Main, a =>
        {
            EnableX2(a, 0xfee0_0900);
            a.cli();
            SteppedProcessor.Wrmsr(a, 0x830, 0x400);
            a.nop();
            a.hlt();
        });
        Code(Handler, a => CountAndReturn(a, Counter, _ => { }));
        SteppedProcessor.SetVector(_memory.Memory, 2, (ushort)Handler);
        Board();
        Run();
        _memory.Read<ushort>(Counter).Should().Be(1);
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
        Code(Main, a =>
        {
            EnableX2(a, 0xfee0_0900);
            HaltUntil(a, Counter, 3);
        });
        Code(Handler, a => CountAndReturn(a, Counter, b =>
        {
            SteppedProcessor.Out(b, 0xe0, 1);
            SteppedProcessor.Wrmsr(b, 0x80b, 0);
        }));
        SteppedProcessor.SetVector(_memory.Memory, 0x61, (ushort)Handler);
        var board = Board();
        board.IoApic.Write(0, [0x38]);
        board.IoApic.Write(0x10, [0x61, 0x80, 0, 0]);
        var line = board.Connect(20);
        _ports.Add(0xe0, 1, new Talker(line));
        while (_processors[0].Step())
            _clock.Advance(1);
        _processors[0].Activity.Should().Be(ActivityState.Halted);
        line.Set(true);
        Run();
        _memory.Read<ushort>(Counter).Should().Be(3);
        board.Processors[0].Pending.Should().Be(InterruptEvents.None);
    }

    [Fact]
    public void Two_runs_on_guest_time_take_the_same_steps()
    {
        (long, ulong) One()
        {
            using var test = new GuestInterruptTests();
            test.A_TSC_deadline_wakes_HLT_each_time_it_is_armed();
            return (test._processors[0].Retired, test._clock.Now);
        }

        One().Should().Be(One());
    }
}
