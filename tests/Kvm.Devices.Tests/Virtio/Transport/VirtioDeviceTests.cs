using Kvm.Devices.Tests.Support;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio;
using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Tests.Virtio.Transport;

/// <summary>What a driver sees of any device, through both transports.</summary>
public sealed class VirtioDeviceTests : IDisposable
{
    private const byte QueueReason = 1, ConfigReason = 2;

    private readonly GuestArena _arena = new();

    public static TheoryData<bool> Pci => [false, true];

    public static TheoryData<bool, bool> PciAndPacked => new() { { false, false }, { false, true }, { true, false }, { true, true } };

    public void Dispose() => _arena.Dispose();

    private (EchoDevice Device, GuestTransport Guest) Make(bool pci)
    {
        var device = new EchoDevice(_arena.Memory);
        device.Schedule(new InlineScheduler());
        return (device, GuestTransport.Make(pci, device));
    }

    private string Echo(GuestTransport guest, FakeDriver driver, string text, int queue = 0, bool notify = true)
    {
        ulong from = _arena.AllocateFilled(System.Text.Encoding.ASCII.GetBytes(text)), to = _arena.Allocate(text.Length);
        driver.Add(Element.Out(from, (uint)text.Length), Element.In(to, (uint)text.Length));
        if (driver.MustNotify() && notify)
            guest.Notify(queue);
        return driver.TakeUsed() is { } used ? System.Text.Encoding.ASCII.GetString(_arena.Bytes(to, (int)used.Written)) : "";
    }

    [Theory]
    [MemberData(nameof(PciAndPacked))]
    public void Driver_that_follows_3_1_1_gets_its_request_answered_and_an_interrupt(bool pci, bool packed)
    {
        var (device, guest) = Make(pci);
        var driver = FakeDriver.Make(packed, _arena, 8, eventIndex: true);
        guest.Start(0, driver);
        Echo(guest, driver, "hello").Should().Be("hello");
        guest.Line.Asserted.Should().BeTrue();
        guest.TakeInterrupt().Should().Be(QueueReason);
        guest.Line.Asserted.Should().BeFalse();
        device.Activations.Should().Be(1);
        device.InterruptsSent.Should().Be(1);
    }

    [Theory]
    [MemberData(nameof(Pci))]
    public void Queues_of_a_device_are_independent(bool pci)
    {
        var (_, guest) = Make(pci);
        var first = new FakeSplitDriver(_arena, 8);
        var second = new FakeSplitDriver(_arena, 4);
        guest.Start(0, first, second);
        Echo(guest, second, "second", queue: 1).Should().Be("second");
        Echo(guest, first, "first").Should().Be("first");
        second.TakeUsed().Should().BeNull();
    }

    [Theory]
    [MemberData(nameof(Pci))]
    public void Offered_features_are_the_device_s_and_the_common_ones(bool pci)
    {
        var (device, guest) = Make(pci);
        guest.Offered.Should().Be(EchoDevice.Shout | EchoDevice.NeedsShout | VirtioFeature.Common);
        device.WithheldFeatures = VirtioFeature.RingPacked;
        guest.Offered.Should().Be((EchoDevice.Shout | EchoDevice.NeedsShout | VirtioFeature.Common) & ~VirtioFeature.RingPacked);
    }

    [Theory]
    [InlineData(false, VirtioFeature.Version1, true)]
    [InlineData(true, VirtioFeature.Version1 | EchoDevice.Shout | EchoDevice.NeedsShout, true)]
    [InlineData(false, 0UL, false)] // a driver before 1.0
    [InlineData(true, 0UL, false)]
    [InlineData(false, VirtioFeature.Version1 | 1UL << 5, false)] // never offered
    [InlineData(true, VirtioFeature.Version1 | 1UL << 63, false)]
    [InlineData(true, VirtioFeature.Version1 | EchoDevice.NeedsShout, false)] // needs another
    public void Features_are_accepted_only_if_they_were_offered_and_fit_together(bool pci, ulong features, bool accepted)
    {
        var (_, guest) = Make(pci);
        guest.Negotiate(features).Should().Be(accepted);
        guest.SetDriverOk();
        (guest.Status & GuestTransport.DriverOk).Should().Be(accepted ? GuestTransport.DriverOk : 0, "there is no device without FEATURES_OK");
    }

    [Theory]
    [MemberData(nameof(Pci))]
    public void Features_written_after_features_ok_are_lost(bool pci)
    {
        var (device, guest) = Make(pci);
        guest.Negotiate(VirtioFeature.Version1).Should().BeTrue();
        guest.Accept(VirtioFeature.Version1 | EchoDevice.Shout);
        device.Has(EchoDevice.Shout).Should().BeFalse();
    }

