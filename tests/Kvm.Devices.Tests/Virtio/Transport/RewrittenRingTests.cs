using Kvm.Devices.Block;
using Kvm.Devices.Tests.Block;
using Kvm.Devices.Tests.Virtio.Block;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio;
using Kvm.Devices.Virtio.Balloon;
using Kvm.Devices.Virtio.Block;
using Kvm.Devices.Virtio.Console;
using Kvm.Devices.Virtio.Rng;

namespace Kvm.Devices.Tests.Virtio.Transport;

/// <summary>
/// A guest with a second thread that rewrites descriptors, tables and requests while the device reads them, in split and packed rings, directly and by
/// indirect tables. What the device checked it uses: nothing that the guest may not is reached, and requests that were let alone are done.
/// </summary>
public sealed class RewrittenRingTests
{
    private const int Rounds = 10_000, Size = 8;
    private const int Next = 1, Write = 2;

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    public static TheoryData<bool, bool> PackedAndIndirect => new() { { false, false }, { false, true }, { true, false }, { true, true } };

    /// <summary>Sectors that the guest has something to do with, by any reading of its bytes; the rest of the disk is nobody's.</summary>
    private const int Allowed = 64, Sectors = 128;

    [Theory]
    [MemberData(nameof(PackedAndIndirect))]
    public async Task Disk_whose_requests_are_rewritten_changes_no_sector_that_none_of_them_named(bool packed, bool indirect)
    {
        using var file = new MemoryFile(Sectors * 512);
        using var image = new RawImage(file);
        file.Bytes.Fill(7);
        BlockDevice? device = null;
        using var rig = new Rig(arena => device = new BlockDevice("disk0", arena.Memory, image, new BlockOptions { QueueSize = Size, Id = "" }), 0, packed, indirect);
        ulong header = rig.Data, data = rig.Data + 0x400, status = rig.Data + 0x7000;
        // Wherever a header is read from, it names a sector that is allowed or that no disk has.
        rig.Arena.Bytes(rig.Data, 64 << 10).Fill(0xff);
        byte[] types = [0, 1, 4, 11, 13], sectors = [0, 2, 3, 5, 6, 7, 9, 10, 12];
        void Ask(Random random)
        {
            rig.Arena.Set64(header, types[random.Next(types.Length)]);
            rig.Arena.Set64(header + 8, sectors[random.Next(sectors.Length)]);
            rig.Arena.Set64(data, sectors[random.Next(sectors.Length)]);
            rig.Arena.Set64(data + 8, (ulong)(2 + random.Next(2)));
        }

        var driver = new Random(9);
        await rig.RunAsync(
            i =>
            {
                Ask(driver);
                uint length = i % 3 == 0 ? 16u : 512;
                rig.Offer(Element.Out(header, 16), new Element(data, length, i % 2 == 0), Element.In(status, 1));
            },
            random =>
            {
                if (random.Next(2) == 0)
                    Ask(random);
                else
                    rig.Rewrite(random);
            });
        file.Bytes[(Allowed * 512)..].IndexOfAnyExcept((byte)7).Should().Be(-1);
        file.Strayed.Should().BeFalse();
        device!.Counters.Reads.Should().BeGreaterThan(0);
        device.Counters.Writes.Should().BeGreaterThan(0, "it does not run on faults alone");
    }

    [Theory]
    [MemberData(nameof(PackedAndIndirect))]
    public async Task Entropy_for_buffers_that_are_rewritten_goes_to_the_guest_s_memory_only(bool packed, bool indirect)
    {
        EntropyDevice? device = null;
        using var rig = new Rig(arena => device = new EntropyDevice("rng0", arena.Memory, new Entropy()), 0, packed, indirect);
        await rig.RunAsync(_ => rig.Offer(Element.In(rig.Data, 64), Element.In(rig.Data + 0x1000, 64)), rig.Rewrite);
        device!.BytesGiven.Should().BeGreaterThan(0);
    }

    [Theory]
    [MemberData(nameof(PackedAndIndirect))]
    public async Task Page_numbers_that_are_rewritten_give_the_host_pages_of_the_guest_s_only(bool packed, bool indirect)
    {
        BalloonDevice? device = null;
        var host = new Host();
        using var rig = new Rig(arena => device = new BalloonDevice("balloon0", arena.Memory, host), 0, packed, indirect);
        uint first = (uint)(GuestArena.Base / 4096);
        await rig.RunAsync(
            i =>
            {
                for (uint page = 0; page < 16; page++)
                    rig.Arena.Set32(rig.Data + page * 4, first + (uint)i % 100 + page);
                rig.Offer(Element.Out(rig.Data, 64));
            },
            random =>
            {
                uint page = random.Next(3) == 0 ? (uint)random.Next() : first - 4 + (uint)random.Next((rig.Arena.Size >> 12) + 8);
                rig.Arena.Set32(rig.Data + (ulong)random.Next(16) * 4, page);
                if (random.Next(4) == 0)
                    rig.Rewrite(random);
            });
        host.Wrong.Should().BeNull();
        device!.InflatedBytes.Should().BeGreaterThan(0);
    }

