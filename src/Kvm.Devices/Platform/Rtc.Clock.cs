namespace Kvm.Devices.Platform;

// The counting half of the clock: from ticks to registers, from registers to ticks, and what happened in between.
public sealed partial class Rtc
{
    private const long LastTick = 3_155_378_975_999_999_999; // DateTime.MaxValue
    private const long UpdateLead = 2_440; // UIP rises 244 µs before the update (data sheet, register A)

    /// <summary>The guest's clock in ticks of 100 ns since year 1.</summary>
    private long Now() => Math.Clamp(_time.GetUtcNow().Ticks + _offset, 0, LastTick);

    private static bool UpdateIsNear(long now) => now % TimeSpan.TicksPerSecond >= TimeSpan.TicksPerSecond - UpdateLead;

    private byte EncodeField(int register, DateTime time) => register switch
    {
        Seconds => Encode(time.Second),
        Minutes => Encode(time.Minute),
        Hours => EncodeHour(time.Hour),
        WeekDay => Encode((int)time.DayOfWeek + 1), // Sunday is 1
        MonthDay => Encode(time.Day),
        Month => Encode(time.Month),
        Year => Encode(time.Year % 100),
        _ => Encode(time.Year / 100),
    };

    private byte Encode(int value) => (_cmos[B] & Binary) != 0 ? (byte)value : (byte)(value / 10 << 4 | value % 10);

    private byte EncodeHour(int hour)
    {
        if ((_cmos[B] & Hours24) != 0)
            return Encode(hour);
        return (byte)(Encode(hour % 12 == 0 ? 12 : hour % 12) | (hour >= 12 ? 0x80 : 0));
    }

    private int Decode(int register) => (_cmos[B] & Binary) != 0 ? _cmos[register] : (_cmos[register] >> 4) * 10 + (_cmos[register] & 0x0f);

    private int DecodeHour(int register)
    {
        if ((_cmos[B] & Hours24) != 0)
            return Decode(register);
        int raw = _cmos[register] & 0x7f;
        int hour = (_cmos[B] & Binary) != 0 ? raw : (raw >> 4) * 10 + (raw & 0x0f);
        return hour % 12 + ((_cmos[register] & 0x80) != 0 ? 12 : 0);
    }

    /// <summary>Stops the clock's registers at what they show.</summary>
    private void Latch(long now)
    {
        var time = new DateTime(now);
        foreach (int register in (ReadOnlySpan<int>)[Seconds, Minutes, Hours, WeekDay, MonthDay, Month, Year, CenturyRegister])
            _cmos[register] = EncodeField(register, time);
    }

    /// <summary>Goes on from what the registers show. Dates that do not exist become the nearest that do.</summary>
    private void Release(long fraction)
    {
        int year = Math.Clamp(Decode(CenturyRegister) * 100 + Math.Min(Decode(Year), 99), 1, 9999);
        int month = Math.Clamp(Decode(Month), 1, 12);
        int day = Math.Clamp(Decode(MonthDay), 1, DateTime.DaysInMonth(year, month));
        var time = new DateTime(year, month, day, Math.Min(DecodeHour(Hours), 23), Math.Min(Decode(Minutes), 59), Math.Min(Decode(Seconds), 59));
        _offset = time.Ticks + fraction - _time.GetUtcNow().Ticks;
        _checked = Now();
    }

    private RtcAlarm Alarm => new(
        _cmos[HoursAlarm] >= 0xc0 ? null : DecodeHour(HoursAlarm), // the two top bits say "any"
        _cmos[MinutesAlarm] >= 0xc0 ? null : Decode(MinutesAlarm),
        _cmos[SecondsAlarm] >= 0xc0 ? null : Decode(SecondsAlarm));

    /// <summary>Brings the flags up to date with everything that happened since they were last looked at.</summary>
    private void WorkOutFlags()
    {
        long now = Now();
        long before = _checked;
        _checked = now;
        // The host's clock may be set back: nothing happened then.
        if (now <= before)
            return;
        if (NextPeriod(before) is { } period && period <= now)
            _flags |= PeriodicSource;
        if (Halted)
            return;
        if (NextSecond(before) <= now)
            _flags |= UpdateSource;
        if (NextAlarm(before) is { } alarm && alarm <= now)
            _flags |= AlarmSource;
    }

    /// <summary>When the next enabled source will set its flag, in the guest's clock; null if none will.</summary>
    private long? NextEvent()
    {
        byte enabled = _cmos[B];
        long? next = (enabled & PeriodicSource) != 0 ? NextPeriod(_checked) : null;
        if (Halted)
            return next;
        if ((enabled & UpdateSource) != 0)
            next = Earlier(next, NextSecond(_checked));
        if ((enabled & AlarmSource) != 0)
            next = Earlier(next, NextAlarm(_checked));
        return next;
    }

    private static long? Earlier(long? a, long? b) => a is { } x && b is { } y ? Math.Min(x, y) : a ?? b;

    private static long NextSecond(long after) => after / TimeSpan.TicksPerSecond * TimeSpan.TicksPerSecond + TimeSpan.TicksPerSecond;

    private long? NextAlarm(long after) =>
        Alarm.NextAfter(after / TimeSpan.TicksPerSecond) is { } second ? second * TimeSpan.TicksPerSecond : null;

    private long? NextPeriod(long after)
    {
        int rate = _cmos[A] & RateMask;
        if (rate == 0 || (_cmos[A] & DividerMask) != DividerRunning)
            return null;
        // Rates 1 and 2 repeat 8 and 9 (data sheet, table 5). A period is 2^(rate−1) of the 32,768 parts of a second.
        int shift = rate <= 2 ? rate + 6 : rate - 1;
        long second = after / TimeSpan.TicksPerSecond * TimeSpan.TicksPerSecond;
        long part = (after - second) * 32_768 / TimeSpan.TicksPerSecond;
        long nextPart = ((part >> shift) + 1) << shift;
        // Rounded up, so that at that tick the part has been reached.
        return second + (nextPart * TimeSpan.TicksPerSecond + 32_767) / 32_768;
    }
}
