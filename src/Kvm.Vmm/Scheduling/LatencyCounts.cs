using System.Numerics;

namespace Kvm.Vmm.Scheduling;

/// <summary>How long something took, in ns, counted by size: eight steps to each doubling. Allocates nothing after it is made. Not thread-safe.</summary>
internal sealed class LatencyCounts
{
    private const int StepBits = 3;
    private readonly long[] _counts = new long[64 << StepBits];

    /// <summary>How many were counted.</summary>
    public long Count { get; private set; }

    /// <summary>The longest.</summary>
    public long Longest { get; private set; }

    /// <summary>All of them together.</summary>
    public long Sum { get; private set; }

    /// <summary>Counts one; less than 0 is 0.</summary>
    public void Add(long ns)
    {
        ns = Math.Max(0, ns);
        _counts[IndexOf(ns)]++;
        Count++;
        Sum += ns;
        Longest = Math.Max(Longest, ns);
    }

    /// <summary>Adds what another one counted.</summary>
    public void Add(LatencyCounts other)
    {
        for (int i = 0; i < _counts.Length; i++)
            _counts[i] += other._counts[i];
        Count += other.Count;
        Sum += other.Sum;
        Longest = Math.Max(Longest, other.Longest);
    }

    /// <summary>The time that so large a part of them did not exceed, at most an eighth too long; 0 where none was counted.</summary>
    public long Percentile(double part)
    {
        long rank = (long)Math.Ceiling(part * Count), seen = 0;
        for (int i = 0; i < _counts.Length && rank > 0; i++)
        {
            seen += _counts[i];
            if (seen >= rank)
                return Math.Min(Longest, UpperEnd(i));
        }

        return 0;
    }

    private static int IndexOf(long ns)
    {
        if (ns < 1 << StepBits)
            return (int)ns;
        int log = BitOperations.Log2((ulong)ns);
        return (log - StepBits + 1 << StepBits) + (int)(ns >> (log - StepBits) & ((1 << StepBits) - 1));
    }

    private static long UpperEnd(int index)
    {
        if (index < 1 << StepBits)
            return index;
        int log = (index >> StepBits) + StepBits - 1;
        return (1L << log) + (((long)(index & ((1 << StepBits) - 1)) + 1) << (log - StepBits)) - 1;
    }
}
