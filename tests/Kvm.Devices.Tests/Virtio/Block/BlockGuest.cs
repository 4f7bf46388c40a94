using System.Buffers.Binary;
using Kvm.Devices.Block;
using Kvm.Devices.Memory;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio;
using Kvm.Devices.Virtio.Block;

namespace Kvm.Devices.Tests.Virtio.Block;

/// <summary>A guest with a disk: a driver that puts requests together as virtio 1.2, 5.2.6 says.</summary>
internal sealed class BlockGuest : IDisposable
{
    public const uint In = 0, Out = 1, Flush = 4, GetId = 8, Discard = 11, WriteZeroes = 13;
    public const byte Ok = 0, IoError = 1, Unsupported = 2, Untouched = 0xee;
    public const ulong FlushFeature = 1UL << 9, WritebackFeature = 1UL << 11;

    public BlockGuest(IDiskImage image, BlockOptions? options = null, bool pci = false, bool packed = false, ulong? features = null,
        params ReadOnlySpan<GuestRegion> memory)
    {
        Arena = new GuestArena(8 << 20, memory);
        options ??= new BlockOptions();
        Device = new BlockDevice("disk0", Arena.Memory, image, options);
        Device.Schedule(new InlineScheduler());
        Transport = GuestTransport.Make(pci, Device);
        Drivers = Enumerable.Range(0, options.Queues).Select(_ => FakeDriver.Make(packed, Arena, options.QueueSize)).ToArray();
        Transport.Start(features ?? Device.OfferedFeatures & (0xff_ffff | VirtioFeature.RingReset), Drivers);
    }

    public GuestArena Arena { get; }

    public BlockDevice Device { get; }

    public GuestTransport Transport { get; }

    public FakeDriver[] Drivers { get; }

    /// <summary>The length the device said of the last request.</summary>
    public uint Written { get; private set; }

    public static byte[] Header(uint type, ulong sector)
    {
        byte[] header = new byte[16];
        BinaryPrimitives.WriteUInt32LittleEndian(header, type);
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(8), sector);
        return header;
    }

    public static byte[] Range(ulong sector, uint count, uint flags = 0)
    {
        byte[] range = new byte[16];
        BinaryPrimitives.WriteUInt64LittleEndian(range, sector);
        BinaryPrimitives.WriteUInt32LittleEndian(range.AsSpan(8), count);
        BinaryPrimitives.WriteUInt32LittleEndian(range.AsSpan(12), flags);
        return range;
    }

    public byte Write(ulong sector, ReadOnlySpan<byte> data, int queue = 0) => Send(Out, sector, data, queue);

    /// <summary>A request whose data, if any, is the driver's.</summary>
    public byte Send(uint type, ulong sector, ReadOnlySpan<byte> data, int queue = 0)
    {
        ulong header = Arena.AllocateFilled(Header(type, sector)), status = Arena.AllocateFilled([Untouched]);
        if (data.IsEmpty)
            return Run(queue, status, Element.Out(header, 16), Element.In(status, 1));
        ulong at = Arena.AllocateFilled(data);
        return Run(queue, status, Element.Out(header, 16), Element.Out(at, (uint)data.Length), Element.In(status, 1));
    }

    /// <summary>A request whose data is the device's.</summary>
    public byte Receive(uint type, ulong sector, Span<byte> data, int queue = 0)
    {
        ulong header = Arena.AllocateFilled(Header(type, sector)), status = Arena.AllocateFilled([Untouched]), at = Arena.Allocate(data.Length);
        byte outcome = Run(queue, status, Element.Out(header, 16), Element.In(at, (uint)data.Length), Element.In(status, 1));
        Arena.Bytes(at, data.Length).CopyTo(data);
        return outcome;
    }

    public byte Read(ulong sector, Span<byte> data, int queue = 0) => Receive(In, sector, data, queue);

    /// <summary>Any chain; gives what is at the status byte afterwards.</summary>
    public byte Run(int queue, ulong status, params ReadOnlySpan<Element> elements)
    {
        var driver = Drivers[queue];
        driver.Add(elements);
        if (driver.MustNotify())
            Transport.Notify(queue);
        Written = driver.TakeUsed() is { } used ? used.Written : uint.MaxValue;
        return Arena.Bytes(status, 1)[0];
    }

    public void Dispose() => Arena.Dispose();
}
