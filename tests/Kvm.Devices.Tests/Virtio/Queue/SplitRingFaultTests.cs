using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Tests.Virtio.Queue;

/// <summary>What a hostile driver writes into a split ring, and what the queue calls it.</summary>
public sealed class SplitRingFaultTests : IDisposable
{
    private const int Next = 1, Write = 2, Indirect = 4;

    private readonly GuestArena _arena = new();
    private readonly FakeSplitDriver _driver;
    private readonly VirtQueue _queue;

    public SplitRingFaultTests()
    {
        _driver = new FakeSplitDriver(_arena, 8);
        _queue = new VirtQueue(_arena.Memory, 8);
        _queue.Start(_driver.Setup).Should().BeTrue();
    }

    public void Dispose() => _arena.Dispose();

    private void ShouldFault(QueueFault fault)
    {
        _queue.TryPop(out _).Should().BeFalse();
        _queue.Fault.Should().Be(fault);
        _queue.TryPop(out _).Should().BeFalse("a faulted queue stays so");
        _queue.EnableNotifications().Should().BeFalse();
        _queue.Stop();
        _queue.Start(_driver.Setup).Should().BeTrue("a reset mends it");
        _queue.Fault.Should().Be(QueueFault.None);
    }

    [Fact]
    public void Descriptor_that_is_its_own_next_is_a_chain_too_long()
    {
        _driver.WriteDescriptor(3, GuestArena.Base, 16, Next, 3);
        _driver.Offer(3);
        ShouldFault(QueueFault.ChainTooLong);
    }

    [Fact]
    public void Loop_of_eight_is_a_chain_too_long()
    {
        for (int i = 0; i < 8; i++)
            _driver.WriteDescriptor(i, GuestArena.Base, 16, Next, (i + 1) % 8);
        _driver.Offer(0);
        ShouldFault(QueueFault.ChainTooLong);
    }

    [Fact]
    public void Chain_of_as_many_as_the_ring_has_is_popped()
    {
        for (int i = 0; i < 8; i++)
            _driver.WriteDescriptor(i, GuestArena.Base, 16, i == 7 ? 0 : Next, i + 1);
        _driver.Offer(0);
        _queue.TryPop(out var chain).Should().BeTrue();
        chain.Readable.Length.Should().Be(8);
    }

    [Theory]
    [InlineData(8)]
    [InlineData(65_535)]
    public void Next_out_of_the_table_is_a_fault(int next)
    {
        _driver.WriteDescriptor(0, GuestArena.Base, 16, Next, next);
        _driver.Offer(0);
        ShouldFault(QueueFault.NextOutOfRange);
    }

    [Theory]
    [InlineData(8)]
    [InlineData(65_535)]
    public void Head_out_of_the_table_is_a_fault(int head)
    {
        _driver.Offer(head);
        ShouldFault(QueueFault.HeadOutOfRange);
    }

    [Theory]
    [InlineData(9)]
    [InlineData(32_768)]
    [InlineData(65_535)]
    public void Available_index_further_than_the_ring_is_a_fault(int index)
    {
        _driver.JumpTo(index);
        ShouldFault(QueueFault.AvailableIndexJumped);
    }

    [Fact]
    public void Available_index_that_jumps_while_notifications_are_enabled_is_a_fault_at_the_next_pop()
    {
        _driver.JumpTo(40_000);
        _queue.EnableNotifications().Should().BeTrue();
        ShouldFault(QueueFault.AvailableIndexJumped);
    }

    [Fact]
    public void Available_index_going_back_is_a_fault()
    {
        _driver.Add(Element.Out(GuestArena.Base, 1));
        _queue.TryPop(out _).Should().BeTrue();
        _driver.JumpTo(0);
        ShouldFault(QueueFault.AvailableIndexJumped);
    }

    [Fact]
    public void Head_offered_again_before_it_was_used_is_a_fault_and_afterwards_is_not()
    {
        _driver.WriteDescriptor(2, GuestArena.Base, 16, 0, 0);
        _driver.Offer(2);
        _queue.TryPop(out var chain).Should().BeTrue();
        _queue.Complete(chain.Token, 0);
        _driver.Offer(2);
        _queue.TryPop(out _).Should().BeTrue();
        _driver.Offer(2);
        ShouldFault(QueueFault.HeadInFlight);
    }

    [Fact]
    public void Readable_element_after_a_writable_one_is_a_fault()
    {
        _driver.WriteDescriptor(0, GuestArena.Base, 16, Next | Write, 1);
        _driver.WriteDescriptor(1, GuestArena.Base, 16, 0, 0);
        _driver.Offer(0);
        ShouldFault(QueueFault.ReadableAfterWritable);
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(8u)]
    [InlineData(24u)]
    [InlineData(0xffff_ffffu)]
    [InlineData(0xffff_fff0u)]
    [InlineData(65_537u * 16)]
    public void Indirect_table_of_a_length_that_cannot_be_is_a_fault(uint length)
    {
        _driver.WriteDescriptor(0, GuestArena.Base, length, Indirect, 0);
        _driver.Offer(0);
        ShouldFault(QueueFault.IndirectShape);
    }

