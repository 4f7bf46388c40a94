using Kvm.Devices.Tests.Support;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Tests.Virtio.Queue;

/// <summary>What holds for both forms of a ring.</summary>
public sealed class VirtQueueTests : IDisposable
{
    private readonly GuestArena _arena = new();

    public static TheoryData<bool> Packed => [false, true];

    public static TheoryData<bool, bool> PackedAndEventIndex => new() { { false, false }, { false, true }, { true, false }, { true, true } };

    public void Dispose() => _arena.Dispose();

    private VirtQueue Started(FakeDriver driver)
    {
        var queue = new VirtQueue(_arena.Memory, Math.Max(driver.Size, 1));
        queue.Start(driver.Setup).Should().BeTrue();
        return queue;
    }

    private static ushort Pop(VirtQueue queue)
    {
        queue.TryPop(out var chain).Should().BeTrue();
        return chain.Token.Head;
    }

    [Theory]
    [MemberData(nameof(Packed))]
    public void Chain_is_popped_with_its_elements_in_order_readable_before_writable(bool packed)
    {
        var driver = FakeDriver.Make(packed, _arena, 8);
        var queue = Started(driver);
        ulong header = _arena.AllocateFilled([1, 2, 3]), more = _arena.AllocateFilled([4, 5]), data = _arena.Allocate(64);
        ushort id = driver.Add(Element.Out(header, 3), Element.Out(more, 2), Element.In(data, 63), Element.In(data + 63, 1));

        queue.TryPop(out var chain).Should().BeTrue();
        chain.Token.Head.Should().Be(id);
        chain.HasBadBuffer.Should().BeFalse();
        chain.Readable.Length.Should().Be(2);
        chain.Writable.Length.Should().Be(2);
        (chain.ReadableLength, chain.WritableLength).Should().Be((5L, 64L));
        chain.Readable[0].Span.ToArray().Should().Equal(1, 2, 3);
        chain.Readable[1].Span.ToArray().Should().Equal(4, 5);
        chain.Writable[0].Length.Should().Be(63);
        queue.TryPop(out _).Should().BeFalse();
        queue.Fault.Should().Be(QueueFault.None);
    }

    [Theory]
    [MemberData(nameof(PackedAndEventIndex))]
    public void Polled_queue_leaves_notifications_off_until_it_is_not_polled(bool packed, bool eventIndex)
    {
        var driver = FakeDriver.Make(packed, _arena, 8, eventIndex);
        var queue = Started(driver);
        queue.HasAvailable.Should().BeFalse();
        queue.IsPolled = true;
        queue.DisableNotifications();
        queue.EnableNotifications().Should().BeFalse();
        driver.Add(Element.In(GuestArena.Base, 1));
        // A split ring's event index is 0 from the start, which asks for the first notification (2.7.10).
        driver.MustNotify().Should().Be(eventIndex && !packed);
        queue.HasAvailable.Should().BeTrue();
        Pop(queue);
        driver.Add(Element.In(GuestArena.Base, 1));
        driver.MustNotify().Should().BeFalse();

        queue.IsPolled = false;
        queue.EnableNotifications().Should().BeTrue("one came meanwhile");
        Pop(queue);
        queue.EnableNotifications().Should().BeFalse();
        driver.Add(Element.In(GuestArena.Base, 1));
        driver.MustNotify().Should().BeTrue();
    }

    [Theory]
    [MemberData(nameof(Packed))]
    public void Indirect_table_is_popped_like_direct_descriptors(bool packed)
    {
        var driver = FakeDriver.Make(packed, _arena, 8);
        var queue = Started(driver);
        ulong data = _arena.AllocateFilled([1, 2, 3, 4, 5, 6]);
        ushort id = driver.AddIndirect(Element.Out(data, 1), Element.Out(data + 1, 2), Element.In(data + 3, 3));

        queue.TryPop(out var chain).Should().BeTrue();
        chain.Token.Head.Should().Be(id);
        chain.Readable.Length.Should().Be(2);
        chain.Readable[1].Span.ToArray().Should().Equal(2, 3);
        chain.Writable[0].Span.ToArray().Should().Equal(4, 5, 6);
    }

