using Kvm.Devices.Bus;
using Kvm.Devices.Pci;
using Kvm.Devices.Platform;
using Kvm.Devices.Tests.Support;

namespace Kvm.Devices.Tests.Platform;

/// <summary>Intel 6300ESB datasheet (300641), chapter "Watchdog Timer": what its registers do.</summary>
public sealed class Watchdog6300EsbTests : IDisposable
{
    private const ulong Preload1 = 0, Preload2 = 4, Status = 8, Reload = 12;
    private const int ConfigRegister = 0x60, LockRegister = 0x68;
    private const byte Lock = 1, Enable = 2, FreeRunning = 4;
    private const int OutputOff = 1 << 5, FastClock = 1 << 2, ReloadBit = 1 << 8, TimedOut = 1 << 9;

    private readonly ManualTime _time = new();
    private readonly WatchdogBoard _board;
    private int _expired;

    public Watchdog6300EsbTests() => _board = new WatchdogBoard(_time, () => _expired++);

    public void Dispose() => _board.Dispose();

    /// <summary>A tick of the slow clock: 2^15 of the PCI clock's.</summary>
    private static TimeSpan Ticks(double count) => TimeSpan.FromSeconds(count * (1 << 15) / Watchdog6300Esb.Clock);

    private void Unlock()
    {
        _board.Out16(Reload, 0x80);
        _board.Out16(Reload, 0x86);
    }

    private void Preload(uint first, uint second)
    {
        Unlock();
        _board.Out32(Preload1, first);
        Unlock();
        _board.Out32(Preload2, second);
    }

    private void KeepAlive()
    {
        Unlock();
        _board.Out16(Reload, ReloadBit);
    }

    [Fact]
    public void Identity_is_the_one_that_drivers_look_for()
    {
        _board.ReadConfig(0).Should().Be(0x25ab_8086);
        (_board.ReadConfig(8) >> 8).Should().Be(0x088000, "another base system peripheral");
    }

    [Fact]
    public void Registers_after_power_on_are_those_of_the_datasheet()
    {
        _board.In32(Preload1).Should().Be(0xf_ffff);
        _board.In32(Preload2).Should().Be(0xf_ffff);
        _board.In32(Status).Should().Be(0);
        _board.In32(Reload).Should().Be(0);
        _board.ReadConfig(ConfigRegister).Should().Be(0);
        _board.ReadConfig(LockRegister).Should().Be(0);
        _board.Watchdog.IsEnabled.Should().BeFalse();
    }

    [Fact]
    public void Base_address_register_maps_sixteen_bytes_of_registers()
    {
        var memory = new IoBus();
        var bus = new PciBus(new IoBus(), memory);
        using var watchdog = new Watchdog6300Esb("watchdog", _time, () => { });
        bus.Add(8, watchdog);
        bus.AssignResources(new PciResources((0xc000, 0x4000), (0xd000_0000, 0x1000_0000), (1UL << 40, 1UL << 35), (_, _) => 16));
        memory.In32(0xd000_0000).Should().Be(0xf_ffff);
        memory.In32(0xd000_0010).Should().Be(uint.MaxValue, "there is nothing behind them");
    }

    [Fact]
    public void Preload_is_written_after_the_unlocking_sequence_only()
    {
        _board.Out32(Preload1, 5);
        _board.In32(Preload1).Should().Be(0xf_ffff);
        Unlock();
        _board.Out32(Preload1, 5);
        _board.Out32(Preload2, 6);
        _board.In32(Preload1).Should().Be(5);
        _board.In32(Preload2).Should().Be(0xf_ffff, "the sequence holds for one write");
    }

    [Theory]
    [InlineData(0x86, 0x80)]
    [InlineData(0x80, 0x80)]
    [InlineData(0x86, 0x86)]
    [InlineData(0x80, 0x85)]
    [InlineData(0x180, 0x86)]
    public void Wrong_sequence_unlocks_nothing(int first, int second)
    {
        _board.Out16(Reload, first);
        _board.Out16(Reload, second);
        _board.Out32(Preload1, 5);
        _board.In32(Preload1).Should().Be(0xf_ffff);
    }

