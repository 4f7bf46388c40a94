using System.Globalization;
using System.Numerics;
using System.Text;

namespace Kvm.Sched;

/// <summary>A set of CPUs, by their place in a <see cref="CpuTopology"/>. Two levels of words: the first member of ten thousand is found in a few steps. Not thread-safe.</summary>
public sealed class CpuSet : IEquatable<CpuSet>
{
    private readonly ulong[] _words;
    private readonly ulong[] _summary;

    /// <summary>Makes an empty set.</summary>
    /// <param name="capacity">CPUs 0 to this less 1 can be members.</param>
    public CpuSet(int capacity)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(capacity);
        Capacity = capacity;
        _words = new ulong[(capacity + 63) / 64];
        _summary = new ulong[(_words.Length + 63) / 64];
    }

    /// <summary>One more than the highest possible member.</summary>
    public int Capacity { get; }

    /// <summary>The number of members.</summary>
    public int Count { get; private set; }

    /// <summary>The lowest member, or −1.</summary>
    public int First
    {
        get
        {
            for (int i = 0; i < _summary.Length; i++)
            {
                if (_summary[i] == 0)
                    continue;
                int word = (i << 6) + BitOperations.TrailingZeroCount(_summary[i]);
                return (word << 6) + BitOperations.TrailingZeroCount(_words[word]);
            }

            return -1;
        }
    }

    /// <summary>A set of all CPUs below the capacity.</summary>
    public static CpuSet All(int capacity)
    {
        var set = new CpuSet(capacity);
        for (int cpu = 0; cpu < capacity; cpu++)
            set.Add(cpu);
        return set;
    }

    /// <summary>Reads a list such as <c>0-3,8</c>, the form of the kernel's cpulist files.</summary>
    /// <param name="text">The list; empty is the empty set.</param>
    /// <param name="capacity">The capacity of the set; a number that is not below it is refused.</param>
    /// <param name="set">The set, or null.</param>
    /// <param name="bad">The part that was refused, or null.</param>
    public static bool TryParse(string text, int capacity, out CpuSet? set, out string? bad)
    {
        ArgumentNullException.ThrowIfNull(text);
        (set, bad) = (new CpuSet(capacity), null);
        foreach (string part in text.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            int dash = part.IndexOf('-', StringComparison.Ordinal);
            var (from, to) = dash < 0 ? (part, part) : (part[..dash], part[(dash + 1)..]);
            if (!int.TryParse(from, NumberStyles.None, CultureInfo.InvariantCulture, out int low)
                || !int.TryParse(to, NumberStyles.None, CultureInfo.InvariantCulture, out int high) || low > high || high >= capacity)
            {
                (set, bad) = (null, part);
                return false;
            }

            for (int cpu = low; cpu <= high; cpu++)
                set.Add(cpu);
        }

        return true;
    }

    /// <summary>A set with the same members and capacity.</summary>
    public CpuSet Clone()
    {
        var copy = new CpuSet(Capacity) { Count = Count };
        _words.CopyTo(copy._words, 0);
        _summary.CopyTo(copy._summary, 0);
        return copy;
    }

    /// <summary>Whether a CPU is a member; false outside the capacity.</summary>
    public bool Contains(int cpu) => (uint)cpu < (uint)Capacity && (_words[cpu >> 6] >> (cpu & 63) & 1) != 0;

    /// <summary>Adds a CPU, once.</summary>
    public void Add(int cpu)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)cpu, (uint)Capacity, nameof(cpu));
        ref ulong word = ref _words[cpu >> 6];
        ulong bit = 1UL << (cpu & 63);
        if ((word & bit) != 0)
            return;
        word |= bit;
        _summary[cpu >> 12] |= 1UL << (cpu >> 6 & 63);
        Count++;
    }

    /// <summary>Takes a CPU out, if it is a member.</summary>
    public void Remove(int cpu)
    {
        if (!Contains(cpu))
            return;
        ref ulong word = ref _words[cpu >> 6];
        word &= ~(1UL << (cpu & 63));
        if (word == 0)
            _summary[cpu >> 12] &= ~(1UL << (cpu >> 6 & 63));
        Count--;
    }

    /// <summary>The lowest member above a CPU, or −1.</summary>
    /// <param name="cpu">−1 for the lowest of all.</param>
    public int Next(int cpu)
    {
        int start = cpu + 1, index = start >> 6;
        if (start >= Capacity)
            return -1;
        ulong word = _words[index] & (ulong.MaxValue << (start & 63));
        while (word == 0)
        {
            if (++index >= _words.Length)
                return -1;
            word = _words[index];
        }

        return (index << 6) + BitOperations.TrailingZeroCount(word);
    }

    /// <summary>The lowest CPU that is a member of both, or −1.</summary>
    public int FirstCommon(CpuSet other)
    {
        ArgumentNullException.ThrowIfNull(other);
        for (int i = 0; i < Math.Min(_summary.Length, other._summary.Length); i++)
        {
            for (ulong both = _summary[i] & other._summary[i]; both != 0; both &= both - 1)
            {
                int index = (i << 6) + BitOperations.TrailingZeroCount(both);
                ulong word = _words[index] & other._words[index];
                if (word != 0)
                    return (index << 6) + BitOperations.TrailingZeroCount(word);
            }
        }

        return -1;
    }

    /// <summary>The lowest CPU that is a member of this set and of each other one that is given, or −1. The capacities are equal.</summary>
    public int FirstCommon(CpuSet? second, CpuSet? third)
    {
        for (int i = 0; i < _summary.Length; i++)
        {
            ulong all = _summary[i] & (second?._summary[i] ?? ulong.MaxValue) & (third?._summary[i] ?? ulong.MaxValue);
            for (; all != 0; all &= all - 1)
            {
                int index = (i << 6) + BitOperations.TrailingZeroCount(all);
                ulong word = _words[index] & (second?._words[index] ?? ulong.MaxValue) & (third?._words[index] ?? ulong.MaxValue);
                if (word != 0)
                    return (index << 6) + BitOperations.TrailingZeroCount(word);
            }
        }

        return -1;
    }

    /// <summary>How many CPUs are members of both.</summary>
    public int CountCommon(CpuSet other)
    {
        ArgumentNullException.ThrowIfNull(other);
        int count = 0;
        for (int i = 0; i < Math.Min(_words.Length, other._words.Length); i++)
            count += BitOperations.PopCount(_words[i] & other._words[i]);
        return count;
    }

    /// <inheritdoc/>
    public bool Equals(CpuSet? other) => other is not null && Count == other.Count && CountCommon(other) == Count;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as CpuSet);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Count, First);

    /// <summary>The list, <c>0-3,8</c>.</summary>
    public override string ToString()
    {
        var text = new StringBuilder();
        for (int cpu = First; cpu >= 0;)
        {
            int last = cpu;
            while (Contains(last + 1))
                last++;
            text.Append(text.Length > 0 ? "," : "").Append(CultureInfo.InvariantCulture, $"{cpu}");
            if (last > cpu)
                text.Append(CultureInfo.InvariantCulture, $"-{last}");
            cpu = Next(last);
        }

        return text.ToString();
    }
}