    [Theory]
    [MemberData(nameof(Packed))]
    public void Used_buffers_are_seen_only_after_publish_all_at_once_and_in_order_of_completion(bool packed)
    {
        var driver = FakeDriver.Make(packed, _arena, 8);
        var queue = Started(driver);
        ulong data = _arena.Allocate(64);
        for (int i = 0; i < 3; i++)
            driver.Add(Element.Out(data, 8), Element.In(data + 8, 8));
        var tokens = new List<ChainToken>();
        while (queue.TryPop(out var chain))
            tokens.Add(chain.Token);
        tokens.Should().HaveCount(3);
        queue.InFlight.Should().Be(3);

        foreach (int i in (int[])[2, 0, 1])
            queue.Complete(tokens[i], (uint)(i + 1)).Should().BeTrue();
        driver.TakeUsed().Should().BeNull();
        queue.InFlight.Should().Be(0);
        queue.Publish().Should().BeTrue();
        driver.TakeAllUsed().Should().Equal(new UsedBuffer(tokens[2].Head, 3), new UsedBuffer(tokens[0].Head, 1), new UsedBuffer(tokens[1].Head, 2));
        queue.Publish().Should().BeFalse("nothing is new");
    }

    [Theory]
    [MemberData(nameof(Packed))]
    public void Driver_that_asks_for_no_interrupts_gets_none(bool packed)
    {
        var driver = FakeDriver.Make(packed, _arena, 4);
        var queue = Started(driver);
        driver.DisableInterrupts();
        driver.Add(Element.In(GuestArena.Base, 1));
        queue.TryPop(out var chain).Should().BeTrue();
        queue.Complete(chain.Token, 1);
        queue.Publish().Should().BeFalse();
        driver.EnableInterrupts().Should().BeTrue("one is there already");
    }

    [Theory]
    [MemberData(nameof(Packed))]
    public void Event_index_asks_for_an_interrupt_at_that_buffer_and_no_other(bool packed)
    {
        var driver = FakeDriver.Make(packed, _arena, 8, eventIndex: true);
        var queue = Started(driver);
        var wanted = new List<bool>();
        // Three times around the ring, an interrupt asked for at the third of every four buffers.
        for (int round = 0; round < 6; round++)
        {
            driver.EnableInterrupts(later: 2);
            for (int i = 0; i < 4; i++)
            {
                driver.Add(Element.In(GuestArena.Base, 1));
                queue.TryPop(out var chain).Should().BeTrue();
                queue.Complete(chain.Token, 1);
                wanted.Add(queue.Publish());
            }

            driver.TakeAllUsed().Should().HaveCount(4);
        }

        wanted.Chunk(4).Should().AllSatisfy(four => four.Should().Equal(false, false, true, false));
    }

    [Theory]
    [MemberData(nameof(PackedAndEventIndex))]
    public void Driver_notifies_only_after_notifications_were_enabled(bool packed, bool eventIndex)
    {
        var driver = FakeDriver.Make(packed, _arena, 4, eventIndex);
        var queue = Started(driver);
        driver.Add(Element.In(GuestArena.Base, 1));
        driver.MustNotify().Should().BeTrue("a new ring asks for it");

        queue.DisableNotifications();
        driver.Add(Element.In(GuestArena.Base, 1));
        driver.MustNotify().Should().BeFalse();
        queue.EnableNotifications().Should().BeTrue("two chains are there");
        Pop(queue);
        Pop(queue);
        queue.EnableNotifications().Should().BeFalse();
        driver.Add(Element.In(GuestArena.Base, 1));
        driver.MustNotify().Should().BeTrue();
    }

    [Theory]
    [MemberData(nameof(Packed))]
    public void Chain_put_back_is_popped_again(bool packed)
    {
        var driver = FakeDriver.Make(packed, _arena, 4);
        var queue = Started(driver);
        ulong data = _arena.AllocateFilled([7, 8]);
        // Around the end of the ring, so that putting back has to go over it.
        for (int i = 0; i < 7; i++)
        {
            driver.Add(Element.Out(data, 2), Element.In(data, 1));
            queue.TryPop(out var chain).Should().BeTrue();
            chain.Read(new byte[1]);
            queue.PutBack(chain.Token);
            queue.InFlight.Should().Be(0);

            queue.TryPop(out chain).Should().BeTrue();
            chain.Readable[0].Span.ToArray().Should().Equal(7, 8);
            queue.Complete(chain.Token, 1);
            queue.Publish();
            driver.TakeAllUsed().Should().HaveCount(1);
        }

        queue.Popped.Should().Be(7);
    }

