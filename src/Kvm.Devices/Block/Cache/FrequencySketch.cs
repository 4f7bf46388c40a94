using System.Numerics;

namespace Kvm.Devices.Block.Cache;

/// <summary>
/// About how often each key was asked for lately: a count-min sketch of 4-bit counters, halved when as many requests were counted as ten caches
/// hold blocks, so that what was wanted long ago is forgotten (Einziger, Friedman, Manes: TinyLFU, 2017). Not thread-safe; allocates nothing after construction.
/// </summary>
internal sealed class FrequencySketch
{
    private const int Most = 15;
    private const int SamplesPerEntry = 10;
    private const ulong OddBits = 0x1111_1111_1111_1111, ThreeBits = 0x7777_7777_7777_7777;

    private readonly ulong[] _counters;
    private readonly int _samples;
    private int _counted;

    /// <summary>Makes one for a cache of so many entries.</summary>
    public FrequencySketch(int entries)
    {
        // 16 counters a word, four of them a key's: a word for each entry.
        _counters = new ulong[BitOperations.RoundUpToPowerOf2((uint)Math.Max(entries, 16))];
        _samples = (int)Math.Min((long)entries * SamplesPerEntry, int.MaxValue);
    }

    /// <summary>Counts a request.</summary>
    public void Count(ulong key)
    {
        ulong hash = Mix(key);
        bool added = false;
        for (int i = 0; i < 4; i++, hash = BitOperations.RotateLeft(hash, 16))
        {
            ref ulong word = ref _counters[(int)(Mix(hash) & (ulong)(_counters.Length - 1))];
            int shift = Shift(hash, i);
            if ((word >> shift & Most) == Most)
                continue;
            word += 1UL << shift;
            added = true;
        }

        if (added && ++_counted >= _samples)
            Halve();
    }

    /// <summary>About how often a key was counted, 0 to 15.</summary>
    public int Of(ulong key)
    {
        ulong hash = Mix(key);
        int least = Most;
        for (int i = 0; i < 4; i++, hash = BitOperations.RotateLeft(hash, 16))
        {
            ulong word = _counters[(int)(Mix(hash) & (ulong)(_counters.Length - 1))];
            least = Math.Min(least, (int)(word >> Shift(hash, i) & Most));
        }

        return least;
    }

    // Each of a key's four counters is in a quarter of its word of its own.
    private static int Shift(ulong hash, int i) => ((i << 2) | (int)(hash & 3)) << 2;

    private void Halve()
    {
        int odd = 0;
        foreach (ref ulong word in _counters.AsSpan())
        {
            odd += BitOperations.PopCount(word & OddBits);
            word = word >> 1 & ThreeBits;
        }

        _counted = (_counted - (odd >> 2)) / 2;
    }

    /// <summary>Spreads a key over all bits (Stafford's variant 13 of the finalizer of MurmurHash3).</summary>
    internal static ulong Mix(ulong key)
    {
        key = (key ^ key >> 30) * 0xbf58_476d_1ce4_e5b9;
        key = (key ^ key >> 27) * 0x94d0_49bb_1331_11eb;
        return key ^ key >> 31;
    }
}
