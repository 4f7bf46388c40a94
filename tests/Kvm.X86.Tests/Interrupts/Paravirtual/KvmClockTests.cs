using System.Runtime.InteropServices;
using System.Text;
using Kvm.X86.Interrupts;

namespace Kvm.X86.Tests.Interrupts.Paravirtual;

/// <summary>Linux Documentation/virt/kvm/x86/msr.rst and cpuid.rst.</summary>
public sealed class KvmClockTests : IDisposable
{
    private readonly TestMemory _memory = new();

    public void Dispose() => _memory.Dispose();

    private sealed class FixedWall(DateTimeOffset now) : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => now;
    }

    private ChipSet Board(GuestClock clock, int processors = 1, TimeProvider? wall = null) => new(new ChipSetOptions
    {
        Clock = clock,
        Memory = _memory.Memory,
        Processors = processors,
        WallClock = wall ?? TimeProvider.System,
    });

    /// <summary>What a guest makes of the page, as the documentation says.</summary>
    private ulong GuestNanoseconds(ulong page, ulong tsc)
    {
        (_memory.Read<uint>(page) & 1).Should().Be(0);
        ulong delta = tsc - _memory.Read<ulong>(page + 8);
        sbyte shift = _memory.Read<sbyte>(page + 28);
        delta = shift >= 0 ? delta << shift : delta >> -shift;
        return _memory.Read<ulong>(page + 16) + (ulong)(((UInt128)delta * _memory.Read<uint>(page + 24)) >> 32);
    }

    [Theory]
    [InlineData(1_000_000_000UL)]
    [InlineData(2_596_126_000UL)]
    [InlineData(400_000_000UL)]
    [InlineData(99_000_000_000UL)]
    [InlineData(1_000_000UL)]
    public void The_page_gives_guest_time_from_the_TSC_at_any_frequency(ulong frequency)
    {
        var clock = new ManualGuestClock(frequency);
        var board = Board(clock);
        clock.Advance(123_456_789_012);
        board.Processors[0].TryWriteMsr(0x4b56_4d01, 0x1001).Should().BeTrue();
        for (int i = 0; i < 5; i++)
        {
            ulong expected = clock.Now;
            ulong tolerance = Math.Max(2_000_000_000UL / frequency, 1) + (expected >> 30);
            GuestNanoseconds(0x1000, board.Processors[0].ReadTsc()).Should().BeCloseTo(expected, tolerance);
            clock.Advance(987_654_321);
        }

        (_memory.Read<byte>(0x1000 + 29) & 1).Should().Be(1, "the TSC is the same everywhere");
        board.Processors[0].TryReadMsr(0x4b56_4d01, out ulong value).Should().BeTrue();
        value.Should().Be(0x1001);
    }

    [Fact]
    public void A_written_TSC_moves_the_page_with_it_and_is_no_longer_stable()
    {
        var clock = new ManualGuestClock();
        var board = Board(clock, 2);
        board.Processors[0].TryWriteMsr(0x12, 0x1001);
        board.Processors[1].TryWriteMsr(0x4b56_4d01, 0x2001);
        clock.Advance(1_000_000);
        uint version = _memory.Read<uint>(0x1000);
        board.Processors[0].TryWriteMsr(0x10, 5).Should().BeTrue();
        board.Processors[0].ReadTsc().Should().Be(5);
        board.Processors[0].TryReadMsr(0x3b, out ulong adjust).Should().BeTrue();
        adjust.Should().Be(unchecked(5UL - 1_000_000));
        _memory.Read<uint>(0x1000).Should().Be(version + 2);
        GuestNanoseconds(0x1000, 5).Should().Be(1_000_000);
        (_memory.Read<byte>(0x1000 + 29) & 1).Should().Be(0);
        (_memory.Read<byte>(0x2000 + 29) & 1).Should().Be(0);
        board.Processors[0].TryWriteMsr(0x3b, 0);
        (_memory.Read<byte>(0x2000 + 29) & 1).Should().Be(1);
    }

    [Fact]
    public void A_written_TSC_moves_an_armed_deadline()
    {
        var board = Board(new ManualGuestClock());
        var chips = board.Processors[0];
        chips.WriteApicPage(0x320, [0xe0, 0, 4, 0]);
        chips.TryWriteMsr(0x6e0, 10_000).Should().BeTrue();
        board.Timers.NextDeadline.Should().Be(10_000);
        chips.TryWriteMsr(0x3b, 4_000);
        board.Timers.NextDeadline.Should().Be(6_000);
        chips.TryWriteMsr(0x10, 10_000);
        chips.AcknowledgeInterrupt().Should().Be(0xe0);
    }

    [Theory]
    [InlineData(0x1000UL)]
    [InlineData(0x3ff1UL)]
    [InlineData(0xffff_ffff_ffff_fff1UL)]
    [InlineData(0x10_0000_0001UL)]
    public void A_page_that_is_disabled_or_outside_memory_is_never_written(ulong value)
    {
        var board = Board(new ManualGuestClock());
        board.Processors[0].TryWriteMsr(0x4b56_4d01, value).Should().BeTrue();
        board.Processors[0].TryWriteMsr(0x4b56_4d00, value | 0xffff_0000_0000).Should().BeTrue();
        board.NotifyResumed();
        _memory.Memory.TryReadOnlySlice(0, 0x4000, out var all);
        all.ContainsAnyExcept((byte)0).Should().BeFalse();
    }

    [Fact]
    public void The_wall_clock_is_the_time_the_machine_was_started()
    {
        var now = new DateTimeOffset(2026, 11, 21, 12, 0, 0, TimeSpan.Zero).AddTicks(1234567);
        var clock = new ManualGuestClock();
        var board = Board(clock, wall: new FixedWall(now));
        clock.Advance(10_000_000_000);
        board.Processors[0].TryWriteMsr(0x4b56_4d00, 0x2000).Should().BeTrue();
        _memory.Read<uint>(0x2004).Should().Be((uint)now.ToUnixTimeSeconds() - 10);
        _memory.Read<uint>(0x2008).Should().Be(123_456_700);
        _memory.Read<uint>(0x2000).Should().Be(2);
    }

    [Fact]
    public void After_a_pause_the_page_says_so()
    {
        var board = Board(new ManualGuestClock());
        board.Processors[0].TryWriteMsr(0x4b56_4d01, 0x1001);
        (_memory.Read<byte>(0x1000 + 29) & 2).Should().Be(0);
        board.NotifyResumed();
        (_memory.Read<byte>(0x1000 + 29) & 2).Should().Be(2);
    }

    [Fact]
    public void Features_that_are_not_offered_are_not_there()
    {
        var board = Board(new ManualGuestClock());
        foreach (uint msr in new uint[] { 0x4b56_4d02, 0x4b56_4d03, 0x4b56_4d04, 0x4b56_4d05, 0x4b56_4d06, 0x4b56_4d07, 0x1234 })
        {
            board.Processors[0].TryReadMsr(msr, out _).Should().BeFalse();
            board.Processors[0].TryWriteMsr(msr, 0).Should().BeFalse();
        }
    }

    [Fact]
    public void CPUID_has_the_signature_features_and_frequencies()
    {
        var clock = new ManualGuestClock(2_500_000_000);
        KvmLeaves.TryRead(clock, 0x4000_0000, out uint eax, out uint ebx, out uint ecx, out uint edx).Should().BeTrue();
        eax.Should().Be(0x4000_0010);
        Encoding.ASCII.GetString(MemoryMarshal.AsBytes<uint>(new[] { ebx, ecx, edx })).Should().Be("KVMKVMKVM\0\0\0");
        KvmLeaves.TryRead(clock, 0x4000_0001, out eax, out _, out _, out edx).Should().BeTrue();
        eax.Should().Be(0x0100_000b);
        edx.Should().Be(0);
        KvmLeaves.TryRead(clock, 0x4000_0010, out eax, out ebx, out _, out _).Should().BeTrue();
        (eax, ebx).Should().Be((2_500_000u, 1_000_000u));
        KvmLeaves.TryRead(clock, 0x15, out eax, out ebx, out ecx, out _).Should().BeTrue();
        ((ulong)ecx * ebx / eax).Should().Be(2_500_000_000);
        ecx.Should().Be(1_000_000_000);
        KvmLeaves.TryRead(clock, 0x16, out eax, out ebx, out ecx, out _).Should().BeTrue();
        (eax, ebx).Should().Be((2500u, 2500u));
        KvmLeaves.TryRead(clock, 0x4000_0005, out eax, out _, out _, out _).Should().BeTrue();
        eax.Should().Be(0);
        KvmLeaves.TryRead(clock, 1, out _, out _, out _, out _).Should().BeFalse();
    }
}
