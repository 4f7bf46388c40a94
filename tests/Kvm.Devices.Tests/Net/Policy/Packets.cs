using System.Buffers.Binary;
using System.Net;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Policy;

namespace Kvm.Devices.Tests.Net.Policy;

/// <summary>Ethernet frames made by hand, whole and with right checksums.</summary>
internal static class Packets
{
    public const byte Tcp = PacketHeaders.Tcp, Udp = PacketHeaders.Udp, Icmp = PacketHeaders.Icmp, Icmp6 = PacketHeaders.Icmp6;
    public const byte Syn = PacketHeaders.Syn, Ack = PacketHeaders.Acknowledge, Fin = PacketHeaders.Fin, Reset = PacketHeaders.Reset;

    public static byte[] ToMac { get; } = [0x52, 0x54, 0, 0, 0, 2];

    public static byte[] FromMac { get; } = [0x52, 0x54, 0, 0, 0, 1];

    /// <summary>An Ethernet frame of any kind.</summary>
    public static byte[] Ethernet(ushort type, byte[] payload, params ushort[] tags) =>
        [.. ToMac, .. FromMac, .. tags.SelectMany(tag => (byte[])[0x81, 0, (byte)(tag >> 8), (byte)tag]), (byte)(type >> 8), (byte)type, .. payload];

    public static byte[] TcpFrame(string from, int fromPort, string to, int toPort, byte flags = Syn, byte[]? options = null, int payload = 0) =>
        Frame(from, to, Tcp, TcpSegment(fromPort, toPort, flags, options ?? [], payload));

    public static byte[] UdpFrame(string from, int fromPort, string to, int toPort, byte[]? payload = null)
    {
        byte[] data = payload ?? [1, 2, 3];
        byte[] datagram = [.. Word(fromPort), .. Word(toPort), .. Word(8 + data.Length), 0, 0, .. data];
        return Frame(from, to, Udp, datagram);
    }

    public static byte[] Echo(string from, string to, int id, bool reply = false)
    {
        bool v6 = from.Contains(':', StringComparison.Ordinal);
        byte type = v6 ? (byte)(reply ? 129 : 128) : (byte)(reply ? 0 : 8);
        return Frame(from, to, v6 ? Icmp6 : Icmp, [type, 0, 0, 0, .. Word(id), 0, 1]);
    }

    /// <summary>An error about a packet: its IP header and eight bytes more.</summary>
    public static byte[] Error(string from, string to, byte[] about, byte type = 3)
    {
        bool v6 = from.Contains(':', StringComparison.Ordinal);
        byte[] embedded = about[14..(14 + (v6 ? 40 : 20) + 8)];
        return Frame(from, to, v6 ? Icmp6 : Icmp, [type, 0, 0, 0, 0, 0, 0, 0, .. embedded]);
    }

    public static byte[] TcpSegment(int fromPort, int toPort, byte flags, byte[] options, int payload)
    {
        byte[] padded = [.. options, .. new byte[(4 - options.Length % 4) % 4]];
        return [.. Word(fromPort), .. Word(toPort), 0, 0, 0, 1, 0, 0, 0, 0, (byte)((20 + padded.Length) / 4 << 4), flags, 0xff, 0xff, 0, 0, 0, 0, .. padded, .. Enumerable.Range(0, payload).Select(i => (byte)i)];
    }

    public static byte[] Frame(string from, string to, byte protocol, byte[] payload)
    {
        byte[] source = IPAddress.Parse(from).GetAddressBytes(), target = IPAddress.Parse(to).GetAddressBytes();
        Sum(payload, source, target, protocol);
        if (source.Length == 16)
            return Ethernet(0x86dd, [0x60, 0, 0, 0, .. Word(payload.Length), protocol, 64, .. source, .. target, .. payload]);
        byte[] header = [0x45, 0, .. Word(20 + payload.Length), 0, 7, 0, 0, 64, protocol, 0, 0, .. source, .. target];
        BinaryPrimitives.WriteUInt16BigEndian(header.AsSpan(10), InternetChecksum.Of(header));
        return Ethernet(0x0800, [.. header, .. payload]);
    }

    /// <summary>True if the checksums of an IPv4 frame are right: a receiver's sum over all is all ones.</summary>
    public static bool SumsAreRight(ReadOnlySpan<byte> frame)
    {
        var packet = frame[14..];
        if (InternetChecksum.Fold(InternetChecksum.Add(packet[..20])) != 0xffff)
            return false;
        var payload = packet[20..BinaryPrimitives.ReadUInt16BigEndian(packet[2..])];
        if (packet[9] == Udp && payload[6] == 0 && payload[7] == 0)
            return true;
        ulong pseudo = packet[9] == Icmp ? 0
            : InternetChecksum.PseudoHeader(BinaryPrimitives.ReadUInt32BigEndian(packet[12..]), BinaryPrimitives.ReadUInt32BigEndian(packet[16..]), packet[9], payload.Length);
        return InternetChecksum.Fold(InternetChecksum.Add(payload, pseudo)) == 0xffff;
    }

    private static void Sum(byte[] payload, byte[] source, byte[] target, byte protocol)
    {
        int at = protocol switch { Tcp => 16, Udp => 6, _ => 2 };
        if (payload.Length < at + 2)
            return;
        ulong pseudo = protocol == Icmp ? 0 : InternetChecksum.Add(source, InternetChecksum.Add(target)) + protocol + (uint)payload.Length;
        BinaryPrimitives.WriteUInt16BigEndian(payload.AsSpan(at), InternetChecksum.Of(payload, pseudo));
    }

    public static byte[] Word(int value) => [(byte)(value >> 8), (byte)value];
}
