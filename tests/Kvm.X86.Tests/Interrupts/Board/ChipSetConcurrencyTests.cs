using System.Buffers.Binary;
using System.Diagnostics;
using Kvm.Devices.Bus;
using Kvm.X86.Interrupts;

namespace Kvm.X86.Tests.Interrupts.Board;

/// <summary>Processors, devices and timers at once, each on its thread, with the waits a real engine uses.</summary>
public sealed class ChipSetConcurrencyTests : IDisposable
{
    private const int Rounds = 3_000;
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(120);
    private readonly TestMemory _memory = new();
    private readonly HostGuestClock _clock = new();
    private readonly ChipSet _board;
    private readonly Timekeeper _keeper;
    private readonly ManagedHostWait[] _waits = [new(), new()];
    private readonly int[] _served = new int[256];
    private volatile bool _stop;

    public ChipSetConcurrencyTests()
    {
        _board = new ChipSet(new ChipSetOptions { Clock = _clock, Memory = _memory.Memory, Processors = 2 });
        _keeper = new Timekeeper(_board.Timers, _waits);
        for (int i = 0; i < 2; i++)
        {
            _board.Processors[i].Target = new Waker(this, i);
            _board.Processors[i].TryWriteMsr(0x1b, _board.Processors[i].Apic.Base | (1 << 10));
            _board.Processors[i].TryWriteMsr(0x80f, 0x1ff);
        }

        _clock.Start();
    }

    public void Dispose()
    {
        foreach (var wait in _waits)
            wait.Dispose();
        _memory.Dispose();
    }

    private sealed class Waker(ChipSetConcurrencyTests test, int processor) : IInterruptTarget
    {
        public void Notify() => test._keeper.Wake(processor);
    }

    /// <summary>A processor that does nothing but take interrupts, and halts in between.</summary>
    private Thread Processor(int index, Action<int>? onVector = null)
    {
        var thread = new Thread(() =>
        {
            var chips = _board.Processors[index];
            while (!_stop)
            {
                _keeper.Check();
                if (chips.Pending == InterruptEvents.None)
                {
                    _keeper.Wait(index);
                    continue;
                }

                int vector = chips.AcknowledgeInterrupt();
                if (vector < 0)
                    continue;
                onVector?.Invoke(vector);
                Interlocked.Increment(ref _served[vector]);
                chips.TryWriteMsr(0x80b, 0);
            }
        });
        thread.Start();
        return thread;
    }

    private void Finish(params Thread[] threads)
    {
        _stop = true;
        _keeper.Leave();
        foreach (var thread in threads)
            thread.Join(Limit).Should().BeTrue("no thread may hang");
    }

    private void Route(int pin, ulong entry)
    {
        byte[] data = new byte[4];
        for (int half = 1; half >= 0; half--)
        {
            BinaryPrimitives.WriteInt32LittleEndian(data, 0x10 + (2 * pin) + half);
            _board.IoApic.Write(0, data);
            BinaryPrimitives.WriteUInt32LittleEndian(data, (uint)(entry >> (32 * half)));
            _board.IoApic.Write(0x10, data);
        }
    }