    [Theory]
    [MemberData(nameof(PackedAndEventIndex))]
    public void Ring_goes_round_seventy_thousand_times_with_chains_of_changing_length(bool packed, bool eventIndex)
    {
        var driver = FakeDriver.Make(packed, _arena, 16, eventIndex);
        var queue = Started(driver);
        Span<Element> elements = stackalloc Element[5];
        elements.Fill(Element.In(GuestArena.Base, 1));
        long used = 0;
        for (int i = 0; i < 70_000; i++)
        {
            driver.TryAdd(elements[..(1 + i % 5)], out ushort id).Should().BeTrue();
            queue.TryPop(out var chain).Should().BeTrue();
            if (chain.Token.Head != id || chain.Writable.Length != 1 + i % 5)
                throw new InvalidOperationException($"round {i}: another chain than was offered");
            queue.Complete(chain.Token, (uint)i + 1);
            queue.Publish();
            if (driver.TakeUsed() != new UsedBuffer(id, (uint)i + 1))
                throw new InvalidOperationException($"round {i}: another buffer came back");
            used++;
        }

        used.Should().Be(70_000);
        queue.Fault.Should().Be(QueueFault.None);
    }

    [Theory]
    [MemberData(nameof(Packed))]
    public void Stopped_queue_goes_on_where_it_was_in_another_queue_object(bool packed)
    {
        var driver = FakeDriver.Make(packed, _arena, 4);
        var first = Started(driver);
        for (int i = 0; i < 6; i++)
        {
            driver.Add(Element.In(GuestArena.Base, 1));
            first.TryPop(out var chain).Should().BeTrue();
            first.Complete(chain.Token, 1);
            first.Publish();
            driver.TakeUsed().Should().NotBeNull();
        }

        ushort id = driver.Add(Element.In(GuestArena.Base, 1));
        var position = first.Stop();
        first.Stop().Should().Be(position, "stopping is idempotent");
        first.TryPop(out _).Should().BeFalse();

        var second = new VirtQueue(_arena.Memory, 4);
        second.Start(driver.Setup, position).Should().BeTrue();
        second.TryPop(out var rest).Should().BeTrue();
        rest.Token.Head.Should().Be(id);
        second.Complete(rest.Token, 1);
        second.Publish().Should().BeTrue();
        driver.TakeUsed().Should().Be(new UsedBuffer(id, 1));
    }

    [Theory]
    [MemberData(nameof(Packed))]
    public void Completion_of_a_chain_from_before_a_stop_does_nothing(bool packed)
    {
        var driver = FakeDriver.Make(packed, _arena, 4);
        var queue = Started(driver);
        driver.Add(Element.In(GuestArena.Base, 1));
        queue.TryPop(out var chain).Should().BeTrue();
        var stale = chain.Token;
        queue.Stop();
        queue.Complete(stale, 1).Should().BeFalse();

        queue.Start(driver.Setup).Should().BeTrue();
        Pop(queue).Should().Be(stale.Head, "a restarted ring starts at its first entry");
        queue.Complete(stale, 1).Should().BeFalse("the token is of an earlier start");
        queue.PutBack(stale);
        queue.InFlight.Should().Be(1);
        queue.Publish().Should().BeFalse();
        driver.TakeUsed().Should().BeNull();
    }

    [Theory]
    [MemberData(nameof(Packed))]
    public void Chain_completed_twice_is_used_once(bool packed)
    {
        var driver = FakeDriver.Make(packed, _arena, 4);
        var queue = Started(driver);
        driver.Add(Element.In(GuestArena.Base, 1));
        queue.TryPop(out var chain).Should().BeTrue();
        queue.Complete(chain.Token, 1).Should().BeTrue();
        queue.Complete(chain.Token, 1).Should().BeFalse();
        queue.Complete(chain.Token with { Head = 9999 }, 1).Should().BeFalse();
        queue.Publish();
        driver.TakeAllUsed().Should().HaveCount(1);
    }

