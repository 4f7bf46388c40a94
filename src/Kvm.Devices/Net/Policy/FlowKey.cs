namespace Kvm.Devices.Net.Policy;

/// <summary>
/// Who talks to whom. An IPv4 address is the lower 32 bits, with <see cref="Version"/> telling it from the same number as IPv6's. An echo's request has its
/// identifier as <see cref="SourcePort"/> and <see cref="EchoPort"/> as the other, its reply the reverse; what has no ports has zeros.
/// </summary>
/// <param name="Source">The sender's address.</param>
/// <param name="Destination">The receiver's.</param>
/// <param name="SourcePort">The sender's port.</param>
/// <param name="DestinationPort">The receiver's.</param>
/// <param name="Protocol">The number of the protocol above IP.</param>
/// <param name="Version">4 or 6.</param>
public readonly record struct FlowKey(UInt128 Source, UInt128 Destination, ushort SourcePort, ushort DestinationPort, byte Protocol, byte Version)
{
    /// <summary>Stands for the port of whoever answers an echo.</summary>
    public const ushort EchoPort = ushort.MaxValue;

    /// <summary>The key of an answer.</summary>
    public FlowKey Reversed => new(Destination, Source, DestinationPort, SourcePort, Protocol, Version);

    /// <summary>The same for a key and its answer's; nobody who does not know the seed finds many keys with one of few values.</summary>
    /// <param name="seed">By chance.</param>
    public uint Hash(ulong seed)
    {
        // Either end by itself, so that their order does not matter.
        ulong ends = End(Source, SourcePort, seed) + End(Destination, DestinationPort, seed);
        ulong all = Mix(ends ^ seed, (ulong)Protocol << 32 | (ulong)Version << 24 | 0x9e37_79b9_0000_0000);
        return (uint)(all ^ all >> 32);
    }

    private static ulong End(UInt128 address, ushort port, ulong seed) =>
        Mix(Mix((ulong)address ^ seed, (ulong)(address >> 64) ^ 0xa076_1d64_78bd_642f), port ^ seed ^ 0xe703_7ed1_a0b4_28db);

    private static ulong Mix(ulong a, ulong b)
    {
        ulong high = Math.BigMul(a, b, out ulong low);
        return high ^ low;
    }
}
