using System.Globalization;

namespace Kvm.Sched.Simulation;

/// <summary>Bytes, or anything a second, as people write them.</summary>
public static class Amounts
{
    private const string Units = "KMGT";

    /// <summary>A whole number, alone or with K, M, G or T (powers of 1,024).</summary>
    public static bool TryParse(string text, out double amount)
    {
        ArgumentNullException.ThrowIfNull(text);
        amount = 0;
        int unit = text.Length > 0 ? Units.IndexOf(char.ToUpperInvariant(text[^1]), StringComparison.Ordinal) + 1 : 0;
        if (!ulong.TryParse(unit > 0 ? text.AsSpan(0, text.Length - 1) : text, NumberStyles.None, CultureInfo.InvariantCulture, out ulong count))
            return false;
        amount = count * Math.Pow(1024, unit);
        return true;
    }
}
