using System.Buffers.Binary;

namespace Kvm.Devices.Net.Services;

/// <summary>A client's message (RFC 2131, RFC 2132), as far as a server looks at it. A pure function of its bytes.</summary>
public readonly record struct DhcpMessage
{
    /// <summary>Kinds of messages (RFC 2132, 9.6).</summary>
    public const byte Discover = 1, Offer = 2, Request = 3, Decline = 4, Acknowledge = 5, Refuse = 6, Release = 7, Inform = 8;

    internal const byte Pad = 0, Mask = 1, Router = 3, NameServer = 6, HostName = 12, DomainName = 15, InterfaceMtu = 26, BroadcastAddress = 28,
        RequestedAddress = 50, LeaseTime = 51, Kind = 53, ServerId = 54, RenewalTime = 58, RebindingTime = 59, End = 255;

    internal const int FixedBytes = 236, OptionsAt = 240, HardwareAddressAt = 28;
    internal const uint Cookie = 0x6382_5363;

    /// <summary>The kind.</summary>
    public byte Type { get; init; }

    /// <summary>The client's card.</summary>
    public MacAddress Client { get; init; }

    /// <summary>The address the client uses; 0 if none.</summary>
    public uint Current { get; init; }

    /// <summary>The address it would like; 0 if it says nothing.</summary>
    public uint Wanted { get; init; }

    /// <summary>The server it speaks to; 0 if to all.</summary>
    public uint Server { get; init; }

    /// <summary>It cannot take an answer to an address it does not have yet.</summary>
    public bool WantsBroadcast { get; init; }

    /// <summary>Reads a message; false if it is none, or has been relayed.</summary>
    /// <param name="bytes">The datagram's payload.</param>
    /// <param name="message">The message.</param>
    public static bool TryRead(ReadOnlySpan<byte> bytes, out DhcpMessage message)
    {
        message = default;
        // A question of a client, over Ethernet, through no relay.
        if (bytes.Length < OptionsAt || bytes[0] != 1 || bytes[1] != 1 || bytes[2] != MacAddress.Size
            || BinaryPrimitives.ReadUInt32BigEndian(bytes[24..]) != 0 || BinaryPrimitives.ReadUInt32BigEndian(bytes[FixedBytes..]) != Cookie)
            return false;
        byte type = 0;
        uint wanted = 0, server = 0;
        for (int at = OptionsAt; at < bytes.Length && bytes[at] != End;)
        {
            if (bytes[at] == Pad)
            {
                at++;
                continue;
            }

            if (bytes.Length - at < 2 || bytes[at + 1] > bytes.Length - at - 2)
                return false;
            var value = bytes.Slice(at + 2, bytes[at + 1]);
            switch (bytes[at])
            {
                case Kind when value.Length == 1:
                    type = value[0];
                    break;
                case RequestedAddress when value.Length == 4:
                    wanted = BinaryPrimitives.ReadUInt32BigEndian(value);
                    break;
                case ServerId when value.Length == 4:
                    server = BinaryPrimitives.ReadUInt32BigEndian(value);
                    break;
                case Kind or RequestedAddress or ServerId:
                    return false;
                default:
                    break;
            }

            at += 2 + value.Length;
        }

        message = new DhcpMessage
        {
            Type = type,
            Client = MacAddress.Read(bytes[HardwareAddressAt..]),
            Current = BinaryPrimitives.ReadUInt32BigEndian(bytes[12..]),
            Wanted = wanted,
            Server = server,
            WantsBroadcast = (bytes[10] & 0x80) != 0,
        };
        return type is >= Discover and <= Inform && type is not (Offer or Acknowledge or Refuse) && message.Client.IsUsable;
    }
}
