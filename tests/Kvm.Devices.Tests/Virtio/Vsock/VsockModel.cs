using Kvm.Devices.Virtio.Vsock;

namespace Kvm.Devices.Tests.Virtio.Vsock;

/// <summary>Connections of a few ports that are used in any order, with what each side sent so far.</summary>
internal sealed class VsockModel(VsockGuest guest)
{
    private sealed class Line(VsockConnection connection, VsockGuest.Stream end)
    {
        public readonly VsockConnection Connection = connection;
        public readonly VsockGuest.Stream End = end;
        public readonly List<byte> FromGuest = [];
        public readonly List<byte> FromHost = [];
        public readonly List<byte> AtGuest = [];
        public uint Consumed;
        public bool GuestEnded;
    }

    private readonly Dictionary<uint, Line> _open = [];
    private readonly List<Line> _all = [];
    private byte _next;

    public bool IsRight => _all.TrueForAll(line =>
        line.FromGuest.Take(line.End.Received.Count).SequenceEqual(line.End.Received) && line.FromHost.Take(line.AtGuest.Count).SequenceEqual(line.AtGuest)
        && line.End.Received.Count <= line.FromGuest.Count && line.AtGuest.Count <= line.FromHost.Count && line.End.Disposals <= 1);

    public void Do(int what, uint port, int size)
    {
        if (!_open.TryGetValue(port, out var line))
        {
            Hear(guest.Say(VsockOperation.Request, guestPort: port, room: 5000));
            _open[port] = line = new Line(guest.Last.Connection, guest.Last.End);
            _all.Add(line);
        }

        switch (what)
        {
            case <= 2 when !line.GuestEnded:
                byte[] data = Data(size, line.FromGuest);
                Hear(guest.Say(VsockOperation.Data, guestPort: port, data: data, room: 5000, consumed: line.Consumed));
                break;
            case <= 5 when !line.End.HasEnded:
                line.End.Type(Data(size + 1, line.FromHost));
                guest.Device.OnReady(line.Connection, readable: true, writable: false, gone: false);
                break;
            case 6:
                line.End.Room = size;
                guest.Device.OnReady(line.Connection, readable: false, writable: true, gone: false);
                break;
            case 7:
                line.GuestEnded = true;
                Hear(guest.Say(VsockOperation.Shutdown, guestPort: port, ends: VsockEnds.Sends, room: 5000, consumed: line.Consumed));
                break;
            case 8:
                line.End.HasEnded = true;
                guest.Device.OnReady(line.Connection, readable: true, writable: false, gone: false);
                break;
            default:
                line.Consumed = (uint)line.AtGuest.Count;
                Hear(guest.Say(VsockOperation.CreditUpdate, guestPort: port, room: 5000, consumed: line.Consumed));
                break;
        }

        Hear(guest.Take());
    }

    private byte[] Data(int size, List<byte> sent)
    {
        byte[] data = new byte[size];
        foreach (ref byte b in data.AsSpan())
            b = _next++;
        sent.AddRange(data);
        return data;
    }

    private void Hear(List<(VsockPacket Packet, byte[] Data)> said)
    {
        foreach (var (packet, data) in said)
        {
            if (!_open.TryGetValue(packet.TargetPort, out var line))
                continue;
            if (packet.Operation == VsockOperation.Data)
                line.AtGuest.AddRange(data);
            else if (packet.Operation == VsockOperation.Reset)
                _open.Remove(packet.TargetPort);
        }
    }
}
