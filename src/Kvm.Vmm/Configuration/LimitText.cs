using System.Globalization;
using Kvm.Devices.Limits;

namespace Kvm.Vmm.Configuration;

/// <summary>
/// The limits of a device's transfers as the command line writes them, in any order: of bytes, of operations, and how much of each may go at once after
/// a rest.
/// </summary>
/// <param name="operations">What operations a second are called: <c>iops</c> or <c>pps</c>.</param>
internal struct LimitText(string operations)
{
    /// <summary>The most of a rate or a burst: none of ours is more, and nothing overflows.</summary>
    public const long Most = 1L << 50;

    private const string Bytes = "bps", Burst = "-burst";

    private long _bytes, _operations, _byteBurst, _operationBurst;

    /// <summary>What a limit looks like.</summary>
    public readonly string Form => $"{Bytes} and {Bytes}{Burst} are sizes such as 100M, {operations} and {operations}{Burst} whole numbers, from 1 on";

    /// <summary>What is wrong with them together, or null.</summary>
    public readonly string? Problem => (_bytes, _byteBurst, _operations, _operationBurst) switch
    {
        (0, > 0, _, _) => $"has {Bytes}{Burst} without {Bytes}",
        (_, _, 0, > 0) => $"has {operations}{Burst} without {operations}",
        _ => null,
    };

    /// <summary>The limits.</summary>
    public readonly IoLimits Limits => (_bytes, _operations) == (0, 0) ? IoLimits.None : new IoLimits(
        _bytes == 0 ? null : RateLimit.PerSecond(_bytes, _byteBurst),
        _operations == 0 ? null : RateLimit.PerSecond(_operations, _operationBurst));

    /// <summary>True if a part of this name is a limit.</summary>
    public readonly bool Knows(string name) => name is Bytes or Bytes + Burst || name == operations || name == operations + Burst;

    /// <summary>Takes one; false if its value is none.</summary>
    /// <param name="name">One that it knows.</param>
    /// <param name="value">What is after the equals sign.</param>
    public bool TrySet(string name, string value)
    {
        bool isBurst = name.EndsWith(Burst, StringComparison.Ordinal);
        long number;
        if (name.StartsWith(Bytes, StringComparison.Ordinal))
        {
            number = SizeText.TryParse(value, out ulong bytes) && bytes <= Most ? (long)bytes : 0;
            (isBurst ? ref _byteBurst : ref _bytes) = number;
        }
        else
        {
            if (!long.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out number) || number > Most)
                return false;
            (isBurst ? ref _operationBurst : ref _operations) = number;
        }

        return number > 0;
    }
}
