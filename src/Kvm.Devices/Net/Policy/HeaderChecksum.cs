using System.Buffers.Binary;

namespace Kvm.Devices.Net.Policy;

/// <summary>The Internet's checksum (RFC 1071) of headers, and what becomes of it when some of what it covers is rewritten (RFC 1624). Pure functions.</summary>
public static class HeaderChecksum
{
    /// <summary>The sum of big-endian words, not yet folded; an odd last byte counts as the upper half of a word.</summary>
    /// <param name="bytes">What is summed.</param>
    /// <param name="sum">What was summed before.</param>
    public static ulong Add(ReadOnlySpan<byte> bytes, ulong sum = 0)
    {
        for (; bytes.Length >= 4; bytes = bytes[4..])
            sum += BinaryPrimitives.ReadUInt32BigEndian(bytes);
        if (bytes.Length >= 2)
        {
            sum += BinaryPrimitives.ReadUInt16BigEndian(bytes);
            bytes = bytes[2..];
        }

        return bytes.IsEmpty ? sum : sum + (uint)(bytes[0] << 8);
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
