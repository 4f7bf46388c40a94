using Kvm.Devices.Bus;
using Kvm.Devices.Memory;
using Kvm.Devices.Pci;
using Kvm.Devices.Tests.Support;

namespace Kvm.Devices.Tests.Pci;

public sealed class PciTests
{
    private const ulong Address = 0, Data = 4;

    private sealed class Registers(byte fill) : IBusDevice
    {
        public void Read(ulong offset, Span<byte> data) => data.Fill(fill);

        public void Write(ulong offset, ReadOnlySpan<byte> data)
        {
        }
    }

    private sealed class Card : PciFunction
    {
        private readonly Registers _registers;

        public Card(byte fill)
            : base($"card{fill}", new PciConfigSpace(0x1af4, 0x1042, 0x018000, revision: 1))
        {
            _registers = new Registers(fill);
            Config.AddBar(0, PciBarKind.Memory64, 0x4000);
            Config.AddBar(2, PciBarKind.Io, 32);
        }

        public ulong? Mapped { get; private set; }

        protected internal override IBusDevice? BarDevice(int index) => _registers;

        protected internal override void OnBarMapped(int index, ulong? address) => Mapped = index == 0 ? address : Mapped;
    }

    private readonly IoBus _io = new();
    private readonly IoBus _memory = new();
    private readonly PciBus _bus;
    private readonly PciConfigPorts _ports;
    private int _resets;

    public PciTests()
    {
        _bus = new PciBus(_io, _memory);
        _bus.Add(0, new PciHostBridge("pci-host"));
        _ports = new PciConfigPorts("pci-config", _bus, () => _resets++);
    }

    private static uint Select(int slot, int register) => 0x8000_0000 | (uint)slot << 8 | (uint)register;

    private uint Config(int slot, int register)
    {
        _ports.Out32(Address, Select(slot, register));
        return _ports.In32(Data);
    }

    private void SetConfig(int slot, int register, uint value)
    {
        _ports.Out32(Address, Select(slot, register));
        _ports.Out32(Data, value);
    }

    [Fact]
    public void Linux_probe_of_mechanism_1_finds_it_and_a_host_bridge()
    {
        _ports.Out8(3, 0x01);
        _ports.Out32(Address, 0x8000_0000);
        _ports.In32(Address).Should().Be(0x8000_0000);
        Config(0, 0x00).Should().Be(0x0008_1b36);
        Config(0, 0x08).Should().Be(0x0600_0000);
        (Config(0, 0x0c) >> 16 & 0xff).Should().Be(0, "an ordinary function alone in its device");
    }

    [Fact]
    public void Every_other_function_and_bus_reads_as_ones()
    {
        for (int slot = 1; slot < 256; slot++)
            Config(slot, 0).Should().Be(0xffff_ffff);
        _ports.Out32(Address, 0x8001_0000);
        _ports.In32(Data).Should().Be(0xffff_ffff);
    }

    [Fact]
    public void Data_port_without_the_enable_bit_reads_as_ones_and_writes_nothing()
    {
        _ports.Out32(Address, 0x0000_003c);
        _ports.Out32(Data, 0x0b);
        _ports.In32(Data).Should().Be(0xffff_ffff);
        (Config(0, 0x3c) & 0xff).Should().Be(0);
    }

    [Fact]
    public void Byte_lanes_of_the_data_port_reach_their_bytes()
    {
        _ports.Out32(Address, Select(0, 0));
        _ports.In8(Data).Should().Be(0x36);
        _ports.In8(Data + 1).Should().Be(0x1b);
        _ports.In16(Data + 2).Should().Be(0x0008);
        _ports.Out32(Address, Select(0, 0x3c));
        _ports.Out8(Data, 0x0a);
        _ports.Out8(Data + 1, 0x0b);
        _ports.In16(Data).Should().Be(0x000a, "the interrupt pin is read-only");
    }

    [Fact]
    public void Access_that_runs_over_the_data_port_is_cut_at_its_end()
    {
        _ports.Out32(Address, Select(0, 0));
        _ports.In32(Data + 3).Should().Be(0xffff_ff00);
        Span<byte> wide = stackalloc byte[8];
        _ports.Read(Data, wide);
        wide.ToArray().Should().Equal(0x36, 0x1b, 0x08, 0x00, 0xff, 0xff, 0xff, 0xff);
    }

