using Kvm.Devices.Tests.Support;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio;
using Kvm.Devices.Virtio.Transport;

namespace Kvm.Devices.Tests.Virtio.Transport;

/// <summary>What is virtio-pci's own (virtio 1.2, 4.1).</summary>
public sealed class VirtioPciTests : IDisposable
{
    private const int NoVector = 0xffff;
    private const ulong Apic = 0xfee0_0000;

    private readonly GuestArena _arena = new();
    private readonly EchoDevice _device;
    private readonly GuestPci _guest;

    public VirtioPciTests()
    {
        _device = new EchoDevice(_arena.Memory);
        _device.Schedule(new InlineScheduler());
        _guest = new GuestPci(_device);
    }

    public void Dispose() => _arena.Dispose();

    private FakeSplitDriver StartWithMessages()
    {
        var driver = new FakeSplitDriver(_arena, 8);
        _guest.EnableMsix();
        _guest.Negotiate(GuestTransport.FeaturesOf(driver)).Should().BeTrue();
        _guest.SetQueueVector(0, 1).Should().Be(1);
        _guest.SetConfigVector(0).Should().Be(0);
        _guest.SetUp(0, driver);
        _guest.SetDriverOk();
        return driver;
    }

    private void Request(FakeSplitDriver driver)
    {
        driver.Add(Element.In(GuestArena.Base, 1));
        _guest.Notify(0);
        driver.TakeUsed().Should().NotBeNull();
    }

    [Fact]
    public void Identity_is_one_no_legacy_driver_takes_as_4_1_2_1_demands()
    {
        _guest.Config32(0).Should().Be(0x1044_1af4);
        (_guest.Config32(8) & 0xff).Should().BeGreaterThanOrEqualTo(1);
        (_guest.Config32(0x2c) >> 16).Should().BeGreaterThanOrEqualTo(0x40);
        (_guest.Config32(0x3c) >> 8 & 0xff).Should().Be(1, "INTA");
        (_guest.Config32(0x3c) & 0xff).Should().Be(16 + 3);
        (_guest.Config32(4) & 2).Should().Be(2, "memory is decoded before the guest starts");
    }

    [Fact]
    public void Every_structure_has_a_capability_inside_its_register_and_clear_of_the_others()
    {
        _guest.Structures.Keys.Should().BeEquivalentTo([1, 2, 3, 4, 5]);
        var mapped = _guest.Structures.Where(s => s.Key != 5).Select(s => s.Value).OrderBy(s => s.Offset).ToList();
        mapped.Should().OnlyContain(s => s.Bar == VirtioPci.RegistersBar && s.Offset % 4 == 0 && s.Offset + s.Length <= 0x4000);
        mapped.Zip(mapped.Skip(1)).Should().OnlyContain(p => p.First.Offset + p.First.Length <= p.Second.Offset);
        _guest.NotifyMultiplier.Should().Be(4);
        _guest.Structures[2].Length.Should().BeGreaterThanOrEqualTo(_guest.NotifyMultiplier + 2, "two queues");
        _guest.Structures[4].Length.Should().Be(8);
        _guest.MsixCapability.Should().NotBe(0);
        (_guest.Config32(_guest.MsixCapability) >> 16 & 0x7ff).Should().Be(2, "one for each queue and one for the configuration");
    }

    [Fact]
    public void Queue_and_configuration_have_messages_of_their_own_and_the_wire_stays_low()
    {
        var driver = StartWithMessages();
        Request(driver);
        _guest.Messages.Messages.Should().Equal((Apic, 0x41u));
        _device.ChangeConfig(1);
        _guest.Messages.Messages.Should().Equal((Apic, 0x41u), (Apic, 0x40u));
        _guest.Line.Rises.Should().Be(0);
    }

    [Fact]
    public void Queue_without_a_vector_sends_nothing()
    {
        var driver = StartWithMessages();
        _guest.SetQueueVector(0, NoVector).Should().Be(NoVector);
        Request(driver);
        _guest.SetConfigVector(NoVector);
        _device.ChangeConfig(1);
        _guest.Messages.Messages.Should().BeEmpty();
    }

