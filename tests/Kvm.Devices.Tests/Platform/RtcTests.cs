using Kvm.Devices.Platform;
using Kvm.Devices.Tests.Support;

namespace Kvm.Devices.Tests.Platform;

public sealed class RtcTests : IDisposable
{
    private const byte Set = 0x80, Periodic = 0x40, AlarmOn = 0x20, Update = 0x10, Hours24 = 0x02, Binary = 0x04;

    private readonly ManualTime _time = new();
    private readonly RecordingLine _line = new();
    private readonly Rtc _rtc;

    public RtcTests() => _rtc = new Rtc("rtc", _time, _line);

    public void Dispose() => _rtc.Dispose();

    private byte Get(int register)
    {
        _rtc.Out8(0, register);
        return _rtc.In8(1);
    }

    private void Put(int register, int value)
    {
        _rtc.Out8(0, register);
        _rtc.Out8(1, value);
    }

    private string Shown() => $"{Get(0x32):x2}{Get(9):x2}-{Get(8):x2}-{Get(7):x2} {Get(4):x2}:{Get(2):x2}:{Get(0):x2} day {Get(6):x2}";

    [Fact]
    public void Registers_show_the_hosts_utc_in_bcd_and_24_hours()
    {
        Shown().Should().Be("2024-02-28 23:59:57 day 04");
        Get(0x0a).Should().Be(0x26);
        Get(0x0b).Should().Be(0x02);
        Get(0x0d).Should().Be(0x80);
    }

    [Fact]
    public void Clock_goes_over_midnight_into_a_leap_day()
    {
        _time.Advance(TimeSpan.FromSeconds(3));
        Shown().Should().Be("2024-02-29 00:00:00 day 05");
    }

    [Fact]
    public void Binary_mode_shows_plain_numbers()
    {
        Put(0x0b, Hours24 | Binary);
        Get(0).Should().Be(57);
        Get(4).Should().Be(23);
        Get(9).Should().Be(24);
        Get(0x32).Should().Be(20);
    }

    [Theory]
    [InlineData(0, 0x12)]
    [InlineData(1, 0x01)]
    [InlineData(11, 0x11)]
    [InlineData(12, 0x92)]
    [InlineData(13, 0x81)]
    [InlineData(23, 0x91)]
    public void Twelve_hour_mode_shows_afternoon_in_the_top_bit_and_takes_it_back(int hour, byte shown)
    {
        _time.Utc = new DateTimeOffset(2024, 1, 1, hour, 30, 0, TimeSpan.Zero);
        Put(0x0b, 0x00);
        Get(4).Should().Be(shown);

        Put(4, shown);
        Put(0x0b, Hours24);
        Get(4).Should().Be(Convert.ToByte(hour.ToString("D2", null), 16));
    }

    [Fact]
    public void Update_in_progress_shows_for_the_last_244_microseconds_of_each_second()
    {
        _time.Advance(TimeSpan.FromTicks(TimeSpan.TicksPerSecond - 2_441));
        Get(0x0a).Should().Be(0x26);
        _time.Advance(TimeSpan.FromTicks(1));
        Get(0x0a).Should().Be(0xa6);
        _time.Advance(TimeSpan.FromTicks(2_440));
        Get(0x0a).Should().Be(0x26);
    }

    [Fact]
    public void Update_in_progress_never_shows_while_the_clock_is_stopped()
    {
        Put(0x0b, Set | Hours24);
        _time.Advance(TimeSpan.FromTicks(TimeSpan.TicksPerSecond - 1));
        Get(0x0a).Should().Be(0x26);
    }

    [Fact]
    public void Set_bit_stops_the_registers_and_clearing_it_goes_on_from_them()
    {
        Put(0x0b, Set | Hours24);
        _time.Advance(TimeSpan.FromHours(1));
        Shown().Should().Be("2024-02-28 23:59:57 day 04");
        foreach (var (register, value) in new[] { (0, 0x56), (2, 0x34), (4, 0x12), (7, 0x31), (8, 0x12), (9, 0x99), (0x32, 0x19) })
            Put(register, value);
        Put(0x0b, Hours24);

        Shown().Should().Be("1999-12-31 12:34:56 day 06");
        _time.Advance(TimeSpan.FromHours(12));
        Shown().Should().Be("2000-01-01 00:34:56 day 07");
    }

    [Fact]
    public void Clock_set_as_linux_does_makes_its_first_update_half_a_second_after_the_divider_starts()
    {
        Put(0x0b, Set | Hours24);
        Put(0x0a, 0x76);
        Put(0, 0x10);
        Put(0x0b, Hours24);
        _time.Advance(TimeSpan.FromSeconds(5));
        Get(0).Should().Be(0x10, "the divider is still held");
        Put(0x0a, 0x26);
        _time.Advance(TimeSpan.FromMilliseconds(499));
        Get(0).Should().Be(0x10);
        _time.Advance(TimeSpan.FromMilliseconds(1));
        Get(0).Should().Be(0x11);
    }

