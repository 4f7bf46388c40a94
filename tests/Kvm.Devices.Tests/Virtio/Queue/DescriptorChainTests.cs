using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Tests.Virtio.Queue;

/// <summary>Bytes come off a chain however the driver cut it (virtio 1.2, 2.7.4.1).</summary>
public sealed class DescriptorChainTests : IDisposable
{
    private readonly GuestArena _arena = new();
    private readonly FakeSplitDriver _driver;
    private readonly VirtQueue _queue;

    public DescriptorChainTests()
    {
        _driver = new FakeSplitDriver(_arena, 64);
        _queue = new VirtQueue(_arena.Memory, 64);
        _queue.Start(_driver.Setup).Should().BeTrue();
    }

    public void Dispose() => _arena.Dispose();

    private DescriptorChain Pop(params ReadOnlySpan<Element> elements)
    {
        _driver.Add(elements);
        _queue.TryPop(out var chain).Should().BeTrue();
        return chain;
    }

    [Fact]
    public void Header_split_over_one_byte_elements_reads_as_one()
    {
        ulong data = _arena.AllocateFilled([10, 11, 12, 13, 14, 15]);
        var chain = Pop(Element.Out(data, 1), Element.Out(data + 1, 1), Element.Out(data + 2, 1), Element.Out(data + 3, 3));
        byte[] header = new byte[4];
        chain.Read(header).Should().Be(4);
        header.Should().Equal(10, 11, 12, 13);
        chain.ReadableLength.Should().Be(2);
        chain.TryReadPiece(10, out var rest).Should().BeTrue();
        rest.Span.ToArray().Should().Equal(14, 15);
        chain.TryReadPiece(10, out _).Should().BeFalse();
    }

    [Fact]
    public void Read_of_more_than_there_is_gives_what_there_is()
    {
        ulong data = _arena.AllocateFilled([1, 2]);
        var chain = Pop(Element.Out(data, 2), Element.In(data, 2));
        chain.Read(new byte[8]).Should().Be(2);
        chain.Read(new byte[8]).Should().Be(0);
        chain.WritableLength.Should().Be(2);
    }

    [Fact]
    public void Write_fills_elements_one_after_another_and_stops_at_the_end()
    {
        ulong data = _arena.AllocateFilled([0, 0, 0, 0, 0, 0, 9]);
        var chain = Pop(Element.In(data, 2), Element.In(data + 2, 1), Element.In(data + 3, 3));
        chain.Write([1, 2, 3, 4]).Should().Be(4);
        chain.Write([5, 6, 7]).Should().Be(2);
        _arena.Bytes(data, 7).ToArray().Should().Equal(1, 2, 3, 4, 5, 6, 9);
    }

    [Fact]
    public void Pieces_are_no_longer_than_asked_for()
    {
        ulong data = _arena.Allocate(100);
        var chain = Pop(Element.In(data, 70), Element.In(data, 30));
        var lengths = new List<int>();
        while (chain.TryWritePiece(40, out var piece))
            lengths.Add(piece.Length);
        lengths.Should().Equal(40, 30, 30);
        chain.TryWritePiece(0, out _).Should().BeFalse();
    }

    [Fact]
    public void Last_byte_comes_off_the_end_and_leaves_the_rest()
    {
        ulong data = _arena.AllocateFilled([1, 2, 3, 4]);
        var chain = Pop(Element.In(data, 3), Element.In(data + 3, 1));
        chain.TryTakeLastByte(out var last).Should().BeTrue();
        last.Span[0].Should().Be(4);
        chain.WritableLength.Should().Be(3);
        chain.TryTakeLastByte(out last).Should().BeTrue();
        last.Span[0].Should().Be(3);
    }

    [Fact]
    public void Chain_without_anything_to_write_has_no_last_byte()
    {
        var chain = Pop(Element.Out(GuestArena.Base, 8));
        chain.TryTakeLastByte(out _).Should().BeFalse();
    }

    [Fact]
    public void Bad_chain_has_a_last_byte_if_the_bad_element_is_another()
    {
        var chain = Pop(Element.Out(0, 8), Element.In(GuestArena.Base, 8));
        chain.HasBadBuffer.Should().BeTrue();
        chain.TryTakeLastByte(out _).Should().BeTrue();
    }
}
