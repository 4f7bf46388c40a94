using System.Globalization;
using Kvm.Devices.Limits;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Storage;

/// <summary>The limits of a disk as the command line writes them, in any order: <c>bps=</c>, <c>iops=</c> and how much of each may go at once after a rest.</summary>
internal struct DiskLimitText
{
    /// <summary>The most of a rate or a burst: none of ours is more, and nothing overflows.</summary>
    public const long Most = 1L << 50;

    /// <summary>What a limit looks like.</summary>
    public const string Form = "bps and bps-burst are sizes such as 100M, iops and iops-burst whole numbers, from 1 on";

    private long _bytes, _operations, _byteBurst, _operationBurst;

    /// <summary>What is wrong with them together, or null.</summary>
    public readonly string? Problem => (_bytes, _byteBurst, _operations, _operationBurst) switch
    {
        (0, > 0, _, _) => "has bps-burst without bps",
        (_, _, 0, > 0) => "has iops-burst without iops",
        _ => null,
    };

    /// <summary>The limits.</summary>
    public readonly IoLimits Limits => (_bytes, _operations) == (0, 0) ? IoLimits.None : new IoLimits(
        _bytes == 0 ? null : RateLimit.PerSecond(_bytes, _byteBurst),
        _operations == 0 ? null : RateLimit.PerSecond(_operations, _operationBurst));

    /// <summary>Takes one; false if its value is none.</summary>
    /// <param name="name">One of the four.</param>
    /// <param name="value">What is after the equals sign.</param>
    public bool TrySet(string name, string value)
    {
        long number;
        if (name[0] == 'b')
            number = SizeText.TryParse(value, out ulong bytes) && bytes <= Most ? (long)bytes : 0;
        else if (!long.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out number) || number > Most)
            return false;
        switch (name)
        {
            case "bps":
                _bytes = number;
                break;
            case "iops":
                _operations = number;
                break;
            case "bps-burst":
                _byteBurst = number;
                break;
            default:
                _operationBurst = number;
                break;
        }

        return number > 0;
    }
}
