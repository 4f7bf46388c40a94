namespace Kvm.Devices.Net.Policy;

/// <summary>
/// Shares flows out among backends by a table: each slot is the backend's with the highest score for it (rendezvous hashing, weighted after Schindelhauer and Schomaker), so that
/// when one leaves its own slots alone go to others, and when it comes back it gets the same ones. Immutable; any thread.
/// </summary>
public sealed class ConsistentHash
{
    /// <summary>Slots: with 256 backends, each has its share to about a quarter.</summary>
    public const int Slots = 4096;

    /// <summary>The most backends, and the heaviest weight.</summary>
    public const int MostBackends = 256, MostWeight = 1000;

    /// <summary>What <see cref="Pick"/> says when there is none.</summary>
    public const int None = -1;

    private readonly short[] _slots;

    /// <summary>Works the table out.</summary>
    /// <param name="backends">What each is known by, wherever and whenever, and its weight; 0 gets nothing.</param>
    public ConsistentHash(IReadOnlyList<(ulong Id, int Weight)> backends)
    {
        ArgumentNullException.ThrowIfNull(backends);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(backends.Count, MostBackends, nameof(backends));
        _slots = new short[Slots];
        for (int slot = 0; slot < Slots; slot++)
        {
            double best = double.NegativeInfinity;
            _slots[slot] = None;
            for (int i = 0; i < backends.Count; i++)
            {
                if (backends[i].Weight <= 0 || Score(backends[i].Id, backends[i].Weight, slot) is var score && score <= best)
                    continue;
                (best, _slots[slot]) = (score, (short)i);
            }
        }
    }

    /// <summary>The backend for a flow: a place in the list, or <see cref="None"/>.</summary>
    /// <param name="hash">The flow's, of any quality.</param>
    public int Pick(uint hash) => _slots[(int)(hash * 0x9e37_79b1u >> 20)];

    /// <summary>What a name is known by.</summary>
    public static ulong IdOf(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        // FNV-1a: the same in every process.
        ulong id = 0xcbf2_9ce4_8422_2325;
        foreach (char c in name)
            id = (id ^ c) * 0x100_0000_01b3;
        // Of the last character's bits few have moved far.
        id = (id ^ id >> 32) * 0x9e37_79b9_7f4a_7c15;
        return id ^ id >> 29;
    }

    private static double Score(ulong id, int weight, int slot)
    {
        ulong high = Math.BigMul(id ^ 0xa076_1d64_78bd_642f, (ulong)slot * 0x9e37_79b9_7f4a_7c15 ^ 0xe703_7ed1_a0b4_28db, out ulong low);
        ulong mixed = high ^ low;
        high = Math.BigMul(mixed ^ id, 0x8ebc_6af0_9c88_c6e3, out low);
        double chance = (((high ^ low) >> 11) + 0.5) * (1.0 / (1L << 53));
        return -weight / Math.Log(chance);
    }
}