    [Theory]
    [MemberData(nameof(Pci))]
    public void Status_bits_cannot_be_cleared_nor_needs_reset_set_by_the_driver(bool pci)
    {
        var (_, guest) = Make(pci);
        guest.Negotiate(VirtioFeature.Version1);
        guest.Status = 0xff & ~GuestTransport.Driver;
        guest.Status.Should().Be(GuestTransport.Acknowledge | GuestTransport.Driver | GuestTransport.FeaturesOk | GuestTransport.DriverOk | GuestTransport.Failed);
        guest.Status = GuestTransport.Acknowledge;
        guest.Status.Should().Be(GuestTransport.Acknowledge | GuestTransport.Driver | GuestTransport.FeaturesOk | GuestTransport.DriverOk | GuestTransport.Failed);
    }

    [Theory]
    [MemberData(nameof(Pci))]
    public void Nothing_is_consumed_before_driver_ok_and_what_waits_is_at_driver_ok(bool pci)
    {
        var (device, guest) = Make(pci);
        var driver = new FakeSplitDriver(_arena, 8);
        guest.Negotiate(GuestTransport.FeaturesOf(driver));
        guest.SetUp(0, driver);
        Echo(guest, driver, "early").Should().BeEmpty();
        device.Echoed.Should().Be(0);
        guest.SetDriverOk();
        device.Echoed.Should().Be(1);
        driver.TakeUsed().Should().NotBeNull();
    }

    [Theory]
    [MemberData(nameof(PciAndPacked))]
    public void Reset_brings_everything_back_to_the_start_and_the_device_can_be_set_up_again(bool pci, bool packed)
    {
        var (device, guest) = Make(pci);
        var driver = FakeDriver.Make(packed, _arena, 4);
        guest.Start(EchoDevice.Shout, driver);
        Echo(guest, driver, "once");
        guest.Line.Asserted.Should().BeTrue();

        guest.Status = 0;
        guest.Status.Should().Be(0);
        guest.Line.Asserted.Should().BeFalse();
        guest.TakeInterrupt().Should().Be(0);
        guest.QueueEnabled(0).Should().BeFalse();
        guest.QueueSize(0).Should().Be(8);
        device.Has(EchoDevice.Shout).Should().BeFalse();
        device.Resets.Should().Be(2, "negotiation begins with one");
        Echo(guest, driver, "nobody hears").Should().BeEmpty();

        var again = FakeDriver.Make(packed, _arena, 8);
        guest.Start(0, again);
        Echo(guest, again, "back").Should().Be("back");
    }

    [Theory]
    [MemberData(nameof(Pci))]
    public void Queue_registers_are_fixed_while_the_queue_is_enabled(bool pci)
    {
        var (device, guest) = Make(pci);
        var driver = new FakeSplitDriver(_arena, 8);
        guest.Start(0, driver);
        guest.SetQueueSize(0, 2);
        guest.SetQueueAddresses(0, 0, 0, 0);
        guest.EnableQueue(0);
        device.QueueRegistersOf(0).Size.Should().Be(8);
        device.QueueRegistersOf(0).DescriptorArea.Should().Be(driver.Setup.DescriptorArea);
        Echo(guest, driver, "still").Should().Be("still");
    }

    public static TheoryData<bool, int> BadSizes => new()
    {
        { false, 0 }, { false, 3 }, { false, 16 }, { false, 32_769 }, { false, 65_536 + 8 }, { false, -1 }, { true, 0 }, { true, 3 }, { true, 16 }, { true, 32_769 },
    };

    [Theory]
    [MemberData(nameof(BadSizes))]
    public void Impossible_queue_size_reads_as_unavailable_and_the_device_needs_a_reset(bool pci, int size)
    {
        var (device, guest) = Make(pci);
        var driver = new FakeSplitDriver(_arena, 8);
        guest.Negotiate(VirtioFeature.Version1);
        guest.SetQueueSize(0, size);
        device.QueueRegistersOf(0).Size.Should().Be(0);
        guest.SetQueueAddresses(0, driver.Table, driver.Available, driver.Used);
        guest.EnableQueue(0);
        guest.SetDriverOk();
        (guest.Status & GuestTransport.NeedsReset).Should().NotBe(0);
        guest.TakeInterrupt().Should().Be(ConfigReason);
        device.LastFault.Should().Be(QueueFault.BadSetup);
    }

    [Theory]
    [MemberData(nameof(Pci))]
    public void Packed_queue_may_have_a_size_that_is_no_power_of_two(bool pci)
    {
        var (_, guest) = Make(pci);
        var driver = new FakePackedDriver(_arena, 5);
        guest.Start(0, driver);
        Echo(guest, driver, "five").Should().Be("five");
    }

