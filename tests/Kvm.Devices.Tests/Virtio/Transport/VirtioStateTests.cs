using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Snapshot;
using Kvm.Devices.Tests.Support;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio;

namespace Kvm.Devices.Tests.Virtio.Transport;

/// <summary>Save and restore of a device and its transport, in the middle of traffic and from records that were tampered with.</summary>
public sealed class VirtioStateTests : IDisposable
{
    private readonly GuestArena _arena = new();

    public static TheoryData<bool, bool> PciAndPacked => new() { { false, false }, { false, true }, { true, false }, { true, true } };

    public void Dispose() => _arena.Dispose();

    private (EchoDevice Device, GuestTransport Guest) Make(bool pci)
    {
        var device = new EchoDevice(_arena.Memory);
        device.Schedule(new InlineScheduler());
        return (device, GuestTransport.Make(pci, device));
    }

    private static void Move(GuestTransport from, GuestTransport to)
    {
        foreach (var (source, target) in from.Parts.Zip(to.Parts))
            target.RestoreState(source.SaveState()).Should().BeTrue();
    }

    [Theory]
    [MemberData(nameof(PciAndPacked))]
    public void Device_saved_between_requests_goes_on_in_another_with_what_was_waiting(bool pci, bool packed)
    {
        var (first, guest) = Make(pci);
        var driver = FakeDriver.Make(packed, _arena, 8, eventIndex: true);
        guest.Start(EchoDevice.Shout, driver);
        for (int i = 0; i < 11; i++)
        {
            driver.Add(Element.In(GuestArena.Base, 1));
            guest.Notify(0);
            driver.TakeUsed().Should().NotBeNull();
        }

        first.Pause();
        driver.Add(Element.In(GuestArena.Base, 1));
        driver.Add(Element.In(GuestArena.Base, 1));
        guest.Notify(0);
        driver.TakeUsed().Should().BeNull("the device is paused");

        var (second, moved) = Make(pci);
        Move(guest, moved);
        second.IsActive.Should().BeTrue();
        second.Has(EchoDevice.Shout).Should().BeTrue();
        driver.TakeUsed().Should().BeNull("it does not run before it is told to");
        second.Resume();
        second.Echoed.Should().Be(13, "11 came with the record");
        driver.TakeAllUsed().Should().HaveCount(2);
        driver.Add(Element.In(GuestArena.Base, 1));
        moved.Notify(0);
        driver.TakeUsed().Should().NotBeNull();
        moved.Line.Asserted.Should().BeTrue();
    }

    [Theory]
    [MemberData(nameof(PciAndPacked))]
    public async Task Device_saved_in_the_middle_of_traffic_loses_and_repeats_nothing(bool pci, bool packed)
    {
        var (device, guest) = Make(pci);
        var driver = FakeDriver.Make(packed, _arena, 8);
        guest.Start(0, driver);
        const int total = 3_000;
        int used = 0, added = 0, echoed = 0;
        while (used < total)
        {
            int goal = Math.Min(total, used + 300);
            using var running = new CancellationTokenSource();
            var worker = Task.Run(() =>
            {
                while (!running.IsCancellationRequested)
                    device.ProcessQueue(0);
            });
            while (used < goal)
            {
                while (added < total && driver.TryAdd([Element.In(GuestArena.Base, 1)], out _))
                    added++;
                while (driver.TakeUsed() is not null)
                    used++;
            }

            device.Pause();
            await running.CancelAsync();
            await worker.WaitAsync(TimeSpan.FromSeconds(60));
            var (next, moved) = Make(pci);
            Move(guest, moved);
            (device, guest) = (next, moved);
            device.Resume();
            used += driver.TakeAllUsed().Count;
            echoed = device.Echoed;
        }

        (used, added, echoed).Should().Be((total, total, total));
    }

