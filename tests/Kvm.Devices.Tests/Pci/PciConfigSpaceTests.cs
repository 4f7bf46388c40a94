using Kvm.Devices.Pci;

namespace Kvm.Devices.Tests.Pci;

public sealed class PciConfigSpaceTests
{
    private readonly PciConfigSpace _config = new(0x1af4, 0x1041, 0x020000, revision: 7);

    private byte[] Bytes(int offset, int length)
    {
        byte[] data = new byte[length];
        _config.Read(offset, data);
        return data;
    }

    [Fact]
    public void Identity_and_subsystem_are_where_the_specification_puts_them()
    {
        _config.SetSubsystem(0x1234, 0x5678);
        _config.SetInterruptPin(1);
        Bytes(0, 4).Should().Equal(0xf4, 0x1a, 0x41, 0x10);
        Bytes(8, 4).Should().Equal(0x07, 0x00, 0x00, 0x02);
        Bytes(0x2c, 4).Should().Equal(0x34, 0x12, 0x78, 0x56);
        Bytes(0x3c, 2).Should().Equal(0x00, 0x01);
    }

    [Fact]
    public void Capabilities_form_a_list_that_ends()
    {
        _config.AddCapability(0x09, [1, 2, 3]).Should().Be(0x40);
        _config.AddCapability(0x11, new byte[10]).Should().Be(0x48);
        Bytes(0x34, 1).Should().Equal(0x40);
        Bytes(0x40, 5).Should().Equal(0x09, 0x48, 1, 2, 3);
        Bytes(0x48, 2).Should().Equal(0x11, 0x00);
        (_config.U16(6) & 0x10).Should().Be(0x10);
    }

    [Fact]
    public void Capability_bytes_are_read_only_but_for_their_mask()
    {
        _config.AddCapability(0x11, [0, 0, 0], [0x00, 0xc0]);
        _config.Write(0x40, [0xff, 0xff, 0xff, 0xff, 0xff]);
        Bytes(0x40, 5).Should().Equal(0x11, 0x00, 0x00, 0xc0, 0x00);
    }

    [Fact]
    public void Capability_that_does_not_fit_throws()
    {
        _config.AddCapability(0x09, new byte[190]).Should().Be(0x40);
        FluentActions.Invoking(() => _config.AddCapability(0x09, [])).Should().Throw<InvalidOperationException>();
    }

    [Fact]
    public void Status_errors_are_cleared_by_writing_ones()
    {
        _config.SetU16(6, 0xf900);
        _config.Write(6, [0, 0x80]);
        _config.U16(6).Should().Be(0x7900);
        _config.Write(6, [0, 0]);
        _config.U16(6).Should().Be(0x7900);
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(256)]
    [InlineData(int.MaxValue)]
    [InlineData(int.MinValue)]
    public void Access_outside_the_space_reads_ones_and_writes_nothing(int offset)
    {
        _config.Write(offset, [1, 2, 3, 4]);
        Bytes(offset, 4).Should().Equal(0xff, 0xff, 0xff, 0xff);
    }

    [Fact]
    public void Access_over_the_end_is_cut()
    {
        Bytes(254, 4).Should().Equal(0, 0, 0xff, 0xff);
        _config.Write(254, [1, 2, 3, 4]);
        Bytes(254, 2).Should().Equal(0, 0);
    }

    [Theory]
    [InlineData(0, PciBarKind.Io, 2)]
    [InlineData(0, PciBarKind.Io, 512)]
    [InlineData(0, PciBarKind.Memory32, 8)]
    [InlineData(0, PciBarKind.Memory32, 24)]
    [InlineData(0, PciBarKind.Memory32, 1L << 32)]
    [InlineData(5, PciBarKind.Memory64, 4096)]
    [InlineData(6, PciBarKind.Io, 4)]
    [InlineData(-1, PciBarKind.Io, 4)]
    public void Base_address_register_that_cannot_be_throws(int index, PciBarKind kind, long size) =>
        FluentActions.Invoking(() => _config.AddBar(index, kind, (ulong)size)).Should().Throw<ArgumentOutOfRangeException>();

    [Fact]
    public void Upper_half_of_a_64_bit_register_is_taken()
    {
        _config.AddBar(0, PciBarKind.Memory64, 4096);
        FluentActions.Invoking(() => _config.AddBar(1, PciBarKind.Io, 4)).Should().Throw<ArgumentException>();
        _config.AddBar(3, PciBarKind.Io, 4);
        FluentActions.Invoking(() => _config.AddBar(2, PciBarKind.Memory64, 4096)).Should().Throw<ArgumentException>();
    }

    [Fact]
    public void Prefetchable_and_kind_bits_show_in_the_register()
    {
        _config.AddBar(0, PciBarKind.Memory32, 16, prefetchable: true);
        _config.AddBar(1, PciBarKind.Memory64, 16, prefetchable: true);
        _config.U32(0x10).Should().Be(8);
        _config.U32(0x14).Should().Be(12);
    }

    [Fact]
    public void Base_address_follows_what_the_guest_wrote_and_its_command_bit()
    {
        _config.AddBar(0, PciBarKind.Memory32, 0x1000);
        _config.Write(0x10, [0x34, 0x12, 0x34, 0xe0]);
        _config.TryGetBar(0, out _).Should().BeFalse();
        _config.Write(4, [2]);
        _config.TryGetBar(0, out var range).Should().BeTrue();
        range.Should().Be(new PciBarRange(PciBarKind.Memory32, 0xe034_1000, 0x1000));
        _config.TryGetBar(1, out _).Should().BeFalse();
        _config.TryGetBar(-1, out _).Should().BeFalse();
    }

    [Fact]
    public void Impossible_identity_or_size_throws()
    {
        FluentActions.Invoking(() => new PciConfigSpace(0xffff, 0, 0)).Should().Throw<ArgumentOutOfRangeException>();
        FluentActions.Invoking(() => new PciConfigSpace(1, 0, 0x1000000)).Should().Throw<ArgumentOutOfRangeException>();
        FluentActions.Invoking(() => new PciConfigSpace(1, 0, 0, size: 512)).Should().Throw<ArgumentOutOfRangeException>();
        FluentActions.Invoking(() => _config.SetInterruptPin(5)).Should().Throw<ArgumentOutOfRangeException>();
        new PciConfigSpace(1, 0, 0, size: PciConfigSpace.ExpressSize).Size.Should().Be(4096);
    }
}