    [Theory]
    [InlineData(false, 2)]
    [InlineData(false, 65_535)]
    [InlineData(false, -1)]
    [InlineData(true, 2)]
    [InlineData(true, 65_535)]
    public void Queue_that_does_not_exist_reads_as_zero_and_takes_nothing(bool pci, int queue)
    {
        var (device, guest) = Make(pci);
        guest.Negotiate(VirtioFeature.Version1 | VirtioFeature.RingReset);
        guest.QueueSize(queue).Should().Be(0);
        guest.SetQueueSize(queue, 8);
        guest.SetQueueAddresses(queue, GuestArena.Base, GuestArena.Base, GuestArena.Base);
        guest.EnableQueue(queue);
        guest.QueueEnabled(queue).Should().BeFalse();
        guest.ResetQueue(queue);
        guest.SetDriverOk();
        if (guest is GuestMmio)
            guest.Notify(queue);
        device.NeedsReset.Should().BeFalse();
    }

    [Theory]
    [MemberData(nameof(Pci))]
    public void Broken_ring_sets_needs_reset_with_an_interrupt_stops_every_queue_and_a_reset_mends_it(bool pci)
    {
        var (device, guest) = Make(pci);
        var bad = new FakeSplitDriver(_arena, 8);
        var good = new FakeSplitDriver(_arena, 8);
        guest.Start(0, bad, good);
        bad.Offer(1000);
        guest.Notify(0);
        (guest.Status & GuestTransport.NeedsReset).Should().NotBe(0);
        guest.TakeInterrupt().Should().Be(ConfigReason);
        (device.LastFault, device.Breaks).Should().Be((QueueFault.HeadOutOfRange, 1L));
        Echo(guest, good, "no", queue: 1).Should().BeEmpty();

        var again = new FakeSplitDriver(_arena, 8);
        guest.Start(0, again);
        Echo(guest, again, "yes").Should().Be("yes");
        device.LastFault.Should().Be(QueueFault.None);
    }

    [Theory]
    [MemberData(nameof(PciAndPacked))]
    public void Queue_reset_by_itself_starts_anew_while_the_other_goes_on(bool pci, bool packed)
    {
        var (device, guest) = Make(pci);
        var first = FakeDriver.Make(packed, _arena, 8);
        var second = FakeDriver.Make(packed, _arena, 8);
        guest.Start(VirtioFeature.RingReset, first, second);
        Echo(guest, first, "a");
        guest.ResetQueue(0);
        guest.QueueEnabled(0).Should().BeFalse();
        Echo(guest, first, "lost").Should().BeEmpty();
        Echo(guest, second, "b", queue: 1).Should().Be("b");

        var anew = FakeDriver.Make(packed, _arena, 4);
        guest.SetUp(0, anew);
        Echo(guest, anew, "c").Should().Be("c");
        device.NeedsReset.Should().BeFalse();
    }

    [Theory]
    [MemberData(nameof(Pci))]
    public void Queue_reset_without_the_feature_is_lost(bool pci)
    {
        var (_, guest) = Make(pci);
        var driver = new FakeSplitDriver(_arena, 8);
        guest.Start(0, driver);
        guest.ResetQueue(0);
        Echo(guest, driver, "here").Should().Be("here");
    }

    [Theory]
    [MemberData(nameof(Pci))]
    public void Configuration_is_read_in_any_width_and_zero_past_its_end(bool pci)
    {
        var (_, guest) = Make(pci);
        byte[] data = new byte[8];
        guest.ReadConfig(0, data);
        data.Should().Equal(1, 2, 3, 4, 5, 6, 7, 8);
        guest.ReadConfig(6, data.AsSpan(0, 4));
        data.Should().StartWith([7, 8, 0, 0]);
        guest.ReadConfig(8, data.AsSpan(0, 4));
        data.Should().StartWith([0, 0, 0, 0]);
        guest.WriteConfig(3, [9]);
        guest.WriteConfig(6, [9, 9]);
        guest.WriteConfig(6, [8, 8, 8, 8]);
        guest.WriteConfig(250, [8, 8]);
        guest.ReadConfig(0, data);
        data.Should().Equal(1, 2, 3, 4, 5, 6, 9, 9);
    }

    [Theory]
    [MemberData(nameof(Pci))]
    public void Generation_changes_when_a_changed_configuration_is_read_and_not_before(bool pci)
    {
        var (device, guest) = Make(pci);
        byte[] data = new byte[1];
        guest.ReadConfig(0, data);
        uint before = guest.Generation;
        guest.ReadConfig(0, data);
        guest.Generation.Should().Be(before);
        for (int i = 0; i < 256; i++)
            device.ChangeConfig((byte)i);
        guest.ReadConfig(0, data);
        guest.Generation.Should().NotBe(before, "4.1.4.3.1: not even after 256 changes");
    }

