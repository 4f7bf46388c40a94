using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;

namespace Kvm.Devices.Net.Switch;

/// <summary>The sum of the Internet's protocols (RFC 1071), taken in this processor's byte order and turned at the end.</summary>
internal static class InternetChecksum
{
    /// <summary>Adds bytes to a sum. All pieces but the last have an even number of them.</summary>
    public static ulong Add(ulong sum, ReadOnlySpan<byte> bytes)
    {
        // Sums of 32 bits do not run over in 64, whatever a frame's length.
        var vectors = MemoryMarshal.Cast<byte, Vector<uint>>(bytes);
        var (low, high) = (Vector<ulong>.Zero, Vector<ulong>.Zero);
        foreach (var vector in vectors)
        {
            Vector.Widen(vector, out var first, out var second);
            (low, high) = (low + first, high + second);
        }

        sum += Vector.Sum(low + high);
        bytes = bytes[(vectors.Length * Vector<byte>.Count)..];
        foreach (ushort word in MemoryMarshal.Cast<byte, ushort>(bytes))
            sum += word;
        return bytes.Length % 2 == 0 ? sum : sum + bytes[^1];
    }

    /// <summary>Adds a number as it stands in a header, highest byte first.</summary>
    public static ulong Add(ulong sum, uint number) => sum + BinaryPrimitives.ReverseEndianness(number);

    /// <summary>Writes the checksum of a sum.</summary>
    /// <param name="sum">The sum of all, with zeros where the checksum goes.</param>
    /// <param name="field">Its two bytes.</param>
    /// <param name="neverZero">All ones instead of zero, which is no checksum at all (RFC 768).</param>
    public static void Write(ulong sum, Span<byte> field, bool neverZero = false)
    {
        while (sum >> 16 != 0)
            sum = (sum & 0xffff) + (sum >> 16);
        ushort result = (ushort)~sum;
        BinaryPrimitives.WriteUInt16LittleEndian(field, neverZero && result == 0 ? ushort.MaxValue : result);
    }
}