    [Fact]
    public void Write_of_another_register_between_the_two_steps_breaks_the_sequence()
    {
        _board.Out16(Reload, 0x80);
        _board.Out32(Preload2, 1);
        _board.Out16(Reload, 0x86);
        _board.Out32(Preload1, 5);
        _board.In32(Preload1).Should().Be(0xf_ffff);
    }

    [Fact]
    public void Preload_keeps_twenty_bits_and_takes_parts_of_a_register()
    {
        Unlock();
        _board.Out32(Preload1, 0xfff1_2345);
        _board.In32(Preload1).Should().Be(0x1_2345);
        Unlock();
        _board.Out8(Preload1 + 1, 0xaa);
        _board.In32(Preload1).Should().Be(0x1_aa45);
    }

    [Fact]
    public void Timer_that_is_never_enabled_never_ends()
    {
        Preload(0, 0);
        _time.Advance(TimeSpan.FromDays(1));
        (_expired, _time.Armed).Should().Be((0, 0));
        _board.In32(Reload).Should().Be(0);
    }

    [Fact]
    public void First_stage_sets_its_status_bit_and_the_second_drives_the_output_once()
    {
        Preload(99, 199);
        _board.WriteConfig(LockRegister, Enable);
        _time.Advance(Ticks(99.5));
        _board.In32(Status).Should().Be(0, "one more than was loaded is counted");
        _time.Advance(Ticks(1));
        _board.In32(Status).Should().Be(1);
        _expired.Should().Be(0);
        _time.Advance(Ticks(199));
        _expired.Should().Be(0);
        _time.Advance(Ticks(2));
        _expired.Should().Be(1);
        _board.In32(Reload).Should().Be(TimedOut);
        _board.Watchdog.Expirations.Should().Be(1);
        _time.Advance(TimeSpan.FromDays(1));
        _expired.Should().Be(1, "it is driven once, until it is set back");
    }

    [Fact]
    public void Timer_that_is_set_back_in_time_never_drives_its_output()
    {
        Preload(99, 99);
        _board.WriteConfig(LockRegister, Enable);
        for (int i = 0; i < 100; i++)
        {
            _time.Advance(Ticks(150));
            KeepAlive();
        }

        _expired.Should().Be(0);
        _board.In32(Status).Should().Be(1, "the first stage ended, which only the guest clears");
        _board.Out32(Status, 1);
        _board.In32(Status).Should().Be(0);
        _time.Advance(Ticks(203));
        _expired.Should().Be(1);
    }

    [Fact]
    public void Reload_without_the_sequence_keeps_nothing_alive()
    {
        Preload(99, 99);
        _board.WriteConfig(LockRegister, Enable);
        _time.Advance(Ticks(150));
        _board.Out16(Reload, ReloadBit);
        _time.Advance(Ticks(55));
        _expired.Should().Be(1);
    }

    [Fact]
    public void New_preload_holds_from_the_next_time_its_stage_is_entered()
    {
        Preload(99, 99);
        _board.WriteConfig(LockRegister, Enable);
        Preload(9, 9);
        _time.Advance(Ticks(50));
        _board.In32(Status).Should().Be(0, "the first stage goes on as it began");
        _time.Advance(Ticks(51));
        _board.In32(Status).Should().Be(1);
        _time.Advance(Ticks(12));
        _expired.Should().Be(1, "the second stage began with the new value");
    }

    [Fact]
    public void Fast_clock_counts_a_thousand_times_as_fast()
    {
        Preload(0xf_ffff, 0xf_ffff);
        _board.WriteConfig(ConfigRegister, FastClock, 0);
        _board.WriteConfig(LockRegister, Enable);
        _time.Advance(TimeSpan.FromSeconds(2.1));
        _expired.Should().Be(1, "twice 2^20 ticks of about a microsecond");
    }

    [Fact]
    public void Output_that_is_switched_off_leaves_the_timeout_bit()
    {
        Preload(9, 9);
        _board.WriteConfig(ConfigRegister, OutputOff | 3, 0);
        _board.WriteConfig(LockRegister, Enable);
        _time.Advance(Ticks(30));
        _expired.Should().Be(0);
        _board.In32(Reload).Should().Be(TimedOut);
        Unlock();
        _board.Out16(Reload, TimedOut);
        _board.In32(Reload).Should().Be(0, "cleared by writing it");
    }

