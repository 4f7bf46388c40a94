using Kvm.Devices.Bus;
using Kvm.Devices.Memory;
using Kvm.Devices.Pci;
using Kvm.Devices.Platform;
using Kvm.Devices.Tests.Support;

namespace Kvm.Devices.Tests.Properties;

public sealed class AllocationTests
{
    public static TheoryData<int> EachDevice => [.. Enumerable.Range(0, Machine.DeviceCount)];

    private sealed class Quiet : ISerialSink, Kvm.Devices.Interrupts.IInterruptLine
    {
        public void Write(ReadOnlySpan<byte> bytes)
        {
        }

        public void Set(bool asserted)
        {
        }
    }

    private static IBusDevice Make(int device)
    {
        var quiet = new Quiet();
        return device switch
        {
            0 => new Serial16550("serial0", quiet, quiet),
            1 => new I8042("i8042", static () => { }, quiet),
            2 => new Rtc("rtc", TimeProvider.System, quiet),
            3 => new AcpiPm("acpi-pm", TimeProvider.System, quiet, static () => { }, static () => { }),
            4 => new DebugExitPort("debug-exit", static _ => { }),
            5 => new PvPanic("pvpanic", static _ => { }),
            6 => new SystemControlB("port61", TimeProvider.System),
            7 => new SystemControlA("port92", static () => { }),
            8 => new PostCodePort("port80"),
            10 => new WatchdogBoard(TimeProvider.System, static () => { }),
            _ => MakePci(),
        };
    }

    private static PciConfigPorts MakePci()
    {
        var bus = new PciBus(new IoBus(), new IoBus());
        bus.Add(0, new PciHostBridge("pci-host"));
        return new PciConfigPorts("pci-config", bus, static () => { });
    }

    [Theory]
    [MemberData(nameof(EachDevice))]
    public void Ten_thousand_accesses_of_a_device_allocate_nothing(int index)
    {
        var device = Make(index);
        byte[] data = new byte[8];
        Allocation.Of(i =>
        {
            var bytes = data.AsSpan(0, 1 + (i & 7));
            bytes.Fill(unchecked((byte)(i * 37)));
            device.Write((ulong)(i / 8 % 20), bytes);
            device.Read((ulong)(i / 8 % 20), bytes);
        }).Should().Be(0);
        (device as IDisposable)?.Dispose();
    }

    [Fact]
    public void Ten_thousand_bytes_typed_and_read_allocate_nothing()
    {
        var quiet = new Quiet();
        var port = new Serial16550("serial0", quiet, quiet);
        port.Out8(1, 0x0f);
        byte[] data = new byte[1];
        Allocation.Of(_ =>
        {
            port.Receive(data);
            port.Read(0, data);
        }).Should().Be(0);
    }

    [Fact]
    public void Ten_thousand_clock_interrupts_armed_on_a_host_timer_allocate_nothing()
    {
        using var rtc = new Rtc("rtc", TimeProvider.System, new Quiet());
        byte[] select = [0x0b, 0x42];
        byte[] data = new byte[1];
        rtc.Write(0, select);
        select[0] = 0x0c;
        rtc.Write(0, select.AsSpan(0, 1));
        Allocation.Of(_ => rtc.Read(1, data)).Should().Be(0);
    }

    [Fact]
    public void Ten_thousand_bus_and_memory_accesses_allocate_nothing()
    {
        using var host = new HostMemory(GuestMemory.PageSize);
        var memory = new GuestMemory([new GuestRegion(0, GuestMemory.PageSize, host.Address)]);
        var bus = new IoBus();
        bus.Add(0x80, 1, new PostCodePort("port80"));
        byte[] data = new byte[4];
        Allocation.Of(i =>
        {
            bus.Write((ulong)(0x7c + (i & 7)), data);
            bus.Read((ulong)(0x7c + (i & 7)), data);
            memory.TryWrite((ulong)i, data);
            memory.TryRead((ulong)i, data);
        }).Should().Be(0);
    }
}