    [Fact]
    public void Register_written_while_the_clock_runs_takes_effect_at_once()
    {
        Put(2, 0x07);
        Shown().Should().Be("2024-02-28 23:07:57 day 04");
    }

    [Theory]
    [InlineData(8, 0x00, "2024-01-28")]
    [InlineData(8, 0x99, "2024-12-28")]
    [InlineData(7, 0x00, "2024-02-01")]
    [InlineData(7, 0x31, "2024-02-29")]
    [InlineData(9, 0xff, "2099-02-28")]
    public void Date_that_does_not_exist_becomes_the_nearest(int register, int value, string date)
    {
        Put(0x0b, Set | Hours24);
        Put(register, value);
        Put(0x0b, Hours24);
        Shown().Should().StartWith(date);
    }

    [Fact]
    public void Year_zero_and_the_end_of_the_calendar_are_borne()
    {
        Put(0x0b, Set | Hours24);
        Put(0x32, 0);
        Put(9, 0);
        Put(0x0b, Hours24);
        Shown().Should().StartWith("0001-02-28");

        Put(0x0b, Set | Hours24);
        foreach (var (register, value) in new[] { (7, 0x31), (8, 0x12), (9, 0x99), (0x32, 0x99) })
            Put(register, value);
        Put(0x0b, Hours24);
        _time.Advance(TimeSpan.FromDays(400));
        Shown().Should().StartWith("9999-12-31 23:59:59");
    }

    [Fact]
    public void Update_interrupt_comes_each_second_until_register_c_is_read()
    {
        Put(0x0b, Hours24 | Update);
        _time.Advance(TimeSpan.FromSeconds(1));
        _line.Asserted.Should().BeTrue();
        _time.Advance(TimeSpan.FromSeconds(10));
        _line.Rises.Should().Be(1);
        (Get(0x0c) & 0x90).Should().Be(0x90);
        _line.Asserted.Should().BeFalse();
        Get(0x0c).Should().Be(0);
        _time.Advance(TimeSpan.FromSeconds(1));
        _line.Rises.Should().Be(2);
    }

    [Fact]
    public void Set_bit_ends_the_update_interrupt()
    {
        Put(0x0b, Set | Hours24 | Update);
        Get(0x0b).Should().Be(Set | Hours24);
    }

    [Fact]
    public void Alarm_interrupt_comes_when_hour_minute_and_second_match()
    {
        Put(1, 0x05);
        Put(3, 0x01);
        Put(5, 0x00);
        Put(0x0b, Hours24 | AlarmOn);
        _time.Advance(TimeSpan.FromSeconds(67));
        _line.Asserted.Should().BeFalse("it is 00:01:04");
        _time.Advance(TimeSpan.FromSeconds(1));
        _line.Asserted.Should().BeTrue();
        (Get(0x0c) & 0xa0).Should().Be(0xa0);
        _time.Advance(TimeSpan.FromHours(24));
        _line.Rises.Should().Be(2);
    }

    [Fact]
    public void Alarm_with_any_hour_and_minute_comes_every_minute()
    {
        Put(1, 0x30);
        Put(3, 0xff);
        Put(5, 0xc0);
        Put(0x0b, Hours24 | AlarmOn);
        for (int minute = 1; minute <= 3; minute++)
        {
            _time.Advance(TimeSpan.FromMinutes(1));
            _line.Rises.Should().Be(minute);
            Get(0x0c);
        }
    }

    [Fact]
    public void Alarm_that_can_never_match_keeps_no_timer()
    {
        Put(3, 0x75);
        Put(0x0b, Hours24 | AlarmOn);
        _time.Armed.Should().Be(0);
        _time.Advance(TimeSpan.FromDays(2));
        _line.Rises.Should().Be(0);
    }

    [Theory]
    [InlineData(0x06, 1024)]
    [InlineData(0x0f, 2)]
    [InlineData(0x0a, 64)]
    public void Periodic_flag_polled_is_set_as_often_as_the_rate_says(int rate, int perSecond)
    {
        Put(0x0a, 0x20 | rate);
        Get(0x0c);
        int seen = 0;
        const int Steps = 100_000;
        for (int i = 0; i < Steps; i++)
        {
            _time.Advance(TimeSpan.FromTicks(TimeSpan.TicksPerSecond / Steps));
            seen += Get(0x0c) >> 6 & 1;
        }

        seen.Should().Be(perSecond);
    }

    [Fact]
    public void Periodic_interrupt_faster_than_a_millisecond_is_paced_by_the_guest()
    {
        Put(0x0a, 0x23);
        Put(0x0b, Hours24 | Periodic);
        _time.Advance(TimeSpan.FromSeconds(1));
        _line.Rises.Should().Be(1, "the guest has not read register C");
        _time.Armed.Should().Be(0);
        Get(0x0c).Should().Be(0xd0);
        _time.Armed.Should().Be(1);
    }