    [Fact]
    public void Address_register_takes_whole_double_words_only_and_keeps_no_reserved_bits()
    {
        _ports.Out32(Address, 0xffff_ffff);
        _ports.In32(Address).Should().Be(0x80ff_fffc);
        _ports.Out8(Address, 0);
        _ports.Out16(Address, 0);
        _ports.In32(Address).Should().Be(0x80ff_fffc);
        _ports.In16(Address).Should().Be(0xffff);
    }

    [Fact]
    public void Reset_control_resets_on_the_rise_of_bit_2_as_linux_does_it()
    {
        _ports.In8(1).Should().Be(0);
        _ports.Out8(1, 0x02);
        _resets.Should().Be(0);
        _ports.Out8(1, 0x06);
        _resets.Should().Be(1);
        _ports.In32(Address).Should().Be(0);
    }

    [Fact]
    public void Command_and_status_keep_what_a_guest_may_set()
    {
        SetConfig(0, 4, 0xffff_ffff);
        Config(0, 4).Should().Be(0x0000_0547);
    }

    [Fact]
    public void Sizing_a_base_address_register_shows_its_size_and_kind()
    {
        _bus.Add(8, new Card(0x11));
        foreach (var (register, expected) in new[] { (0x10, 0xffff_c004u), (0x14, 0xffff_ffffu), (0x18, 0xffff_ffe1u), (0x1c, 0u), (0x30, 0u) })
        {
            SetConfig(8, register, 0xffff_ffff);
            Config(8, register).Should().Be(expected);
        }
    }

    [Fact]
    public void Base_address_is_mapped_where_the_guest_points_while_decoding_is_on()
    {
        _bus.Add(8, new Card(0x11));
        SetConfig(8, 0x10, 0xc000_0000);
        SetConfig(8, 0x14, 0x0000_0001);
        SetConfig(8, 0x18, 0xc000);
        _memory.In32(0x1_c000_0000).Should().Be(0xffff_ffff, "decoding is off");
        SetConfig(8, 4, 0x0003);
        _memory.In32(0x1_c000_0000).Should().Be(0x1111_1111);
        _memory.In32(0x1_c000_4000).Should().Be(0xffff_ffff);
        _io.In8(0xc01f).Should().Be(0x11);

        SetConfig(8, 0x10, 0xd000_0000);
        _memory.In32(0x1_c000_0000).Should().Be(0xffff_ffff);
        _memory.In32(0x1_d000_0000).Should().Be(0x1111_1111);
        SetConfig(8, 4, 0x0001);
        _memory.In32(0x1_d000_0000).Should().Be(0xffff_ffff);
        _io.In8(0xc000).Should().Be(0x11);
    }

    [Fact]
    public void Base_address_over_another_device_is_refused_and_counted()
    {
        _memory.Add(0xfec0_0000, 0x1000, new Registers(0x22));
        _bus.Add(8, new Card(0x11));
        SetConfig(8, 4, 0x0002);
        SetConfig(8, 0x10, 0xfec0_0000);
        _memory.In8(0xfec0_0000).Should().Be(0x22);
        _bus.RefusedMappings.Should().Be(1);
        SetConfig(8, 0x10, 0xc000_0000);
        _memory.In8(0xc000_0000).Should().Be(0x11);
    }

    [Theory]
    [InlineData(0x10_0000UL)] // all of it
    [InlineData(0x1f_c000UL)] // the last pages
    [InlineData(0x11_0000UL)]
    [InlineData(0x4000_0000UL)] // smaller than the registers, which are around it
    [InlineData(0xffff_c000UL)] // read-only memory
    public void Base_address_over_memory_is_refused_and_counted_and_works_again_when_it_is_moved_away(ulong address)
    {
        using var host = new HostMemory(1 << 20);
        var memory = new IoBus();
        var bus = new PciBus(new IoBus(), memory, new GuestMemory([
            new GuestRegion(0x10_0000, 1 << 20, host.Address),
            new GuestRegion(0x4000_1000, 0x1000, host.Address),
            new GuestRegion(0xffff_f000, 0x1000, host.Address, ReadOnly: true),
        ]));
        var card = new Card(0x11);
        bus.Add(8, card);
        bus.WriteConfig(8, 0x10, BitConverter.GetBytes(0xc000_0000u));
        bus.WriteConfig(8, 4, [2]);
        memory.In8(0xc000_0000).Should().Be(0x11);

        bus.WriteConfig(8, 0x10, BitConverter.GetBytes((uint)address));
        memory.In8(address).Should().Be(0xff);
        bus.RefusedMappings.Should().Be(1);
        card.Mapped.Should().BeNull();
        bus.WriteConfig(8, 0x10, BitConverter.GetBytes(0xc000_0000u));
        memory.In8(0xc000_0000).Should().Be(0x11);
        bus.RefusedMappings.Should().Be(1);
        card.Mapped.Should().Be(0xc000_0000);
    }

