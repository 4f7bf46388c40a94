using Kvm.Devices.Tests.Support;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio;

namespace Kvm.Devices.Tests.Virtio.Transport;

/// <summary>What is virtio-mmio's own (virtio 1.2, 4.2).</summary>
public sealed class VirtioMmioTests : IDisposable
{
    private readonly GuestArena _arena = new();
    private readonly EchoDevice _device;
    private readonly GuestMmio _guest;

    public VirtioMmioTests()
    {
        _device = new EchoDevice(_arena.Memory);
        _device.Schedule(new InlineScheduler());
        _guest = new GuestMmio(_device);
    }

    public void Dispose() => _arena.Dispose();

    [Fact]
    public void Identity_is_magic_version_2_type_and_a_vendor()
    {
        _guest.Registers.In32(0).Should().Be(0x7472_6976);
        _guest.Registers.In32(4).Should().Be(2);
        _guest.Registers.In32(8).Should().Be((uint)VirtioDeviceType.Entropy);
        _guest.Registers.In32(12).Should().NotBe(0);
    }

    [Fact]
    public void Feature_words_past_the_second_are_zero_and_take_nothing()
    {
        _guest.Registers.Out32(0x14, 2);
        _guest.Registers.In32(0x10).Should().Be(0);
        _guest.Registers.Out32(0x24, 0xffff_ffff);
        _guest.Registers.Out32(0x20, 0xffff_ffff);
        _guest.Negotiate(VirtioFeature.Version1).Should().BeTrue();
    }

    [Fact]
    public void Shared_memory_of_any_region_is_all_ones()
    {
        _guest.Registers.Out32(0xac, 0);
        foreach (ulong offset in (ulong[])[0xb0, 0xb4, 0xb8, 0xbc])
            _guest.Registers.In32(offset).Should().Be(uint.MaxValue);
    }

    [Theory]
    [InlineData(0x02, 4)] // not aligned
    [InlineData(0x00, 2)]
    [InlineData(0x70, 1)]
    [InlineData(0x70, 8)]
    public void Control_register_read_otherwise_than_as_32_bits_is_zero(int offset, int width)
    {
        byte[] data = [1, 1, 1, 1, 1, 1, 1, 1];
        _guest.Registers.Read((ulong)offset, data.AsSpan(0, width));
        data.Take(width).Should().AllBeEquivalentTo((byte)0);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(8)]
    public void Control_register_written_otherwise_than_as_32_bits_is_lost(int width)
    {
        byte[] data = [1, 0, 0, 0, 0, 0, 0, 0];
        _guest.Registers.Write(0x70, data.AsSpan(0, width));
        _guest.Status.Should().Be(0);
    }

    [Fact]
    public void Status_value_over_a_byte_is_lost()
    {
        _guest.Registers.Out32(0x70, 0x101);
        _guest.Status.Should().Be(0);
    }

    [Fact]
    public void Interrupt_stays_up_until_every_reason_is_acknowledged()
    {
        var driver = new FakeSplitDriver(_arena, 8);
        _guest.Start(0, driver);
        driver.Add(Element.In(GuestArena.Base, 1));
        _guest.Notify(0);
        _device.ChangeConfig(1);
        _guest.Registers.In32(0x60).Should().Be(3);
        _guest.Registers.Out32(0x64, 1);
        _guest.Line.Asserted.Should().BeTrue();
        _guest.Registers.Out32(0x64, 0xfffd);
        _guest.Line.Asserted.Should().BeTrue("bit 1 is not acknowledged");
        _guest.Registers.Out32(0x64, 2);
        _guest.Line.Asserted.Should().BeFalse();
        _guest.Registers.In32(0x60).Should().Be(0);
    }

    [Fact]
    public void Queue_stops_when_ready_is_written_zero_and_goes_on_from_its_start_with_one()
    {
        var driver = new FakeSplitDriver(_arena, 8);
        _guest.Start(0, driver);
        _guest.DisableQueue(0);
        _guest.QueueEnabled(0).Should().BeFalse();
        driver.Add(Element.In(GuestArena.Base, 1));
        _guest.Notify(0);
        _device.Echoed.Should().Be(0);
        _guest.EnableQueue(0);
        _device.Echoed.Should().Be(1, "what waits is looked for");
    }
}
