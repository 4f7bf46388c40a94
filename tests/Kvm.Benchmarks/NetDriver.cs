using System.Buffers.Binary;
using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Devices.Virtio;
using Kvm.Devices.Virtio.Net;
using Kvm.Devices.Virtio.Transport;
using Kvm.Interop;

namespace Kvm.Benchmarks;

/// <summary>A driver of a network card: sends batches of one frame, and offers what it received again. Split queues, a descriptor for each frame (virtio 1.2, 2.7, 5.1.6).</summary>
internal sealed class NetDriver : IDisposable
{
    /// <summary>Frames of a batch.</summary>
    public const int Batch = 32;

    private const int Entries = 64, QueueStride = 0x4000, Table = 0x1000, Available = 0x2000, Used = 0x3000, Data = 0x10_0000, Slot = 0x1_1000;
    private const int Receive = 0, Send = 1;

    // VERSION_1, and CSUM, GUEST_CSUM, GUEST_TSO4, HOST_TSO4, MRG_RXBUF.
    private const uint High = 1, Low = 1 << 0 | 1 << 1 | 1 << 7 | 1 << 11 | 1 << 15;

    private readonly HostMapping _mapping = HostMapping.Anonymous(16 << 20);
    private readonly NetDevice _device;
    private readonly VirtioMmio _transport;
    private ushort _sent;
    private ushort _received;

    /// <summary>Starts a driver of a card at a backend.</summary>
    public NetDriver(INetworkBackend backend, MacAddress mac)
    {
        var memory = new GuestMemory([new GuestRegion(0, _mapping.Length, _mapping.Address)]);
        _device = new NetDevice("net0", memory, backend, new NetOptions { Mac = mac, QueueSize = Entries });
        _device.Schedule(new InlineScheduler());
        _transport = new VirtioMmio(_device, null);
        for (int slot = 0; slot < Batch; slot++)
            Describe(Receive, slot, Slot - 0x100, flags: 2);
        Start();
        for (int slot = 0; slot < Batch; slot++)
            Offer(Receive, slot, (ushort)slot);
        Publish(Receive, Batch);
    }

    /// <summary>Frames that came so far.</summary>
    public long Received => _device.Counters.FramesReceived;

    private Span<byte> Memory => _mapping.Span;

    /// <summary>Prepares the frame that every batch sends.</summary>
    public void Prepare(ReadOnlySpan<byte> frame)
    {
        for (int slot = 0; slot < Batch; slot++)
        {
            frame.CopyTo(Memory[PlaceOf(Send, slot)..]);
            Describe(Send, slot, frame.Length, flags: 0);
        }
    }

    /// <summary>Sends a batch, from the notification until nothing of it is left in the queue.</summary>
    public void Run()
    {
        for (int i = 0; i < Batch; i++)
            Offer(Send, _sent % Entries, (ushort)(_sent++ % Batch));
        Publish(Send, _sent);
    }

    /// <summary>Offers what came again.</summary>
    public void Refill()
    {
        ushort used = BinaryPrimitives.ReadUInt16LittleEndian(Memory[(QueueStride * Receive + Used + 2)..]);
        while (_received != used)
        {
            uint id = BinaryPrimitives.ReadUInt32LittleEndian(Memory[(QueueStride * Receive + Used + 4 + _received % Entries * 8)..]);
            Offer(Receive, (ushort)(_received + Batch) % Entries, (ushort)id);
            _received++;
        }

        BinaryPrimitives.WriteUInt16LittleEndian(Memory[(QueueStride * Receive + Available + 2)..], (ushort)(_received + Batch));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _device.Dispose();
        _mapping.Dispose();
    }

    private static int PlaceOf(int queue, int slot) => Data + (queue * Batch + slot) * Slot;

    private void Describe(int queue, int slot, int length, int flags)
    {
        var d = Memory.Slice(QueueStride * queue + Table + slot * 16, 16);
        BinaryPrimitives.WriteUInt64LittleEndian(d, (ulong)PlaceOf(queue, slot));
        BinaryPrimitives.WriteUInt32LittleEndian(d[8..], (uint)length);
        BinaryPrimitives.WriteUInt16LittleEndian(d[12..], (ushort)flags);
    }

    private void Offer(int queue, int place, ushort slot) => BinaryPrimitives.WriteUInt16LittleEndian(Memory[(QueueStride * queue + Available + 4 + place * 2)..], slot);

    private void Publish(int queue, ushort index)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(Memory[(QueueStride * queue + Available + 2)..], index);
        Register(0x50, (uint)queue);
    }

    /// <summary>virtio 1.2, 3.1.1, by the registers of 4.2.2.</summary>
    private void Start()
    {
        Register(0x70, 3);
        Register(0x24, 1);
        Register(0x20, High);
        Register(0x24, 0);
        Register(0x20, Low);
        Register(0x70, 11);
        for (int queue = 0; queue < 2; queue++)
        {
            Register(0x30, (uint)queue);
            Register(0x38, Entries);
            Register(0x80, (uint)(QueueStride * queue + Table));
            Register(0x90, (uint)(QueueStride * queue + Available));
            Register(0xa0, (uint)(QueueStride * queue + Used));
            Register(0x44, 1);
        }

        Register(0x70, 15);
    }

    private void Register(ulong offset, uint value)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        _transport.Write(offset, bytes);
    }
}
