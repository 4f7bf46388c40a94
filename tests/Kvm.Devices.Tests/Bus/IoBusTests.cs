using Kvm.Devices.Bus;
using Kvm.Devices.Tests.Support;

namespace Kvm.Devices.Tests.Bus;

public sealed class IoBusTests
{
    private sealed class Recorder(byte fill) : IBusDevice
    {
        public List<(ulong Offset, byte[] Data)> Writes { get; } = [];

        public void Read(ulong offset, Span<byte> data) => data.Fill(fill);

        public void Write(ulong offset, ReadOnlySpan<byte> data) => Writes.Add((offset, data.ToArray()));
    }

    private readonly IoBus _bus = new();
    private readonly Recorder _a = new(0xaa);
    private readonly Recorder _b = new(0xbb);

    public IoBusTests()
    {
        _bus.Add(0x3f8, 8, _a);
        _bus.Add(0x2f8, 8, _b);
    }

    [Fact]
    public void Access_reaches_the_device_with_its_offset()
    {
        _bus.Write(0x3fb, [1, 2]);
        _a.Writes.Should().ContainSingle().Which.Should().BeEquivalentTo((3UL, new byte[] { 1, 2 }));
        _bus.In8(0x2ff).Should().Be(0xbb);
        _bus.UnclaimedAccesses.Should().Be(0);
    }

    [Fact]
    public void Access_where_nothing_lives_reads_ones_and_is_counted()
    {
        _bus.In32(0x400).Should().Be(0xffff_ffff);
        _bus.Write(0x2f7, [1]);
        _bus.UnclaimedAccesses.Should().Be(2);
    }

    [Fact]
    public void Access_that_runs_past_the_device_is_cut_and_the_rest_reads_as_ones()
    {
        _bus.In32(0x3fe).Should().Be(0xffff_aaaa);
        _bus.Write(0x3ff, [1, 2, 3, 4]);
        _a.Writes.Should().ContainSingle().Which.Should().BeEquivalentTo((7UL, new byte[] { 1 }));
    }

    [Theory]
    [InlineData(0x3f8, 8)]
    [InlineData(0x3f0, 9)]
    [InlineData(0x3ff, 1)]
    [InlineData(0x000, 0x10000)]
    [InlineData(0x400, 0)]
    [InlineData(ulong.MaxValue, 2)]
    public void Range_that_is_taken_empty_or_wraps_is_refused(ulong start, ulong size)
    {
        FluentActions.Invoking(() => _bus.Add(start, size, _b)).Should().Throw<ArgumentException>();
        _bus.TryAdd(start, size, _b).Should().BeFalse();
        _bus.In8(0x3f8).Should().Be(0xaa);
    }

    [Theory]
    [InlineData(0x400, 1)]
    [InlineData(0x300, 0xf8)]
    [InlineData(ulong.MaxValue, 1)]
    [InlineData(0x1000, ulong.MaxValue - 0xfff)]
    public void Range_that_is_free_is_taken_to_its_last_byte(ulong start, ulong size)
    {
        var device = new Recorder(0xcc);
        _bus.TryAdd(start, size, device).Should().BeTrue();
        _bus.In8(start).Should().Be(0xcc);
        _bus.In8(start + (size - 1)).Should().Be(0xcc);
    }

    [Fact]
    public void Removed_device_is_reached_no_more()
    {
        _bus.Remove(0x3f8).Should().BeTrue();
        _bus.Remove(0x3f8).Should().BeFalse();
        _bus.Remove(0x3f9).Should().BeFalse();
        _bus.In8(0x3f8).Should().Be(0xff);
        _bus.In8(0x2f8).Should().Be(0xbb);
    }

    [Fact]
    public void Window_shows_a_device_from_its_first_offset_on()
    {
        var window = new BusWindow(_a, 4);
        window.Out8(1, 9);
        _a.Writes.Should().ContainSingle().Which.Offset.Should().Be(5);
        window.In8(0).Should().Be(0xaa);
    }

    [Fact]
    public async Task Reading_beside_adding_and_removing_always_reaches_the_devices_that_stay()
    {
        using var stop = new CancellationTokenSource();
        var changer = Task.Run(() =>
        {
            int rounds = 0;
            for (; !stop.IsCancellationRequested; rounds++)
            {
                _bus.Add(0x100, 4, _b);
                _bus.Add(0x500, 4, _b);
                _bus.Remove(0x100);
                _bus.Remove(0x500);
            }

            return rounds;
        });

        int wrong = 0;
        for (int i = 0; i < 200_000; i++)
            wrong += _bus.In8(0x3f8) == 0xaa ? 0 : 1;
        await stop.CancelAsync();
        await changer;
        wrong.Should().Be(0);
    }
}
