using System.Buffers.Binary;
using Kvm.X86.Interrupts;

namespace Kvm.X86.Tests.Interrupts;

/// <summary>Local APICs on one bus under a clock moved by hand.</summary>
internal sealed class ApicRig
{
    public const uint Id = 0x20, VersionRegister = 0x30, Tpr = 0x80, Apr = 0x90, Ppr = 0xa0, Eoi = 0xb0, Ldr = 0xd0, Dfr = 0xe0, Svr = 0xf0,
        Isr = 0x100, Tmr = 0x180, Irr = 0x200, Esr = 0x280, IcrLow = 0x300, IcrHigh = 0x310, LvtTimer = 0x320, LvtThermal = 0x330,
        LvtPerformance = 0x340, LvtLint0 = 0x350, LvtLint1 = 0x360, LvtError = 0x370, InitialCount = 0x380, CurrentCount = 0x390, Divide = 0x3e0;

    public const uint Periodic = 1 << 17, Deadline = 1 << 18, Masked = 1 << 16;

    public readonly ManualGuestClock Clock;
    public readonly TimerQueue Timers;
    public readonly ApicBus Bus = new();
    public readonly LocalApic[] Apics;
    public readonly Target[] Targets;

    public ApicRig(int processors = 1, ulong tscFrequency = GuestClock.DefaultTscFrequency, bool enabled = true)
    {
        Clock = new ManualGuestClock(tscFrequency);
        Timers = new TimerQueue(Clock);
        Targets = new Target[processors];
        Apics = new LocalApic[processors];
        for (int i = 0; i < processors; i++)
        {
            Targets[i] = new Target();
            Apics[i] = new LocalApic(Bus, new ProcessorTsc(Clock), Timers) { Target = Targets[i] };
            if (enabled)
                Write(i, Svr, 0x1ff);
        }
    }

    public sealed class Target : IInterruptTarget
    {
        public int Notified;

        public void Notify() => Interlocked.Increment(ref Notified);
    }

    public sealed class Eois : IEndOfInterruptSink
    {
        public readonly List<byte> Vectors = [];

        public void EndOfInterrupt(byte vector) => Vectors.Add(vector);
    }

    public sealed class Controller(byte vector) : IExternalInterruptController
    {
        public int Cycles;

        public byte Acknowledge()
        {
            Cycles++;
            return vector;
        }
    }

    public LocalApic Apic => Apics[0];

    public uint Read(uint register) => Read(0, register);

    public uint Read(int cpu, uint register)
    {
        Span<byte> data = stackalloc byte[4];
        Apics[cpu].ReadPage(register, data);
        return BinaryPrimitives.ReadUInt32LittleEndian(data);
    }

    public void Write(uint register, uint value) => Write(0, register, value);

    public void Write(int cpu, uint register, uint value)
    {
        Span<byte> data = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(data, value);
        Apics[cpu].WritePage(register, data);
    }

    /// <summary>Sends an IPI through the registers of processor 0.</summary>
    public void Ipi(uint low, uint destination = 0)
    {
        Write(IcrHigh, destination << 24);
        Write(IcrLow, low);
    }

    public bool Send(byte vector, bool level = false, uint destination = 0) =>
        Bus.Deliver(new ApicMessage(destination, false, ApicDelivery.Fixed, vector, level));

    public bool Requested(int cpu, byte vector) => (Read(cpu, Irr + (uint)(vector >> 5 << 4)) >> (vector & 31) & 1) != 0;

    public bool InService(int cpu, byte vector) => (Read(cpu, Isr + (uint)(vector >> 5 << 4)) >> (vector & 31) & 1) != 0;

    public void EnterX2(int cpu = 0) => Apics[cpu].TryWriteBase(Apics[cpu].Base | (1 << 10)).Should().BeTrue();

    public void Advance(ulong nanoseconds)
    {
        Clock.Advance(nanoseconds);
        Timers.Advance();
    }
}
