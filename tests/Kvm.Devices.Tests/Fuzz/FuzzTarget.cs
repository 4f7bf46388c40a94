using Kvm.Devices.Block;
using Kvm.Devices.Tests.Block;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio;
using Kvm.Devices.Virtio.Balloon;
using Kvm.Devices.Virtio.Block;
using Kvm.Devices.Virtio.Console;
using Kvm.Devices.Virtio.Rng;

namespace Kvm.Devices.Tests.Fuzz;

/// <summary>A device with everything of the host's that it uses, and what must be true of that whatever a guest did.</summary>
internal abstract partial class FuzzTarget : IDisposable
{
    /// <summary>The names of all targets: those of `scripts/fuzz`.</summary>
    public static readonly string[] Names = ["virtio-blk", "virtio-blk-async", "virtio-rng", "virtio-balloon", "virtio-console", "virtio-net", "virtio-vsock"];

    public static FuzzTarget Create(string name) => name switch
    {
        "virtio-blk" => new BlockTarget(asynchronous: false),
        "virtio-blk-async" => new BlockTarget(asynchronous: true),
        "virtio-rng" => new EntropyTarget(),
        "virtio-balloon" => new BalloonTarget(),
        "virtio-net" => new NetTarget(),
        "virtio-vsock" => new VsockTarget(),
        _ => new ConsoleTarget(),
    };

    public abstract VirtioDevice Make(GuestArena arena);

    /// <summary>Drivers from before virtio 1.0 know it.</summary>
    public virtual bool HasLegacy => true;

    /// <summary>Something happens on the host.</summary>
    public abstract void HostEvent(VirtioDevice device, ref FuzzInput input);

    /// <summary>The host works again.</summary>
    public virtual void Mend(VirtioDevice device)
    {
    }

    /// <summary>Which queue takes the request that every driver may make, and what it is.</summary>
    public abstract (int Queue, Element[] Request) GoodRequest(GuestArena arena);

    /// <summary>Writes the beginning of a request that makes some sense to the device; at least 64 bytes are free there.</summary>
    public virtual void Prepare(GuestArena arena, ulong header, ref FuzzInput input) => input.Fill(arena.Bytes(header, 1 + input.U8() % 24));

    /// <summary>What must be true now, or what is wrong.</summary>
    public virtual string? Check(GuestArena arena) => null;

    public virtual void Dispose()
    {
    }

    /// <summary>A number for where the run has been, to know inputs that reach something new.</summary>
    public abstract int Signature(VirtioDevice device);

    private sealed class BlockTarget : FuzzTarget
    {
        private const int Length = 64 << 10;

        private const int Queues = 2;

        private readonly MemoryFile _file;
        // One for each device, as in the process that each would be in.
        private readonly List<RawImage> _images = [];
        private int _fault;
        private bool _holds;
        private bool _idleWrong;

        public BlockTarget(bool asynchronous)
        {
            _file = new MemoryFile(Length) { Asynchronous = asynchronous };
            _file.Inject = (number, call, bytes) => _fault switch
            {
                1 when number % 3 == 0 => new HostFileResult(0, HostFileError.Interrupted),
                2 when call is FileCall.Read or FileCall.Write && bytes > 1 => new HostFileResult(bytes / 2),
                3 => new HostFileResult(0, HostFileError.NoSpace),
                4 when call is FileCall.Flush => new HostFileResult(0, HostFileError.Failed),
                5 when call is FileCall.Discard or FileCall.WriteZeroes => new HostFileResult(0, HostFileError.Unsupported),
                _ => null,
            };
        }

        public override void Dispose()
        {
            _images.ForEach(i => i.Dispose());
            _file.Dispose();
            base.Dispose();
        }

        public override VirtioDevice Make(GuestArena arena)
        {
            _images.Add(new RawImage(_file));
            var device = new BlockDevice("disk0", arena.Memory, _images[^1], new BlockOptions { Queues = Queues, QueueSize = 16 });
            int first = _file.Queues.Count - Queues;
            for (int i = 0; i < Queues && _file.Asynchronous; i++)
            {
                int queue = i;
                var host = _file.Queues[first + i];
                (host.Holds, host.EndsWhenWaitedFor, host.Bell) = (_holds, true, () => device.ProcessQueue(queue));
            }

            return device;
        }

