using System.Buffers.Binary;
using BenchmarkDotNet.Attributes;
using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Switch;

namespace Kvm.Benchmarks;

/// <summary>The way of a frame from one card to another on one core: through the switch alone, and through both devices and their queues too.</summary>
public class SwitchBenchmarks : IPortListener
{
    /// <summary>Frames of a batch of <see cref="Switch"/>.</summary>
    private const int Batch = NetDriver.Batch;

    private static readonly MacAddress s_a = new(0x5254_0000_0001), s_b = new(0x5254_0000_0002);

    private readonly NetworkSwitch _switch = new(new SwitchOptions(), TimeProvider.System);
    private NetDriver _sender = null!, _receiver = null!;
    private SwitchPort _from = null!, _to = null!;
    private AlignedBuffer _frame = null!;
    private HostBuffer[] _pieces = null!;

    /// <summary>Bytes of the frame; the longest is a segment of 64 KiB that nobody cuts.</summary>
    [Params(64, 1514, 65_549)]
    public int Length { get; set; }

    /// <summary>A frame from one card to another, a large one with what TCP leaves undone.</summary>
    internal static byte[] FrameOf(int length)
    {
        byte[] all = new byte[NetHeader.Size + length];
        if (length > 1514)
            new NetHeader(NetHeader.NeedsChecksum, NetHeader.GsoTcp4, 54, 1448, 34, 16, 0).Write(all);
        var frame = all.AsSpan(NetHeader.Size);
        s_b.Write(frame);
        s_a.Write(frame[6..]);
        BinaryPrimitives.WriteUInt16BigEndian(frame[12..], 0x0800);
        return all;
    }

    /// <summary>Makes cards, ports and frames.</summary>
    [GlobalSetup]
    public void Open()
    {
        byte[] frame = FrameOf(Length), hello = FrameOf(64);
        s_b.Write(hello.AsSpan(NetHeader.Size + 6));
        MacAddress.Broadcast.Write(hello.AsSpan(NetHeader.Size));
        (_from, _to) = (Attach(), Attach());
        _frame = new AlignedBuffer(frame.Length);
        frame.CopyTo(_frame.Buffer.Span);
        // As a card gives it: its own copy of the head, and the rest.
        int head = Math.Min(frame.Length, NetHeader.Size + INetworkBackend.HeadBytes);
        _pieces = head == frame.Length ? [_frame.Buffer] : [_frame.Buffer.Slice(0, head), _frame.Buffer.Slice(head)];
        _to.Send(hello);
        _from.Take();
        var cards = new NetworkSwitch(new SwitchOptions(), TimeProvider.System);
        (_sender, _receiver) = (new NetDriver(new PortBackend(cards), s_a), new NetDriver(new PortBackend(cards), s_b));
        _receiver.Prepare(hello);
        _receiver.Run();
        _sender.Prepare(frame);
    }

    /// <summary>Through the switch alone.</summary>
    [Benchmark(OperationsPerInvoke = Batch)]
    public void Switch()
    {
        for (int i = 0; i < Batch; i++)
        {
            _from.Send(_pieces, _frame.Length);
            _to.Peek();
            _to.Take();
        }
    }

    /// <summary>From the sender's queue into the receiver's buffers.</summary>
    /// <exception cref="InvalidOperationException">Frames were lost.</exception>
    [Benchmark(OperationsPerInvoke = Batch)]
    public void DevicesAndSwitch()
    {
        long before = _receiver.Received;
        _sender.Run();
        if (_receiver.Received - before != Batch)
            throw new InvalidOperationException($"{_receiver.Received - before} of {Batch} frames came");
        _receiver.Refill();
    }

    /// <summary>Lets go of the memory.</summary>
    [GlobalCleanup]
    public void End()
    {
        _sender.Dispose();
        _receiver.Dispose();
        _frame.Dispose();
    }

    /// <inheritdoc/>
    public void FramesWaiting(SwitchPort port)
    {
    }

    private SwitchPort Attach()
    {
        var port = _switch.TryAttach(new PortOptions(), this, out string why) ?? throw new InvalidOperationException(why);
        port.Takes = NetOffloads.Modern;
        return port;
    }

    /// <summary>A card's cable to a switch of this process.</summary>
    private sealed class PortBackend : INetworkBackend, IPortListener
    {
        private readonly SwitchPort _port;
        private INetworkListener? _listener;

        public PortBackend(NetworkSwitch network) => _port = network.TryAttach(new PortOptions(), this, out string why) ?? throw new InvalidOperationException(why);

        public NetOffloads SendOffloads => NetOffloads.Modern;

        public NetOffloads ReceiveOffloads => NetOffloads.Modern;

        public int MaxPairs => 1;

        public void Connect(INetworkListener listener) => _listener = listener;

        public void Configure(NetOffloads receive, int pairs) => _port.Takes = receive;

        public SendOutcome Send(int pair, ReadOnlySpan<HostBuffer> frame, int length)
        {
            _port.Send(frame, length);
            return SendOutcome.Sent;
        }

        public ReadOnlySpan<byte> Peek(int pair) => _port.Peek();

        public void Take(int pair) => _port.Take();

        public void FramesWaiting(SwitchPort port) => _listener?.FramesWaiting(0);

        public void Dispose() => _port.Dispose();
    }
}
