using Kvm.Devices.Tests.Support;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio.Vsock;

namespace Kvm.Devices.Tests.Virtio.Vsock;

/// <summary>A guest's driver of a socket device, and a host whose ends of connections do what a test says.</summary>
internal sealed class VsockGuest : IVsockHost, IDisposable
{
    public const uint Cid = 7, Port = 1000;

    private const int BufferBytes = 4096 + VsockPacket.Size;

    private readonly DeviceGuest<VsockDevice> _guest;
    private readonly Dictionary<ulong, ulong> _offered = [];
    private readonly Queue<ulong> _free = new();
    private readonly ulong _out;

    public VsockGuest(int buffers = 16, bool pci = false, bool packed = false)
    {
        _guest = new DeviceGuest<VsockDevice>(arena => new VsockDevice("vsock0", arena.Memory, Cid, this), pci: pci, packed: packed, size: 32);
        for (int i = 0; i < buffers; i++)
            _free.Enqueue(_guest.Arena.Allocate(BufferBytes));
        _out = _guest.Arena.Allocate(128 << 10);
        Offer();
    }

    public VsockDevice Device => _guest.Device;

    public DeviceGuest<VsockDevice> Guest => _guest;

    /// <summary>Ports of the host's at which somebody listens.</summary>
    public HashSet<uint> Listening { get; } = [52];

    /// <summary>The last connection that was made, and the host's end of it.</summary>
    public (VsockConnection Connection, Stream End) Last { get; private set; }

    public IVsockStream? Connect(VsockConnection connection, uint port)
    {
        if (!Listening.Contains(port))
            return null;
        Last = (connection, new Stream());
        return Last.End;
    }

    /// <summary>A host's end that the guest is asked to connect with.</summary>
    public Stream Ask(uint guestPort)
    {
        var end = new Stream();
        if (Device.Connect(guestPort, end) is { } connection)
            Last = (connection, end);
        return end;
    }

    /// <summary>An established connection that the guest asked for.</summary>
    public Stream Open(uint hostPort = 52, uint guestPort = Port, uint room = 1 << 20)
    {
        Say(VsockOperation.Request, hostPort, guestPort, room: room).Single().Packet.Operation.Should().Be(VsockOperation.Response);
        return Last.End;
    }

    /// <summary>Sends a packet and takes what the device says.</summary>
    public List<(VsockPacket Packet, byte[] Data)> Say(
        VsockOperation operation, uint hostPort = 52, uint guestPort = Port, byte[]? data = null, uint room = 1 << 20, uint consumed = 0, VsockEnds ends = VsockEnds.None)
    {
        data ??= [];
        return Say(
            new VsockPacket
            {
                SourceCid = Cid,
                TargetCid = VsockDevice.HostCid,
                SourcePort = guestPort,
                TargetPort = hostPort,
                Type = VsockPacket.Stream,
                Operation = operation,
                Ends = ends,
                BufferSize = room,
                Consumed = consumed,
                Length = (uint)data.Length,
            },
            data);
    }

    /// <summary>Sends any packet, with any data behind it.</summary>
    public List<(VsockPacket Packet, byte[] Data)> Say(VsockPacket packet, ReadOnlySpan<byte> data)
    {
        Send(packet, data);
        return Take();
    }

    /// <summary>Sends a packet; false if the device left it in the ring.</summary>
    public bool Send(VsockPacket packet, ReadOnlySpan<byte> data)
    {
        var bytes = _guest.Arena.Bytes(_out, VsockPacket.Size + data.Length);
        packet.Write(bytes);
        data.CopyTo(bytes[VsockPacket.Size..]);
        // Header and data apart, as drivers send them.
        return (data.IsEmpty
            ? _guest.Run(1, Element.Out(_out, VsockPacket.Size))
            : _guest.Run(1, Element.Out(_out, VsockPacket.Size), Element.Out(_out + VsockPacket.Size, (uint)data.Length))) is not null;
    }

    /// <summary>Takes what the device has said, and gives the buffers back, until it says no more.</summary>
    public List<(VsockPacket Packet, byte[] Data)> Take()
    {
        var all = new List<(VsockPacket, byte[])>();
        while (_guest.Drivers[0].TakeAllUsed() is { Count: > 0 } used)
        {
            foreach (var buffer in used)
            {
                _offered.Remove(buffer.Id, out ulong address);
                _free.Enqueue(address);
                var bytes = _guest.Arena.Bytes(address, (int)buffer.Written);
                all.Add((VsockPacket.Read(bytes), bytes[VsockPacket.Size..].ToArray()));
            }

            Offer();
        }

        return all;
    }

    public void Dispose()
    {
        Device.Dispose();
        _guest.Dispose();
    }

    private void Offer()
    {
        while (_free.TryDequeue(out ulong address))
            _offered[_guest.Drivers[0].Add(Element.In(address, BufferBytes))] = address;
        if (_guest.Drivers[0].MustNotify())
            _guest.Transport.Notify(0);
    }

    /// <summary>The host's end of a connection.</summary>
    internal sealed class Stream : IVsockStream
    {
        private readonly Queue<byte[]> _input = new();

        public List<byte> Received { get; } = [];

        /// <summary>Bytes it takes before it says that it is full.</summary>
        public int Room { get; set; } = int.MaxValue;

        public bool IsGone { get; set; }

        public bool HasEnded { get; set; }

        public uint? AcceptedAs { get; private set; }

        public bool WritesEnded { get; private set; }

        public int Disposals { get; private set; }

        public void Type(params byte[] bytes) => _input.Enqueue(bytes);

        public int Read(Span<byte> to)
        {
            if (to.IsEmpty)
                throw new InvalidOperationException("a read of nothing looks like the end");
            if (!_input.TryPeek(out byte[]? first))
                return HasEnded ? 0 : -1;
            int count = Math.Min(to.Length, first.Length);
            first.AsSpan(0, count).CopyTo(to);
            _input.Dequeue();
            if (count < first.Length)
            {
                var rest = _input.ToArray();
                _input.Clear();
                _input.Enqueue(first[count..]);
                foreach (byte[] other in rest)
                    _input.Enqueue(other);
            }

            return count;
        }

        public int Write(ReadOnlySpan<byte> from)
        {
            if (IsGone)
                return -1;
            int taken = Math.Min(from.Length, Room);
            Room -= Room == int.MaxValue ? 0 : taken;
            Received.AddRange(from[..taken]);
            return taken;
        }

        public void OnAccepted(uint hostPort) => AcceptedAs = hostPort;

        public void EndWrites() => WritesEnded = true;

        public void Dispose() => Disposals++;
    }
}