    [Theory]
    [InlineData(3)]
    [InlineData(0x7ff)]
    [InlineData(0xfffe)]
    public void Vector_past_the_table_reads_back_as_none(int vector)
    {
        _guest.SetQueueVector(0, vector).Should().Be(NoVector);
        _guest.SetConfigVector(vector).Should().Be(NoVector);
    }

    [Fact]
    public void Reset_unmaps_all_vectors()
    {
        StartWithMessages();
        _guest.Status = 0;
        _guest.Select(0);
        _guest.Read(_guest.Common + 0x1a, 2).Should().Be(NoVector);
        _guest.Read(_guest.Common + 0x10, 2).Should().Be(NoVector);
    }

    [Fact]
    public void Message_of_a_masked_vector_is_pending_and_is_sent_once_when_unmasked()
    {
        var driver = StartWithMessages();
        _guest.SetVector(1, Apic, 0x77, masked: true);
        Request(driver);
        Request(driver);
        _guest.Messages.Messages.Should().BeEmpty();
        _guest.Read(_guest.BarAddress(1) + 0x800, 4).Should().Be(2);
        _guest.SetVector(1, Apic, 0x78, masked: false);
        _guest.Messages.Messages.Should().Equal((Apic, 0x78u));
        _guest.Read(_guest.BarAddress(1) + 0x800, 4).Should().Be(0);
    }

    [Fact]
    public void Function_mask_keeps_all_messages_until_it_is_lifted()
    {
        var driver = StartWithMessages();
        _guest.SetConfig(_guest.MsixCapability + 2, 2, 0xc000);
        Request(driver);
        _device.ChangeConfig(1);
        _guest.Messages.Messages.Should().BeEmpty();
        _guest.SetConfig(_guest.MsixCapability + 2, 2, 0x8000);
        _guest.Messages.Messages.Should().BeEquivalentTo([(Apic, 0x40u), (Apic, 0x41u)]);
    }

    [Fact]
    public void Without_messages_the_wire_is_up_from_the_used_buffer_to_the_read_of_isr()
    {
        var driver = new FakeSplitDriver(_arena, 8);
        _guest.Start(0, driver);
        Request(driver);
        _guest.Line.Asserted.Should().BeTrue();
        (_guest.Config32(4) >> 16 & 8).Should().Be(8, "PCI's Interrupt Status, 4.1.4.5.1");
        _guest.TakeInterrupt().Should().Be(1);
        _guest.Line.Asserted.Should().BeFalse();
        (_guest.Config32(4) >> 16 & 8).Should().Be(0);
        _guest.TakeInterrupt().Should().Be(0);
    }

    [Fact]
    public void Interrupt_disable_keeps_the_wire_low_until_it_is_lifted()
    {
        var driver = new FakeSplitDriver(_arena, 8);
        _guest.Start(0, driver);
        _guest.SetConfig(4, 2, 0x402);
        Request(driver);
        _guest.Line.Asserted.Should().BeFalse();
        _guest.SetConfig(4, 2, 0x002);
        _guest.Line.Asserted.Should().BeTrue();
    }

    [Fact]
    public void Wire_that_is_up_goes_down_when_messages_are_switched_on()
    {
        var driver = new FakeSplitDriver(_arena, 8);
        _guest.Start(0, driver);
        Request(driver);
        _guest.EnableMsix();
        _guest.Line.Asserted.Should().BeFalse();
    }

    [Fact]
    public void Notification_is_told_by_its_address_whatever_is_written()
    {
        var driver = new FakeSplitDriver(_arena, 8);
        _guest.Start(0, driver);
        driver.Add(Element.In(GuestArena.Base, 1));
        _guest.Write(_guest.Address(2) + 4, 2, 0);
        _device.Echoed.Should().Be(0, "that was queue 1's address");
        _guest.Write(_guest.Address(2) + 2, 2, 0);
        _device.Echoed.Should().Be(0, "between two addresses is nothing");
        _guest.Write(_guest.Address(2), 4, 0xffff_ffff);
        _device.Echoed.Should().Be(1);
        _guest.Write(_guest.Address(2) + 0xffc, 2, 0);
    }

