using System.Buffers.Binary;
using System.Numerics;
using Kvm.Devices.Memory;

namespace Kvm.Vmm.Reporting;

/// <summary>
/// XXH64 (the xxHash specification, version 0.1.1, seed 0) of a guest's memory: tells equal memories from different ones at the speed of
/// the host's memory, and needs no library. No protection against a guest that wants two memories to look equal.
/// </summary>
internal static class MemoryHash
{
    private const ulong Prime1 = 0x9e37_79b1_85eb_ca87, Prime2 = 0xc2b2_ae3d_27d4_eb4f, Prime3 = 0x1656_67b1_9e37_79f9,
        Prime4 = 0x85eb_ca77_c2b2_ae63, Prime5 = 0x27d4_eb2f_1656_67c5;

    private const int Stripe = 32;
    private const int Piece = 1 << 20;

    /// <summary>The hash of all regions in ascending order of address, as the report writes it.</summary>
    /// <param name="memory">The memory; nobody writes it meanwhile.</param>
    public static string Of(GuestMemory memory)
    {
        var hash = new State();
        foreach (var region in memory.Regions)
        {
            for (ulong done = 0; done < region.Size; done += Piece)
            {
                int length = (int)Math.Min(Piece, region.Size - done);
                if (memory.TryReadOnlySlice(region.Start + done, length, out var bytes))
                    hash.Add(bytes);
            }
        }

        return $"xxh64:{hash.End([]):x16}";
    }

    /// <summary>The hash of some bytes.</summary>
    public static ulong Of(ReadOnlySpan<byte> bytes)
    {
        var hash = new State();
        int whole = bytes.Length & ~(Stripe - 1);
        hash.Add(bytes[..whole]);
        return hash.End(bytes[whole..]);
    }

    private struct State
    {
        private ulong _a = unchecked(Prime1 + Prime2), _b = Prime2, _c, _d = unchecked(0 - Prime1);
        private ulong _length;

        public State()
        {
        }

        /// <summary>Adds a multiple of 32 bytes.</summary>
        public void Add(ReadOnlySpan<byte> bytes)
        {
            _length += (ulong)bytes.Length;
            ulong a = _a, b = _b, c = _c, d = _d;
            for (; bytes.Length >= Stripe; bytes = bytes[Stripe..])
            {
                a = Round(a, BinaryPrimitives.ReadUInt64LittleEndian(bytes));
                b = Round(b, BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]));
                c = Round(c, BinaryPrimitives.ReadUInt64LittleEndian(bytes[16..]));
                d = Round(d, BinaryPrimitives.ReadUInt64LittleEndian(bytes[24..]));
            }

            (_a, _b, _c, _d) = (a, b, c, d);
        }

        /// <summary>Adds the last bytes, fewer than 32.</summary>
        public readonly ulong End(ReadOnlySpan<byte> rest)
        {
            unchecked
            {
                ulong hash = _length == 0 ? Prime5
                    : Merge(Merge(Merge(Merge(
                        BitOperations.RotateLeft(_a, 1) + BitOperations.RotateLeft(_b, 7) + BitOperations.RotateLeft(_c, 12) + BitOperations.RotateLeft(_d, 18),
                        _a), _b), _c), _d);
                hash += _length + (ulong)rest.Length;
                for (; rest.Length >= 8; rest = rest[8..])
                    hash = (BitOperations.RotateLeft(hash ^ Round(0, BinaryPrimitives.ReadUInt64LittleEndian(rest)), 27) * Prime1) + Prime4;
                if (rest.Length >= 4)
                {
                    hash = (BitOperations.RotateLeft(hash ^ (BinaryPrimitives.ReadUInt32LittleEndian(rest) * Prime1), 23) * Prime2) + Prime3;
                    rest = rest[4..];
                }

                foreach (byte one in rest)
                    hash = BitOperations.RotateLeft(hash ^ (one * Prime5), 11) * Prime1;
                hash = (hash ^ (hash >> 33)) * Prime2;
                hash = (hash ^ (hash >> 29)) * Prime3;
                return hash ^ (hash >> 32);
            }
        }

        private static ulong Round(ulong lane, ulong input) => unchecked(BitOperations.RotateLeft(lane + (input * Prime2), 31) * Prime1);

        private static ulong Merge(ulong hash, ulong lane) => unchecked(((hash ^ Round(0, lane)) * Prime1) + Prime4);
    }
}
