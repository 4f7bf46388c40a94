using System.Buffers.Binary;
using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Devices.Tests.Support;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio;
using Kvm.Devices.Virtio.Net;

namespace Kvm.Devices.Tests.Virtio.Net;

/// <summary>A cable whose other end is the test: keeps what is sent, gives what it is told to.</summary>
internal sealed class TestCable : INetworkBackend
{
    private readonly Queue<byte[]>[] _frames;

    public TestCable(int pairs = 1) => _frames = [.. Enumerable.Range(0, pairs).Select(_ => new Queue<byte[]>())];

    public NetOffloads SendOffloads { get; init; } = NetOffloads.Modern;

    public NetOffloads ReceiveOffloads { get; init; } = NetOffloads.Modern;

    public int MaxPairs => _frames.Length;

    public INetworkListener? Listener { get; private set; }

    public NetOffloads Receive { get; private set; }

    public int Pairs { get; private set; }

    public List<(int Pair, byte[] Frame)> Sent { get; } = [];

    public SendOutcome Answer { get; set; } = SendOutcome.Sent;

    /// <summary>Bytes of the first piece of the frame that was sent last: those nobody can change any more.</summary>
    public int Head { get; private set; }

    public int Waiting => _frames.Sum(f => f.Count);

    public void Connect(INetworkListener listener) => Listener = listener;

    public void Configure(NetOffloads receive, int pairs) => (Receive, Pairs) = (receive, pairs);

    public SendOutcome Send(int pair, ReadOnlySpan<HostBuffer> frame, int length)
    {
        if (Answer != SendOutcome.Sent)
            return Answer;
        var bytes = new List<byte>(length);
        foreach (var piece in frame)
        {
            piece.Length.Should().BePositive();
            bytes.AddRange(piece.Span);
        }

        bytes.Should().HaveCount(length);
        Head = frame[0].Length;
        Sent.Add((pair, [.. bytes]));
        return SendOutcome.Sent;
    }

    public ReadOnlySpan<byte> Peek(int pair) => _frames[pair].TryPeek(out byte[]? frame) ? frame : default;

    public void Take(int pair) => _frames[pair].Dequeue();

    /// <summary>Gives a frame for the guest, behind a header that says nothing or is given.</summary>
    public void Give(ReadOnlySpan<byte> frame, NetHeader header = default, int pair = 0)
    {
        byte[] all = new byte[NetHeader.Size + frame.Length];
        header.Write(all);
        frame.CopyTo(all.AsSpan(NetHeader.Size));
        _frames[pair].Enqueue(all);
        Listener!.FramesWaiting(pair);
    }

    public void Dispose()
    {
    }
}

/// <summary>A guest with a network card: a driver that puts frames together as virtio 1.2, 5.1.6 says.</summary>
internal sealed class NetGuest : IDisposable
{
    public const ulong Mergeable = 1UL << 15, ControlQueue = 1UL << 17, ControlReceive = 1UL << 18, ControlVlan = 1UL << 19, MultiQueue = 1UL << 22;

    public static readonly MacAddress Own = new(0x5254_0012_3456), Peer = new(0x5254_00ab_cdef);

    /// <summary>What Linux takes.</summary>
    public const ulong All = 0x00ff_ffff | VirtioFeature.RingReset | 7UL << 54;

    private readonly bool _pci;

    public NetGuest(INetworkBackend? cable = null, NetOptions? options = null, bool pci = false, bool packed = false, ulong features = All, int size = 16, bool eventIndex = false)
    {
        _pci = pci;
        Backend = cable ?? new TestCable();
        Options = options ?? new NetOptions { Mac = Own };
        Device = Make();
        Transport = GuestTransport.Make(pci, Device);
        Drivers = [.. Enumerable.Range(0, Device.QueueCount).Select(_ => FakeDriver.Make(packed, Arena, size, eventIndex))];
        Transport.Start(features & Device.OfferedFeatures, Drivers);
    }

    public GuestArena Arena { get; } = new(8 << 20);

    public INetworkBackend Backend { get; }

    public TestCable Cable => (TestCable)Backend;