    [Theory]
    [MemberData(nameof(PackedAndIndirect))]
    public async Task Control_messages_that_are_rewritten_are_one_message_or_another(bool packed, bool indirect)
    {
        const int ControlOut = 3, Open = 6;
        Sink first = new(), second = new();
        using var rig = new Rig(arena => new ConsoleDevice("console0", arena.Memory, [new ConsolePort("", true, first), new ConsolePort("agent", false, second)]),
            ControlOut, packed, indirect);
        void Say(uint port, int message, int value)
        {
            rig.Arena.Set32(rig.Data, port);
            rig.Arena.Set16(rig.Data + 4, message);
            rig.Arena.Set16(rig.Data + 6, value);
        }

        await rig.RunAsync(
            i =>
            {
                Say(1, Open, i / 4 & 1);
                rig.Offer(Element.Out(rig.Data, 8));
            },
            random =>
            {
                Say(random.Next(3) == 0 ? (uint)random.Next() : (uint)random.Next(3), random.Next(10), random.Next(3));
                rig.Rewrite(random);
            });
        second.Opened.Should().BeGreaterThan(0);
        (first.Bytes + second.Bytes).Should().Be(0, "nothing was said but control messages");
    }

    private sealed class Entropy : IEntropySource
    {
        public void Fill(Span<byte> buffer) => buffer.Fill(0x5a);
    }

    private sealed class Host : IMemoryReclaimer
    {
        public string? Wrong { get; private set; }

        public bool Discard(ulong address, ulong length)
        {
            if (length == 0 || (address | length) % 4096 != 0 || address < GuestArena.Base || address - GuestArena.Base > 1 << 20 || length > (1 << 20) - (address - GuestArena.Base))
                Wrong = $"{address:x}+{length:x}";
            return true;
        }
    }

    private sealed class Sink : IConsoleSink
    {
        public int Opened { get; private set; }

        public long Bytes { get; private set; }

        public int Write(ReadOnlySpan<byte> bytes)
        {
            Bytes += bytes.Length;
            return bytes.Length;
        }

        public void GuestOpened(bool open) => Opened += open ? 1 : 0;
    }

    /// <summary>A driver that puts one chain at a time into a ring, by hand, and a thread that writes over it.</summary>
    private sealed class Rig : IDisposable
    {
        private readonly bool _packed;
        private readonly bool _indirect;
        private readonly int _queue;
        private readonly ulong[] _tables = new ulong[VirtioDevice.MaxQueues];
        private readonly VirtioDevice _device;
        private readonly GuestMmio _transport;
        private int _offers;
        private int _position;
        private bool _wrap;
        private ushort _available;

        public Rig(Func<GuestArena, VirtioDevice> make, int queue, bool packed, bool indirect)
        {
            (_packed, _indirect, _queue) = (packed, indirect, queue);
            _device = make(Arena);
            _device.Schedule(new InlineScheduler());
            _transport = new GuestMmio(_device);
            Table = Arena.Allocate(Size * 16);
            Data = Arena.Allocate(64 << 10, 4096);
            for (int i = 0; i < _device.QueueCount; i++)
                _tables[i] = Arena.Allocate(4096, 4096);
            Start();
        }

        public GuestArena Arena { get; } = new(1 << 20);

        /// <summary>The indirect table.</summary>
        public ulong Table { get; }

        /// <summary>Where requests and buffers are.</summary>
        public ulong Data { get; }

        /// <summary>Where descriptors of the chain are that a second thread may write over.</summary>
        private ulong Descriptors => _indirect ? Table : RingOf(_queue);

        private ulong RingOf(int queue) => _tables[queue];

