using System.Diagnostics;
using Kvm.Devices.Memory;

namespace Kvm.Devices.Virtio.Queue;

/// <summary>
/// A part of a ring in guest memory: the only place where devices order their accesses against the driver's, which runs on other
/// processors at the same time. A load acquires, a store releases, and <see cref="Fence"/> is between a store and a later load that must
/// not pass it (virtio 1.2, 2.7.7.2, 2.7.13.4.1, 2.8.21.3.1).
/// </summary>
// SAFETY (whole file): TryMap takes the base of `size` bytes that lie in one region of guest memory at an address of the alignment asked
// for, and every caller's offset is an entry number below the ring's size times the entry's size, plus a constant inside the part. The
// machine keeps guest memory mapped until its devices are gone. Another processor may change the bytes at any time: each value is loaded once.
internal readonly unsafe struct RingPart
{
    private readonly byte* _base;
    private readonly int _size;

    private RingPart(nint host, int size)
    {
        _base = (byte*)host;
        _size = size;
    }

    /// <summary>Finds a part in guest memory; false if it is misaligned, not all memory, or ROM where it will be written.</summary>
    public static bool TryMap(GuestMemory memory, ulong address, int size, uint alignment, bool writable, out RingPart part)
    {
        part = default;
        if (address % alignment != 0 || !memory.TryPointer(address, (ulong)size, writable, out nint host))
            return false;
        part = new RingPart(host, size);
        return true;
    }

    public ushort Load16(int offset) => Volatile.Read(ref *(ushort*)At(offset, sizeof(ushort)));

    public uint Load32(int offset) => Volatile.Read(ref *(uint*)At(offset, sizeof(uint)));

    public void Store16(int offset, ushort value) => Volatile.Write(ref *(ushort*)At(offset, sizeof(ushort)), value);

    public void Store32(int offset, uint value) => Volatile.Write(ref *(uint*)At(offset, sizeof(uint)), value);

    /// <summary>Copies a descriptor in once; its two halves may be of different times if the driver breaks the rules. An indirect
    /// table may lie anywhere: x86 loads need no alignment.</summary>
    public Descriptor LoadDescriptor(int index)
    {
        ulong* entry = (ulong*)At(index * Descriptor.Size, Descriptor.Size);
        return new Descriptor(Volatile.Read(ref entry[0]), Volatile.Read(ref entry[1]));
    }

    public static void Fence() => Interlocked.MemoryBarrier();

    private byte* At(int offset, int width)
    {
        Debug.Assert((uint)offset <= (uint)(_size - width), "an offset outside a ring part");
        return _base + offset;
    }
}
