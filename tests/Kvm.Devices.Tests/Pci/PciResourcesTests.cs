using Kvm.Devices.Bus;
using Kvm.Devices.Interrupts;
using Kvm.Devices.Pci;
using Kvm.Devices.Platform;
using Kvm.Devices.Tests.Support;

namespace Kvm.Devices.Tests.Pci;

public sealed class PciResourcesTests
{
    private readonly IoBus _ports = new();
    private readonly IoBus _memory = new();

    private sealed class Card(params (int Index, PciBarKind Kind, ulong Size)[] bars) : PciFunction("card", Make(bars))
    {
        public PciConfigSpace Space => Config;

        protected internal override IBusDevice? BarDevice(int index) => new PostCodePort("registers");

        private static PciConfigSpace Make((int Index, PciBarKind Kind, ulong Size)[] bars)
        {
            var config = new PciConfigSpace(0x1af4, 0x1042, 0x018000);
            config.SetInterruptPin(2);
            foreach (var (index, kind, size) in bars)
                config.AddBar(index, kind, size);
            return config;
        }
    }

    private static PciResources Windows(ulong memory = 0x10_0000) =>
        new((0xc000, 0x1000), (0xc000_1000, memory), (1UL << 40, 1UL << 32), (device, pin) => (byte)(device * 4 + pin));

    [Fact]
    public void Each_register_gets_a_place_of_its_own_at_a_multiple_of_its_size_and_decoding_is_on()
    {
        var bus = new PciBus(_ports, _memory);
        var first = new Card((0, PciBarKind.Io, 64), (1, PciBarKind.Memory32, 0x1000), (2, PciBarKind.Memory64, 0x10_0000));
        var second = new Card((0, PciBarKind.Memory32, 0x4000), (4, PciBarKind.Io, 4));
        bus.Add(8, first);
        bus.Add(16, second);
        bus.AssignResources(Windows());

        var ranges = new[] { first, second }.SelectMany(c => Enumerable.Range(0, 6).Where(i => c.Space.TryGetBar(i, out _))
            .Select(i => c.Space.TryGetBar(i, out var range) ? range : default)).ToList();
        ranges.Should().HaveCount(5);
        ranges.Should().OnlyContain(r => r.Address % r.Size == 0);
        ranges.Where(r => r.Kind == PciBarKind.Io).Should().OnlyContain(r => r.Address >= 0xc000 && r.Address < 0xd000);
        ranges.Where(r => r.Kind == PciBarKind.Memory32).Should().OnlyContain(r => r.Address >= 0xc000_1000 && r.Address + r.Size <= 0xc010_1000);
        ranges.Where(r => r.Kind == PciBarKind.Memory64).Should().OnlyContain(r => r.Address >= 1UL << 40);
        ranges.Select(r => (r.Kind, r.Address)).Should().OnlyHaveUniqueItems();
        bus.RefusedMappings.Should().Be(0);
        foreach (var range in ranges)
            (range.Kind == PciBarKind.Io ? _ports : _memory).In8(range.Address).Should().Be(0, "a device is mapped there");
        first.Space.U16(0x3c).Should().Be(2 << 8 | 1 * 4 + 1);
        second.Space.U16(0x3c).Should().Be(2 << 8 | 2 * 4 + 1);
    }

    [Fact]
    public void Window_too_small_is_refused()
    {
        var bus = new PciBus(_ports, _memory);
        bus.Add(8, new Card((0, PciBarKind.Memory32, 0x1000), (1, PciBarKind.Memory32, 0x2000)));
        var assign = () => bus.AssignResources(Windows(memory: 0x2000));
        assign.Should().Throw<InvalidOperationException>().WithMessage("*do not fit*");
    }

    [Fact]
    public void Configuration_space_in_memory_is_that_of_the_ports()
    {
        var bus = new PciBus(_ports, _memory);
        bus.Add(3 << 3, new Card());
        var ecam = new PciEcam(bus);
        ecam.In32(3 << 15).Should().Be(0x1042_1af4);
        ecam.Out8((3 << 15) + 0x3c, 0x5a);
        ecam.In8((3 << 15) + 0x3c).Should().Be(0x5a);
        ecam.In32(4 << 15).Should().Be(0xffff_ffff, "no such device");
        ecam.In32((3 << 15) + 0x100).Should().Be(0xffff_ffff, "a conventional function has 256 bytes");
        ecam.In32(PciEcam.BusSize + (3 << 15)).Should().Be(0xffff_ffff, "bus 1 is empty");
        ecam.Out32(PciEcam.BusSize + (3 << 15), 0);
        ecam.In32(255 * PciEcam.BusSize).Should().Be(0xffff_ffff);
    }

    [Fact]
    public void Shared_line_is_up_while_any_device_holds_it_up()
    {
        var target = new RecordingLine();
        var shared = new SharedLine(target);
        IInterruptLine a = shared.Join(), b = shared.Join();
        a.Set(true);
        b.Set(true);
        b.Set(true);
        a.Set(false);
        target.Asserted.Should().BeTrue();
        b.Set(false);
        target.Asserted.Should().BeFalse();
        a.Set(false);
        b.Set(true);
        target.Asserted.Should().BeTrue();
        target.Rises.Should().Be(2);
    }
}