    [Theory]
    [MemberData(nameof(Packed))]
    public void Queue_asked_to_stop_gives_nothing_more_until_that_is_taken_back(bool packed)
    {
        var driver = FakeDriver.Make(packed, _arena, 4);
        var queue = Started(driver);
        driver.Add(Element.In(GuestArena.Base, 1));
        queue.RequestStop();
        queue.TryPop(out _).Should().BeFalse();
        queue.EnableNotifications().Should().BeFalse("nothing would be given");
        queue.CancelStopRequest();
        queue.EnableNotifications().Should().BeTrue();
        queue.TryPop(out _).Should().BeTrue();
    }

    [Theory]
    [MemberData(nameof(Packed))]
    public void Element_outside_memory_makes_a_bad_chain_and_leaves_the_queue_working(bool packed)
    {
        var driver = FakeDriver.Make(packed, _arena, 16);
        var queue = Started(driver);
        foreach (var bad in (Element[])
            [new(0, 16, false), new(_arena.End - 8, 9, true), new(ulong.MaxValue - 3, 8, true), new(GuestArena.Base, 0x8000_0000, false), new(GuestArena.Base, uint.MaxValue, true)])
        {
            driver.Add(Element.Out(GuestArena.Base, 4), bad with { Writable = true });
            queue.TryPop(out var chain).Should().BeTrue();
            chain.HasBadBuffer.Should().BeTrue();
            chain.WritableLength.Should().Be(0);
            chain.TryTakeLastByte(out _).Should().BeFalse();
            queue.Complete(chain.Token, 0);
            queue.Publish();
            driver.TakeUsed().Should().NotBeNull();
        }

        queue.Fault.Should().Be(QueueFault.None);
    }

    [Fact]
    public void Element_in_rom_is_bad_where_the_device_is_to_write_it()
    {
        using var rom = new Kvm.Devices.Tests.Support.HostMemory(4096);
        var region = _arena.Memory.Regions[0];
        var memory = new Kvm.Devices.Memory.GuestMemory([region, new Kvm.Devices.Memory.GuestRegion(0, 4096, rom.Address, ReadOnly: true)]);
        var driver = new FakeSplitDriver(_arena, 4);
        var queue = new VirtQueue(memory, 4);
        queue.Start(driver.Setup).Should().BeTrue();
        driver.Add(Element.Out(0, 16));
        driver.Add(Element.In(0, 16));
        queue.TryPop(out var chain).Should().BeTrue();
        chain.HasBadBuffer.Should().BeFalse();
        queue.TryPop(out chain).Should().BeTrue();
        chain.HasBadBuffer.Should().BeTrue();
    }

    [Theory]
    [MemberData(nameof(Packed))]
    public void Elements_of_zero_bytes_are_stepped_over(bool packed)
    {
        var driver = FakeDriver.Make(packed, _arena, 8);
        var queue = Started(driver);
        ulong data = _arena.AllocateFilled([1, 2, 3]);
        driver.Add(Element.Out(data, 0), Element.Out(data, 1), Element.Out(data, 0), Element.Out(data + 1, 1), Element.In(data + 2, 1), Element.In(data, 0));
        queue.TryPop(out var chain).Should().BeTrue();
        byte[] read = new byte[4];
        chain.Read(read).Should().Be(2);
        read.Should().StartWith([1, 2]);
        chain.TryTakeLastByte(out var last).Should().BeTrue();
        last.Address.Should().Be(_arena.Memory.TryPointer(data + 2, 1, true, out nint at) ? at : 0);
        chain.TryTakeLastByte(out _).Should().BeFalse();
    }

    [Theory]
    [InlineData(false, 0)]
    [InlineData(false, 3)]
    [InlineData(false, 12)]
    [InlineData(false, 32_769)]
    [InlineData(false, 65_535)]
    [InlineData(true, 0)]
    [InlineData(true, 17)]
    [InlineData(true, 32_769)]
    public void Size_that_cannot_be_is_refused(bool packed, int size)
    {
        var driver = FakeDriver.Make(packed, _arena, 16);
        var queue = new VirtQueue(_arena.Memory, 16);
        queue.Start(driver.Setup with { Size = (ushort)size }).Should().BeFalse();
        queue.Fault.Should().Be(QueueFault.BadSetup);
        queue.IsRunning.Should().BeFalse();
        queue.TryPop(out _).Should().BeFalse();
        queue.EnableNotifications().Should().BeFalse();
    }