    [Fact]
    public void Every_assertion_of_a_level_and_every_message_is_served()
    {
        // Two devices share a level on pin 20 (lowest priority, so it moves between processors), one sends MSIs. Each waits
        // for its own service before it goes on: a lost interrupt stops it.
        Route(20, (0xffUL << 56) | (1 << 15) | (1 << 8) | 0x61);
        int[] asserted = new int[2];
        IReadOnlyList<Kvm.Devices.Interrupts.IInterruptLine> lines = [_board.Connect(20), _board.Connect(20)];
        void Serve(int vector)
        {
            if (vector != 0x61)
                return;
            for (int d = 0; d < 2; d++)
            {
                lines[d].Set(false);
                Volatile.Write(ref asserted[d], 0);
            }
        }

        var limit = Stopwatch.StartNew();
        Thread Device(int d)
        {
            var thread = new Thread(() =>
            {
                for (int i = 0; i < Rounds && limit.Elapsed < Limit; i++)
                {
                    Volatile.Write(ref asserted[d], 1);
                    lines[d].Set(true);
                    var spin = new SpinWait();
                    while (Volatile.Read(ref asserted[d]) != 0 && limit.Elapsed < Limit)
                        spin.SpinOnce(sleep1Threshold: -1);
                }
            });
            thread.Start();
            return thread;
        }

        Thread[] processors = [Processor(0, Serve), Processor(1, Serve)];
        Thread[] devices = [Device(0), Device(1)];
        int sent = 0;
        while (sent < Rounds && limit.Elapsed < Limit)
        {
            int before = Volatile.Read(ref _served[0x71]);
            _board.Msi.Send(0xfee0_0000 | (ulong)(sent & 1) << 12, 0x71);
            sent++;
            var spin = new SpinWait();
            while (Volatile.Read(ref _served[0x71]) == before && limit.Elapsed < Limit)
                spin.SpinOnce(sleep1Threshold: -1);
        }

        foreach (var device in devices)
            device.Join(Limit).Should().BeTrue();
        Finish(processors);
        limit.Elapsed.Should().BeLessThan(Limit, "an interrupt that is lost would be waited for until then");
        _served[0x71].Should().Be(Rounds);
        _board.Msi.Dropped.Should().Be(0);
    }

    [Fact]
    public void IPIs_between_processors_and_deadlines_of_both_are_all_served()
    {
        // Ping-pong at 0x51 while each processor's timer runs at 0xe0, armed anew by its handler.
        void Serve(int index, int vector)
        {
            var chips = _board.Processors[index];
            if (vector == 0xe0)
                chips.TryWriteMsr(0x6e0, chips.ReadTsc() + 200_000);
            else if (Volatile.Read(ref _served[0x51]) < Rounds)
                chips.TryWriteMsr(0x830, ((ulong)(1 - index) << 32) | 0x51);
        }

        for (int i = 0; i < 2; i++)
        {
            _board.Processors[i].TryWriteMsr(0x832, 0x400e0);
            _board.Processors[i].TryWriteMsr(0x6e0, 1);
        }

        Thread[] processors = [Processor(0, v => Serve(0, v)), Processor(1, v => Serve(1, v))];
        _board.Msi.Send(0xfee0_0000, 0x51);
        var limit = Stopwatch.StartNew();
        while ((Volatile.Read(ref _served[0x51]) < Rounds || Volatile.Read(ref _served[0xe0]) < 20) && limit.Elapsed < Limit)
            Thread.Yield();
        Finish(processors);
        _served[0x51].Should().BeGreaterThanOrEqualTo(Rounds);
        _served[0xe0].Should().BeGreaterThanOrEqualTo(20);
    }

    [Fact]
    public void Hostile_writes_from_every_thread_neither_throw_nor_hang()
    {
        var ports = new IoBus();
        _board.Register(ports, new IoBus());
        Exception? failure = null;
        Thread Hostile(int seed) => new(() =>
        {
            try
            {
                var random = new Random(seed);
                byte[] data = new byte[4];
                for (int i = 0; i < 30_000; i++)
                {
                    random.NextBytes(data);
                    ushort port = (ushort)((ReadOnlySpan<ushort>)[0x20, 0x21, 0xa0, 0xa1, 0x40, 0x43, 0x4d0])[random.Next(7)];
                    ports.Write(port, data.AsSpan(0, 1));
                    Route(random.Next(24), (ulong)random.NextInt64());
                    _board.Msi.Send(0xfee0_0000 | (uint)random.Next(0x10_0000), (uint)random.Next());
                    _board.Pic!.SetLine(random.Next(16), (i & 1) != 0);
                    _board.IoApic.EndOfInterrupt(data[0]);
                    _board.Timers.Advance();
                }
            }
            catch (Exception e)
            {
                failure = e;
            }
        });

        Thread[] all = [Hostile(1), Hostile(2), Hostile(3)];
        foreach (var thread in all)
            thread.Start();
        Thread[] processors = [Processor(0), Processor(1)];
        foreach (var thread in all)
            thread.Join(Limit).Should().BeTrue();
        Finish(processors);
        failure.Should().BeNull();
    }
}