    [Theory]
    [MemberData(nameof(Pci))]
    public void Configuration_change_interrupts_only_an_active_driver(bool pci)
    {
        var (device, guest) = Make(pci);
        device.ChangeConfig(9);
        guest.TakeInterrupt().Should().Be(0);
        guest.Start(0, new FakeSplitDriver(_arena, 8));
        device.ChangeConfig(10);
        guest.Line.Asserted.Should().BeTrue();
        guest.TakeInterrupt().Should().Be(ConfigReason);
    }

    [Theory]
    [MemberData(nameof(PciAndPacked))]
    public void Throttled_chain_waits_until_the_device_wakes_its_queue(bool pci, bool packed)
    {
        var (device, guest) = Make(pci);
        var driver = FakeDriver.Make(packed, _arena, 8);
        guest.Start(0, driver);
        device.Throttled = true;
        Echo(guest, driver, "later").Should().BeEmpty();
        Echo(guest, driver, "and this").Should().BeEmpty();
        device.Throttled = false;
        device.WakeUp();
        driver.TakeAllUsed().Select(u => u.Written).Should().Equal(5, 8);
    }

    [Theory]
    [MemberData(nameof(PciAndPacked))]
    public void Pass_ends_after_one_ring_s_worth_and_says_that_it_is_to_be_called_again(bool pci, bool packed)
    {
        var device = new EchoDevice(_arena.Memory);
        var guest = GuestTransport.Make(pci, device);
        var driver = FakeDriver.Make(packed, _arena, 8);
        guest.Start(0, driver);
        for (int i = 0; i < 8; i++)
            driver.Add(Element.In(GuestArena.Base, 1));
        device.ProcessQueue(0).Should().BeTrue("the budget is used up, whether there is more or not");
        driver.TakeAllUsed().Should().HaveCount(8);

        driver.MustNotify();
        driver.Add(Element.In(GuestArena.Base, 1));
        driver.MustNotify().Should().BeFalse("the device looks by itself");
        device.ProcessQueue(0).Should().BeFalse();
        device.Echoed.Should().Be(9);
        driver.Add(Element.In(GuestArena.Base, 1));
        driver.MustNotify().Should().BeTrue();
    }

    [Theory]
    [MemberData(nameof(Pci))]
    public async Task Reset_waits_for_the_request_under_way_and_no_byte_changes_afterwards(bool pci)
    {
        var (device, guest) = Make(pci);
        var driver = new FakeSplitDriver(_arena, 8);
        guest.Start(0, driver);
        using var entered = new ManualResetEventSlim();
        using var leave = new ManualResetEventSlim();
        device.InTheMiddle = () =>
        {
            entered.Set();
            leave.Wait(TimeSpan.FromSeconds(30));
        };
        driver.Add(Element.In(GuestArena.Base, 1));
        driver.Add(Element.In(GuestArena.Base, 1));
        var worker = Task.Run(() => guest.Notify(0));
        bool began = entered.Wait(TimeSpan.FromSeconds(30));
        var reset = Task.Run(() => guest.Status = 0);
        bool asked = SpinWait.SpinUntil(() => device.IsStopping, TimeSpan.FromSeconds(30));
        bool waited = !reset.IsCompleted;
        leave.Set();
        await Task.WhenAll(worker, reset).WaitAsync(TimeSpan.FromSeconds(30));
        (began, asked, waited).Should().Be((true, true, true));
        guest.Status.Should().Be(0);
        device.Echoed.Should().Be(1, "the second request is not begun");
        guest.TakeInterrupt().Should().Be(0);
    }

    [Theory]
    [MemberData(nameof(PciAndPacked))]
    public void Ten_thousand_requests_through_registers_allocate_nothing(bool pci, bool packed)
    {
        var (device, guest) = Make(pci);
        var driver = FakeDriver.Make(packed, _arena, 8);
        guest.Start(0, driver);
        var element = new Element[] { Element.Out(GuestArena.Base, 16), Element.In(GuestArena.Base, 16) };
        var notify = new byte[2];
        ulong doorbell = guest is GuestPci place ? place.Address(2) : 0;
        Allocation.Of(_ =>
        {
            driver.TryAdd(element, out ushort _);
            if (guest is GuestPci p)
                p.Mmio.Write(doorbell, notify);
            else
                ((GuestMmio)guest).Registers.Out32(0x50, 0);
            while (driver.TakeUsed() is not null)
            {
            }
        }).Should().Be(0);
        device.Echoed.Should().BeGreaterThan(10_000);
    }
}
