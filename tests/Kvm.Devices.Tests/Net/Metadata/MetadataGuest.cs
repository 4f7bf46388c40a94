using System.Buffers.Binary;
using System.Text;
using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Metadata;
using Kvm.Devices.Tests.Net.Policy;
using Kvm.Devices.Tests.Support;
using Kvm.Devices.Virtio.Rng;

namespace Kvm.Devices.Tests.Net.Metadata;

/// <summary>Numbers that look random and are the same in every run.</summary>
internal sealed class SeededNumbers : IEntropySource
{
    private readonly Random _random = new(7);

    public void Fill(Span<byte> buffer) => _random.NextBytes(buffer);
}

/// <summary>A guest at a metadata network's cable: puts frames in, and takes out what is for it, whose checksums it looks at.</summary>
internal sealed class MetadataGuest : IDisposable
{
    public const string Address = "10.0.2.15", Service = "169.254.169.254";

    public const string Data = """{"latest": {"meta-data": {"ami-id": "ami-1", "tags": {"a/b": "slash", "t~": "tilde"}, "n": 43, "list": ["x", {"y": "z"}]}}, "name": "Zoë \" \u0041"}""";

    private readonly AlignedBuffer _buffer = new(NetHeader.Size + NetHeader.MaxFrame, 64);
    private readonly byte[] _frame = new byte[MetadataNetwork.FrameBytes];
    private int _port = 1000;

    public MetadataGuest(string data = Data, MetadataVersion version = MetadataVersion.V1, bool plainOnly = false)
    {
        MetadataTree.Parse(Encoding.UTF8.GetBytes(data), out var tree).Should().BeNull();
        Answers = new MetadataService(version, plainOnly, new SeededNumbers(), Time) { Tree = tree! };
        Network = new MetadataNetwork(Answers, MetadataNetwork.DefaultAddress, new SeededNumbers(), Time, () => Woken++);
    }

    public ManualTime Time { get; } = new() { Frequency = 1_000_000_000 };

    public MetadataService Answers { get; }

    public MetadataNetwork Network { get; }

    public int Woken { get; private set; }

    /// <summary>Sends a frame if it is the service's; true then.</summary>
    /// <param name="frame">The Ethernet frame.</param>
    /// <param name="cut">In how many pieces it lies in memory.</param>
    public bool Send(byte[] frame, int cut = 1)
    {
        if (!Network.IsMine(frame))
            return false;
        frame.CopyTo(_buffer.Buffer.Slice(NetHeader.Size).Span);
        int length = NetHeader.Size + frame.Length, piece = Math.Max(NetHeader.Size, length / cut);
        var pieces = new List<HostBuffer>();
        for (int at = 0; at < length; at += piece)
            pieces.Add(_buffer.Buffer.Slice(at, Math.Min(piece, length - at)));
        Network.Receive(pieces.ToArray(), length);
        return true;
    }

    /// <summary>The next frame for the guest, or null.</summary>
    public byte[]? Take()
    {
        if (!Network.HasFrames)
            return null;
        int length = Network.Next(_frame);
        if (length == 0)
            return null;
        _frame.AsSpan(0, NetHeader.Size).IndexOfAnyExcept((byte)0).Should().Be(-1, "nothing is left undone");
        byte[] frame = _frame[NetHeader.Size..length];
        if (frame[12] == 8 && frame[13] == 0)
            Packets.SumsAreRight(frame).Should().BeTrue();
        return frame;
    }

    public List<byte[]> TakeAll()
    {
        var frames = new List<byte[]>();
        for (var frame = Take(); frame is not null; frame = Take())
            frames.Add(frame);
        return frames;
    }

    public GuestSocket Connect(int port = 40_000)
    {
        var socket = new GuestSocket(this, port);
        socket.Open();
        return socket;
    }

    /// <summary>A request and its answer on a connection of their own.</summary>
    public string Ask(string request)
    {
        var socket = Connect(_port++);
        socket.Send(request.ReplaceLineEndings("\r\n"));
        return socket.Received;
    }

    public void Dispose()
    {
        Network.Dispose();
        _buffer.Dispose();
    }
}

/// <summary>A guest's end of a connection: takes what comes in order, and acknowledges it.</summary>
internal sealed class GuestSocket(MetadataGuest guest, int port)
{
    public const byte Syn = 2, Fin = 1, Reset = 4, Push = 8, Ack = 16;

    private readonly List<byte> _received = [];

    public uint Sequence { get; set; } = 0xffff_fff0;

