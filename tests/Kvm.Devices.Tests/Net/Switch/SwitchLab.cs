using System.Buffers.Binary;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Switch;
using Kvm.Devices.Tests.Support;

namespace Kvm.Devices.Tests.Net.Switch;

/// <summary>A switch with stations at its ports, which write down what arrives.</summary>
internal sealed class SwitchLab
{
    private readonly List<Station> _stations = [];

    public SwitchLab(SwitchOptions? options = null) => Switch = new NetworkSwitch(options ?? new SwitchOptions(), Time);

    public ManualTime Time { get; } = new();

    public NetworkSwitch Switch { get; }

    public Station Add(PortOptions? options = null, NetOffloads takes = NetOffloads.Modern)
    {
        var station = new Station();
        var port = Switch.TryAttach(options ?? new PortOptions(), station, out string why);
        why.Should().BeEmpty();
        station.Port = port!;
        port!.Takes = takes;
        _stations.Add(station);
        return station;
    }

    /// <summary>Takes all that waits anywhere.</summary>
    public void Forget() => _stations.ForEach(s => s.Take());

    public static MacAddress Mac(int number) => new(0x5254_0000_0000 + (ulong)number);

    /// <summary>A frame with a header before it: addresses, tags, a type of experiments, and a text.</summary>
    public static byte[] Frame(MacAddress to, MacAddress from, string text = "", params int[] tags)
    {
        byte[] frame = new byte[NetHeader.Size + 14 + 4 * tags.Length + text.Length];
        var at = frame.AsSpan(NetHeader.Size);
        to.Write(at);
        from.Write(at[6..]);
        at = at[12..];
        foreach (int tag in tags)
        {
            BinaryPrimitives.WriteUInt16BigEndian(at, 0x8100);
            BinaryPrimitives.WriteUInt16BigEndian(at[2..], (ushort)tag);
            at = at[4..];
        }

        BinaryPrimitives.WriteUInt16BigEndian(at, 0x88b5);
        System.Text.Encoding.ASCII.GetBytes(text, at[2..]);
        return frame;
    }
}

/// <summary>Whoever is at a port.</summary>
internal sealed class Station : IPortListener
{
    public SwitchPort Port { get; set; } = null!;

    public int Told { get; private set; }

    public void FramesWaiting(SwitchPort port) => Told++;

    public bool Send(byte[] frame) => Port.Send((byte[])frame.Clone());

    /// <summary>What arrived since the last time, headers and all.</summary>
    public List<byte[]> Take()
    {
        var frames = new List<byte[]>();
        while (Port.Peek() is { IsEmpty: false } frame)
        {
            frames.Add(frame.ToArray());
            Port.Take();
        }

        return frames;
    }
}
