using Kvm.Devices.Bus;
using Kvm.Devices.Interrupts;
using Kvm.Devices.Platform;
using Kvm.X86.Interrupts;

namespace Kvm.X86.Tests.Interrupts.Legacy;

/// <summary>An 8254 under a clock moved by hand, with a counter of its interrupts.</summary>
internal sealed class PitRig : IInterruptLine
{
    public readonly ManualGuestClock Clock = new();
    public readonly TimerQueue Timers;
    public readonly IoBus Ports = new();
    public readonly Pit8254 Pit;
    public int Rises;
    private bool _level;

    public PitRig()
    {
        Timers = new TimerQueue(Clock);
        Pit = new Pit8254(Timers, this);
        Pit.Register(Ports);
    }

    public ISpeakerChannel Speaker => Pit;

    public void Set(bool asserted)
    {
        if (asserted && !_level)
            Rises++;
        _level = asserted;
    }

    public void Out(ushort port, params byte[] values)
    {
        foreach (byte value in values)
            Ports.Write(port, [value]);
    }

    public byte In(ushort port)
    {
        Span<byte> data = stackalloc byte[1];
        Ports.Read(port, data);
        return data[0];
    }

    /// <summary>Moves to the moment so many ticks are over since time 0.</summary>
    public void To(ulong ticks)
    {
        Clock.AdvanceTo(Pit8254.ToNanoseconds(ticks));
        Timers.Advance();
    }

    public int Latched(int channel)
    {
        Out(0x43, (byte)(channel << 6));
        return In((ushort)(0x40 + channel)) | (In((ushort)(0x40 + channel)) << 8);
    }

    public byte Status(int channel)
    {
        Out(0x43, (byte)(0xe0 | (2 << channel)));
        return In((ushort)(0x40 + channel));
    }
}
