using Kvm.Devices.Tests.Support;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio.Rng;

namespace Kvm.Devices.Tests.Virtio.Rng;

public sealed class EntropyDeviceTests
{
    /// <summary>Counts up, so that every byte is known.</summary>
    private sealed class Counter : IEntropySource
    {
        private byte _next;

        public void Fill(Span<byte> buffer)
        {
            foreach (ref byte b in buffer)
                b = ++_next;
        }
    }

    private static EntropyDevice Make(GuestArena arena) => new("rng0", arena.Memory, new Counter());

    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public void Buffers_are_filled_to_their_ends(bool pci, bool packed)
    {
        using var guest = new DeviceGuest<EntropyDevice>(Make, pci: pci, packed: packed);
        ulong first = guest.Arena.Allocate(64), second = guest.Arena.Allocate(3);
        guest.Run(0, Element.In(first, 64), Element.In(second, 3))!.Value.Written.Should().Be(67);
        guest.Arena.Bytes(first, 64).ToArray().Should().Equal(Enumerable.Range(1, 64).Select(i => (byte)i));
        guest.Arena.Bytes(second, 3).ToArray().Should().Equal(65, 66, 67);
        guest.Device.BytesGiven.Should().Be(67);
        guest.Transport.TakeInterrupt().Should().Be(1);
    }

    /// <summary>As much as a chain may have (2.7.4), in elements that are the same memory, and a little more.</summary>
    [Theory]
    [InlineData(false, 0)]
    [InlineData(true, 0)]
    [InlineData(false, 8)]
    [InlineData(true, 8)]
    public void Chain_of_four_gigabytes_gets_64_KiB_and_no_more(bool packed, int more)
    {
        const int elementSize = 64 << 20;
        using var guest = new DeviceGuest<EntropyDevice>(Make, packed: packed, size: EntropyDevice.QueueSize, arena: elementSize + (1 << 20));
        ulong at = guest.Arena.Allocate(elementSize + more);
        Element[] elements = [.. Enumerable.Repeat(Element.In(at, elementSize), EntropyDevice.QueueSize - 1), Element.In(at, (uint)(elementSize + more))];
        elements.Sum(e => (long)e.Length).Should().Be((1L << 32) + more);
        guest.Run(0, elements)!.Value.Written.Should().Be(EntropyDevice.MostBytes);
        guest.Device.BytesGiven.Should().Be(EntropyDevice.MostBytes);
        guest.Arena.Bytes(at + EntropyDevice.MostBytes, 1 << 20).ContainsAnyExcept((byte)0).Should().BeFalse("what is behind is not written");
        guest.Run(0, Element.In(at, 16))!.Value.Written.Should().Be(16);
        guest.Device.NeedsReset.Should().BeFalse();
    }

    [Fact]
    public void Buffer_outside_memory_gets_nothing_and_harms_nothing()
    {
        using var guest = new DeviceGuest<EntropyDevice>(Make);
        ulong good = guest.Arena.Allocate(16);
        guest.Run(0, Element.In(good, 16), Element.In(0xfee0_0000, 0xffff_ffff))!.Value.Written.Should().Be(0);
        guest.Run(0, Element.In(guest.Arena.End - 8, 16))!.Value.Written.Should().Be(0);
        guest.Run(0, Element.In(good, 16))!.Value.Written.Should().Be(16);
        guest.Device.NeedsReset.Should().BeFalse();
    }

    [Fact]
    public void Buffers_the_device_may_only_read_are_left_alone()
    {
        using var guest = new DeviceGuest<EntropyDevice>(Make);
        ulong at = guest.Arena.AllocateFilled([9, 9, 9, 9]);
        guest.Run(0, Element.Out(at, 4))!.Value.Written.Should().Be(0);
        guest.Arena.Bytes(at, 4).ToArray().Should().Equal(9, 9, 9, 9);
    }

    [Fact]
    public void Whoever_watches_memory_hears_of_the_bytes_when_they_are_there()
    {
        using var guest = new DeviceGuest<EntropyDevice>(Make);
        ulong at = guest.Arena.Allocate(16);
        guest.Arena.Bytes(at, 16).Clear();
        bool seen = false;
        guest.Arena.Memory.WriteObserver = (address, length) =>
        {
            if (address == at && length == 16)
                seen = guest.Arena.Memory.TryReadOnlySlice(at, 16, out var now) && now[15] == 16;
        };
        guest.Run(0, Element.In(at, 16));
        guest.Arena.Memory.WriteObserver = null;
        seen.Should().BeTrue();
    }

    [Fact]
    public void Device_moved_with_requests_waiting_serves_them_all()
    {
        using var guest = new DeviceGuest<EntropyDevice>(Make, pci: true);
        ulong at = guest.Arena.Allocate(64);
        guest.Device.Pause();
        for (int i = 0; i < 4; i++)
            guest.Drivers[0].Add(Element.In(at + (ulong)(i * 16), 16));
        guest.Transport.Notify(0);
        guest.Drivers[0].TakeUsed().Should().BeNull("the device is paused");
        guest.Move(Make);
        guest.Drivers[0].TakeAllUsed().Should().HaveCount(4).And.OnlyContain(u => u.Written == 16);
    }

    [Fact]
    public void Ten_thousand_requests_allocate_nothing()
    {
        using var guest = new DeviceGuest<EntropyDevice>(Make);
        Element[] request = [Element.In(guest.Arena.Allocate(64), 64)];
        Allocation.Of(_ =>
        {
            guest.Drivers[0].TryAdd(request, out ushort _);
            guest.Device.ProcessQueue(0);
            while (guest.Drivers[0].TakeUsed() is not null)
            {
            }
        }).Should().Be(0);
    }
}
