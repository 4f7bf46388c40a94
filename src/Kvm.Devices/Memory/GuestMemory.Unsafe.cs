using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Kvm.Devices.Memory;

// SAFETY (whole file): every pointer is a region's host base plus an offset that TryFind has bounded by the
// region's size; the regions' owner keeps the mappings for the life of this object (GuestRegion.Host).
public sealed unsafe partial class GuestMemory
{
    /// <summary>
    /// The bytes at <paramref name="address"/> as a span over guest memory itself, to read and write in place.
    /// False if they are not all inside one writable region, or if <paramref name="length"/> is negative.
    /// </summary>
    public bool TrySlice(ulong address, int length, out Span<byte> bytes)
    {
        if (length >= 0 && TryFind(address, (ulong)length, out var r) && !r.ReadOnly)
        {
            NotifyWritten(address, (ulong)length);
            bytes = new Span<byte>((byte*)r.Host + (address - r.Start), length);
            return true;
        }

        bytes = default;
        return false;
    }

    /// <summary>Like <see cref="TrySlice"/>, for reading only: ROM is allowed.</summary>
    public bool TryReadOnlySlice(ulong address, int length, out ReadOnlySpan<byte> bytes)
    {
        if (length >= 0 && TryFind(address, (ulong)length, out var r))
        {
            bytes = new ReadOnlySpan<byte>((byte*)r.Host + (address - r.Start), length);
            return true;
        }

        bytes = default;
        return false;
    }

    /// <summary>Copies guest memory out; false, with nothing copied, if any byte is outside memory.</summary>
    public bool TryRead(ulong address, Span<byte> destination)
    {
        if (!TryReadOnlySlice(address, destination.Length, out var source))
            return false;
        source.CopyTo(destination);
        return true;
    }

    /// <summary>Copies into guest memory; false, with nothing written, if any byte is outside memory or in ROM.</summary>
    public bool TryWrite(ulong address, ReadOnlySpan<byte> source)
    {
        if (!TryFind(address, (ulong)source.Length, out var r) || r.ReadOnly)
            return false;
        source.CopyTo(new Span<byte>((byte*)r.Host + (address - r.Start), source.Length));
        NotifyWritten(address, (ulong)source.Length);
        return true;
    }

    /// <summary>Reads one little-endian value; the address need not be aligned.</summary>
    public bool TryRead<T>(ulong address, out T value) where T : unmanaged
    {
        if (TryReadOnlySlice(address, sizeof(T), out var bytes))
        {
            value = Unsafe.ReadUnaligned<T>(ref MemoryMarshal.GetReference(bytes));
            return true;
        }

        value = default;
        return false;
    }

    /// <summary>Writes one little-endian value; the address need not be aligned.</summary>
    public bool TryWrite<T>(ulong address, T value) where T : unmanaged
    {
        if (!TryFind(address, (ulong)sizeof(T), out var r) || r.ReadOnly)
            return false;
        Unsafe.WriteUnaligned((byte*)r.Host + (address - r.Start), value);
        NotifyWritten(address, (ulong)sizeof(T));
        return true;
    }

    /// <summary>The bytes of one element of a request, to be used in place or handed to vectored I/O.</summary>
    /// <param name="address">Guest-physical address.</param>
    /// <param name="length">Bytes, which must lie in one region and be fewer than 2³¹.</param>
    /// <param name="writable">True if they will be written: ROM is then refused.</param>
    /// <param name="buffer">The bytes, or none.</param>
    public bool TryBuffer(ulong address, uint length, bool writable, out HostBuffer buffer)
    {
        if (length <= int.MaxValue && TryFind(address, length, out var r) && !(writable && r.ReadOnly))
        {
            if (writable)
                NotifyWritten(address, length);
            buffer = new HostBuffer((nint)((byte*)r.Host + (address - r.Start)), (int)length);
            return true;
        }

        buffer = default;
        return false;
    }

    /// <summary>
    /// The host address of guest bytes, for those who hand it to the kernel (io_uring, preadv) or cache it per page
    /// (the software engine's TLB). Valid as long as the memory's owner keeps it mapped.
    /// </summary>
    /// <param name="address">Guest-physical address.</param>
    /// <param name="length">Bytes that must lie in one region.</param>
    /// <param name="writable">True if the caller will write: ROM is then refused.</param>
    /// <param name="host">The host address, or 0.</param>
    public bool TryPointer(ulong address, ulong length, bool writable, out nint host)
    {
        if (TryFind(address, length, out var r) && !(writable && r.ReadOnly))
        {
            if (writable)
                NotifyWritten(address, length);
            host = (nint)((byte*)r.Host + (address - r.Start));
            return true;
        }

        host = 0;
        return false;
    }
}