    [Theory]
    [MemberData(nameof(PciAndPacked))]
    public void Pending_interrupt_and_registers_come_across(bool pci, bool packed)
    {
        var (_, guest) = Make(pci);
        guest.Start(0, FakeDriver.Make(packed, _arena, 8));
        ((EchoDevice)guest.Device).ChangeConfig(1);
        guest.Line.Asserted.Should().BeTrue();
        guest.SetQueueSize(1, 4);
        var (device, moved) = Make(pci);
        Move(guest, moved);
        moved.Line.Asserted.Should().BeTrue();
        device.QueueRegistersOf(1).Size.Should().Be(4);
        moved.TakeInterrupt().Should().Be(2);
    }

    [Fact]
    public void Message_vectors_and_pending_messages_come_across()
    {
        var (_, first) = Make(pci: true);
        var guest = (GuestPci)first;
        guest.EnableMsix();
        guest.Start(0, new FakeSplitDriver(_arena, 8));
        guest.SetConfigVector(2);
        guest.SetVector(2, 0xfee0_0000, 0x99, masked: true);
        ((EchoDevice)guest.Device).ChangeConfig(1);
        var (device, second) = Make(pci: true);
        Move(guest, second);
        var moved = (GuestPci)second;
        moved.Line.Asserted.Should().BeFalse();
        moved.SetVector(2, 0xfee0_0000, 0x99, masked: false);
        moved.Messages.Messages.Should().Equal((0xfee0_0000UL, 0x99u));
        device.ChangeConfig(2);
        moved.Messages.Messages.Should().HaveCount(2);
    }

    [Fact]
    public void Device_that_needs_a_reset_still_does_after_a_restore()
    {
        var (_, guest) = Make(pci: false);
        var driver = new FakeSplitDriver(_arena, 8);
        guest.Start(0, driver);
        driver.Offer(999);
        guest.Notify(0);
        var (device, moved) = Make(pci: false);
        Move(guest, moved);
        device.NeedsReset.Should().BeTrue();
        device.LastFault.Should().Be(Kvm.Devices.Virtio.Queue.QueueFault.HeadOutOfRange);
        device.ProcessQueue(0).Should().BeFalse();
    }

    [Theory]
    [MemberData(nameof(PciAndPacked))]
    public void Mutilated_record_is_refused_without_change_or_leaves_a_working_device(bool pci, bool packed)
    {
        var (_, guest) = Make(pci);
        var driver = FakeDriver.Make(packed, _arena, 8);
        guest.Start(0, driver);
        var mutations = from part in Gen.Choose(0, 1)
                        from at in Gen.Choose(0, 400)
                        from value in Gen.OneOf(Gen.Choose(0, 255), Gen.Elements(0, 0xff, 0x80))
                        from cut in Gen.Choose(-2, 2)
                        select (part, at, value, cut);
        Prop.ForAll(mutations.ToArbitrary(), mutation =>
        {
            byte[] good = guest.Parts[mutation.part].SaveState();
            byte[] bad = new byte[good.Length + mutation.cut];
            good.AsSpan(0, Math.Min(good.Length, bad.Length)).CopyTo(bad);
            bad[mutation.at % bad.Length] = (byte)mutation.value;
            var (device, other) = Make(pci);
            byte[] fresh = other.Parts[mutation.part].SaveState();
            if (!other.Parts[mutation.part].RestoreState(bad))
                return other.Parts[mutation.part].SaveState().AsSpan().SequenceEqual(fresh);
            device.Resume();
            device.ChangeConfig(1);
            other.TakeInterrupt();
            device.Pause();
            return other.Parts[mutation.part].RestoreState(other.Parts[mutation.part].SaveState());
        }).QuickCheckThrowOnFailure();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Unknown_version_is_refused(bool pci)
    {
        var (_, guest) = Make(pci);
        foreach (IStateful part in guest.Parts)
        {
            byte[] record = part.SaveState();
            part.RestoreState(record, 0).Should().BeFalse();
            part.RestoreState(record, (ushort)(part.StateVersion + 1)).Should().BeFalse();
            part.RestoreState(record).Should().BeTrue();
        }
    }
}