    public uint Acknowledgement { get; set; }

    public ushort Window { get; set; } = 0xffff;

    /// <summary>What the other end said it takes, last.</summary>
    public int Offered { get; private set; }

    public bool HasEnded { get; private set; }

    public bool WasReset { get; private set; }

    public string Received => Encoding.UTF8.GetString([.. _received]);

    public int Largest { get; private set; }

    public void Open(byte[]? options = null)
    {
        Put(Syn, [], options ?? [2, 4, 5, 180]);
        var frame = guest.TakeAll().Should().ContainSingle().Subject;
        Flags(frame).Should().Be(Syn | Ack);
        BinaryPrimitives.ReadUInt32BigEndian(frame.AsSpan(42)).Should().Be(Sequence + 1);
        Acknowledgement = BinaryPrimitives.ReadUInt32BigEndian(frame.AsSpan(38)) + 1;
        Sequence++;
        Put(Ack);
    }

    public static int Flags(byte[] frame) => frame[47];

    public static byte[] Payload(byte[] frame) => frame[(34 + (frame[46] >> 4) * 4)..];

    /// <summary>Sends text in segments of a size, and takes what comes until nothing comes any more.</summary>
    public void Send(string text, int size = 1460, bool end = false)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        for (int at = 0; at < bytes.Length; at += size)
        {
            byte[] piece = bytes[at..Math.Min(bytes.Length, at + size)];
            Put((byte)(Ack | Push), piece);
            Sequence += (uint)piece.Length;
            Go();
        }

        if (!end)
            return;
        End();
    }

    public void End()
    {
        Put(Fin | Ack);
        Sequence++;
        Go();
    }

    /// <summary>Takes all that comes, and acknowledges it.</summary>
    public void Go()
    {
        for (bool came = true; came;)
        {
            came = false;
            foreach (byte[] frame in guest.TakeAll())
                came |= Take(frame);
            if (came)
                Put(Ack);
        }
    }

    /// <summary>True for a frame to this socket's port.</summary>
    public bool IsMine(byte[] frame) => frame.Length >= 54 && BinaryPrimitives.ReadUInt16BigEndian(frame.AsSpan(36)) == port;

    /// <summary>Begins, if it is let.</summary>
    public void TryOpen()
    {
        Put(Syn, [], [2, 4, 5, 180]);
        foreach (byte[] frame in guest.TakeAll())
        {
            if (!IsMine(frame) || Flags(frame) != (Syn | Ack))
                continue;
            Acknowledgement = BinaryPrimitives.ReadUInt32BigEndian(frame.AsSpan(38)) + 1;
            Sequence++;
            Put(Ack);
            return;
        }
    }

    /// <summary>True if there was something to acknowledge.</summary>
    public bool Take(byte[] frame)
    {
        if (!IsMine(frame))
            return false;
        int flags = Flags(frame);
        WasReset |= (flags & Reset) != 0;
        Offered = BinaryPrimitives.ReadUInt16BigEndian(frame.AsSpan(48));
        byte[] payload = Payload(frame);
        Largest = Math.Max(Largest, payload.Length);
        if (BinaryPrimitives.ReadUInt32BigEndian(frame.AsSpan(38)) != Acknowledgement)
            return payload.Length > 0;
        _received.AddRange(payload);
        Acknowledgement += (uint)payload.Length;
        if ((flags & Fin) == 0)
            return payload.Length > 0;
        HasEnded = true;
        Acknowledgement++;
        return true;
    }

    /// <summary>Sends a segment as it is said.</summary>
    public bool Put(byte flags, byte[]? payload = null, byte[]? options = null, uint? sequence = null, int toPort = 80) =>
        guest.Send(Frame(flags, payload ?? [], options ?? [], sequence ?? Sequence, toPort));

    public byte[] Frame(byte flags, byte[] payload, byte[] options, uint sequence, int toPort = 80)
    {
        byte[] segment = [.. Packets.TcpSegment(port, toPort, flags, options, 0), .. payload];
        BinaryPrimitives.WriteUInt32BigEndian(segment.AsSpan(4), sequence);
        BinaryPrimitives.WriteUInt32BigEndian(segment.AsSpan(8), (flags & Ack) != 0 ? Acknowledgement : 0);
        BinaryPrimitives.WriteUInt16BigEndian(segment.AsSpan(14), Window);
        return Packets.Frame(MetadataGuest.Address, MetadataGuest.Service, Packets.Tcp, segment);
    }
}
