using System.Buffers.Binary;
using Kvm.Devices.Memory;
using Kvm.Devices.Tests.Support;

namespace Kvm.Devices.Tests.Virtio.Support;

/// <summary>A piece of guest memory, with holes around it, from which tests take pages and bytes.</summary>
internal sealed class GuestArena : IDisposable
{
    public const ulong Base = 0x10_0000;

    private const int Guard = 4096;

    private readonly HostMemory? _host;
    private readonly GuestMemory? _guards;
    private ulong _next = Base;

    /// <param name="size">Bytes from which tests take theirs.</param>
    /// <param name="others">Memory the guest has elsewhere.</param>
    public GuestArena(int size = 1 << 20, params ReadOnlySpan<GuestRegion> others)
    {
        _host = new HostMemory(size + 2 * Guard);
        Size = size;
        Memory = new GuestMemory([new GuestRegion(Base, (ulong)size, _host.Address + Guard), .. others]);
        _guards = new GuestMemory([new GuestRegion(0, Guard, _host.Address), new GuestRegion(2 * Guard, Guard, _host.Address + Guard + size)]);
    }

    /// <summary>A piece of a machine's memory, which is somebody else's.</summary>
    public GuestArena(GuestMemory memory, int size) => (Memory, Size) = (memory, size);

    public GuestMemory Memory { get; }

    public int Size { get; }

    /// <summary>False if bytes of the host before or after the guest's memory were written.</summary>
    public bool IsTheHostIntact =>
        _guards is null || _guards.TrySlice(0, Guard, out var before) && _guards.TrySlice(2 * Guard, Guard, out var after) && !before.ContainsAnyExcept((byte)0) && !after.ContainsAnyExcept((byte)0);

    public ulong End => Base + (ulong)Size;

    /// <summary>Fresh bytes; a guest never gives them back.</summary>
    public ulong Allocate(int size, int alignment = 16)
    {
        _next = (_next + (ulong)alignment - 1) & ~((ulong)alignment - 1);
        ulong at = _next;
        _next += (ulong)size;
        if (_next > End)
            throw new InvalidOperationException("the arena is full");
        return at;
    }

    public ulong AllocateFilled(ReadOnlySpan<byte> bytes)
    {
        ulong at = Allocate(bytes.Length, 1);
        Bytes(at, bytes.Length).Clear();
        bytes.CopyTo(Bytes(at, bytes.Length));
        return at;
    }

    public Span<byte> Bytes(ulong address, int length) =>
        Memory.TrySlice(address, length, out var bytes) ? bytes : throw new InvalidOperationException($"{address:x}+{length:x} is outside the arena");

    public ushort U16(ulong address) => Volatile.Read(ref System.Runtime.CompilerServices.Unsafe.As<byte, ushort>(ref Bytes(address, 2)[0]));

    public uint U32(ulong address) => Volatile.Read(ref System.Runtime.CompilerServices.Unsafe.As<byte, uint>(ref Bytes(address, 4)[0]));

    public void Set16(ulong address, int value) => Volatile.Write(ref System.Runtime.CompilerServices.Unsafe.As<byte, ushort>(ref Bytes(address, 2)[0]), (ushort)value);

    public void Set32(ulong address, uint value) => Volatile.Write(ref System.Runtime.CompilerServices.Unsafe.As<byte, uint>(ref Bytes(address, 4)[0]), value);

    public void Set64(ulong address, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(Bytes(address, 8), value);

    public void Dispose() => _host?.Dispose();
}
