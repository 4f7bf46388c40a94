using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio.Vsock;
using Kvm.Tests.Support;

namespace Kvm.Devices.Tests.Virtio.Vsock;

public sealed class VsockDeviceTests
{
    private static byte[] Bytes(int count, int from = 0) => [.. Enumerable.Range(from, count).Select(i => (byte)(i * 7))];

    private static IEnumerable<VsockOperation> Operations(List<(VsockPacket Packet, byte[] Data)> said) => said.Select(s => s.Packet.Operation);

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, true)]
    public void Guest_connects_with_a_port_of_the_host_and_bytes_go_both_ways(bool pci, bool packed)
    {
        using var guest = new VsockGuest(pci: pci, packed: packed);
        var answer = guest.Say(VsockOperation.Request).Single().Packet;
        answer.Should().Be(new VsockPacket
        {
            SourceCid = 2,
            TargetCid = VsockGuest.Cid,
            SourcePort = 52,
            TargetPort = VsockGuest.Port,
            Type = 1,
            Operation = VsockOperation.Response,
            BufferSize = VsockConnection.BufferSize,
        });
        var (connection, end) = guest.Last;

        guest.Say(VsockOperation.Data, data: Bytes(5000)).Should().BeEmpty();
        end.Received.Should().Equal(Bytes(5000));
        end.Type(1, 2, 3);
        guest.Device.OnReady(connection, readable: true, writable: false, gone: false);
        var (packet, data) = guest.Take().Single();
        (packet.Operation, packet.Length, packet.Consumed).Should().Be((VsockOperation.Data, 3u, 5000u));
        data.Should().Equal(1, 2, 3);
        guest.Device.Counters.Should().Be(new VsockCounters(1, 0, 5000, 3, 0));
    }

    [Fact]
    public void Host_connects_with_a_port_of_the_guest_which_is_told_its_own()
    {
        using var guest = new VsockGuest();
        var end = guest.Ask(80);
        end.Type(9);
        guest.Device.OnReady(guest.Last.Connection, readable: true, writable: true, gone: false);
        var asked = guest.Take().Single().Packet;
        (asked.Operation, asked.SourcePort, asked.TargetPort).Should().Be((VsockOperation.Request, VsockDevice.FirstHostPort, 80u));

        var (packet, data) = guest.Say(VsockOperation.Response, asked.SourcePort, 80).Single();
        end.AcceptedAs.Should().Be(asked.SourcePort);
        (packet.Operation, data.Single()).Should().Be((VsockOperation.Data, (byte)9), "what was sent before the answer is not lost");
        guest.Ask(80);
        guest.Take().Single().Packet.SourcePort.Should().Be(asked.SourcePort + 1);
    }

    [Fact]
    public void Nobody_who_listens_is_a_reset_at_either_side()
    {
        using var guest = new VsockGuest();
        var refused = guest.Say(VsockOperation.Request, hostPort: 53).Single().Packet;
        (refused.Operation, refused.SourcePort, refused.TargetPort).Should().Be((VsockOperation.Reset, 53u, VsockGuest.Port));
        var end = guest.Ask(80);
        uint port = guest.Take().Single().Packet.SourcePort;
        guest.Say(VsockOperation.Reset, port, 80).Should().BeEmpty();
        (end.Disposals, end.AcceptedAs).Should().Be((1, null));
        guest.Device.Counters.Refused.Should().Be(2);
    }

    [Fact]
    public void Guest_that_does_not_answer_is_given_up_and_told_and_one_that_was_not_asked_yet_is_not()
    {
        using var guest = new VsockGuest(buffers: 1);
        var first = guest.Ask(80);
        var connection = guest.Last.Connection;
        var second = guest.Ask(81);
        guest.Device.GiveUp(guest.Last.Connection).Should().BeTrue();
        Operations(guest.Take()).Should().Equal(VsockOperation.Request);
        guest.Device.GiveUp(connection).Should().BeTrue();
        guest.Device.GiveUp(connection).Should().BeFalse();
        Operations(guest.Take()).Should().Equal(VsockOperation.Reset);
        (first.Disposals, second.Disposals).Should().Be((1, 1));
    }

    [Fact]
    public void Host_that_is_full_keeps_64_KiB_of_the_guest_s_and_then_breaks_who_sends_more()
    {
        using var guest = new VsockGuest();
        var end = guest.Open();
        end.Room = 1000;
        guest.Say(VsockOperation.Data, data: Bytes(40_000)).Should().BeEmpty("what was taken is not worth a packet");
        guest.Say(VsockOperation.Data, data: Bytes(25_000, 40_000));
        end.Received.Should().HaveCount(1000);
        guest.Say(VsockOperation.CreditRequest).Single().Packet.Consumed.Should().Be(1000);

        end.Room = int.MaxValue;
        guest.Device.OnReady(guest.Last.Connection, readable: false, writable: true, gone: false);
        end.Received.Should().Equal(Bytes(65_000));
        guest.Take().Single().Packet.Consumed.Should().Be(65_000, "there is room again");

        end.Room = 0;
        guest.Say(VsockOperation.Data, data: Bytes(65_536)).Should().BeEmpty();
        Operations(guest.Say(VsockOperation.Data, data: [1])).Should().Equal(VsockOperation.Reset);
        (end.Disposals, guest.Device.Counters.Dropped).Should().Be((1, 1));
    }

    [Fact]
    public void Guest_is_sent_no_more_than_it_has_room_for_and_asked_once_for_more()
    {
        using var guest = new VsockGuest();
        var end = guest.Open(room: 10);
        end.Type(Bytes(30));
        guest.Device.OnReady(guest.Last.Connection, readable: true, writable: false, gone: false);
        var said = guest.Take();
        Operations(said).Should().Equal(VsockOperation.Data, VsockOperation.CreditRequest);
        said[0].Data.Should().Equal(Bytes(10));
        guest.Say(VsockOperation.CreditUpdate, room: 10, consumed: 0).Should().BeEmpty("it has answered");
        guest.Say(VsockOperation.CreditUpdate, room: 10, consumed: 4)[0].Data.Should().Equal(Bytes(4, 10));
        guest.Say(VsockOperation.CreditUpdate, room: 10, consumed: 3_000_000_000).Should().BeEmpty("credit that runs backwards is none");
        guest.Say(VsockOperation.CreditUpdate, room: 100, consumed: 14)[0].Data.Should().Equal(Bytes(16, 14));
    }

    [Fact]
    public void Either_side_may_stop_sending_and_go_on_reading_and_both_is_the_end()
    {
        using var guest = new VsockGuest();
        var end = guest.Open();
        guest.Say(VsockOperation.Shutdown, ends: VsockEnds.Sends).Should().BeEmpty();
        end.WritesEnded.Should().BeTrue();
        end.Type(5);
        end.HasEnded = true;
        guest.Device.OnReady(guest.Last.Connection, readable: true, writable: false, gone: false);
        Operations(guest.Take()).Should().Equal(VsockOperation.Data, VsockOperation.Reset);
        end.Disposals.Should().Be(1);

        end = guest.Open(guestPort: 1001);
        end.HasEnded = true;
        guest.Device.OnReady(guest.Last.Connection, readable: true, writable: false, gone: false);
        var told = guest.Take().Single().Packet;
        (told.Operation, told.Ends).Should().Be((VsockOperation.Shutdown, VsockEnds.Sends));
        guest.Say(VsockOperation.Data, guestPort: 1001, data: [1, 2]).Should().BeEmpty();
        end.Received.Should().Equal(1, 2);
        Operations(guest.Say(VsockOperation.Shutdown, guestPort: 1001, ends: VsockEnds.Both)).Should().Equal(VsockOperation.Reset);
        end.Disposals.Should().Be(1);
    }

    [Fact]
    public void What_waits_for_the_host_is_handed_over_before_a_connection_that_the_guest_closed_ends()
    {
        using var guest = new VsockGuest();
        var end = guest.Open();
        end.Room = 1;
        guest.Say(VsockOperation.Data, data: [1, 2, 3]);
        guest.Say(VsockOperation.Shutdown, ends: VsockEnds.Both).Should().BeEmpty();
        (end.Disposals, end.WritesEnded).Should().Be((0, false));
        end.Room = 5;
        guest.Device.OnReady(guest.Last.Connection, readable: false, writable: true, gone: false);
        end.Received.Should().Equal(1, 2, 3);
        end.Disposals.Should().Be(1);
        Operations(guest.Take()).Should().Equal(VsockOperation.Reset);
    }

    [Fact]
    public void Host_that_hung_up_is_read_to_its_end_and_the_guest_told()
    {
        using var guest = new VsockGuest();
        var end = guest.Open();
        end.Type(Bytes(6000));
        (end.HasEnded, end.IsGone) = (true, true);
        guest.Device.OnReady(guest.Last.Connection, readable: true, writable: true, gone: true);
        var said = guest.Take();
        said.SelectMany(s => s.Data).Should().Equal(Bytes(6000));
        said[^1].Packet.Operation.Should().Be(VsockOperation.Reset);
        end.Disposals.Should().Be(1);
        Operations(guest.Say(VsockOperation.Data, data: [1])).Should().Equal([VsockOperation.Reset], "it is there no more");
        guest.Device.OnReady(guest.Last.Connection, readable: true, writable: true, gone: true);
        guest.Take().Should().BeEmpty();
    }

    [Fact]
    public void Guest_that_writes_to_who_is_gone_is_told_that_nobody_reads()
    {
        using var guest = new VsockGuest();
        var end = guest.Open();
        end.IsGone = true;
        var told = guest.Say(VsockOperation.Data, data: [1]).Single().Packet;
        (told.Operation, told.Ends).Should().Be((VsockOperation.Shutdown, VsockEnds.Receives));
        guest.Say(VsockOperation.Data, data: Bytes(60_000)).Should().HaveCountLessThan(2, "it is thrown away, and credit given back");
        end.HasEnded = true;
        guest.Device.OnReady(guest.Last.Connection, readable: true, writable: false, gone: false);
        Operations(guest.Take()).Should().Equal(VsockOperation.Reset);
    }

    [Theory]
    [InlineData(VsockOperation.Invalid)]
    [InlineData(VsockOperation.Response)]
    [InlineData(VsockOperation.Shutdown)]
    [InlineData(VsockOperation.Data)]
    [InlineData(VsockOperation.CreditUpdate)]
    [InlineData(VsockOperation.CreditRequest)]
    [InlineData((VsockOperation)99)]
    internal void Packet_for_a_connection_that_is_not_there_is_answered_with_a_reset(VsockOperation operation)
    {
        using var guest = new VsockGuest();
        var told = guest.Say(operation, ends: VsockEnds.Both).Single().Packet;
        (told.Operation, told.SourcePort, told.TargetPort).Should().Be((VsockOperation.Reset, 52u, VsockGuest.Port));
        guest.Say(VsockOperation.Reset).Should().BeEmpty("a reset is not answered");
    }

    [Theory]
    [InlineData(VsockOperation.Invalid)]
    [InlineData(VsockOperation.Request)]
    [InlineData(VsockOperation.Response)]
    [InlineData((VsockOperation)8)]
    internal void Packet_that_breaks_the_rules_of_a_connection_ends_it(VsockOperation operation)
    {
        using var guest = new VsockGuest();
        var end = guest.Open();
        Operations(guest.Say(operation)).Should().Equal(VsockOperation.Reset);
        (end.Disposals, guest.Device.Counters.Dropped).Should().Be((1, 1));
    }

    [Fact]
    public void Packets_of_other_contexts_kinds_and_lengths_do_no_harm()
    {
        using var guest = new VsockGuest();
        var end = guest.Open();
        var good = new VsockPacket
        {
            SourceCid = VsockGuest.Cid,
            TargetCid = 2,
            SourcePort = VsockGuest.Port,
            TargetPort = 52,
            Type = 1,
            Operation = VsockOperation.Data,
            Length = 1,
            BufferSize = 4096,
        };
        guest.Say(good with { SourceCid = 8 }, [1]).Should().BeEmpty();
        guest.Say(good with { TargetCid = 3 }, [1]).Should().BeEmpty();
        guest.Guest.Run(1, guest.Guest.Out(new byte[43])).Should().NotBeNull();
        guest.Device.Counters.Dropped.Should().Be(3);
        end.Received.Should().BeEmpty();

        Operations(guest.Say(good with { Length = 2 }, [1])).Should().Equal([VsockOperation.Reset], "it says that there is more than there is");
        guest.Open();
        Operations(guest.Say(good with { Length = uint.MaxValue }, [1])).Should().Equal(VsockOperation.Reset);
        guest.Open();
        Operations(guest.Say(good with { Type = 2 }, [1])).Should().Equal(VsockOperation.Reset);
        Operations(guest.Say(good with { Type = 2, Operation = VsockOperation.Request }, [])).Should().Equal(VsockOperation.Reset);
    }

    [Fact]
    public void Guest_that_takes_no_resets_is_not_listened_to_and_nothing_is_lost()
    {
        using var guest = new VsockGuest(buffers: 0);
        int taken = 0;
        var packet = new VsockPacket { SourceCid = VsockGuest.Cid, TargetCid = 2, TargetPort = 53, Type = 1, Operation = VsockOperation.Request };
        while (guest.Send(packet with { SourcePort = (uint)taken }, []))
            (++taken).Should().BeLessThan(1000);
        taken.Should().Be(128);

        var resets = new List<uint>();
        ulong buffer = guest.Guest.Arena.Allocate(64);
        for (int i = 0; i < 129; i++)
        {
            guest.Guest.Run(0, Element.In(buffer, 64))!.Value.Written.Should().Be(44);
            resets.Add(VsockPacket.Read(guest.Guest.Arena.Bytes(buffer, 44)).TargetPort);
        }

        resets.Should().Equal(Enumerable.Range(0, 129).Select(i => (uint)i));
    }

    [Fact]
    public void Buffers_without_room_for_a_packet_come_back_empty_and_end_nothing()
    {
        using var guest = new VsockGuest(buffers: 0);
        guest.Send(new VsockPacket { SourceCid = VsockGuest.Cid, TargetCid = 2, SourcePort = 1, TargetPort = 52, Type = 1, Operation = VsockOperation.Request, BufferSize = 9 }, []);
        guest.Guest.Run(0, Element.In(guest.Guest.Arena.Allocate(44), 44))!.Value.Written.Should().Be(0);
        guest.Guest.Run(0, Element.In(guest.Guest.Arena.Allocate(45), 45))!.Value.Written.Should().Be(44);
        guest.Device.Counters.Dropped.Should().Be(1);
    }

    [Fact]
    public void There_are_1024_connections_at_most()
    {
        using var guest = new VsockGuest();
        for (uint port = 0; port < VsockDevice.MaxConnections; port++)
            guest.Open(guestPort: port);
        Operations(guest.Say(VsockOperation.Request, guestPort: 5000)).Should().Equal(VsockOperation.Reset);
        guest.Ask(80).Disposals.Should().Be(1);
        guest.Say(VsockOperation.Reset, guestPort: 3);
        guest.Open(guestPort: 5000);
    }

    [Fact]
    public void Connections_take_turns()
    {
        using var guest = new VsockGuest(buffers: 1);
        var ends = new List<(VsockConnection Connection, VsockGuest.Stream End)>();
        for (uint port = 1; port <= 3; port++)
        {
            guest.Open(guestPort: port);
            ends.Add(guest.Last);
            guest.Last.End.Type(Bytes(20_000));
        }

        foreach (var (connection, _) in ends)
            guest.Device.OnReady(connection, readable: true, writable: false, gone: false);

        guest.Take().Skip(2).Take(3).Select(s => s.Packet.TargetPort).Distinct().Should().HaveCount(3);
    }

    [Fact]
    public void A_reset_of_the_device_ends_all_connections()
    {
        using var guest = new VsockGuest();
        var end = guest.Open();
        guest.Guest.Transport.Status = 0;
        end.Disposals.Should().Be(1);
        guest.Ask(80).Disposals.Should().Be(1, "there is no driver");
    }

    [Fact]
    public void After_a_restore_the_guest_is_told_that_its_connections_have_ended()
    {
        using var guest = new VsockGuest();
        guest.Open();
        ulong at = guest.Guest.Arena.AllocateFilled([1, 2, 3, 4]);
        guest.Guest.Run(2, Element.In(at, 4)).Should().BeNull("nothing has happened");
        guest.Guest.Move(arena => new VsockDevice("vsock0", arena.Memory, VsockGuest.Cid, guest));

        guest.Guest.Drivers[2].TakeUsed()!.Value.Written.Should().Be(4);
        guest.Guest.Arena.Bytes(at, 4).ToArray().Should().OnlyContain(b => b == 0);
        Operations(guest.Say(VsockOperation.Data, data: [1])).Should().Equal(VsockOperation.Reset);
        guest.Open(guestPort: 4);
    }

    [Fact]
    public void Packets_both_ways_allocate_nothing()
    {
        using var guest = new VsockGuest(buffers: 0);
        guest.Send(new VsockPacket { SourceCid = VsockGuest.Cid, TargetCid = 2, SourcePort = 1, TargetPort = 52, Type = 1, Operation = VsockOperation.Request, BufferSize = 1 << 20 }, []);
        ulong input = guest.Guest.Arena.Allocate(4096), output = guest.Guest.Arena.Allocate(4096);
        guest.Guest.Run(0, Element.In(input, 4096));
        new VsockPacket { SourceCid = VsockGuest.Cid, TargetCid = 2, SourcePort = 1, TargetPort = 52, Type = 1, Operation = VsockOperation.CreditRequest, BufferSize = 1 << 20 }
            .Write(guest.Guest.Arena.Bytes(output, 44));

        Allocation.Of(_ =>
        {
            guest.Guest.Run(1, Element.Out(output, 44));
            guest.Guest.Run(0, Element.In(input, 4096));
        }, times: 500).Should().Be(0);
    }

    private static readonly Gen<(int What, int Port, int Size)[]> Traffic =
        (from what in Gen.Choose(0, 9)
         from port in Gen.Choose(1, 3)
         from size in Gen.Choose(0, 3000)
         select (what, port, size)).ArrayOf(80);

    /// <summary>Whatever happens in whatever order, each side reads what the other wrote, from its start and without a gap.</summary>
    [Fact]
    public void What_arrives_is_a_beginning_of_what_was_sent_whatever_happens() =>
        Prop.ForAll(Traffic.ToArbitrary(), traffic =>
        {
            using var guest = new VsockGuest(buffers: 3);
            var model = new VsockModel(guest);
            foreach (var (what, port, size) in traffic)
                model.Do(what, (uint)port, size);
            return model.IsRight;
        }).QuickCheckThrowOnFailure();
}
