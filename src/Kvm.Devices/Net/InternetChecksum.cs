using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;

namespace Kvm.Devices.Net;

/// <summary>The checksum of the Internet's protocols (RFC 1071), and what becomes of it when some of what it covers is rewritten (RFC 1624). Pure functions.</summary>
public static class InternetChecksum
{
    /// <summary>The sum of big-endian words, not yet folded; an odd last byte counts as the upper half of a word.</summary>
    /// <param name="bytes">What is summed. Of several pieces, all but the last have an even number of bytes.</param>
    /// <param name="sum">What was summed before.</param>
    public static ulong Add(ReadOnlySpan<byte> bytes, ulong sum = 0)
    {
        // Summed in this processor's byte order and turned once, which comes to the same (RFC 1071, 2 (B)). Sums of 32 bits do not run over in 64.
        var vectors = MemoryMarshal.Cast<byte, Vector<uint>>(bytes);
        var (low, high) = (Vector<ulong>.Zero, Vector<ulong>.Zero);
        foreach (var vector in vectors)
        {
            Vector.Widen(vector, out var first, out var second);
            (low, high) = (low + first, high + second);
        }

        ulong own = Vector.Sum(low + high);
        bytes = bytes[(vectors.Length * Vector<byte>.Count)..];
        foreach (ushort word in MemoryMarshal.Cast<byte, ushort>(bytes))
            own += word;
        if (bytes.Length % 2 != 0)
            own += bytes[^1];
        return sum + BinaryPrimitives.ReverseEndianness(Fold(own));
    }

    /// <summary>The sum as 16 bits, carries added at the lower end; not complemented.</summary>
    public static ushort Fold(ulong sum)
    {
        while (sum >> 16 != 0)
            sum = (sum & 0xffff) + (sum >> 16);
        return (ushort)sum;
    }

    /// <summary>The checksum of bytes: what their header's field has to be, if that is zero among them.</summary>
    public static ushort Of(ReadOnlySpan<byte> bytes, ulong sum = 0) => (ushort)~Fold(Add(bytes, sum));

    /// <summary>Writes the checksum of a sum.</summary>
    /// <param name="sum">The sum of all, with zeros where the checksum goes.</param>
    /// <param name="field">Its two bytes.</param>
    /// <param name="neverZero">All ones instead of zero, which is no checksum at all (RFC 768).</param>
    public static void Write(ulong sum, Span<byte> field, bool neverZero = false)
    {
        ushort result = (ushort)~Fold(sum);
        BinaryPrimitives.WriteUInt16BigEndian(field, neverZero && result == 0 ? ushort.MaxValue : result);
    }

    /// <summary>What TCP and UDP sum before their own bytes (RFC 9293, 3.1), of IPv4.</summary>
    public static ulong PseudoHeader(uint from, uint to, byte protocol, int length) => (ulong)from + to + protocol + (uint)length;

    /// <summary>A checksum after 32 bits of what it covers were rewritten: RFC 1624, equation 3.</summary>
    /// <param name="checksum">As it stands in the header: complemented.</param>
    /// <param name="old">What was there.</param>
    /// <param name="now">What is there now.</param>
    public static ushort Update(ushort checksum, uint old, uint now) => (ushort)~UpdateSum((ushort)~checksum, old, now);

    /// <summary>The same for a sum that is not complemented, as it stands where a checksum is still to be finished: the pseudo header's alone.</summary>
    public static ushort UpdateSum(ushort sum, uint old, uint now) => Fold((ulong)sum + (~old & 0xffff_ffff) + now);
}