    [Fact]
    public void Free_running_timer_knows_the_second_stage_only()
    {
        Preload(0xf_ffff, 9);
        _board.WriteConfig(LockRegister, Enable | FreeRunning);
        _time.Advance(Ticks(12));
        _expired.Should().Be(1);
        _board.In32(Status).Should().Be(0, "the bit is not set in this mode");
        _board.WriteConfig(LockRegister, FreeRunning);
        _board.WriteConfig(LockRegister, Enable | FreeRunning);
        _time.Advance(Ticks(12));
        _expired.Should().Be(2, "enabling begins anew");
    }

    [Fact]
    public void Timer_that_is_disabled_stands_still_and_begins_anew_when_enabled()
    {
        Preload(99, 99);
        _board.WriteConfig(LockRegister, Enable);
        _time.Advance(Ticks(190));
        _board.WriteConfig(LockRegister, 0);
        _time.Armed.Should().Be(0);
        _time.Advance(TimeSpan.FromDays(1));
        _board.WriteConfig(LockRegister, Enable);
        _time.Advance(Ticks(190));
        _expired.Should().Be(0);
        _time.Advance(Ticks(20));
        _expired.Should().Be(1);
    }

    [Fact]
    public void Lock_bit_cannot_be_taken_back_and_keeps_the_timer_enabled()
    {
        Preload(9, 9);
        _board.WriteConfig(LockRegister, Enable | Lock);
        _board.WriteConfig(LockRegister, 0);
        _board.ReadConfig(LockRegister).Should().Be(Enable | Lock);
        _board.WriteConfig(LockRegister - 4, 0, 0, 0, 0, FreeRunning, 0, 0, 0);
        _board.ReadConfig(LockRegister).Should().Be(Enable | Lock);
        _time.Advance(Ticks(30));
        _expired.Should().Be(1);
    }

    [Fact]
    public void Configuration_registers_keep_their_bits_and_no_others()
    {
        _board.WriteConfig(ConfigRegister, 0xff, 0xff, 0xff, 0xff);
        _board.ReadConfig(ConfigRegister).Should().Be(0x27);
        _board.WriteConfig(LockRegister, 0xff, 0xff, 0xff, 0xff);
        _board.ReadConfig(LockRegister).Should().Be(7);
    }

    [Theory]
    [InlineData(50, 150)]
    [InlineData(150, 50)]
    public void Restored_watchdog_ends_when_the_one_saved_would_have(int before, int after)
    {
        Preload(99, 99);
        _board.WriteConfig(LockRegister, Enable | Lock);
        _time.Advance(Ticks(before));
        byte[] record = _board.SaveState();
        int expired = 0;
        var time = new ManualTime();
        using var other = new WatchdogBoard(time, () => expired++);
        other.RestoreState(record).Should().BeTrue();
        other.SaveState().Should().Equal(record);
        time.Advance(Ticks(after - 2));
        expired.Should().Be(0);
        time.Advance(Ticks(4));
        expired.Should().Be(1);
        other.ReadConfig(LockRegister).Should().Be(Enable | Lock);
    }

    [Fact]
    public void Record_of_a_stage_that_cannot_be_is_refused()
    {
        byte[] record = _board.SaveState();
        int stage = record.Length - 8 - 3;
        record[stage] = 1;
        _board.RestoreState(record).Should().BeFalse("it is not enabled");
        record[stage - 1] = Enable;
        record[stage] = 3;
        _board.RestoreState(record).Should().BeFalse("there are two stages");
        record[stage] = 2;
        record[^1] = 1;
        _board.RestoreState(record).Should().BeFalse("no stage is that long");
    }

    [Fact]
    public void Disposed_watchdog_arms_no_timer()
    {
        _board.Dispose();
        _board.WriteConfig(LockRegister, Enable);
        _time.Made.Should().Be(0);
    }
}
