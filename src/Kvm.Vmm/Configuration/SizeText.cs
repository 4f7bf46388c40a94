using System.Globalization;

namespace Kvm.Vmm.Configuration;

/// <summary>Sizes as people type them. Thread-safe: pure functions.</summary>
public static class SizeText
{
    /// <summary>A size in bytes: a whole number, alone or with K, M, G or T (powers of 1,024), an <c>iB</c> after it allowed.</summary>
    public static bool TryParse(string text, out ulong bytes)
    {
        ArgumentNullException.ThrowIfNull(text);
        bytes = 0;
        var number = text.EndsWith("iB", StringComparison.OrdinalIgnoreCase) && text.Length > 3 ? text.AsSpan(0, text.Length - 2) : text.AsSpan();
        var shift = number.Length == 0 ? -1 : char.ToUpperInvariant(number[^1]) switch
        {
            'K' => 10,
            'M' => 20,
            'G' => 30,
            'T' => 40,
            _ => 0,
        };
        // "12iB" has no unit that iB could belong to.
        if (shift < 0 || (shift == 0 && number.Length != text.Length))
            return false;
        if (shift > 0)
            number = number[..^1];
        if (!ulong.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out var count) || count > ulong.MaxValue >> shift)
            return false;
        bytes = count << shift;
        return true;
    }
}