    [Fact]
    public void Periodic_rate_zero_never_comes()
    {
        Put(0x0a, 0x20);
        Put(0x0b, Hours24 | Periodic);
        _time.Advance(TimeSpan.FromSeconds(10));
        (Get(0x0c) & 0x40).Should().Be(0);
        _line.Rises.Should().Be(0);
    }

    [Fact]
    public void Clock_whose_interrupts_nobody_enables_makes_no_timer()
    {
        Get(0x0c);
        Put(0x0b, Set | Hours24);
        Put(0x0b, Hours24);
        _time.Made.Should().Be(0);
    }

    [Fact]
    public void Unwired_clock_sets_its_flags_and_makes_no_timer()
    {
        using var rtc = new Rtc("rtc", _time);
        rtc.Out16(0, 0x120b);
        _time.Advance(TimeSpan.FromSeconds(1));
        rtc.Out8(0, 0x0c);
        (rtc.In8(1) & 0x90).Should().Be(0x90);
        _time.Made.Should().Be(0);
    }

    [Fact]
    public void Host_clock_set_back_neither_raises_nor_stops_anything()
    {
        Put(0x0b, Hours24 | Update);
        _time.Utc -= TimeSpan.FromDays(1);
        Get(0x0c).Should().Be(0);
        _time.Advance(TimeSpan.FromSeconds(1));
        _line.Asserted.Should().BeTrue();
    }

    [Fact]
    public void Disposed_clock_keeps_no_timer()
    {
        Put(0x0b, Hours24 | Update);
        _rtc.Dispose();
        _time.Made.Should().Be(0);
        Get(0x0c);
        Put(0x0b, Hours24 | Update);
        _time.Made.Should().Be(0);
    }

    [Fact]
    public void Memory_bytes_keep_what_host_or_guest_wrote()
    {
        _rtc.SetMemory(0x0f, 0x0a);
        Get(0x0f).Should().Be(0x0a);
        for (int register = Rtc.FirstMemoryRegister; register < 128; register++)
        {
            if (register == Rtc.CenturyRegister)
                continue;
            Put(register, register ^ 0x55);
            Get(register).Should().Be((byte)(register ^ 0x55));
        }
    }

    [Theory]
    [InlineData(0x0d)]
    [InlineData(0x32)]
    [InlineData(0x80)]
    public void Memory_set_by_the_host_outside_the_memory_throws(int register) =>
        FluentActions.Invoking(() => _rtc.SetMemory(register, 0)).Should().Throw<ArgumentOutOfRangeException>();

    [Fact]
    public void Top_bit_of_the_index_masks_nmi_and_selects_nothing()
    {
        Put(0x40, 0x77);
        Get(0xc0).Should().Be(0x77);
    }

    [Fact]
    public void Word_access_covers_index_and_data()
    {
        _rtc.Out16(0, 0x9940);
        _rtc.In16(0).Should().Be(0x99ff);
        _rtc.In32(1).Should().Be(0xffffff99);
        _rtc.In8(2).Should().Be(0xff);
        _rtc.In8(ulong.MaxValue).Should().Be(0xff);
    }

    [Fact]
    public void Index_port_reads_as_ones_without_touching_register_c()
    {
        Put(0x0b, Hours24 | Update);
        _time.Advance(TimeSpan.FromSeconds(1));
        _rtc.Out8(0, 0x0c);
        _rtc.In8(0).Should().Be(0xff);
        _line.Asserted.Should().BeTrue();
    }

    [Fact]
    public void Restored_clock_shows_the_hosts_time_with_the_guests_difference()
    {
        Put(4, 0x03);
        Put(0x0b, Hours24 | Update);
        Put(0x50, 0x99);
        byte[] record = _rtc.SaveState();
        var later = new ManualTime { Utc = _time.Utc.AddMinutes(10) };
        var line = new RecordingLine();
        using var other = new Rtc("rtc", later, line);

        other.RestoreState(record).Should().BeTrue();
        other.Out8(0, 4);
        other.In8(1).Should().Be(0x04);
        other.Out8(0, 0x50);
        other.In8(1).Should().Be(0x99);
        later.Advance(TimeSpan.FromSeconds(1));
        line.Asserted.Should().BeTrue("the update interrupt is still enabled");
    }

    [Fact]
    public void Hostile_record_is_refused_and_changes_nothing()
    {
        byte[] good = _rtc.SaveState();
        byte[] flags = [.. good];
        flags[1] = 0x80;
        byte[] offset = [.. good];
        offset[9] = 0x7f;
        byte[] uip = [.. good];
        uip[14 + 10] |= 0x80;
        foreach (byte[] bad in new[] { flags, offset, uip, good[..^1], [.. good, 0], [] })
            _rtc.RestoreState(bad).Should().BeFalse();
        _rtc.RestoreState(good, 2).Should().BeFalse();
        _rtc.SaveState().Should().Equal(good);
    }
}