        /// <summary>Another fault; or, where operations take time, they begin or cease to, one ends, or the host will not give any up.</summary>
        public override void HostEvent(VirtioDevice device, ref FuzzInput input)
        {
            int what = input.U8() % (_file.Asynchronous ? 16 : 7);
            if (what < 7)
                _fault = what;
            else if (what < 10)
                Hold(what != 7);
            else if (_file.Queues[^(1 + what % Queues)] is var host && what == 10)
                host.CannotCancel = !host.CannotCancel;
            else if (host.UnderWay.Length is > 0 and var count)
                host.Release(input.U8() % count);
            // Nothing may be left of a driver that is gone.
            _idleWrong |= !device.IsActive && _file.Queues.Exists(q => q.UnderWay.Length != 0);
        }

        public override void Mend(VirtioDevice device)
        {
            _fault = 0;
            Hold(false);
            foreach (var host in _file.Queues)
            {
                while (host.UnderWay.Length > 0)
                    host.Release();
            }
        }

        private void Hold(bool holds)
        {
            _holds = holds;
            _file.Queues.ForEach(q => q.Holds = holds);
        }

        public override (int Queue, Element[] Request) GoodRequest(GuestArena arena)
        {
            ulong header = arena.AllocateFilled(BlockHeader(8)), data = arena.Allocate(21);
            return (0, [Element.Out(header, 16), Element.In(data, 21)]);
        }

        public override string? Check(GuestArena arena) =>
            _file.Strayed ? "a transfer reached over the end of the disk" : _idleWrong ? "requests outlived a reset" : null;

        /// <summary>A header, and ranges of a discard right behind it.</summary>
        public override void Prepare(GuestArena arena, ulong header, ref FuzzInput input)
        {
            ReadOnlySpan<byte> types = [0, 0, 1, 1, 4, 8, 11, 13, 13, 2, 255];
            byte type = input.U8();
            arena.Set64(header, type < 250 ? types[type % types.Length] : input.Number());
            arena.Set64(header + 8, Sector(ref input));
            arena.Set64(header + 16, Sector(ref input));
            arena.Set64(header + 24, (uint)Sector(ref input) | (ulong)(input.U8() % 3) << 32);
        }

        private static ulong Sector(ref FuzzInput input) => input.U8() switch
        {
            < 120 => (ulong)(input.U8() % (Length / 512)),
            < 180 => (ulong)(Length / 512 - 1) + (ulong)(input.U8() % 3),
            < 200 => ulong.MaxValue / 512 + (ulong)(input.U8() % 3),
            _ => input.Number(),
        };

        public override int Signature(VirtioDevice device)
        {
            var c = ((BlockDevice)device).Counters;
            return HashCode.Combine(Bucket(c.Reads), Bucket(c.Writes), Bucket(c.Flushes), Bucket(c.Errors), _fault, Bucket(((BlockDevice)device).MostUnderWay));
        }

        private static byte[] BlockHeader(byte type) => [type, .. new byte[15]];
    }

    private sealed class EntropyTarget : FuzzTarget, IEntropySource
    {
        public override VirtioDevice Make(GuestArena arena) => new EntropyDevice("rng0", arena.Memory, this);

        public void Fill(Span<byte> buffer) => buffer.Fill(0x5a);

        public override void HostEvent(VirtioDevice device, ref FuzzInput input) => device.ProcessQueue(0);

        public override (int Queue, Element[] Request) GoodRequest(GuestArena arena) => (0, [Element.In(arena.Allocate(8), 8)]);

        public override int Signature(VirtioDevice device) => Bucket(((EntropyDevice)device).BytesGiven);
    }

    private sealed class BalloonTarget : FuzzTarget, IMemoryReclaimer
    {
        private string? _wrong;
        private GuestArena? _arena;