    [Fact]
    public void Packed_queue_may_have_any_number_of_entries()
    {
        var driver = new FakePackedDriver(_arena, 5);
        var queue = new VirtQueue(_arena.Memory, 8);
        queue.Start(driver.Setup).Should().BeTrue();
        for (int i = 0; i < 23; i++)
        {
            ushort id = driver.Add(Element.Out(GuestArena.Base, 1), Element.In(GuestArena.Base, 1));
            Pop(queue).Should().Be(id);
            queue.Complete(new ChainToken(id, 1), 1).Should().BeTrue();
            queue.Publish();
            driver.TakeUsed().Should().Be(new UsedBuffer(id, 1));
        }
    }

    public static TheoryData<bool, ulong, ulong, ulong> BadPlaces()
    {
        const ulong good = GuestArena.Base;
        const ulong end = GuestArena.Base + (1 << 20);
        var data = new TheoryData<bool, ulong, ulong, ulong>();
        foreach (bool packed in (bool[])[false, true])
        {
            data.Add(packed, good + 8, good + 4096, good + 8192); // descriptors: 16
            data.Add(packed, good, good + 4097, good + 8192); // driver: 2 or 4
            data.Add(packed, good, good + 4096, good + 8194); // device: 4
            data.Add(packed, 0, good + 4096, good + 8192);
            data.Add(packed, good, 0, good + 8192);
            data.Add(packed, good, good + 4096, 0);
            data.Add(packed, end - 16, good + 4096, good + 8192); // begins inside, ends outside
            data.Add(packed, good, good + 4096, ulong.MaxValue - 3); // wraps
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(BadPlaces))]
    public void Ring_part_misaligned_or_outside_memory_is_refused(bool packed, ulong descriptors, ulong driverArea, ulong deviceArea)
    {
        var queue = new VirtQueue(_arena.Memory, 16);
        queue.Start(new QueueSetup { Size = 16, Packed = packed, DescriptorArea = descriptors, DriverArea = driverArea, DeviceArea = deviceArea })
            .Should().BeFalse();
        queue.Fault.Should().Be(QueueFault.BadSetup);
    }

    [Theory]
    [InlineData(false, 5, 6)]
    [InlineData(true, 3, 3)] // fine: the wrap counters may be 0
    [InlineData(true, 16, 16)]
    [InlineData(true, 0x8010, 0x8010)]
    [InlineData(true, 0x8003, 3)]
    public void Position_that_cannot_be_is_refused(bool packed, int available, int used)
    {
        var driver = FakeDriver.Make(packed, _arena, 16);
        var queue = new VirtQueue(_arena.Memory, 16);
        bool possible = available == used && (available & 0x7fff) < 16;
        queue.Start(driver.Setup, new QueuePosition((ushort)available, (ushort)used)).Should().Be(possible);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    [InlineData(65_536)]
    public void Queue_cannot_be_made_with_an_impossible_maximum(int maxSize)
    {
        var make = () => new VirtQueue(_arena.Memory, maxSize);
        make.Should().Throw<ArgumentOutOfRangeException>();
    }

    [Theory]
    [MemberData(nameof(Packed))]
    public void Ten_thousand_chains_allocate_nothing(bool packed)
    {
        var driver = FakeDriver.Make(packed, _arena, 4);
        var queue = Started(driver);
        driver.Add(Element.Out(GuestArena.Base, 16), Element.In(GuestArena.Base + 16, 512), Element.In(GuestArena.Base, 1));
        var setup = driver.Setup;
        Allocation.Of(i =>
        {
            queue.TryPop(out var chain);
            queue.EnableNotifications();
            queue.DisableNotifications();
            queue.PutBack(chain.Token);
            queue.TryPop(out chain);
            chain.TryTakeLastByte(out _);
            if ((i & 1) == 0)
            {
                queue.PutBack(chain.Token);
                return;
            }

            // The ring is played from its start again, with what is used in it of no interest.
            queue.Complete(chain.Token, 1);
            queue.Stop();
            queue.Start(setup);
        }).Should().Be(0);
        queue.Popped.Should().BeGreaterThan(5_000);
    }
}
