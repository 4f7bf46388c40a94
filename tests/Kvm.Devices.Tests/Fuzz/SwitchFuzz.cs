using System.Buffers.Binary;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Switch;
using Kvm.Devices.Tests.Net.Switch;

namespace Kvm.Devices.Tests.Fuzz;

/// <summary>
/// Stations of a switch whose frames, headers and ports are chosen by bytes: TCP, UDP and other frames that are nearly right, with tags, and with headers that leave anything
/// undone. Nothing may throw or grow; what arrives is what its receiver takes, and nobody without a trunk sees a tag; others go on.
/// </summary>
internal static class SwitchFuzz
{
    public const string Name = "switch";


    private static readonly PortOptions[] s_kinds =
    [
        new(), new() { Isolated = true }, new() { Vlan = 2 }, new() { Vlan = 0, Trunk = VlanSet.All }, new() { Vlan = 1, Trunk = new VlanSet([2]), QueueBytes = PortOptions.LeastQueue },
        new() { Role = PortRole.Uplink, Trunk = VlanSet.All }, new() { Role = PortRole.Service, Mac = SwitchLab.Mac(7) }, new() { Weight = 1, UplinkQueueBytes = PortOptions.LeastQueue },
    ];

    /// <summary>Runs one input.</summary>
    /// <returns>What was wrong, or null; and where the run has been.</returns>
    public static (string? Wrong, int Signature) Execute(ReadOnlySpan<byte> bytes)
    {
        var input = new FuzzInput(bytes);
        try
        {
            var run = new Run();
            while (!input.IsEmpty)
            {
                if (run.Step(ref input) is { } wrong)
                    return (wrong, 0);
            }

            return (run.Ends() ? null : "two new ports do not reach each other", run.Signature);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            return (e.ToString(), 0);
        }
    }

    private sealed class Run
    {
        private readonly SwitchLab _lab = new(new SwitchOptions { MaxPorts = 12, MaxAddresses = 32, MaxAddressesPerPort = 8 });
        private readonly List<Station> _stations = [];
        private readonly HashSet<(SwitchDrop, int)> _drops = [];

        public Run()
        {
            foreach (var kind in s_kinds)
                _stations.Add(_lab.Add(kind));
        }

        public int Signature => _drops.Aggregate(_lab.Switch.Counters.Addresses, (all, drop) => all ^ HashCode.Combine(drop.Item1, drop.Item2));

        public string? Step(ref FuzzInput input)
        {
            byte choice = input.U8();
            var station = _stations[choice % _stations.Count];
            if (choice < 200)
                station.Send(Frame(ref input));
            else if (choice < 210)
                station.Port.Takes = (NetOffloads)input.U8() & NetOffloads.Modern;
            else if (choice < 220)
                _lab.Time.Advance(TimeSpan.FromMilliseconds(input.U16() * 10));
            else
                Replace(station);
            return choice % 3 == 0 ? Check() : null;
        }

        public bool Ends()
        {
            var kind = new PortOptions { Vlan = 4000 };
            _stations[0].Port.Dispose();
            _stations[1].Port.Dispose();
            var (a, b) = (_lab.Add(kind), _lab.Add(kind));
            a.Send(SwitchLab.Frame(MacAddress.Broadcast, SwitchLab.Mac(99), "hello"));
            return b.Take().Any(f => f.AsSpan().EndsWith("hello"u8));
        }

        private void Replace(Station station)
        {
            station.Port.Dispose();
            _stations.Remove(station);
            _stations.Add(_lab.Add(station.Port.Options));
        }

        private string? Check()
        {
            if (_lab.Switch.Counters.Addresses > 32)
                return "more addresses are known than may be";
            foreach (var station in _stations)
            {
                for (var reason = SwitchDrop.Malformed; reason <= SwitchDrop.Unfinished; reason++)
                    _drops.Add((reason, (int)Math.Min(station.Port.Dropped(reason), 2)));
                var takes = station.Port.Takes;
                var frames = station.Take();
                // What waited when it changed its mind is the card's to refuse.
                foreach (byte[] frame in frames)
                {
                    if (frame.Length < NetHeader.Size + NetHeader.EthernetSize || !NetHeader.Read(frame).Fits(frame.Length - NetHeader.Size, NetOffloads.Modern))
                        return $"a frame of {frame.Length} bytes has the header {NetHeader.Read(frame)}";
                    if (station.Port.Options.Trunk is null && frame.Length >= NetHeader.Size + 18 && BinaryPrimitives.ReadUInt16BigEndian(frame.AsSpan(NetHeader.Size + 12)) == 0x8100)
                        return $"a port without tags got one, taking {takes}";
                }
            }

            return null;
        }

        private static byte[] Frame(ref FuzzInput input)
        {
            byte shape = input.U8();
            int[] tags = shape % 8 < 4 ? [] : shape % 8 < 7 ? [input.U8() % 4] : [input.U8() % 4, input.U8()];
            byte source = input.U8(), destination = input.U8();
            byte[] frame = SwitchLab.Frame(destination < 40 ? MacAddress.Broadcast : SwitchLab.Mac(destination % 12), SwitchLab.Mac(source % 40 + 1), new string('\x45', 60), tags);
            int at = NetHeader.Size + 12 + 4 * tags.Length;
            bool six = (shape & 16) != 0, udp = (shape & 32) != 0;
            int transport = at + 2 + (six ? 40 : 20);
            BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(at), (ushort)(six ? 0x86dd : 0x0800));
            (frame[at + 2], frame[six ? at + 8 : at + 11]) = ((byte)(six ? 0x60 : 0x45), (byte)(udp ? 17 : 6));
            frame.AsSpan(at + 8, 2).Clear();
            byte gso = (byte)(udp ? NetHeader.GsoUdpL4 : six ? NetHeader.GsoTcp6 : NetHeader.GsoTcp4);
            var header = new NetHeader((byte)((shape & 64) != 0 ? 1 : 0), (shape & 128) != 0 ? gso : (byte)0, (ushort)(transport - NetHeader.Size), (ushort)(48 + input.U8() % 2000),
                (ushort)(transport - NetHeader.Size), (ushort)(udp ? 6 : 16), 0);
            header.Write(frame);
            if (frame.Length > transport + 13)
                frame[transport + 12] = 0x50;
            int length = input.U8() switch { < 120 => frame.Length, < 180 => frame.Length + input.U16() % 9000, < 200 => NetHeader.Size + NetHeader.MaxFrame - input.U8(), < 240 => input.U8(), _ => input.U16() + 2 * input.U8() };
            Array.Resize(ref frame, length);
            for (int changes = input.U8() % 8 - 3; changes > 0 && length > 0; changes--)
                frame[input.U8() % Math.Min(length, 80)] = (byte)input.Number();
            return frame;
        }
    }
}
