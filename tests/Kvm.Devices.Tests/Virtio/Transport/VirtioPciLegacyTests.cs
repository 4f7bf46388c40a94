using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Block;
using Kvm.Devices.Tests.Support;
using Kvm.Devices.Tests.Virtio.Block;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio;
using Kvm.Devices.Virtio.Block;
using Kvm.Devices.Virtio.Transport;

namespace Kvm.Devices.Tests.Virtio.Transport;

/// <summary>The legacy interface of a transitional function (virtio 1.2, the sections "Legacy Interface").</summary>
public sealed class VirtioPciLegacyTests : IDisposable
{
    private const uint Indirect = 1 << 28, EventIndex = 1 << 29, AnyLayout = 1 << 27;

    private readonly GuestArena _arena = new();
    private readonly EchoDevice _device;
    private readonly LegacyDriver _driver;

    public VirtioPciLegacyTests()
    {
        _device = new EchoDevice(_arena.Memory);
        _driver = new LegacyDriver(_device);
    }

    public void Dispose() => _arena.Dispose();

    [Fact]
    public void Identity_is_a_transitional_one_of_4_1_2_with_ports_and_the_modern_capabilities()
    {
        _driver.Pci.Config32(0).Should().Be(0x1005_1af4, "an entropy source");
        (_driver.Pci.Config32(8) & 0xff).Should().Be(0, "revision");
        (_driver.Pci.Config32(0x2c) >> 16).Should().Be((uint)VirtioDeviceType.Entropy);
        (_driver.Pci.Config32(0x10) & 3).Should().Be(1, "ports");
        (_driver.Pci.Config32(4) & 3).Should().Be(3, "ports and memory are decoded before the guest starts");
        _driver.Pci.Structures.Keys.Should().BeEquivalentTo([1, 2, 3, 4, 5]);
    }

    [Theory]
    [InlineData(VirtioDeviceType.Net, 0x1000)]
    [InlineData(VirtioDeviceType.Block, 0x1001)]
    [InlineData(VirtioDeviceType.Balloon, 0x1002)]
    [InlineData(VirtioDeviceType.Console, 0x1003)]
    [InlineData(VirtioDeviceType.Entropy, 0x1005)]
    public void Each_type_has_its_transitional_number(VirtioDeviceType type, int id)
    {
        using var arena = new GuestArena();
        new LegacyDriver(new Plain(type, arena)).Pci.Config32(0).Should().Be((uint)id << 16 | 0x1af4);
    }