    [Theory]
    [InlineData(0x0f_c000UL)]
    [InlineData(0x20_0000UL)]
    public void Base_address_beside_memory_is_mapped(ulong address)
    {
        using var host = new HostMemory(1 << 20);
        var memory = new IoBus();
        var bus = new PciBus(new IoBus(), memory, new GuestMemory([new GuestRegion(0x10_0000, 1 << 20, host.Address)]));
        bus.Add(8, new Card(0x11));
        bus.WriteConfig(8, 4, [2]);
        bus.WriteConfig(8, 0x10, BitConverter.GetBytes((uint)address));
        memory.In8(address).Should().Be(0x11);
        memory.In8(address + 0x3fff).Should().Be(0x11);
        bus.RefusedMappings.Should().Be(0);
    }

    [Fact]
    public void Ports_of_the_numbers_of_memory_are_mapped()
    {
        using var host = new HostMemory(1 << 20);
        var io = new IoBus();
        var bus = new PciBus(io, new IoBus(), new GuestMemory([new GuestRegion(0, 1 << 20, host.Address)]));
        bus.Add(8, new Card(0x11));
        bus.WriteConfig(8, 0x18, BitConverter.GetBytes(0xc000u));
        bus.WriteConfig(8, 4, [1]);
        io.In8(0xc000).Should().Be(0x11);
    }

    [Fact]
    public void Removed_function_is_gone_with_its_mappings()
    {
        var card = new Card(0x11);
        _bus.Add(8, card);
        SetConfig(8, 0x10, 0xc000_0000);
        SetConfig(8, 4, 0x0002);
        _bus.Remove(8).Should().BeTrue();
        _memory.In8(0xc000_0000).Should().Be(0xff);
        Config(8, 0).Should().Be(0xffff_ffff);
        _bus.Remove(8).Should().BeFalse();
        _bus.Remove(-1).Should().BeFalse();
        _bus.Add(9, card);
        _memory.In8(0xc000_0000).Should().Be(0x11);
    }

    [Fact]
    public void Restored_function_is_mapped_where_it_was()
    {
        var card = new Card(0x11);
        _bus.Add(8, card);
        SetConfig(8, 0x10, 0xc000_0000);
        SetConfig(8, 4, 0x0002);
        byte[] record = card.SaveState();

        var memory = new IoBus();
        var bus = new PciBus(new IoBus(), memory);
        var other = new Card(0x33);
        bus.Add(8, other);
        other.RestoreState(record).Should().BeTrue();
        memory.In8(0xc000_0000).Should().Be(0x33);
    }

    [Fact]
    public void Record_that_changes_what_no_guest_can_is_refused()
    {
        var card = new Card(0x11);
        byte[] good = card.SaveState();
        byte[] bad = [.. good];
        bad[4] = 0x01;
        card.RestoreState(bad).Should().BeFalse("4 bytes in, the identity begins");
        card.RestoreState(good.AsSpan(0, 100)).Should().BeFalse();
        card.RestoreState([0xff, 0xff, 0xff, 0xff]).Should().BeFalse();
        card.RestoreState(good).Should().BeTrue();
    }

    [Fact]
    public void Ports_restore_the_selected_register_and_refuse_reserved_bits()
    {
        _ports.Out32(Address, Select(0, 0));
        var other = new PciConfigPorts("pci-config", _bus);
        other.RestoreState(_ports.SaveState()).Should().BeTrue();
        other.In32(Data).Should().Be(0x0008_1b36);
        other.RestoreState([1, 0, 0, 0, 0]).Should().BeFalse();
        other.RestoreState([0, 0, 0, 0, 0x10]).Should().BeFalse();
    }

    [Fact]
    public void Slot_taken_twice_or_function_on_two_buses_throws()
    {
        var card = new Card(0x11);
        FluentActions.Invoking(() => _bus.Add(0, card)).Should().Throw<ArgumentException>();
        FluentActions.Invoking(() => _bus.Add(256, card)).Should().Throw<ArgumentOutOfRangeException>();
        _bus.Add(1, card);
        FluentActions.Invoking(() => _bus.Add(2, card)).Should().Throw<ArgumentException>();
    }
}
