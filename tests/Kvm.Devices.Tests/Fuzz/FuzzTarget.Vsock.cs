using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio;
using Kvm.Devices.Virtio.Vsock;

namespace Kvm.Devices.Tests.Fuzz;

internal abstract partial class FuzzTarget
{
    /// <summary>A socket device with a host that listens at some ports, and ends that do anything.</summary>
    private sealed class VsockTarget : FuzzTarget, IVsockHost
    {
        private const uint Cid = 3;

        private readonly List<(VsockConnection Connection, End End)> _ends = [];
        private long _open;
        private string? _wrong;

        public override bool HasLegacy => false;

        public override VirtioDevice Make(GuestArena arena) => new VsockDevice("vsock0", arena.Memory, Cid, this);

        public IVsockStream? Connect(VsockConnection connection, uint port)
        {
            if (port % 2 != 0)
                return null;
            var end = new End(this);
            _ends.Add((connection, end));
            return end;
        }

        /// <summary>A packet, of the right contexts and of few ports in general.</summary>
        public override void Prepare(GuestArena arena, ulong header, ref FuzzInput input)
        {
            new VsockPacket
            {
                SourceCid = input.U8() < 250 ? Cid : input.Number(),
                TargetCid = input.U8() < 250 ? 2 : input.Number(),
                SourcePort = input.U8() % 3u,
                TargetPort = input.U8() % 4u is var port && port == 3 ? VsockDevice.FirstHostPort : port,
                Length = input.U8() < 128 ? 0 : input.U8() < 128 ? input.U8() : (uint)(input.Number() & uint.MaxValue),
                Type = (ushort)(input.U8() < 250 ? 1 : input.U16()),
                Operation = (VsockOperation)(input.U8() % 9),
                Ends = (VsockEnds)(input.U8() % 5),
                BufferSize = input.U8() < 128 ? 4096 : (uint)(input.Number() & uint.MaxValue),
                Consumed = input.U8() < 128 ? 0 : (uint)(input.Number() & uint.MaxValue),
            }.Write(arena.Bytes(header, VsockPacket.Size));
        }

        public override void HostEvent(VirtioDevice device, ref FuzzInput input)
        {
            var vsock = (VsockDevice)device;
            byte choice = input.U8();
            if (choice < 40 && _ends.Count < 200)
            {
                var end = new End(this);
                if (vsock.Connect(input.U8() % 3u, end) is { } asked)
                    _ends.Add((asked, end));
                return;
            }

            if (_ends.Count == 0)
                return;
            var (connection, stream) = _ends[input.U8() % _ends.Count];
            stream.Input += input.U16();
            stream.Room = input.U8() < 128 ? int.MaxValue : input.U16();
            stream.HasEnded |= choice > 230;
            if (choice < 60)
                vsock.GiveUp(connection);
            else
                vsock.OnReady(connection, (choice & 1) != 0, (choice & 2) != 0, choice > 245);
        }

        public override (int Queue, Element[] Request) GoodRequest(GuestArena arena)
        {
            ulong at = arena.Allocate(VsockPacket.Size);
            new VsockPacket { SourceCid = Cid, TargetCid = 2, SourcePort = 99, TargetPort = 52, Type = 1, Operation = VsockOperation.Request }.Write(arena.Bytes(at, VsockPacket.Size));
            return (1, [Element.Out(at, VsockPacket.Size)]);
        }

        public override string? Check(GuestArena arena) => _wrong ?? (_open is < 0 or > VsockDevice.MaxConnections ? $"{_open} connections are open" : null);

        public override int Signature(VirtioDevice device)
        {
            var counters = ((VsockDevice)device).Counters;
            return HashCode.Combine(
                Bucket(counters.Connections), Bucket(counters.Refused), Bucket(counters.BytesFromGuest), Bucket(counters.BytesToGuest), Bucket(counters.Dropped), Bucket(_open));
        }

        private sealed class End : IVsockStream
        {
            private readonly VsockTarget _target;
            private bool _disposed;

            public End(VsockTarget target)
            {
                _target = target;
                target._open++;
            }

            public int Input { get; set; }

            public int Room { get; set; }

            public bool HasEnded { get; set; }

            public int Read(Span<byte> to)
            {
                Use();
                if (to.IsEmpty)
                    _target._wrong = "a read of nothing";
                int count = Math.Min(to.Length, Input);
                Input -= count;
                return count > 0 || HasEnded ? count : -1;
            }

            public int Write(ReadOnlySpan<byte> from)
            {
                Use();
                int taken = Math.Min(from.Length, Room);
                Room -= Room == int.MaxValue ? 0 : taken;
                return HasEnded && Room == 0 ? -1 : taken;
            }

            public void OnAccepted(uint hostPort) => Use();

            public void EndWrites() => Use();

            public void Dispose()
            {
                Use();
                _disposed = true;
                _target._open--;
            }

            private void Use()
            {
                if (_disposed)
                    _target._wrong = "a stream that was disposed of is used";
            }
        }
    }
}