        /// <summary>A reset, and rings that are clear: each at its place.</summary>
        public void Start()
        {
            for (int i = 0; i < _device.QueueCount; i++)
                Arena.Bytes(_tables[i], 4096).Clear();
            ulong features = VirtioFeature.IndirectDescriptors | (_packed ? VirtioFeature.RingPacked : 0) | VirtioFeature.Version1;
            if (!_transport.Negotiate((_device.OfferedFeatures & 0xff_ffff) | features))
                throw new InvalidOperationException("the device refuses the features");
            for (int i = 0; i < _device.QueueCount; i++)
            {
                _transport.SetQueueSize(i, Size);
                _transport.SetQueueAddresses(i, RingOf(i), RingOf(i) + 0x400, RingOf(i) + 0x800);
                _transport.EnableQueue(i);
            }

            _transport.SetDriverOk();
            (_position, _wrap, _available) = (0, true, 0);
        }

        private void Put(ulong at, ulong address, uint length, int low, int high)
        {
            Arena.Set64(at, address);
            Arena.Set32(at + 8, length);
            Arena.Set16(at + 12, low);
            Arena.Set16(at + 14, high);
        }

        /// <summary>Offers a chain and has the device look; begins anew if that was too much for it.</summary>
        public void Offer(params ReadOnlySpan<Element> elements)
        {
            if (_packed)
                OfferPacked(elements);
            else
                OfferSplit(elements);
            _transport.Notify(_queue);
            // A chain that was made longer or shorter leaves a packed ring where the driver is not.
            if (_device.NeedsReset || ++_offers % Size == 0)
                Start();
        }

        private void OfferSplit(ReadOnlySpan<Element> elements)
        {
            for (int i = 0; i < elements.Length; i++)
                Put(Descriptors + (ulong)i * 16, elements[i].Address, elements[i].Length, Flags(elements, i), i + 1);
            if (_indirect)
                Put(RingOf(_queue), Table, (uint)elements.Length * 16, 4, 0);
            Arena.Set16(RingOf(_queue) + 0x404 + (ulong)(_available % Size * 2), 0);
            Arena.Set16(RingOf(_queue) + 0x402, ++_available);
        }

        private void OfferPacked(ReadOnlySpan<Element> elements)
        {
            if (_indirect)
            {
                for (int i = 0; i < elements.Length; i++)
                    Put(Table + (ulong)i * 16, elements[i].Address, elements[i].Length, 0, elements[i].Writable ? Write : 0);
                Step(Table, (uint)elements.Length * 16, 4);
                return;
            }

            for (int i = 0; i < elements.Length; i++)
                Step(elements[i].Address, elements[i].Length, Flags(elements, i));
        }

        private void Step(ulong address, uint length, int flags)
        {
            Put(RingOf(_queue) + (ulong)_position * 16, address, length, 0, flags | (_wrap ? 0x80 : 0x8000));
            if (++_position == Size)
                (_position, _wrap) = (0, !_wrap);
        }

        private static int Flags(ReadOnlySpan<Element> elements, int i) => (elements[i].Writable ? Write : 0) | (i < elements.Length - 1 ? Next : 0);

        /// <summary>Writes over one descriptor: where it points, how long it is, what it is. The ring's own marks of a packed ring may be hit as well.</summary>
        public void Rewrite(Random random)
        {
            ulong at = Descriptors + (ulong)random.Next(Size) * 16;
            switch (random.Next(4))
            {
                case 0:
                    Arena.Set64(at, random.Next(3) switch
                    {
                        0 => Data + (ulong)random.Next(32 << 10),
                        1 => Arena.End - (ulong)random.Next(64),
                        _ => (ulong)random.NextInt64(),
                    });
                    break;
                case 1:
                    Arena.Set32(at + 8, random.Next(4) == 0 ? uint.MaxValue : (uint)random.Next(2048));
                    break;
                case 2:
                    Arena.Set16(at + 12, random.Next(8));
                    break;
                default:
                    Arena.Set16(at + 14, random.Next(4) == 0 ? random.Next(1 << 16) : random.Next(8));
                    break;
            }
        }

        /// <summary>Offers while a thread rewrites, now and then nothing, so that there are requests that are let alone.</summary>
        public async Task RunAsync(Action<int> offer, Action<Random> rewrite)
        {
            using var stop = new CancellationTokenSource();
            bool pause = false;
            var rewriter = Task.Run(() =>
            {
                var random = new Random(5);
                while (!stop.IsCancellationRequested)
                {
                    if (!Volatile.Read(ref pause))
                        rewrite(random);
                }
            });
            for (int i = 0; i < Rounds; i++)
            {
                Volatile.Write(ref pause, i % 4 == 0);
                offer(i);
            }

            await stop.CancelAsync();
            await rewriter.WaitAsync(s_patience);
            Arena.IsTheHostIntact.Should().BeTrue();
            Start();
        }

        public void Dispose() => Arena.Dispose();
    }
}