        public override VirtioDevice Make(GuestArena arena)
        {
            _arena = arena;
            return new BalloonDevice("balloon0", arena.Memory, this);
        }

        public bool Discard(ulong address, ulong length)
        {
            if (length == 0 || (address | length) % 4096 != 0 || address < GuestArena.Base || length > _arena!.End - address)
                _wrong = $"{address:x}+{length:x} was given to the host";
            return length % 8192 == 0;
        }

        /// <summary>Page numbers, or statistics.</summary>
        public override void Prepare(GuestArena arena, ulong header, ref FuzzInput input)
        {
            for (ulong i = 0; i < 16; i++)
            {
                byte choice = input.U8();
                arena.Set32(header + i * 4, choice < 220 ? (uint)(GuestArena.Base / 4096) + choice : (uint)(input.Number() & uint.MaxValue));
            }

            if ((input.U8() & 1) != 0)
                arena.Set16(header, input.U8() % 12);
        }

        public override void HostEvent(VirtioDevice device, ref FuzzInput input)
        {
            var balloon = (BalloonDevice)device;
            if (input.U8() % 2 == 0)
                balloon.SetTarget(input.Number());
            else
                balloon.RequestStatistics();
        }

        public override (int Queue, Element[] Request) GoodRequest(GuestArena arena) => (1, [Element.Out(arena.Allocate(8), 8)]);

        public override string? Check(GuestArena arena) => _wrong;

        public override int Signature(VirtioDevice device)
        {
            var b = (BalloonDevice)device;
            return HashCode.Combine(Bucket(b.InflatedBytes), Bucket(b.DeflatedBytes), Bucket(b.ReportedBytes), Bucket(b.Refused), b.Statistics is null);
        }
    }

    private sealed class ConsoleTarget : FuzzTarget, IConsoleSink
    {
        private int _room = int.MaxValue;
        private long _written;

        public override VirtioDevice Make(GuestArena arena) =>
            new ConsoleDevice("console0", arena.Memory, [new ConsolePort("", true, this), new ConsolePort("agent", false, this)]);

        public int Write(ReadOnlySpan<byte> bytes)
        {
            int taken = Math.Min(bytes.Length, _room);
            _room -= _room == int.MaxValue ? 0 : taken;
            _written += taken;
            return taken;
        }

        public void GuestOpened(bool open)
        {
        }

        /// <summary>A control message.</summary>
        public override void Prepare(GuestArena arena, ulong header, ref FuzzInput input)
        {
            arena.Set32(header, input.U8() is < 250 and var port ? port % 3u : (uint)(input.Number() & uint.MaxValue));
            arena.Set16(header + 4, input.U8() % 9);
            arena.Set16(header + 6, input.U8() % 3);
        }

        public override void HostEvent(VirtioDevice device, ref FuzzInput input)
        {
            var console = (ConsoleDevice)device;
            int port = input.U8() & 1;
            switch (input.U8() % 5)
            {
                case 0:
                    console.SendInput(port, new byte[input.U16()]);
                    break;
                case 1:
                    _room = input.U8();
                    break;
                case 2:
                    _room = int.MaxValue;
                    console.OutputReady(port);
                    break;
                case 3:
                    console.SetHostOpen(port, (input.U8() & 1) != 0);
                    break;
                default:
                    console.Resize(input.U16(), input.U16());
                    break;
            }
        }

        public override void Mend(VirtioDevice device) => _room = int.MaxValue;

        public override (int Queue, Element[] Request) GoodRequest(GuestArena arena) => (1, [Element.Out(arena.Allocate(8), 8)]);

        public override int Signature(VirtioDevice device)
        {
            var c = (ConsoleDevice)device;
            var (first, second) = (c.Traffic(0), c.Traffic(1));
            return HashCode.Combine(Bucket(first.Sent), Bucket(first.Received), Bucket(second.Sent), Bucket(second.Received), c.IsGuestOpen(1));
        }
    }

    private static int Bucket(long count) => count == 0 ? 0 : 1 + System.Numerics.BitOperations.Log2((ulong)count) / 3;
}
