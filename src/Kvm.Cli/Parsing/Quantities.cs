using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Cli.Parsing;

/// <summary>Sizes, durations and counts as people type them.</summary>
internal static class Quantities
{
    /// <summary>A size in bytes: <see cref="SizeText"/>.</summary>
    public static bool TryParseSize(string text, out ulong bytes) => SizeText.TryParse(text, out bytes);

    /// <summary>A duration: a whole number with ms, s, m or h.</summary>
    public static bool TryParseDuration(string text, out TimeSpan duration)
    {
        duration = default;
        var (number, unit) = text switch
        {
            [.. var n, 'm', 's'] => (n, TimeSpan.FromMilliseconds(1)),
            [.. var n, 's'] => (n, TimeSpan.FromSeconds(1)),
            [.. var n, 'm'] => (n, TimeSpan.FromMinutes(1)),
            [.. var n, 'h'] => (n, TimeSpan.FromHours(1)),
            _ => ("", default),
        };
        if (!long.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out var count) || count > TimeSpan.MaxValue.Ticks / unit.Ticks)
            return false;
        duration = TimeSpan.FromTicks(count * unit.Ticks);
        return true;
    }

    /// <summary>A duration in ns, fractions of its unit allowed: a number with ns, us, ms, s, m or h; what is no whole ns is cut off.</summary>
    public static bool TryParseNanoseconds(string text, out long nanoseconds)
    {
        nanoseconds = 0;
        var (number, unit) = text switch
        {
            [.. var n, 'n', 's'] => (n, 1L),
            [.. var n, 'u', 's'] => (n, 1_000L),
            [.. var n, 'm', 's'] => (n, 1_000_000L),
            [.. var n, 's'] => (n, 1_000_000_000L),
            [.. var n, 'm'] => (n, 60_000_000_000L),
            [.. var n, 'h'] => (n, 3_600_000_000_000L),
            _ => ("", 0L),
        };
        // A decimal holds 28 digits; more than 10^18 ns is no time of ours.
        if (!decimal.TryParse(number, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out decimal count) || count > 1_000_000_000_000_000_000m || count * unit > long.MaxValue)
            return false;
        nanoseconds = (long)(count * unit);
        return true;
    }

    /// <summary>A seed, 0 to 2⁶³−1, or the error that names the option.</summary>
    public static ulong Seed(string option, string text) => long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var seed)
        ? (ulong)seed
        : throw Bad(option, text, "is not a whole number from 0 to 9223372036854775807");

    /// <summary>An address in hexadecimal, with or without 0x.</summary>
    public static bool TryParseAddress(string text, out ulong address) =>
        ulong.TryParse(text.StartsWith("0x", StringComparison.OrdinalIgnoreCase) ? text.AsSpan(2) : text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out address);

    /// <summary>The address, or the error that names the argument.</summary>
    public static ulong Address(string argument, string text) =>
        TryParseAddress(text, out ulong address) ? address : throw Bad(argument, text, "is not an address in hexadecimal");

    /// <summary>The size, or the error that names the option.</summary>
    public static ulong Size(string option, string text) => TryParseSize(text, out var bytes)
        ? bytes
        : throw Bad(option, text, "is not a size such as 256M or 2G");

    /// <summary>The duration, or the error that names the option.</summary>
    public static TimeSpan Duration(string option, string text) => TryParseDuration(text, out var duration)
        ? duration
        : throw Bad(option, text, "is not a duration such as 500ms, 10s or 2m");

    /// <summary>The whole number, or the error that names the option.</summary>
    public static int Count(string option, string text) =>
        int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var count)
            ? count
            : throw Bad(option, text, "is not a whole number");

    /// <summary>The place of the text in the list, or the error that names the option and the nearest name.</summary>
    public static int OneOf(string option, string text, IReadOnlyList<string> names)
    {
        var index = SettingNames.IndexOf(names, text);
        return index >= 0 ? index : throw Bad(option, text, $"is not one of {string.Join(", ", names)}");
    }

    /// <summary>The error of an option's value.</summary>
    [SuppressMessage("Naming", "CA1716", Justification = "Bad is no keyword here.")]
    public static VmmException Bad(string option, string text, string what) =>
        new(UsageErrors.BadValue, $"{option}: {VisibleText.Quote(text, 40)} {what}");
}
