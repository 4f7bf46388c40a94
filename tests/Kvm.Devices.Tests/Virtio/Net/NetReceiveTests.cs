using System.Buffers.Binary;
using Kvm.Devices.Net;
using Kvm.Devices.Tests.Support;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio.Net;

namespace Kvm.Devices.Tests.Virtio.Net;

/// <summary>Frames for the guest (virtio 1.2, 5.1.6.3 and 5.1.6.4).</summary>
public sealed class NetReceiveTests
{
    private static ushort Buffers(NetGuest guest, ulong at) => guest.Arena.U16(at + NetHeader.BuffersOffset);

    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public void Frame_goes_into_the_first_buffer_behind_its_header(bool pci, bool packed)
    {
        using var guest = new NetGuest(pci: pci, packed: packed);
        ulong at = guest.Offer(1526);
        byte[] frame = NetGuest.Frame(1514);
        var header = new NetHeader(NetHeader.NeedsChecksum, NetHeader.GsoTcp4, 54, 1448, 34, 16, 0);
        guest.Cable.Give(frame, header);
        guest.Receiver.TakeUsed()!.Value.Written.Should().Be(1526);
        NetHeader.Read(guest.Arena.Bytes(at, 12)).Should().Be(header with { Buffers = 1 });
        guest.Arena.Bytes(at + 12, 1514).ToArray().Should().Equal(frame);
        guest.Transport.TakeInterrupt().Should().Be(1);
        guest.Device.Counters.Should().Be(new NetCounters { FramesReceived = 1, BytesReceived = 1514 });
        guest.Cable.Waiting.Should().Be(0);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Long_frame_takes_as_many_buffers_as_it_needs_and_says_how_many(bool packed)
    {
        using var guest = new NetGuest(packed: packed, size: 64);
        var places = Enumerable.Range(0, 45).Select(_ => guest.Offer(1526)).ToArray();
        byte[] frame = NetGuest.Frame(NetHeader.MaxFrame);
        guest.Cable.Give(frame);
        var used = guest.Receiver.TakeAllUsed();
        used.Should().HaveCount(43);
        used.Sum(u => u.Written).Should().Be(NetHeader.MaxFrame + 12);
        Buffers(guest, places[0]).Should().Be(43);
        var got = used.SelectMany((u, i) => guest.Arena.Bytes(places[i], (int)u.Written).ToArray()).Skip(12).ToArray();
        got.SequenceEqual(frame).Should().BeTrue();
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(true, true)]
    public void Frame_waits_for_enough_buffers_and_is_shown_only_when_it_is_whole(bool packed, bool eventIndex)
    {
        using var guest = new NetGuest(packed: packed, eventIndex: eventIndex, features: NetGuest.All);
        byte[] frame = NetGuest.Frame(3000);
        guest.Cable.Give(frame);
        ulong first = guest.Offer(1500), second = guest.Offer(1500);
        guest.Receiver.TakeUsed().Should().BeNull();
        guest.Device.Counters.ReceiveStalls.Should().BePositive();
        guest.Offer(1500);
        guest.Receiver.TakeAllUsed().Select(u => u.Written).Should().Equal(1500, 1500, 12);
        Buffers(guest, first).Should().Be(3);
        guest.Arena.Bytes(second, 1500).ToArray().Should().Equal(frame[1488..2988]);
        guest.Device.Counters.FramesReceived.Should().Be(1);
    }

    [Fact]
    public void Header_cut_into_single_bytes_is_the_same_header()
    {
        using var guest = new NetGuest(size: 32);
        ulong at = guest.Arena.Allocate(100, 1);
        guest.Receiver.Add([.. Enumerable.Range(0, 13).Select(i => Element.In(at + (ulong)i, 1)), Element.In(at + 13, 87)]);
        guest.Transport.Notify(0);
        byte[] frame = NetGuest.Frame(60);
        var header = new NetHeader(NetHeader.NeedsChecksum, 0, 0, 0, 34, 6, 0);
        guest.Cable.Give(frame, header);
        guest.Receiver.TakeUsed()!.Value.Written.Should().Be(72);
        NetHeader.Read(guest.Arena.Bytes(at, 12)).Should().Be(header with { Buffers = 1 });
        guest.Arena.Bytes(at + 12, 60).ToArray().Should().Equal(frame);
    }

    [Theory]
    [InlineData(5)]
    [InlineData(11)]
    [InlineData(12)]
    [InlineData(13)]
    public void Header_may_end_anywhere_in_the_first_buffers(int first)
    {
        using var guest = new NetGuest();
        ulong at = guest.Offer(first), rest = guest.Offer(200);
        guest.Cable.Give(NetGuest.Frame(60));
        guest.Receiver.TakeAllUsed().Select(u => u.Written).Should().Equal((uint)first, (uint)(72 - first));
        byte[] all = [.. guest.Arena.Bytes(at, first), .. guest.Arena.Bytes(rest, 72 - first)];
        NetHeader.Read(all).Buffers.Should().Be(2);
        all[12..].Should().Equal(NetGuest.Frame(60));
    }

    [Fact]
    public void Frame_longer_than_a_buffer_that_is_not_merged_is_dropped_and_the_buffer_comes_back_empty()
    {
        using var guest = new NetGuest(features: NetGuest.All & ~NetGuest.Mergeable);
        guest.Offer(100);
        guest.Offer(100);
        guest.Cable.Give(NetGuest.Frame(89));
        guest.Receiver.TakeUsed()!.Value.Written.Should().Be(0);
        guest.Device.Counters.Should().Be(new NetCounters { ReceiveDropped = 1 });
        guest.Cable.Give(NetGuest.Frame(88));
        guest.Receiver.TakeUsed()!.Value.Written.Should().Be(100);
    }

    [Fact]
    public void Frame_that_all_of_a_ring_s_buffers_do_not_hold_is_dropped_and_the_next_one_arrives()
    {
        using var guest = new NetGuest(size: 8);
        for (int i = 0; i < 8; i++)
            guest.Offer(16);
        guest.Cable.Give(NetGuest.Frame(200));
        guest.Receiver.TakeAllUsed().Should().HaveCount(8).And.OnlyContain(u => u.Written == 0);
        guest.Offer(300);
        guest.Cable.Give(NetGuest.Frame(200));
        guest.Receiver.TakeUsed()!.Value.Written.Should().Be(212);
        guest.Device.Counters.ReceiveDropped.Should().Be(1);
    }

    [Fact]
    public void Buffers_without_room_and_outside_memory_cost_a_frame_each_and_harm_nothing()
    {
        using var guest = new NetGuest();
        ulong only = guest.Arena.AllocateFilled([7, 7, 7, 7]);
        guest.Receiver.Add(Element.Out(only, 4));
        guest.Receiver.Add(Element.In(guest.Arena.End - 4, 64));
        guest.Offer(100);
        for (int i = 0; i < 3; i++)
            guest.Cable.Give(NetGuest.Frame(60));
        guest.Receiver.TakeAllUsed().Select(u => u.Written).Should().Equal(0, 0, 72);
        guest.Device.Counters.ReceiveDropped.Should().Be(2);
        guest.Device.NeedsReset.Should().BeFalse();
        guest.Arena.Bytes(only, 4).ToArray().Should().Equal(7, 7, 7, 7);
        guest.Arena.IsTheHostIntact.Should().BeTrue();
    }

    [Fact]
    public void Frames_that_a_peer_made_up_do_not_reach_the_guest()
    {
        using var guest = new NetGuest(new TestCable { ReceiveOffloads = NetOffloads.Checksum });
        guest.Offer(70_000);
        guest.Cable.Give([]);
        guest.Cable.Give(NetGuest.Frame(13));
        guest.Cable.Give(NetGuest.Frame(65_551));
        guest.Cable.Give(NetGuest.Frame(60), new NetHeader(NetHeader.NeedsChecksum, 0, 0, 0, 60, 0, 0));
        guest.Cable.Give(NetGuest.Frame(60), new NetHeader(NetHeader.NeedsChecksum, NetHeader.GsoTcp4, 54, 10, 34, 16, 0));
        guest.Receiver.TakeUsed().Should().BeNull();
        guest.Device.Counters.ReceiveDropped.Should().Be(5);
        guest.Cable.Give(NetGuest.Frame(60), new NetHeader(NetHeader.NeedsChecksum, 0, 0, 0, 34, 16, 0));
        guest.Receiver.TakeUsed().Should().NotBeNull();
    }

    [Fact]
    public void Broken_ring_of_a_frame_that_waits_needs_a_reset_and_works_after_it()
    {
        using var guest = new NetGuest(size: 8);
        var ring = (FakeSplitDriver)guest.Receiver;
        guest.Offer(100);
        guest.Cable.Give(NetGuest.Frame(500));
        ring.Offer(0);
        guest.Transport.Notify(0);
        guest.Device.NeedsReset.Should().BeTrue("head 0 is under way");
        guest.Transport.Status = 0;
        foreach (var driver in guest.Drivers)
            ((FakeSplitDriver)driver).StartOver();
        guest.Transport.Start(NetGuest.All & guest.Device.OfferedFeatures, guest.Drivers);
        guest.Offer(1000);
        guest.Receiver.TakeUsed()!.Value.Written.Should().Be(512, "the frame waited");
    }

    [Fact]
    public void Queue_that_is_reset_while_a_frame_waits_gets_it_from_its_beginning()
    {
        using var guest = new NetGuest();
        guest.Offer(100);
        guest.Cable.Give(NetGuest.Frame(500));
        guest.Transport.ResetQueue(0);
        ((FakeSplitDriver)guest.Receiver).StartOver();
        guest.Transport.SetUp(0, guest.Receiver);
        ulong at = guest.Offer(600);
        guest.Receiver.TakeUsed()!.Value.Written.Should().Be(512);
        guest.Arena.Bytes(at + 12, 500).ToArray().Should().Equal(NetGuest.Frame(500));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Frame_that_waits_when_the_device_is_moved_arrives_whole(bool packed)
    {
        using var guest = new NetGuest(packed: packed, pci: true);
        ulong first = guest.Offer(100);
        guest.Offer(100);
        guest.Cable.Give(NetGuest.Frame(500));
        guest.Move();
        guest.Receiver.TakeUsed().Should().BeNull();
        guest.Offer(1000);
        guest.Receiver.TakeAllUsed().Select(u => u.Written).Should().Equal(100, 100, 312);
        Buffers(guest, first).Should().Be(3);
    }

    [Fact]
    public void Whoever_watches_memory_hears_of_every_buffer_and_of_the_header_written_last()
    {
        using var guest = new NetGuest();
        ulong first = guest.Offer(100), second = guest.Offer(100);
        bool headerSeen = false, secondSeen = false;
        guest.Arena.Memory.WriteObserver = (address, length) =>
        {
            if (!guest.Arena.Memory.TryReadOnlySlice(first, 12, out var header))
                return;
            headerSeen |= address == first && BinaryPrimitives.ReadUInt16LittleEndian(header[10..]) == 2;
            secondSeen |= address == second && length > 0 && guest.Arena.Memory.TryReadOnlySlice(second, 1, out var b) && b[0] == NetGuest.Frame(150)[88];
        };
        guest.Cable.Give(NetGuest.Frame(150));
        guest.Arena.Memory.WriteObserver = null;
        (headerSeen, secondSeen).Should().Be((true, true));
    }

    [Fact]
    public void Frames_without_end_leave_the_queue_after_a_ring_s_worth()
    {
        using var guest = new NetGuest(size: 8);
        guest.Device.Pause();
        for (int i = 0; i < 20; i++)
            guest.Cable.Give(NetGuest.Frame(15));
        guest.Device.Resume();
        guest.Cable.Waiting.Should().Be(20, "there are no buffers");
        for (int i = 0; i < 8; i++)
            guest.Receiver.Add(Element.In(guest.Arena.Allocate(64), 64));
        guest.Device.ProcessQueue(0).Should().BeTrue("there is more, for which nobody notifies");
        guest.Cable.Waiting.Should().Be(12);
    }

    [Fact]
    public void Ten_thousand_frames_there_and_back_allocate_nothing()
    {
        using var guest = new NetGuest(new LoopbackBackend(), features: NetGuest.All);
        Element[] frame = [guest.Out([.. NetGuest.Header(), .. NetGuest.Frame(1500)])], buffer = [Element.In(guest.Arena.Allocate(2000), 2000)];
        Element[] large = [guest.Out([.. NetGuest.Header(NetHeader.NeedsChecksum, NetHeader.GsoTcp4, 54, 1448, 34, 16), .. NetGuest.Frame(4000)])];
        long received = 0;
        Allocation.Of(i =>
        {
            guest.Sender.TryAdd(i % 2 == 0 ? frame : large, out ushort _);
            for (int n = 0; n < 1 + i % 2 * 2; n++)
                guest.Receiver.TryAdd(buffer, out ushort _);
            guest.Device.ProcessQueue(0);
            guest.Device.ProcessQueue(1);
            guest.Device.ProcessQueue(0);
            while (guest.Sender.TakeUsed() is not null)
            {
            }

            while (guest.Receiver.TakeUsed() is not null)
                received++;
        }).Should().Be(0);
        received.Should().BeGreaterThan(15_000);
    }
}
