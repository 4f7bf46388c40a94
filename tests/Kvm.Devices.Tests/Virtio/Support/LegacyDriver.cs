using System.Text;
using Kvm.Devices.Tests.Support;
using Kvm.Devices.Virtio;

namespace Kvm.Devices.Tests.Virtio.Support;

/// <summary>
/// A driver from before virtio 1.0, which knows the window of ports (virtio 1.2, 4.1.4.10) and nothing of capabilities. It uses rings of the size it
/// is told, and its features are 32 bits.
/// </summary>
internal sealed class LegacyDriver
{
    public const ushort NoVector = 0xffff;

    public LegacyDriver(VirtioDevice device)
    {
        device.Schedule(new InlineScheduler());
        Pci = new GuestPci(device, transitional: true);
    }

    public GuestPci Pci { get; }

    public ulong Window => Pci.Config32(0x10) & ~3u;

    public bool WithVectors { get; set; }

    public byte Status
    {
        get => (byte)In(0x12, 1);
        set => Out(0x12, 1, value);
    }

    public byte Isr => (byte)In(0x13, 1);

    public uint In(int offset, int width)
    {
        Span<byte> data = stackalloc byte[4];
        Pci.Ports.Read(Window + (ulong)offset, data[..width]);
        return BitConverter.ToUInt32(data) & (uint)((1UL << width * 8) - 1);
    }

    public void Out(int offset, int width, uint value) => Pci.Ports.Write(Window + (ulong)offset, BitConverter.GetBytes(value).AsSpan(0, width));

    public byte Config(int offset) => (byte)In((WithVectors ? 24 : 20) + offset, 1);

    /// <summary>3.1.2, up to the queues.</summary>
    public uint Begin(uint features)
    {
        Status = 0;
        Status = 1;
        Status = 3;
        Out(0x04, 4, features & In(0x00, 4));
        return In(0x04, 4);
    }

    /// <summary>Makes a ring of the device's size where 2.7.2 wants it, and places it.</summary>
    public FakeSplitDriver Queue(GuestArena arena, int index, bool eventIndex = false)
    {
        Out(0x0e, 2, (uint)index);
        var ring = new FakeSplitDriver(arena, (int)In(0x0c, 2), eventIndex, legacy: true);
        Out(0x08, 4, (uint)(ring.Table >> 12));
        return ring;
    }

    public void DriverOk() => Status = 7;

    public void Notify(int queue) => Out(0x10, 2, (uint)queue);

    public string Request(FakeSplitDriver ring, int queue, string text)
    {
        byte[] bytes = Encoding.ASCII.GetBytes(text);
        ulong from = ring.Arena.AllocateFilled(bytes), to = ring.Arena.Allocate(bytes.Length);
        ring.Add(Element.Out(from, (uint)bytes.Length), Element.In(to, (uint)bytes.Length));
        Notify(queue);
        return ring.TakeUsed() is { } used ? Encoding.ASCII.GetString(ring.Arena.Bytes(to, (int)used.Written)) : "";
    }
}
