using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Tests.Virtio.Queue;

/// <summary>What a hostile driver writes into a packed ring, and what the queue calls it.</summary>
public sealed class PackedRingFaultTests : IDisposable
{
    private const int Next = 1, Write = 2, Indirect = 4, Available = 1 << 7, Used = 1 << 15;

    private readonly GuestArena _arena = new();
    private readonly FakePackedDriver _driver;
    private readonly VirtQueue _queue;

    public PackedRingFaultTests()
    {
        _driver = new FakePackedDriver(_arena, 8);
        _queue = new VirtQueue(_arena.Memory, 8);
        _queue.Start(_driver.Setup).Should().BeTrue();
    }

    public void Dispose() => _arena.Dispose();

    private void ShouldFault(QueueFault fault)
    {
        _queue.TryPop(out _).Should().BeFalse();
        _queue.Fault.Should().Be(fault);
        _queue.TryPop(out _).Should().BeFalse("a faulted queue stays so");
        _queue.Stop();
        _queue.Start(_driver.Setup).Should().BeTrue("a reset mends it");
    }

    [Fact]
    public void Ring_of_zeroes_has_nothing_available() => _queue.TryPop(out _).Should().BeFalse();

    [Fact]
    public void Chain_whose_every_descriptor_says_next_is_too_long()
    {
        for (int i = 0; i < 8; i++)
            _driver.WriteDescriptor(i, GuestArena.Base, 16, i, Available | Next);
        ShouldFault(QueueFault.ChainTooLong);
    }

    [Theory]
    [InlineData(8)]
    [InlineData(65_535)]
    public void Identifier_not_below_the_size_is_a_fault(int id)
    {
        _driver.WriteDescriptor(0, GuestArena.Base, 16, id, Available);
        ShouldFault(QueueFault.HeadOutOfRange);
    }

    [Fact]
    public void Identifier_offered_again_before_it_was_used_is_a_fault()
    {
        _driver.WriteDescriptor(0, GuestArena.Base, 16, 5, Available);
        _driver.WriteDescriptor(1, GuestArena.Base, 16, 5, Available);
        _queue.TryPop(out _).Should().BeTrue();
        ShouldFault(QueueFault.HeadInFlight);
    }

    [Fact]
    public void Driver_that_laps_the_device_is_a_fault()
    {
        for (int i = 0; i < 8; i++)
            _driver.WriteDescriptor(i, GuestArena.Base, 16, 0, Available | (i == 7 ? 0 : Next));
        _queue.TryPop(out _).Should().BeTrue();
        // The next turn, though nothing of the first was used.
        _driver.WriteDescriptor(0, GuestArena.Base, 16, 1, Used);
        ShouldFault(QueueFault.AvailableIndexJumped);
    }

    [Fact]
    public void Readable_element_after_a_writable_one_is_a_fault()
    {
        _driver.WriteDescriptor(0, GuestArena.Base, 16, 0, Available | Next | Write);
        _driver.WriteDescriptor(1, GuestArena.Base, 16, 0, Available);
        ShouldFault(QueueFault.ReadableAfterWritable);
    }

    [Fact]
    public void Indirect_descriptor_in_a_list_is_a_fault()
    {
        ulong table = _arena.Allocate(16);
        _driver.WriteDescriptor(0, GuestArena.Base, 16, 0, Available | Next);
        _driver.WriteDescriptor(1, table, 16, 0, Available | Indirect);
        ShouldFault(QueueFault.IndirectShape);
    }

    [Fact]
    public void Indirect_descriptor_with_next_is_a_fault()
    {
        _driver.WriteDescriptor(0, _arena.Allocate(16), 16, 0, Available | Indirect | Next);
        ShouldFault(QueueFault.IndirectShape);
    }

    [Theory]
    [InlineData(0u, QueueFault.IndirectShape)]
    [InlineData(17u, QueueFault.IndirectShape)]
    [InlineData(9u * 16, QueueFault.ChainTooLong)]
    [InlineData(0xffff_fff0u, QueueFault.IndirectShape)]
    [InlineData(65_536u * 16, QueueFault.IndirectOutsideMemory)]
    public void Indirect_table_of_a_wrong_length_is_a_fault(uint length, QueueFault fault)
    {
        _driver.WriteDescriptor(0, _arena.Allocate(16 * 16), length, 0, Available | Indirect);
        ShouldFault(fault);
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

    [Fact]
    public void Flags_of_indirect_entries_other_than_write_are_ignored_as_2_8_7_demands()
    {
        ulong table = _arena.Allocate(32);
        _arena.Set64(table, GuestArena.Base);
        _arena.Set32(table + 8, 4);
        _arena.Set16(table + 14, Next | Indirect | Available);
        _arena.Set64(table + 16, GuestArena.Base);
        _arena.Set32(table + 24, 4);
        _arena.Set16(table + 30, Write);
        _driver.WriteDescriptor(0, table, 32, 3, Available | Indirect | Write);
        _queue.TryPop(out var chain).Should().BeTrue();
        (chain.Readable.Length, chain.Writable.Length, chain.Token.Head).Should().Be((1, 1, (ushort)3));
    }

    [Fact]
    public void Used_descriptor_has_write_only_if_something_was_written()
    {
        foreach (uint written in (uint[])[0, 77])
        {
            _driver.Add(Element.In(GuestArena.Base, 100));
            _queue.TryPop(out var chain).Should().BeTrue();
            _queue.Complete(chain.Token, written);
            _queue.Publish();
        }

        (_arena.U16(_driver.Ring + 14) & Write).Should().Be(0);
        (_arena.U16(_driver.Ring + 16 + 14) & Write).Should().Be(Write);
        _driver.TakeAllUsed().Select(u => u.Written).Should().Equal(0, 77);
    }

    [Fact]
    public void Reserved_event_flags_of_a_driver_mean_an_interrupt()
    {
        _arena.Set32(_driver.DriverEvents, 3u << 16);
        _driver.Add(Element.In(GuestArena.Base, 1));
        _queue.TryPop(out var chain).Should().BeTrue();
        _queue.Complete(chain.Token, 1);
        _queue.Publish().Should().BeTrue();
    }

    [Fact]
    public void Event_for_an_entry_without_the_feature_means_an_interrupt()
    {
        _arena.Set32(_driver.DriverEvents, 2u << 16 | 7);
        _driver.Add(Element.In(GuestArena.Base, 1));
        _queue.TryPop(out var chain).Should().BeTrue();
        _queue.Complete(chain.Token, 1);
        _queue.Publish().Should().BeTrue();
    }
}
