using Kvm.Devices.Memory;
using Kvm.Devices.Tests.Support;

namespace Kvm.Devices.Tests.Memory;

public sealed class GuestMemoryTests : IDisposable
{
    private const ulong Page = GuestMemory.PageSize;
    private const ulong High = 0x1_0000_0000;
    private const ulong Rom = 0xffff_f000;

    private readonly HostMemory _host = new(4 * GuestMemory.PageSize);
    private readonly GuestMemory _memory;

    public GuestMemoryTests() => _memory = new GuestMemory(
    [
        new GuestRegion(High, Page, _host.Address + (3 * GuestMemory.PageSize)),
        new GuestRegion(0, 2 * Page, _host.Address),
        new GuestRegion(Rom, Page, _host.Address + (2 * GuestMemory.PageSize), ReadOnly: true),
    ]);

    public void Dispose() => _host.Dispose();

    [Fact]
    public void Regions_are_sorted_and_rom_is_not_counted_as_ram()
    {
        _memory.Regions.ToArray().Select(r => r.Start).Should().Equal(0, Rom, High);
        _memory.RamSize.Should().Be(3 * Page);
    }

    [Fact]
    public void Writes_and_what_is_handed_out_for_writing_are_told_to_the_observer_and_reads_are_not()
    {
        var told = new List<(ulong, ulong)>();
        _memory.WriteObserver = (address, length) => told.Add((address, length));
        _memory.TryWrite(1, (ushort)7);
        _memory.TryWrite(2, new byte[3]);
        _memory.TrySlice(3, 4, out _);
        _memory.TryBuffer(4, 5, true, out _);
        _memory.TryPointer(5, 6, true, out _);
        _memory.NotifyWritten(6, 7);
        _memory.TryRead(0, out uint _);
        _memory.TryBuffer(0, 1, false, out _);
        _memory.TryReadOnlySlice(0, 1, out _);
        _memory.TryWrite(Rom, 1).Should().BeFalse();
        told.Should().Equal((1UL, 2UL), (2UL, 3UL), (3UL, 4UL), (4UL, 5UL), (5UL, 6UL), (6UL, 7UL));
    }

    [Fact]
    public void Value_written_reads_back_unaligned_and_little_endian()
    {
        _memory.TryWrite(5, 0x1122334455667788UL).Should().BeTrue();
        _memory.TryRead(5, out ulong value).Should().BeTrue();
        value.Should().Be(0x1122334455667788UL);
        _memory.TryRead(5, out byte low).Should().BeTrue();
        low.Should().Be(0x88);
        _memory.TryRead(9, out uint high).Should().BeTrue();
        high.Should().Be(0x11223344);
    }

    [Theory]
    [InlineData(2 * Page - 8, true)]
    [InlineData(2 * Page - 7, false)]
    [InlineData(2 * Page, false)]
    [InlineData(ulong.MaxValue, false)]
    [InlineData(ulong.MaxValue - 7, false)]
    [InlineData(High - 4, false)]
    [InlineData(High, true)]
    [InlineData(High + Page - 8, true)]
    [InlineData(High + Page - 1, false)]
    public void Access_of_8_bytes_succeeds_only_inside_one_region(ulong address, bool inside)
    {
        _memory.TryRead(address, out ulong _).Should().Be(inside);
        _memory.TryWrite(address, 1UL).Should().Be(inside);
        _memory.TrySlice(address, 8, out _).Should().Be(inside);
        _memory.TryReadOnlySlice(address, 8, out _).Should().Be(inside);
        _memory.TryRead(address, new byte[8]).Should().Be(inside);
        _memory.TryWrite(address, new byte[8]).Should().Be(inside);
        _memory.TryPointer(address, 8, writable: true, out _).Should().Be(inside);
        _memory.Contains(address, 8).Should().Be(inside);
    }

    [Fact]
    public void Rom_is_read_and_never_written()
    {
        _memory.TryRead(Rom, out ulong value).Should().BeTrue();
        value.Should().Be(0);
        _memory.TryWrite(Rom, 1UL).Should().BeFalse();
        _memory.TryWrite(Rom, [1]).Should().BeFalse();
        _memory.TrySlice(Rom, 1, out var slice).Should().BeFalse();
        slice.Length.Should().Be(0);
        _memory.TryReadOnlySlice(Rom, 1, out _).Should().BeTrue();
        _memory.TryPointer(Rom, 1, writable: true, out _).Should().BeFalse();
        _memory.TryPointer(Rom, 1, writable: false, out var host).Should().BeTrue();
        host.Should().Be(_host.Address + (2 * GuestMemory.PageSize));
    }

    [Fact]
    public void Access_from_rom_into_the_adjacent_ram_is_refused() =>
        _memory.TryRead(High - 4, new byte[8]).Should().BeFalse();

    [Fact]
    public void Refused_write_leaves_memory_as_it_was()
    {
        _memory.TryWrite(2 * Page - 4, new byte[] { 1, 2, 3, 4, 5 }).Should().BeFalse();
        _memory.TryRead(2 * Page - 4, out uint left).Should().BeTrue();
        left.Should().Be(0);
    }

    [Fact]
    public void Slice_is_the_memory_itself()
    {
        _memory.TrySlice(Page, 4, out var slice).Should().BeTrue();
        slice[0] = 0x5a;
        _memory.TryRead(Page, out byte value).Should().BeTrue();
        value.Should().Be(0x5a);
    }

    [Fact]
    public void Negative_and_empty_lengths_are_borne()
    {
        _memory.TrySlice(0, -1, out _).Should().BeFalse();
        _memory.TryReadOnlySlice(0, int.MinValue, out _).Should().BeFalse();
        _memory.TrySlice(0, 0, out var slice).Should().BeTrue();
        slice.Length.Should().Be(0);
        _memory.Contains(0, ulong.MaxValue).Should().BeFalse();
    }

    public static TheoryData<ulong, ulong> Impossible => new()
    {
        { 0, 0 },
        { 1, Page },
        { 0, Page + 1 },
        { ulong.MaxValue - Page + 1, 2 * Page },
    };

    [Theory]
    [MemberData(nameof(Impossible))]
    public void Region_that_is_empty_unaligned_or_wraps_throws(ulong start, ulong size) =>
        FluentActions.Invoking(() => new GuestMemory([new GuestRegion(start, size, _host.Address)])).Should().Throw<ArgumentException>();

    [Fact]
    public void Region_without_host_memory_or_over_another_throws()
    {
        FluentActions.Invoking(() => new GuestMemory([new GuestRegion(0, Page, 0)])).Should().Throw<ArgumentException>();
        FluentActions.Invoking(() => new GuestMemory(
        [
            new GuestRegion(0, 2 * Page, _host.Address),
            new GuestRegion(Page, Page, _host.Address),
        ])).Should().Throw<ArgumentException>();
    }

    [Fact]
    public void Region_that_ends_at_the_top_of_the_address_space_is_usable()
    {
        var memory = new GuestMemory([new GuestRegion(ulong.MaxValue - Page + 1, Page, _host.Address)]);
        memory.TryWrite(ulong.MaxValue, (byte)7).Should().BeTrue();
        memory.TryRead(ulong.MaxValue, out ushort _).Should().BeFalse();
        memory.Regions[0].Last.Should().Be(ulong.MaxValue);
    }
}
