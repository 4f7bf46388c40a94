using System.Buffers.Binary;
using Kvm.Devices.Memory;
using Kvm.Devices.Tests.Support;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio.Balloon;

namespace Kvm.Devices.Tests.Virtio.Balloon;

public sealed class BalloonDeviceTests
{
    private const ulong StatsQueue = 1 << 1, PagePoison = 1 << 4, PageReporting = 1 << 5;
    private const int Inflate = 0, Deflate = 1, Statistics = 2, Reporting = 3;
    private const uint FirstPage = (uint)(GuestArena.Base / 4096);

    private readonly Host _host = new();

    /// <summary>Takes note of what it is given.</summary>
    private sealed class Host : IMemoryReclaimer
    {
        public List<(ulong Address, ulong Length)> Given { get; } = [];

        public bool Refuse { get; set; }

        public bool Discard(ulong address, ulong length)
        {
            if (!Refuse)
                Given.Add((address, length));
            return !Refuse;
        }
    }

    private BalloonDevice Make(GuestArena arena) => new("balloon0", arena.Memory, _host);

    private DeviceGuest<BalloonDevice> Guest(ulong? features = null, bool pci = false) => new(Make, features, pci);

    private static byte[] Pages(params uint[] pages)
    {
        byte[] bytes = new byte[pages.Length * 4];
        for (int i = 0; i < pages.Length; i++)
            BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(i * 4), pages[i]);
        return bytes;
    }

    private static byte[] Stat(ushort tag, ulong value)
    {
        byte[] bytes = new byte[10];
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, tag);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(2), value);
        return bytes;
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Pages_that_follow_each_other_go_to_the_host_together(bool pci)
    {
        using var guest = Guest(pci: pci);
        guest.Run(Inflate, guest.Out(Pages(FirstPage + 4, FirstPage + 5, FirstPage + 6, FirstPage + 20, FirstPage + 19, FirstPage + 40)))!.Value.Written.Should().Be(0);
        _host.Given.Should().Equal(
            (GuestArena.Base + (4 << 12), 3 << 12), (GuestArena.Base + (19 << 12), 2 << 12), (GuestArena.Base + (40 << 12), 1 << 12));
        guest.Device.InflatedBytes.Should().Be(6 * 4096);
        guest.Device.Refused.Should().Be(0);
    }

    [Fact]
    public void Pages_that_are_no_guest_memory_are_refused_and_their_neighbours_are_not()
    {
        using var guest = Guest();
        uint last = (uint)(guest.Arena.End / 4096) - 1;
        guest.Run(Inflate, guest.Out(Pages(0, FirstPage - 1, uint.MaxValue, last, last + 1, 0xfee00)))!.Value.Written.Should().Be(0);
        _host.Given.Should().Equal((guest.Arena.End - 4096, 4096UL));
        guest.Device.Refused.Should().Be(5);
        guest.Device.NeedsReset.Should().BeFalse();
    }

    /// <summary>All of the guest's memory: the rings of every queue, and the list of pages while it is read.</summary>
    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public void Driver_that_gives_its_own_rings_away_harms_itself_only_and_a_reset_mends_it(bool packed, bool oneByOne)
    {
        using var guest = new DeviceGuest<BalloonDevice>(arena => new BalloonDevice("balloon0", arena.Memory, new Zeroing(arena.Memory)), packed: packed);
        int count = guest.Arena.Size / 4096;
        // Pages two apart go to the host at once; pages in a row when the list has ended.
        uint[] pages = [.. Enumerable.Range(0, count).Select(i => FirstPage + (uint)(oneByOne ? i * 2 % count + i * 2 / count : i))];
        guest.Drivers[Inflate].Add(guest.Out(Pages(pages)));
        guest.Transport.Notify(Inflate);
        guest.Device.InflatedBytes.Should().BeInRange(4096, guest.Arena.Size);
        (guest.Device.InflatedBytes / 4096 + guest.Device.Refused).Should().BeInRange(1, count, "no more was looked at than the list had");
        for (int queue = 0; queue < guest.Device.QueueCount; queue++)
            guest.Transport.Notify(queue);
        guest.Arena.IsTheHostIntact.Should().BeTrue();

        guest.Transport.Status = 0;
        var drivers = guest.Drivers.Select(_ => FakeDriver.Make(packed, guest.Arena, 8)).ToArray();
        guest.Transport.Start(guest.Device.OfferedFeatures & 0xff_ffff, drivers);
        guest.Device.NeedsReset.Should().BeFalse();
        long before = guest.Device.InflatedBytes;
        drivers[Inflate].Add(guest.Out(Pages(FirstPage)));
        guest.Transport.Notify(Inflate);
        drivers[Inflate].TakeUsed().Should().NotBeNull();
        (guest.Device.InflatedBytes - before).Should().Be(4096);
    }

    /// <summary>Does to memory what the host does.</summary>
    private sealed class Zeroing(GuestMemory memory) : IMemoryReclaimer
    {
        public bool Discard(ulong address, ulong length)
        {
            if (!memory.TrySlice(address, (int)length, out var bytes))
                return false;
            bytes.Clear();
            return true;
        }
    }

    [Fact]
    public void Host_that_does_not_take_a_page_is_counted()
    {
        using var guest = Guest();
        _host.Refuse = true;
        guest.Run(Inflate, guest.Out(Pages(FirstPage, FirstPage + 1)));
        (guest.Device.InflatedBytes, guest.Device.Refused).Should().Be((0, 2));
    }

    [Fact]
    public void Part_of_a_page_number_and_bytes_beyond_the_limit_are_not_looked_at()
    {
        using var guest = Guest();
        guest.Run(Inflate, guest.Out([.. Pages(FirstPage), 1, 2, 3]));
        _host.Given.Should().ContainSingle();
        ulong zeros = guest.Arena.Allocate(2 << 20);
        guest.Arena.Bytes(zeros, 2 << 20).Clear();
        guest.Run(Inflate, Element.Out(zeros, 2 << 20));
        guest.Device.Refused.Should().Be(32_768, "as many numbers of a request as are looked at");
    }

    [Fact]
    public void Deflated_pages_are_counted_and_come_back_by_being_touched()
    {
        using var guest = Guest();
        guest.Run(Deflate, guest.Out(Pages(FirstPage, FirstPage + 1)))!.Value.Written.Should().Be(0);
        guest.Device.DeflatedBytes.Should().Be(8192);
        _host.Given.Should().BeEmpty();
    }

    [Fact]
    public void Target_is_shown_in_pages_and_announced_by_a_configuration_interrupt()
    {
        using var guest = Guest();
        guest.Device.SetTarget((5 << 20) + 4095);
        byte[] field = new byte[4];
        guest.Transport.ReadConfig(0, field);
        BinaryPrimitives.ReadUInt32LittleEndian(field).Should().Be(1280);
        guest.Transport.TakeInterrupt().Should().Be(2);
        guest.Transport.WriteConfig(4, [0, 1, 0, 0]);
        guest.Device.ActualBytes.Should().Be(256 * 4096);
        guest.Transport.WriteConfig(0, [9, 9, 9, 9]);
        guest.Device.TargetBytes.Should().Be(5 << 20, "the target is not the driver's");
        guest.Transport.Status = 0;
        guest.Device.ActualBytes.Should().Be(0);
        guest.Device.TargetBytes.Should().Be(5 << 20);
    }

    [Fact]
    public void Target_beyond_16_TiB_is_cut()
    {
        using var guest = Guest();
        guest.Device.SetTarget(ulong.MaxValue);
        guest.Device.TargetBytes.Should().Be(uint.MaxValue * 4096UL);
    }

    [Fact]
    public void Statistics_come_when_they_are_asked_for()
    {
        using var guest = Guest();
        guest.Device.StatisticsReceived.Should().Be(0);
        guest.Run(Statistics, guest.Out([.. Stat(4, 100), .. Stat(5, 200), .. Stat(999, 1), .. Stat(4, 150)])).Should().BeNull("the device keeps the buffer (5.5.6.3)");
        guest.Device.Statistics.Should().Be(new BalloonStatistics { Free = 150, Total = 200 });
        guest.Device.RequestStatistics();
        guest.Drivers[Statistics].TakeUsed().Should().NotBeNull("using it asks for the next");
        guest.Run(Statistics, guest.Out(Stat(0, 7))).Should().BeNull();
        guest.Device.Statistics.Should().Be(new BalloonStatistics { SwapIn = 7 });
        guest.Device.StatisticsReceived.Should().Be(2);
    }

    [Fact]
    public void Statistics_of_nothing_but_odd_bytes_are_empty()
    {
        using var guest = Guest();
        guest.Run(Statistics, guest.Out([1, 2, 3])).Should().BeNull();
        guest.Device.Statistics.Should().Be(new BalloonStatistics());
    }

    [Fact]
    public void Reported_pages_go_to_the_host_whole()
    {
        using var guest = Guest(pci: true);
        ulong at = guest.Arena.Allocate(5 * 4096, 4096);
        guest.Run(Reporting, Element.In(at, 3 * 4096), Element.In(at + (3 << 12) + 1, 4096), Element.In(at + (3 << 12) + 100, 8092))!.Value.Written.Should().Be(0);
        _host.Given.Should().Equal((at, 3UL << 12), (at + (4UL << 12), 1UL << 12));
        guest.Device.ReportedBytes.Should().Be(4 << 12);
    }

    [Fact]
    public void Reports_of_what_is_no_memory_or_not_negotiated_or_poisoned_are_not_followed()
    {
        using (var guest = Guest())
        {
            guest.Run(Reporting, Element.In(0xfee0_0000, 4096))!.Value.Written.Should().Be(0);
            ulong at = guest.Arena.Allocate(4096, 4096);
            guest.Transport.WriteConfig(12, [0xaa, 0, 0, 0]);
            guest.Run(Reporting, Element.In(at, 4096));
        }

        using (var guest = Guest(StatsQueue))
            guest.Run(Reporting, Element.In(guest.Arena.Allocate(4096, 4096), 4096));
        _host.Given.Should().BeEmpty();
    }

    [Fact]
    public void Driver_without_statistics_has_its_reports_at_queue_2()
    {
        using var guest = Guest(PageReporting | PagePoison);
        ulong at = guest.Arena.Allocate(4096, 4096);
        guest.Run(2, Element.In(at, 4096))!.Value.Written.Should().Be(0);
        _host.Given.Should().Equal((at, 4096UL));
    }

    [Fact]
    public void Balloon_moved_with_a_statistics_buffer_in_its_hands_goes_on()
    {
        using var guest = Guest(pci: true);
        guest.Device.SetTarget(1 << 20);
        guest.Transport.WriteConfig(4, [4, 0, 0, 0]);
        guest.Run(Statistics, guest.Out(Stat(4, 100))).Should().BeNull();
        guest.Device.Pause();
        guest.Drivers[Inflate].Add(guest.Out(Pages(FirstPage)));
        guest.Move(Make);
        _host.Given.Should().ContainSingle();
        (guest.Device.TargetBytes, guest.Device.ActualBytes).Should().Be((1UL << 20, 4UL * 4096));
        guest.Device.Statistics.Should().Be(new BalloonStatistics { Free = 100 });
        guest.Device.RequestStatistics();
        guest.Drivers[Statistics].TakeUsed().Should().NotBeNull();
    }

    [Fact]
    public void Ten_thousand_requests_allocate_nothing()
    {
        var host = new Silent();
        using var guest = new DeviceGuest<BalloonDevice>(arena => new BalloonDevice("balloon0", arena.Memory, host));
        Element[] pages = [guest.Out(Pages(FirstPage, FirstPage + 1, FirstPage + 7, 3))], report = [Element.In(guest.Arena.Allocate(8192, 4096), 8192)];
        Allocation.Of(i =>
        {
            int queue = i % 3 == 0 ? Reporting : i % 3 - 1;
            guest.Drivers[queue].TryAdd(i % 3 == 0 ? report : pages, out ushort _);
            guest.Device.ProcessQueue(queue);
            while (guest.Drivers[queue].TakeUsed() is not null)
            {
            }
        }).Should().Be(0);
    }

    private sealed class Silent : IMemoryReclaimer
    {
        public bool Discard(ulong address, ulong length) => true;
    }
}