    [Fact]
    public void Type_that_legacy_drivers_never_knew_is_refused()
    {
        var make = () => new VirtioPci(new Plain(VirtioDeviceType.Vsock, _arena), new RecordingMsi(), null, transitional: true);
        make.Should().Throw<ArgumentException>();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Requests_are_answered_and_the_wire_is_raised_until_the_status_is_read(bool eventIndex)
    {
        _driver.Begin(Indirect | (eventIndex ? EventIndex : 0)).Should().Be(Indirect | (eventIndex ? EventIndex : 0));
        var ring = _driver.Queue(_arena, 0, eventIndex);
        _driver.In(0x08, 4).Should().Be((uint)(ring.Table >> 12));
        _driver.DriverOk();
        _driver.Status.Should().Be(7, "there is no FEATURES_OK");
        for (int i = 0; i < 20; i++)
        {
            if (eventIndex)
                ring.EnableInterrupts();
            _driver.Request(ring, 0, $"request {i}").Should().Be($"request {i}");
            _driver.Pci.Line.Asserted.Should().BeTrue();
            _driver.Isr.Should().Be(1);
            _driver.Pci.Line.Asserted.Should().BeFalse();
        }

        _driver.In(0x0c, 2).Should().Be(8, "the queue's size is the device's to say");
    }

    [Fact]
    public void Features_are_32_bits_and_what_was_not_offered_is_not_had()
    {
        _device.OfferedFeatures.Should().BeGreaterThan(uint.MaxValue);
        _driver.In(0, 4).Should().Be((uint)(_device.OfferedFeatures & uint.MaxValue) | AnyLayout);
        _driver.Status = 3;
        _driver.Out(4, 4, uint.MaxValue);
        _driver.DriverOk();
        (_driver.In(4, 4) & ~_driver.In(0, 4)).Should().Be(0);
        _device.Has(VirtioFeature.Version1).Should().BeFalse();
        _driver.Out(4, 4, 0);
        _device.Has(Indirect).Should().BeTrue("DRIVER_OK has settled them");
    }

    [Fact]
    public void Feature_that_needs_another_one_is_not_had_without_it()
    {
        _driver.Begin((uint)EchoDevice.NeedsShout);
        _driver.DriverOk();
        _device.Has(EchoDevice.NeedsShout).Should().BeFalse();
        _device.IsActive.Should().BeTrue("a legacy driver cannot be refused");
    }

    [Fact]
    public void Driver_that_uses_the_device_before_DRIVER_OK_is_served_as_3_1_2_allows()
    {
        _driver.Begin(0);
        var ring = _driver.Queue(_arena, 0);
        _driver.Request(ring, 0, "early").Should().Be("early");
        _driver.DriverOk();
        _driver.Request(ring, 0, "later").Should().Be("later");
    }

    [Fact]
    public void Notification_without_a_driver_starts_nothing()
    {
        _driver.Status = 0;
        _driver.Notify(0);
        _device.IsActive.Should().BeFalse();
    }

    [Fact]
    public void Page_zero_takes_a_queue_away_and_another_page_places_it_anew()
    {
        _driver.Begin(0);
        var first = _driver.Queue(_arena, 0);
        _driver.DriverOk();
        _driver.Request(first, 0, "one").Should().Be("one");
        _driver.Out(0x08, 4, 12345);
        _driver.In(0x08, 4).Should().Be((uint)(first.Table >> 12), "a placed queue stays where it is");
        _driver.Out(0x08, 4, 0);
        _driver.In(0x08, 4).Should().Be(0);
        _driver.Request(first, 0, "two").Should().BeEmpty();
        var second = _driver.Queue(_arena, 0);
        _driver.Request(second, 0, "three").Should().Be("three");
    }

    [Theory]
    [InlineData(0xffff_ffffu)]
    [InlineData(1u)]
    public void Queue_outside_memory_breaks_the_device_and_a_reset_mends_it(uint page)
    {
        _driver.Begin(0);
        _driver.Out(0x0e, 2, 0);
        _driver.Out(0x08, 4, page);
        _driver.DriverOk();
        _device.NeedsReset.Should().BeTrue();
        _driver.Begin(0);
        var ring = _driver.Queue(_arena, 0);
        _driver.DriverOk();
        _driver.Request(ring, 0, "again").Should().Be("again");
    }

    [Fact]
    public void Queue_that_does_not_exist_has_no_entries_and_no_place()
    {
        _driver.Begin(0);
        _driver.Out(0x0e, 2, 0xffff);
        _driver.Out(0x08, 4, 16);
        _driver.In(0x0c, 2).Should().Be(0);
        _driver.In(0x08, 4).Should().Be(0);
        _driver.Notify(0xffff);
        _device.NeedsReset.Should().BeFalse();
    }

    [Fact]
    public void Configuration_moves_when_the_vectors_appear_before_it()
    {
        _driver.Config(0).Should().Be(1);
        _driver.Pci.EnableMsix();
        _driver.WithVectors = true;
        _driver.Config(0).Should().Be(1);
        _driver.Config(7).Should().Be(8);
        _driver.Out(24 + 4, 4, 0x0a0b0c0d);
        _driver.In(24 + 4, 4).Should().Be(0x0a0b0c0d);
        _driver.Pci.SetConfig(_driver.Pci.MsixCapability + 2, 2, 0);
        _driver.In(20 + 4, 4).Should().Be(0x0a0b0c0d);
    }

    [Fact]
    public void Messages_go_by_the_vectors_of_the_window()
    {
        _driver.Pci.EnableMsix();
        _driver.Begin(0);
        _driver.Out(0x14, 2, 0);
        var ring = _driver.Queue(_arena, 0);
        _driver.Out(0x16, 2, 2);
        _driver.In(0x14, 4).Should().Be(0x2_0000);
        _driver.Out(0x16, 2, 77);
        _driver.In(0x16, 2).Should().Be(LegacyDriver.NoVector, "there is no such vector");
        _driver.Out(0x16, 2, 1);
        _driver.DriverOk();
        _driver.Request(ring, 0, "x").Should().Be("x");
        _driver.Pci.Messages.Messages.Should().Equal((0xfee0_0000UL, 0x41u));
        _device.ChangeConfig(9);
        _driver.Pci.Messages.Messages.Should().HaveCount(2);
        _driver.Status = 0;
        _driver.In(0x14, 2).Should().Be(LegacyDriver.NoVector, "a reset takes the vectors");
    }

    [Fact]
    public void Modern_driver_uses_the_same_function()
    {
        var ring = new FakeSplitDriver(_arena, 8);
        _driver.Pci.Start(0, ring);
        ulong data = _arena.AllocateFilled([42, 0]);
        ring.Add(Element.Out(data, 1), Element.In(data + 1, 1));
        _driver.Pci.Notify(0);
        ring.TakeUsed().Should().NotBeNull();
        _device.Has(VirtioFeature.Version1).Should().BeTrue();
    }

    [Fact]
    public void Device_that_a_legacy_driver_uses_is_saved_and_goes_on_and_a_modern_one_does_not_take_its_record()
    {
        _driver.Begin(Indirect);
        var ring = _driver.Queue(_arena, 0);
        _driver.DriverOk();
        _driver.Request(ring, 0, "before").Should().Be("before");
        _device.Pause();
        var nextDevice = new EchoDevice(_arena.Memory);
        var next = new LegacyDriver(nextDevice);
        foreach (var (from, to) in _driver.Pci.Parts.Zip(next.Pci.Parts))
            to.RestoreState(from.SaveState()).Should().BeTrue(from.StateName);
        nextDevice.Resume();
        next.Status.Should().Be(7);
        next.Request(ring, 0, "after").Should().Be("after");
        new EchoDevice(_arena.Memory).RestoreState(_device.SaveState()).Should().BeFalse("no modern driver can be at DRIVER_OK without FEATURES_OK");
    }

    [Fact]
    public void Disk_is_read_and_written_by_requests_of_three_parts()
    {
        using var arena = new GuestArena(4 << 20);
        var driver = new LegacyDriver(new BlockDevice("disk0", arena.Memory, new NullImage(64 << 20), new BlockOptions { Id = "legacy" }));
        driver.Pci.Config32(0).Should().Be(0x1001_1af4);
        driver.Begin(uint.MaxValue);
        BitConverter.ToUInt64([.. Enumerable.Range(0, 8).Select(driver.Config)]).Should().Be((64 << 20) / 512, "the capacity comes first");
        var ring = driver.Queue(arena, 0);
        driver.DriverOk();
        foreach (uint type in (uint[])[0, 1, 8])
        {
            byte[] header = new byte[16];
            BitConverter.TryWriteBytes(header, type);
            ulong head = arena.AllocateFilled(header), data = arena.Allocate(512), status = arena.AllocateFilled([255]);
            uint length = type == 8 ? 20u : 512;
            ring.Add(Element.Out(head, 16), type == 1 ? Element.Out(data, length) : Element.In(data, length), Element.In(status, 1));
            driver.Notify(0);
            ring.TakeUsed().Should().NotBeNull();
            arena.Bytes(status, 1)[0].Should().Be(0, $"request {type}");
        }
    }

    /// <summary>Every width at every offset of the window, with vectors and without, and the modern registers between.</summary>
    [Fact]
    public void Any_accesses_of_the_legacy_window_throw_nothing_and_a_reset_mends_all()
    {
        var values = Gen.OneOf(
            Gen.Choose(0, 20).Select(v => (ulong)v),
            Gen.Elements(0UL, 0xffffUL, 0xffff_ffffUL, ulong.MaxValue, 7UL, GuestArena.Base >> 12, (GuestArena.Base >> 12) + 2));
        var accesses =
            (from offset in Gen.OneOf(Gen.Elements(0x04, 0x08, 0x08, 0x0e, 0x10, 0x12, 0x12, 0x13, 0x14, 0x16), Gen.Choose(0, 40))
             from width in Gen.OneOf(Gen.Elements(1, 2, 4, 8), Gen.Choose(1, 8))
             from value in values
             from kind in Gen.Choose(0, 9)
             select (Offset: (ulong)offset, Width: width, Value: value, Kind: kind)).ArrayOf(300);
        Prop.ForAll(accesses.ToArbitrary(), all =>
        {
            using var arena = new GuestArena(1 << 17);
            var device = new EchoDevice(arena.Memory);
            var driver = new LegacyDriver(device);
            byte[] data = new byte[8];
            foreach (var (offset, width, value, kind) in all)
            {
                BitConverter.TryWriteBytes(data, value);
                if (kind == 0)
                    driver.Pci.SetConfig(driver.Pci.MsixCapability + 2, 2, (uint)(value & 1) << 15);
                else if (kind == 1)
                    driver.Pci.Mmio.Write(driver.Pci.Common + offset, data.AsSpan(0, width));
                else if (kind < 5)
                    driver.Pci.Ports.Read(driver.Window + offset, data.AsSpan(0, width));
                else
                    driver.Pci.Ports.Write(driver.Window + offset, data.AsSpan(0, width));
            }

            driver.Begin(0);
            var ring = driver.Queue(arena, 0);
            driver.DriverOk();
            return driver.Request(ring, 0, "ok") == "ok" && arena.IsTheHostIntact;
        }).QuickCheckThrowOnFailure();
    }

    private sealed class Plain(VirtioDeviceType type, GuestArena arena) : VirtioDevice("plain0", type, arena.Memory, 0, [4], 0)
    {
    }
}
