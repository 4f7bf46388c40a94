using BenchmarkDotNet.Attributes;
using Kvm.Devices.Bus;
using Kvm.Devices.Interrupts;
using Kvm.Devices.Platform;

namespace Kvm.Benchmarks;

/// <summary>The way of one port access from the bus to a device's register and back, without KVM.</summary>
public class BusBenchmarks
{
    private readonly IoBus _bus = new();
    private readonly byte[] _byte = [0x5a];

    /// <summary>A bus as full as a small machine's.</summary>
    [GlobalSetup]
    public void Fill()
    {
        for (ulong port = 0x20; port < 0xa0; port += 0x10)
            _bus.Add(port, 2, new Latch());
        _bus.Add(0x3f8, Serial16550.Size, new Serial16550("com1", new NoLine(), new NoSink()));
        _bus.Add(0xcf8, 8, new Latch());
    }

    /// <summary>A write to the serial port's scratch register.</summary>
    [Benchmark]
    public void Write() => _bus.Write(0x3ff, _byte);

    /// <summary>A read of it.</summary>
    [Benchmark]
    public void Read() => _bus.Read(0x3ff, _byte);

    private sealed class Latch : IBusDevice
    {
        private byte _value;

        public void Read(ulong offset, Span<byte> data) => data.Fill(_value);

        public void Write(ulong offset, ReadOnlySpan<byte> data) => _value = data[0];
    }

    private sealed class NoLine : IInterruptLine
    {
        public void Set(bool asserted)
        {
        }
    }

    private sealed class NoSink : ISerialSink
    {
        public void Write(ReadOnlySpan<byte> bytes)
        {
        }
    }
}
