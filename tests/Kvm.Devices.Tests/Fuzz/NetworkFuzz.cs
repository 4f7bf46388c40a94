using System.Buffers.Binary;
using System.Diagnostics;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Policy;
using Kvm.Devices.Net.Services;
using Kvm.Devices.Net.Switch;
using Kvm.Devices.Tests.Net.Policy;
using Kvm.Devices.Tests.Net.Services;
using Kvm.Devices.Tests.Net.Switch;

namespace Kvm.Devices.Tests.Fuzz;

/// <summary>
/// Guests of a network, whose frames are chosen by bytes: nearly right ones of every protocol that is looked at, with bytes changed, cut and lengthened, and any bytes at all; rules that
/// change and time that passes between them. Nothing may throw, take long, grow, or be answered with a frame that is not whole.
/// </summary>
internal static class NetworkFuzz
{
    public const string Name = "network";

    private const string Shop = "10.20.0.50", Web = "10.20.0.11", Db = "10.20.0.101", Server = "10.20.0.2";

    /// <summary>No input takes longer, however slow the host: an endless loop does.</summary>
    private static readonly TimeSpan s_mostTime = TimeSpan.FromSeconds(20);

    private static readonly byte[][] s_frames =
    [
        Packets.TcpFrame(Web, 40_000, Shop, 80, options: [2, 4, 5, 0xb4, 4, 2]), Packets.TcpFrame(Db, 8080, Web, 40_000, 0x12, [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]),
        Packets.UdpFrame(Web, 5555, Server, 53, Plans.Dns("db.lab")), Packets.UdpFrame(Web, 5555, Server, 53, Plans.Dns("www.example.org")),
        Packets.UdpFrame(Web, 5555, Server, 53, Plans.Dns("11.0.20.10.in-addr.arpa", 12)), Packets.UdpFrame("10.20.0.3", 53, Server, 0x4000, Plans.Dns("www.example.org")),
        Packets.UdpFrame("0.0.0.0", 68, "255.255.255.255", 67, Plans.Dhcp(Plans.Web, DhcpMessage.Discover)),
        Packets.UdpFrame("0.0.0.0", 68, "255.255.255.255", 67, Plans.Dhcp(Plans.Guest, DhcpMessage.Request, Plans.Address("10.20.0.102"), Plans.Address(Server))),
        Packets.Echo(Web, Server, 7), Packets.Echo("fd00::1", "fd00::2", 7), Packets.Error(Db, Web, Packets.TcpFrame(Web, 40_000, Db, 8080)), Packets.UdpFrame("fd00::1", 1, "fd00::2", 53),
        Packets.Ethernet(0x0806, [0, 1, 8, 0, 6, 4, 0, 1, .. Packets.FromMac, 10, 20, 0, 11, 0, 0, 0, 0, 0, 0, 10, 20, 0, 2]),
        Packets.Ethernet(0x0806, [0, 1, 8, 0, 6, 4, 0, 2, .. Packets.FromMac, 10, 20, 0, 3, 0, 0, 0, 0, 0, 0, 10, 20, 0, 2]),
        Packets.Ethernet(0x86dd, [0x60, 0, 0, 0, 0, 24, 60, 64, .. new byte[32], 17, 1, .. new byte[14], 0, 1, 0, 53, 0, 8, 0, 0]), Packets.Ethernet(0x0800, Packets.TcpFrame(Web, 1, Db, 2)[14..], 5, 6),
    ];

    private static readonly string[][] s_rules = [["allow from any to any"], ["allow from vm=web to vm=db tcp/8080", "deny from any to any"], ["deny from any to any tcp", "allow from any to vm=db udp,icmp"]];

    /// <summary>Runs one input.</summary>
    /// <returns>What was wrong, or null; and where the run has been.</returns>
    public static (string? Wrong, int Signature) Execute(ReadOnlySpan<byte> bytes)
    {
        var input = new FuzzInput(bytes);
        var clock = Stopwatch.StartNew();
        var signature = new HashCode();
        try
        {
            using var run = new Run();
            while (!input.IsEmpty && clock.Elapsed < s_mostTime)
            {
                if (run.Step(ref input) is { } wrong)
                    return (wrong, 0);
            }

            run.AddTo(ref signature);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            return (e.ToString(), 0);
        }

        return (clock.Elapsed < s_mostTime ? null : "it takes too long", signature.ToHashCode());
    }

    private sealed class Run : IDisposable
    {
        private const int Flows = 64;

        private readonly SwitchLab _lab = new();
        private readonly FlowTable _flows;
        private readonly NetworkServices _services;
        private readonly Station[] _stations;

