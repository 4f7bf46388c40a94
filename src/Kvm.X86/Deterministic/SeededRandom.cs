using System.Buffers.Binary;

namespace Kvm.X86.Deterministic;

/// <summary>
/// What RDRAND and RDSEED of one processor give in runs that repeat: SplitMix64 (Steele, Lea and Flood, "Fast splittable
/// pseudorandom number generators", 2014), with a start of its own for each processor. Not random to anybody who knows the seed.
/// </summary>
internal sealed class SeededRandom(ulong seed, int processor)
{
    private const ulong Step = 0x9e37_79b9_7f4a_7c15;

    private ulong _state = Mix(seed + (Step * ((ulong)processor + 1)));

    /// <summary>Where in its sequence it is.</summary>
    public ulong State
    {
        get => _state;
        set => _state = value;
    }

    /// <summary>The next number of the sequence.</summary>
    public ulong Next()
    {
        _state += Step;
        return Mix(_state);
    }

    /// <summary>Fills with the bytes of the next numbers.</summary>
    public void Fill(Span<byte> destination)
    {
        Span<byte> number = stackalloc byte[8];
        while (destination.Length > 0)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(number, Next());
            int part = Math.Min(8, destination.Length);
            number[..part].CopyTo(destination);
            destination = destination[part..];
        }
    }

    private static ulong Mix(ulong z)
    {
        z = (z ^ (z >> 30)) * 0xbf58_476d_1ce4_e5b9;
        z = (z ^ (z >> 27)) * 0x94d0_49bb_1331_11eb;
        return z ^ (z >> 31);
    }
}