    public NetOptions Options { get; }

    public NetDevice Device { get; private set; }

    public GuestTransport Transport { get; private set; }

    public FakeDriver[] Drivers { get; }

    public FakeDriver Receiver => Drivers[0];

    public FakeDriver Sender => Drivers[1];

    public int Control { get; init; } = 2;

    public static byte[] Header(byte flags = 0, byte gso = 0, int headerLength = 0, int gsoSize = 0, int start = 0, int offset = 0)
    {
        byte[] bytes = new byte[NetHeader.Size];
        new NetHeader(flags, gso, (ushort)headerLength, (ushort)gsoSize, (ushort)start, (ushort)offset, 0).Write(bytes);
        return bytes;
    }

    /// <summary>An Ethernet frame of so many bytes, each of which says where it is.</summary>
    public static byte[] Frame(int length, MacAddress? to = null, MacAddress? from = null)
    {
        byte[] frame = new byte[length];
        for (int i = 0; i < length; i++)
            frame[i] = (byte)(i * 7 + i / 251);
        if (length >= 14)
        {
            (to ?? Own).Write(frame);
            (from ?? Peer).Write(frame.AsSpan(6));
            BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(12), 0x0800);
        }

        return frame;
    }

    public static byte[] Tagged(int vlan, MacAddress to)
    {
        byte[] frame = Frame(64, to);
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(12), 0x8100);
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(14), (ushort)(0x6000 | vlan));
        return frame;
    }

    public Element Out(ReadOnlySpan<byte> bytes) => Element.Out(Arena.AllocateFilled(bytes), (uint)bytes.Length);

    /// <summary>Sends what is in the elements; true if the buffer came back.</summary>
    public bool Send(params ReadOnlySpan<Element> elements)
    {
        Sender.Add(elements);
        if (Sender.MustNotify())
            Transport.Notify(1);
        return Sender.TakeUsed() is not null;
    }

    public bool Send(byte[] header, byte[] frame) => frame.Length == 0 ? Send(Out(header)) : Send(Out(header), Out(frame));

    /// <summary>Offers a receive buffer.</summary>
    public ulong Offer(int length, int queue = 0)
    {
        ulong at = Arena.Allocate(length);
        Arena.Bytes(at, length).Clear();
        Drivers[queue].Add(Element.In(at, (uint)length));
        if (Drivers[queue].MustNotify())
            Transport.Notify(queue);
        return at;
    }

    /// <summary>A command on the control queue: 0 or 1, or 255 if there was no answer.</summary>
    public byte Command(byte kind, byte command, params ReadOnlySpan<byte> data)
    {
        ulong answer = Arena.AllocateFilled([255]);
        Element[] elements = [Out([kind, command]), .. data.IsEmpty ? [] : (Element[])[Out(data)], Element.In(answer, 1)];
        Drivers[Control].Add(elements);
        if (Drivers[Control].MustNotify())
            Transport.Notify(Control);
        Drivers[Control].TakeUsed().Should().NotBeNull();
        return Arena.Bytes(answer, 1)[0];
    }

    public ushort LinkStatus()
    {
        Span<byte> status = stackalloc byte[2];
        Transport.ReadConfig(6, status);
        return BinaryPrimitives.ReadUInt16LittleEndian(status);
    }

    /// <summary>Saves device and transport, makes new ones and goes on with those over the same memory.</summary>
    public void Move()
    {
        Device.Pause();
        var next = Make();
        var transport = GuestTransport.Make(_pci, next);
        foreach (var (from, to) in Transport.Parts.Zip(transport.Parts))
        {
            if (!to.RestoreState(from.SaveState()))
                throw new InvalidOperationException($"{from.StateName} is not taken back");
        }

        Device.Dispose();
        (Device, Transport) = (next, transport);
        next.Resume();
    }

    public void Dispose()
    {
        Device.Dispose();
        Arena.Dispose();
    }

    private NetDevice Make()
    {
        var device = new NetDevice("net0", Arena.Memory, Backend, Options);
        device.Schedule(new InlineScheduler());
        return device;
    }
}