    [Fact]
    public void Registers_are_reached_through_configuration_space_as_4_1_4_9_says()
    {
        int cap = _guest.AccessCapability;
        void Point(uint offset, uint length)
        {
            _guest.SetConfig(cap + 4, 1, VirtioPci.RegistersBar);
            _guest.SetConfig(cap + 8, 4, offset);
            _guest.SetConfig(cap + 12, 4, length);
        }

        Point(0x14, 1);
        _guest.SetConfig(cap + 16, 1, 1);
        _guest.Status.Should().Be(1);
        (_guest.Config32(cap + 16) & 0xff).Should().Be(1);
        Point(0x12, 2);
        (_guest.Config32(cap + 16) & 0xffff).Should().Be(2, "num_queues");
        Point(0x2000, 4);
        _guest.Config32(cap + 16).Should().Be(0x0403_0201);
    }

    [Theory]
    [InlineData(4u, 0x14u, 3u)]
    [InlineData(4u, 0x14u, 0u)]
    [InlineData(4u, 0x14u, 0xffff_ffffu)]
    [InlineData(4u, 0x15u, 2u)]
    [InlineData(4u, 0x4000u, 1u)]
    [InlineData(4u, 0xffff_fffcu, 4u)]
    [InlineData(1u, 0u, 4u)]
    [InlineData(0u, 0u, 4u)]
    [InlineData(255u, 0u, 4u)]
    public void Configuration_access_that_points_at_no_register_does_nothing(uint bar, uint offset, uint length)
    {
        int cap = _guest.AccessCapability;
        _guest.SetConfig(cap + 4, 1, bar);
        _guest.SetConfig(cap + 8, 4, offset);
        _guest.SetConfig(cap + 12, 4, length);
        _guest.SetConfig(cap + 16, 4, 0x0101_0101);
        _guest.Config32(cap + 16).Should().Be(0x0101_0101);
        _guest.Status.Should().Be(0);
    }

    [Fact]
    public void Registers_follow_their_base_address_and_say_where_they_are()
    {
        var places = new List<ulong?>();
        _guest.Function.RegistersMoved += places.Add;
        ulong old = _guest.BarAddress(4);
        _guest.SetConfig(0x20, 4, 0xd000_0000);
        _guest.Read(0xd000_0000 + 0x12, 2).Should().Be(2);
        _guest.Read(old + 0x12, 2).Should().Be(0xffff);
        _guest.SetConfig(4, 2, 0);
        places.Should().Equal(null, 0xd000_0000, null);
        _guest.Read(0xd000_0012, 2).Should().Be(0xffff);
    }

    [Fact]
    public void Base_address_moved_over_another_register_is_not_mapped_and_harms_nothing()
    {
        ulong table = _guest.BarAddress(1);
        _guest.SetConfig(0x20, 4, (uint)table & ~0x3fffu);
        _guest.Bus.RefusedMappings.Should().Be(1);
        _guest.Read(table + 12, 4).Should().Be(1, "the table is where it was");
        _guest.SetConfig(0x20, 4, 0xd000_0000);
        _guest.Read(0xd000_0012, 2).Should().Be(2);
    }

    [Fact]
    public void Field_is_written_whole_and_any_other_write_is_lost()
    {
        _guest.Write(_guest.Common + 0x16, 1, 1);
        _guest.Write(_guest.Common + 0x14, 2, 0x0101);
        _guest.Write(_guest.Common + 0x17, 2, 0x0101);
        _guest.Write(_guest.Common + 0x21, 4, 0x1010_1010);
        _guest.Write(_guest.Common + 0x24, 8, ulong.MaxValue);
        _guest.Read(_guest.Common + 0x14, 4).Should().Be(0);
        _guest.Read(_guest.Common + 0x20, 8).Should().Be(0);
        _guest.Read(_guest.Common + 0x3c, 4).Should().Be(0, "past the structure");
    }

    [Fact]
    public void Every_field_reads_back_at_its_own_width_and_inside_wider_reads()
    {
        _guest.Write(_guest.Common + 0x16, 2, 1);
        _guest.Write(_guest.Common + 0x20, 8, 0x1122_3344_5566_7788);
        _guest.Read(_guest.Common + 0x24, 4).Should().Be(0x1122_3344);
        _guest.Read(_guest.Common + 0x20, 8).Should().Be(0x1122_3344_5566_7788);
        _guest.Read(_guest.Common + 0x22, 2).Should().Be(0x5566);
        _guest.Read(_guest.Common + 0x16, 4).Should().Be(0x0008_0001, "select, then size");
    }
}