        public Run()
        {
            _lab.Time.Timestamp = 1;
            var services = new VirtualServices([new VirtualService("shop", Plans.Address(Shop), 6, 80, 8080, [new ServiceBackend("db", Plans.Db, Plans.Address(Db)), new ServiceBackend("web", Plans.Web, Plans.Address(Web))])], _lab.Time, Flows);
            _flows = new FlowTable(_lab.Time, Flows);
            _services = new NetworkServices(_lab.Switch, Plans.Lab, new FlowPolicy(Compile(0), _flows, services), services, [5], _lab.Time);
            _stations = [_lab.Add(new PortOptions { Label = "web" }), _lab.Add(new PortOptions { Label = "db" }), _lab.Add(new PortOptions { Trunk = new VlanSet([5]) }), _lab.Add(new PortOptions { Role = PortRole.Uplink })];
            services.SetHealth("db", true);
            services.SetHealth("web", true);
        }

        public void Dispose() => _services.Dispose();

        public string? Step(ref FuzzInput input)
        {
            byte choice = input.U8();
            if (choice >= 250)
            {
                _services.Policy.Swap(Compile(choice % s_rules.Length));
            }
            else if (choice >= 244)
            {
                _lab.Time.Advance(TimeSpan.FromSeconds(input.U16()));
                _services.Ask();
            }
            else
            {
                byte[] frame = Frame(ref input, choice);
                var from = _stations[choice % _stations.Length];
                // What a card of ours sends has a header that is whole; an unfinished checksum lies where it says.
                byte[] header = new byte[NetHeader.Size];
                if ((choice & 0x40) != 0 && frame.Length > 60)
                    new NetHeader(NetHeader.NeedsChecksum, 0, 0, 0, 34, frame[23] == 6 ? (ushort)16 : (ushort)6, 0).Write(header);
                from.Send([.. header, .. frame]);
                _services.Policy.Allows(from.Port.Number, _stations[1].Port.Number, frame);
                _services.Responder.Answer(frame, from.Port.Number, new byte[ServiceResponder.MostBytes + 4]);
            }

            return Check();
        }

        public void AddTo(ref HashCode signature)
        {
            var policy = _services.Policy;
            foreach (var kind in Enum.GetValues<PacketKind>())
                signature.Add(Math.Min(policy.Refused(kind), 2));
            foreach (long counter in (long[])[policy.Spoofed, policy.Rogue, policy.Unrelated, policy.Rules.Count(0), policy.Rules.Count(-1), _services.Responder.Dhcp.Malformed, _services.Responder.Dhcp.Acknowledged,
                _services.Responder.Dhcp.RefusedCount, _services.Responder.Dhcp.Exhausted, _services.Responder.Dns.Malformed, _services.Responder.Dns.Answers, _services.Responder.Forwarded, _services.Services.Begun, _services.Services.Unserved])
                signature.Add(Math.Min(counter, 2));
        }

        private static byte[] Frame(ref FuzzInput input, byte choice)
        {
            byte[] frame = [.. s_frames[input.U8() % s_frames.Length]];
            Plans.Server.Write(frame);
            (choice % 4 == 1 ? Plans.Db : choice % 4 == 2 ? Plans.Guest : Plans.Web).Write(frame.AsSpan(6));
            if ((choice & 0x80) != 0)
                MacAddress.Broadcast.Write(frame);
            for (int changes = input.U8() % 6; changes > 0; changes--)
                frame[input.U16() % frame.Length] = (byte)input.Number();
            int length = input.U8() switch { < 200 => frame.Length, < 240 => input.U16() % (frame.Length + 1), _ => input.U16() % 2000 };
            Array.Resize(ref frame, length);
            return frame;
        }

        private string? Check()
        {
            foreach (var station in _stations)
            {
                foreach (byte[] frame in station.Take())
                {
                    if (frame.Length > NetHeader.Size + 2100)
                        return "a frame is longer than any that was sent";
                    // What the services say is whole.
                    if (MacAddress.Read(frame.AsSpan(NetHeader.Size + 6)) == Plans.Server && BinaryPrimitives.ReadUInt16BigEndian(frame.AsSpan(NetHeader.Size + 12)) == 0x0800
                        && !Packets.SumsAreRight(frame.AsSpan(NetHeader.Size)))
                        return "an answer's checksum is wrong";
                }
            }

            return _flows.Census().Live <= Flows ? null : "there are more flows than room for them";
        }

        private static CompiledPolicy Compile(int list) => new([.. s_rules[list].Select(text => PolicyRule.Parse(text, out var rule) is null ? rule : throw new InvalidOperationException(text))], false,
            [new("web", []), new("db", []), new("uplink", [], IsUplink: true)]);
    }
}
