using System.Runtime.InteropServices;

namespace Kvm.Devices.Virtio.Queue;

/// <summary>A descriptor copied out of guest memory (virtio 1.2, 2.7.5 and 2.8.13: the last two fields are the other way round there).</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly struct Descriptor(ulong address, ulong rest)
{
    public const int Size = 16;

    public const ushort Next = 1 << 0, Write = 1 << 1, Indirect = 1 << 2;

    /// <summary>Packed only (2.8.1): made available or used, by comparison with the ring wrap counters.</summary>
    public const ushort Available = 1 << 7, Used = 1 << 15;

    public ulong Address => address;

    public uint Length => (uint)(rest & 0xffff_ffff);

    /// <summary>Split: flags; packed: the buffer's identifier.</summary>
    public ushort Low => (ushort)(rest >> 32 & 0xffff);

    /// <summary>Split: next; packed: flags.</summary>
    public ushort High => (ushort)(rest >> 48);
}
