using System.Buffers.Binary;
using System.Net;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Services;

namespace Kvm.Devices.Tests.Net.Services;

/// <summary>A small network, and the questions its guests ask.</summary>
internal static class Plans
{
    public static readonly MacAddress Server = new(0x5254_00ff_0001), Web = new(0x5254_0000_0011), Db = new(0x5254_0000_0012), Guest = new(0x5254_0000_0099);

    public static NetworkPlan Lab { get; } = new()
    {
        Network = Address("10.20.0.0"),
        PrefixLength = 24,
        Server = Address("10.20.0.2"),
        ServerMac = Server,
        Gateway = Address("10.20.0.1"),
        Nameserver = Address("10.20.0.3"),
        FirstLease = Address("10.20.0.100"),
        LastLease = Address("10.20.0.103"),
        Domain = "lab",
        Mtu = 1400,
        Machines = [new PlannedMachine("web", Web, Address("10.20.0.11")), new PlannedMachine("db", Db, Address("10.20.0.101"))],
        Names = new Dictionary<string, uint> { ["printer"] = Address("10.20.0.9"), ["shop"] = Address("10.20.0.50") },
        ServiceAddresses = [Address("10.20.0.50")],
    };

    public static uint Address(string text) => BinaryPrimitives.ReadUInt32BigEndian(IPAddress.Parse(text).GetAddressBytes());

    public static string Text(uint address) => new IPAddress([(byte)(address >> 24), (byte)(address >> 16), (byte)(address >> 8), (byte)address]).ToString();

    public static byte[] Bytes(uint address) => [(byte)(address >> 24), (byte)(address >> 16), (byte)(address >> 8), (byte)address];

    /// <summary>A client's message with options, each its number, length and value.</summary>
    public static byte[] Dhcp(MacAddress client, byte type, uint wanted = 0, uint server = 0, uint current = 0, bool broadcast = false, byte[]? more = null)
    {
        byte[] bytes = new byte[240];
        (bytes[0], bytes[1], bytes[2], bytes[10]) = (1, 1, 6, broadcast ? (byte)0x80 : (byte)0);
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(4), 0xdead_beef);
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(12), current);
        client.Write(bytes.AsSpan(28));
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(236), 0x6382_5363);
        return [.. bytes, 53, 1, type, .. wanted == 0 ? [] : (byte[])[50, 4, .. Bytes(wanted)], .. server == 0 ? [] : (byte[])[54, 4, .. Bytes(server)], .. more ?? [], 255];
    }

    /// <summary>A question for a name.</summary>
    public static byte[] Dns(string name, ushort type = 1, ushort id = 0x1234, ushort kind = 1) =>
        [(byte)(id >> 8), (byte)id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, .. name.Split('.').SelectMany(l => System.Text.Encoding.ASCII.GetBytes(l).Prepend((byte)l.Length)), 0,
            (byte)(type >> 8), (byte)type, (byte)(kind >> 8), (byte)kind];
}
