using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio;
using Kvm.Devices.Virtio.Net;

namespace Kvm.Devices.Tests.Fuzz;

internal abstract partial class FuzzTarget
{
    /// <summary>A card whose address is fixed and whose network gives it anything.</summary>
    private sealed class NetTarget : FuzzTarget, INetworkBackend
    {
        private const int Pairs = 2;

        private static readonly MacAddress s_own = new(0x5254_0012_3456);

        private readonly Queue<byte[]>[] _frames = [new(), new()];
        private INetworkListener? _listener;
        private bool _full;
        private string? _wrong;

        public NetOffloads SendOffloads => NetOffloads.Modern;

        public NetOffloads ReceiveOffloads => NetOffloads.Modern;

        public int MaxPairs => Pairs;

        public override VirtioDevice Make(GuestArena arena) =>
            new NetDevice("net0", arena.Memory, this, new NetOptions { Mac = s_own, FixedMac = true, Pairs = Pairs, QueueSize = 16, Mtu = 1500 });

        public void Connect(INetworkListener listener) => _listener = listener;

        public void Configure(NetOffloads receive, int pairs) => _wrong ??= pairs is < 1 or > Pairs ? $"{pairs} pairs" : null;

        public SendOutcome Send(int pair, ReadOnlySpan<HostBuffer> frame, int length)
        {
            if (_full)
                return SendOutcome.Full;
            int sum = 0;
            foreach (ref readonly var piece in frame)
                sum += piece.Length;
            var head = frame[0].Span;
            if (sum != length || pair is < 0 or >= Pairs || head.Length < Math.Min(length, NetHeader.Size + INetworkBackend.HeadBytes)
                || !NetHeader.Read(head).Fits(length - NetHeader.Size, SendOffloads) || MacAddress.Read(head[18..]) != s_own)
                _wrong ??= $"a frame of {length} bytes that cannot be was sent";
            return SendOutcome.Sent;
        }

        public ReadOnlySpan<byte> Peek(int pair) => _frames[pair].TryPeek(out byte[]? frame) ? frame : default;

        public void Take(int pair) => _frames[pair].Dequeue();

        public override void HostEvent(VirtioDevice device, ref FuzzInput input)
        {
            int pair = input.U8() % Pairs;
            switch (input.U8() % 6)
            {
                case < 3 and var choice:
                    if (_frames[pair].Count > 8)
                        break;
                    byte[] frame = new byte[choice == 0 ? input.U16() + 20 : NetHeader.Size + 60];
                    input.Fill(frame.AsSpan(0, Math.Min(frame.Length, NetHeader.Size + 20)));
                    if (choice == 2)
                        frame.AsSpan(0, NetHeader.Size).Clear();
                    _frames[pair].Enqueue(frame);
                    _listener!.FramesWaiting(pair);
                    break;
                case 3:
                    _full = !_full;
                    _listener!.RoomAgain(pair);
                    break;
                case 4:
                    _listener!.LinkChanged((input.U8() & 1) != 0);
                    break;
                default:
                    ((NetDevice)device).AnnounceLink();
                    break;
            }
        }

        public override void Mend(VirtioDevice device)
        {
            _full = false;
            _listener!.RoomAgain(0);
        }

        /// <summary>A command, or a header and a frame of the card's own.</summary>
        public override void Prepare(GuestArena arena, ulong header, ref FuzzInput input)
        {
            var bytes = arena.Bytes(header, 40);
            input.Fill(bytes);
            if ((input.U8() & 1) != 0)
                (bytes[0], bytes[1]) = ((byte)(bytes[0] % 7), (byte)(bytes[1] % 7));
            else if ((input.U8() & 1) != 0)
                bytes[..NetHeader.Size].Clear();
            s_own.Write(bytes[18..]);
        }

        public override (int Queue, Element[] Request) GoodRequest(GuestArena arena) => (1, [Element.Out(arena.Allocate(40), 40)]);

        public override string? Check(GuestArena arena) => _wrong;

        public override int Signature(VirtioDevice device)
        {
            var c = ((NetDevice)device).Counters;
            return HashCode.Combine(Bucket(c.FramesSent), Bucket(c.FramesReceived), Bucket(c.Filtered), Bucket(c.ReceiveDropped), Bucket(c.ReceiveStalls),
                Bucket(c.ControlRefused), ((NetDevice)device).ActivePairs, Bucket(c.Malformed));
        }
    }
}
