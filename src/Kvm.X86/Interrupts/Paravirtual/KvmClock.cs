using System.Buffers.Binary;
using Kvm.Devices.Memory;

namespace Kvm.X86.Interrupts;

/// <summary>
/// kvmclock of one processor (Linux Documentation/virt/kvm/x86/msr.rst): a page in guest memory from which the guest
/// computes guest time in ns from its TSC, and the wall-clock time the machine was started at.
/// </summary>
/// <remarks>
/// The TSC is a function of guest time here, so one pair of numbers is right for ever: the page is written when the guest
/// asks for it, and again only when a processor's TSC was written or the machine comes back from a pause.
/// </remarks>
internal sealed class KvmClock(GuestMemory memory, ProcessorTsc tsc, TimeProvider wall)
{
    public const uint WallClockOld = 0x11, SystemTimeOld = 0x12, WallClock = 0x4b56_4d00, SystemTime = 0x4b56_4d01;

    private const int PageBytes = 32, WallBytes = 12;
    private const byte FlagStable = 1, FlagStopped = 2;
    private readonly Lock _lock = new();
    private ulong _systemTime;
    private ulong _wallClock;

    /// <summary>The two registers' values.</summary>
    public (ulong SystemTime, ulong WallClock) Registers => (_systemTime, _wallClock);

    public bool TryRead(uint msr, out ulong value)
    {
        value = msr is SystemTime or SystemTimeOld ? _systemTime : _wallClock;
        return msr is SystemTime or SystemTimeOld or WallClock or WallClockOld;
    }

    /// <summary>An address outside memory is remembered and never written to.</summary>
    public bool TryWrite(uint msr, ulong value, bool stable)
    {
        switch (msr)
        {
            case SystemTime or SystemTimeOld:
                lock (_lock)
                    _systemTime = value;
                Publish(stable, stopped: false);
                return true;
            case WallClock or WallClockOld:
                _wallClock = value;
                PublishWallClock(value);
                return true;
            default:
                return false;
        }
    }

    /// <summary>Takes saved registers without writing guest memory, which comes from the same snapshot.</summary>
    public void Restore(ulong systemTime, ulong wallClock) => (_systemTime, _wallClock) = (systemTime, wallClock);

    /// <summary>Writes the page: <c>struct pvclock_vcpu_time_info</c>.</summary>
    /// <param name="stable">True if all processors' TSCs are equal, so that readings of different processors may be compared.</param>
    /// <param name="stopped">True to tell the guest that it was paused, which spares it false alarms of its watchdogs.</param>
    public void Publish(bool stable, bool stopped)
    {
        lock (_lock)
        {
            // Bit 0 enables; addresses are multiples of 4.
            if ((_systemTime & 1) == 0 || !memory.TrySlice(_systemTime & ~3UL, PageBytes, out var page))
                return;
            var (multiplier, shift) = ScaleOf(tsc.Clock.TscFrequency);
            Span<byte> next = stackalloc byte[PageBytes];
            next.Clear();
            // Guest time was 0 when the machine's TSC was 0, and this processor's was its offset.
            BinaryPrimitives.WriteUInt64LittleEndian(next[8..], tsc.Offset);
            BinaryPrimitives.WriteUInt64LittleEndian(next[16..], 0);
            BinaryPrimitives.WriteUInt32LittleEndian(next[24..], multiplier);
            next[28] = (byte)shift;
            next[29] = (byte)((stable ? FlagStable : 0) | (stopped ? FlagStopped : 0));
            WriteVersioned(page, next);
        }
    }

    /// <summary>Nanoseconds = ((ticks shifted left by Shift) × Multiplier) / 2³²; a negative shift is to the right.</summary>
    internal static (uint Multiplier, sbyte Shift) ScaleOf(ulong frequency)
    {
        sbyte shift = 0;
        // Into (1 GHz, 2 GHz], where the multiplier has 32 significant bits and no more.
        while (frequency > 2 * GuestClock.NanosecondsPerSecond)
        {
            frequency >>= 1;
            shift--;
        }

        while (frequency <= GuestClock.NanosecondsPerSecond)
        {
            frequency <<= 1;
            shift++;
        }

        return ((uint)((GuestClock.NanosecondsPerSecond << 32) / frequency), shift);
    }

    /// <summary>Writes <c>struct pvclock_wall_clock</c>: the wall-clock time at which guest time was 0.</summary>
    private void PublishWallClock(ulong address)
    {
        if (!memory.TrySlice(address & ~3UL, WallBytes, out var target))
            return;
        // Guest time may be above what TimeSpan holds if a test or a snapshot says so.
        ulong now = Math.Min(tsc.Clock.Now, 1UL << 62);
        var epoch = wall.GetUtcNow() - DateTimeOffset.UnixEpoch;
        long start = (epoch.Ticks * 100) - (long)now;
        start = Math.Max(start, 0);
        Span<byte> next = stackalloc byte[WallBytes];
        BinaryPrimitives.WriteUInt32LittleEndian(next[4..], (uint)(start / (long)GuestClock.NanosecondsPerSecond));
        BinaryPrimitives.WriteUInt32LittleEndian(next[8..], (uint)(start % (long)GuestClock.NanosecondsPerSecond));
        WriteVersioned(target, next);
    }

    /// <summary>The version is odd while the fields change, and a new even one after: a reader that saw either change reads again.</summary>
    private static void WriteVersioned(Span<byte> target, ReadOnlySpan<byte> next)
    {
        uint version = BinaryPrimitives.ReadUInt32LittleEndian(target) | 1;
        BinaryPrimitives.WriteUInt32LittleEndian(target, version);
        Thread.MemoryBarrier();
        next[4..].CopyTo(target[4..]);
        Thread.MemoryBarrier();
        BinaryPrimitives.WriteUInt32LittleEndian(target, version + 1);
    }
}