    [Fact]
    public void Indirect_descriptor_with_next_is_a_fault()
    {
        _driver.WriteDescriptor(0, _arena.Allocate(16), 16, Indirect | Next, 1);
        _driver.Offer(0);
        ShouldFault(QueueFault.IndirectShape);
    }

    [Fact]
    public void Indirect_table_in_an_indirect_table_is_a_fault()
    {
        ulong table = _arena.Allocate(16);
        _driver.WriteDescriptor(table, 0, table, 16, Indirect, 0);
        _driver.WriteDescriptor(0, table, 16, Indirect, 0);
        _driver.Offer(0);
        ShouldFault(QueueFault.IndirectNested);
    }

    [Fact]
    public void Indirect_table_without_the_feature_is_a_fault()
    {
        _queue.Stop();
        _queue.Start(_driver.Setup with { Indirect = false });
        _driver.AddIndirect(Element.Out(GuestArena.Base, 1));
        _queue.TryPop(out _).Should().BeFalse();
        _queue.Fault.Should().Be(QueueFault.IndirectNotNegotiated);
    }

    [Theory]
    [InlineData(0UL, 16u)]
    [InlineData(ulong.MaxValue - 7, 16u)]
    [InlineData(GuestArena.Base + 16, 65_536u * 16)]
    public void Indirect_table_outside_memory_is_a_fault(ulong address, uint length)
    {
        _driver.WriteDescriptor(0, address, length, Indirect, 0);
        _driver.Offer(0);
        ShouldFault(QueueFault.IndirectOutsideMemory);
    }

    [Fact]
    public void Next_out_of_an_indirect_table_is_a_fault_though_it_is_in_the_ring_s()
    {
        ulong table = _arena.Allocate(32);
        _driver.WriteDescriptor(table, 0, GuestArena.Base, 4, Next, 2);
        _driver.WriteDescriptor(0, table, 32, Indirect, 0);
        _driver.Offer(0);
        ShouldFault(QueueFault.NextOutOfRange);
    }

    [Fact]
    public void Loop_in_an_indirect_table_is_a_chain_too_long()
    {
        ulong table = _arena.Allocate(64);
        for (int i = 0; i < 4; i++)
            _driver.WriteDescriptor(table, i, GuestArena.Base, 4, Next, (i + 1) % 4);
        _driver.WriteDescriptor(0, table, 64, Indirect, 0);
        _driver.Offer(0);
        ShouldFault(QueueFault.ChainTooLong);
    }

    [Fact]
    public void Direct_descriptors_followed_by_an_indirect_table_are_one_chain_as_2_7_5_3_2_demands()
    {
        ulong data = _arena.AllocateFilled([1, 2, 3, 4]);
        _driver.AddMixed(2, Element.Out(data, 1), Element.Out(data + 1, 1), Element.Out(data + 2, 1), Element.In(data + 3, 1));
        _queue.TryPop(out var chain).Should().BeTrue();
        chain.Readable.Length.Should().Be(3);
        chain.Readable[2].Span[0].Should().Be(3);
        chain.Writable.Length.Should().Be(1);
    }

    [Fact]
    public void Write_flag_of_an_indirect_descriptor_is_ignored_as_2_7_5_3_2_demands()
    {
        ulong table = _arena.Allocate(16);
        _driver.WriteDescriptor(table, 0, GuestArena.Base, 4, 0, 0);
        _driver.WriteDescriptor(0, table, 16, Indirect | Write, 0);
        _driver.Offer(0);
        _queue.TryPop(out var chain).Should().BeTrue();
        chain.Readable.Length.Should().Be(1);
    }

    [Fact]
    public void Index_wraps_at_65536()
    {
        var driver = new FakeSplitDriver(_arena, 8, start: 65_533);
        var queue = new VirtQueue(_arena.Memory, 8);
        queue.Start(driver.Setup, new QueuePosition(65_533, 65_533)).Should().BeTrue();
        for (int i = 0; i < 7; i++)
            driver.Add(Element.In(GuestArena.Base, 1));
        int popped = 0;
        while (queue.TryPop(out var chain))
        {
            popped++;
            queue.Complete(chain.Token, 1);
        }

        popped.Should().Be(7);
        queue.Publish().Should().BeTrue();
        driver.UsedIndex.Should().Be(unchecked((ushort)(65_533 + 7)));
        driver.TakeAllUsed().Should().HaveCount(7);
    }
}
