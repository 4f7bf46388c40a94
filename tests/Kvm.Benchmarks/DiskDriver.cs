using System.Buffers.Binary;
using Kvm.Devices.Block;
using Kvm.Devices.Memory;
using Kvm.Devices.Virtio;
using Kvm.Devices.Virtio.Block;
using Kvm.Devices.Virtio.Transport;
using Kvm.Interop;

namespace Kvm.Benchmarks;

/// <summary>A driver that keeps a virtio disk busy: batches of requests of three descriptors each, in a split queue (virtio 1.2, 2.7).</summary>
internal sealed class DiskDriver : IDisposable
{
    /// <summary>Requests of a batch.</summary>
    public const int Batch = 32;

    private const int Entries = 128, Table = 0x1000, Available = 0x2000, Used = 0x3000, Headers = 0x4000, Statuses = 0x5000, Data = 0x10_0000;
    private const uint In = 0, Out = 1;

    private readonly HostMapping _mapping = HostMapping.Anonymous(8 << 20);
    private readonly VirtioMmio _transport;
    private readonly int _bytes;
    private readonly ulong _places;
    private readonly bool _sequential;
    private ulong _next;
    private ulong _random = 0x2545f4914f6cdd1d;
    private ushort _offered;
    private bool? _write;

    /// <summary>Starts a driver of a disk of <paramref name="image"/> whose requests are all of <paramref name="bytes"/>, one behind the other or anywhere.</summary>
    public DiskDriver(IDiskImage image, int bytes, bool sequential = false)
    {
        (_bytes, _places, _sequential) = (bytes, image.Length / (ulong)bytes, sequential);
        var memory = new GuestMemory([new GuestRegion(0, _mapping.Length, _mapping.Address)]);
        var device = new BlockDevice("disk0", memory, image, new BlockOptions());
        device.Schedule(new InlineScheduler());
        _transport = new VirtioMmio(device, null);
        for (int slot = 0; slot < Batch; slot++)
        {
            Describe((slot * 3) + 0, (ulong)(Headers + (slot * 16)), 16, flags: 1);
            Describe((slot * 3) + 2, (ulong)(Statuses + slot), 1, flags: 2);
        }

        Start();
    }

    private Span<byte> Memory => _mapping.Span;

    /// <summary>One batch, from the notification to the last status.</summary>
    /// <exception cref="InvalidOperationException">A request failed.</exception>
    public void Run(bool write)
    {
        if (_write != write)
            Prepare(write);
        for (int slot = 0; slot < Batch; slot++)
            Offer(slot);
        BinaryPrimitives.WriteUInt16LittleEndian(Memory[(Available + 2)..], _offered);
        Register(0x50, 0);
        if (BinaryPrimitives.ReadUInt16LittleEndian(Memory[(Used + 2)..]) != _offered || Memory.Slice(Statuses, Batch).ContainsAnyExcept((byte)0))
            throw new InvalidOperationException("the disk did not do what it was asked");
    }

    /// <inheritdoc/>
    public void Dispose() => _mapping.Dispose();

    /// <summary>What all requests of a row have in common, so that the driver's share of the time is small.</summary>
    private void Prepare(bool write)
    {
        _write = write;
        for (int slot = 0; slot < Batch; slot++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(Memory[(Headers + (slot * 16))..], write ? Out : In);
            Describe((slot * 3) + 1, (ulong)(Data + (slot * _bytes)), (uint)_bytes, write ? 1 : 3);
        }
    }

    private void Offer(int slot)
    {
        _random ^= _random << 13;
        _random ^= _random >> 7;
        _random ^= _random << 17;
        BinaryPrimitives.WriteUInt64LittleEndian(Memory[(Headers + (slot * 16) + 8)..], (_sequential ? _next++ : _random) % _places * (ulong)(_bytes / 512));
        Memory[Statuses + slot] = 0xff;
        BinaryPrimitives.WriteUInt16LittleEndian(Memory[(Available + 4 + (_offered % Entries * 2))..], (ushort)(slot * 3));
        _offered++;
    }

    private void Describe(int index, ulong address, uint length, int flags)
    {
        var d = Memory.Slice(Table + (index * 16), 16);
        BinaryPrimitives.WriteUInt64LittleEndian(d, address);
        BinaryPrimitives.WriteUInt32LittleEndian(d[8..], length);
        BinaryPrimitives.WriteUInt16LittleEndian(d[12..], (ushort)flags);
        BinaryPrimitives.WriteUInt16LittleEndian(d[14..], (ushort)(index + 1));
    }

    /// <summary>virtio 1.2, 3.1.1, by the registers of 4.2.2.</summary>
    private void Start()
    {
        Register(0x70, 3);
        Register(0x24, 1);
        Register(0x20, 1); // VIRTIO_F_VERSION_1
        Register(0x24, 0);
        Register(0x20, 1 << 9); // VIRTIO_BLK_F_FLUSH
        Register(0x70, 11);
        Register(0x38, Entries);
        Register(0x80, Table);
        Register(0x90, Available);
        Register(0xa0, Used);
        Register(0x44, 1);
        Register(0x70, 15);
    }

    private void Register(ulong offset, uint value)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        _transport.Write(offset, bytes);
    }
}
