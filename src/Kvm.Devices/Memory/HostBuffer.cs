using System.Runtime.InteropServices;

namespace Kvm.Devices.Memory;

/// <summary>
/// A bounded piece of this process's memory that is not the garbage collector's: guest memory, or a device's own aligned buffer. Laid
/// out like the kernel's <c>struct iovec</c>, so that an array of them goes to vectored I/O as it is. At most 2³¹−1 bytes long.
/// </summary>
/// <remarks>Made only from memory whose bounds were checked; valid as long as its owner keeps the memory mapped.</remarks>
[StructLayout(LayoutKind.Sequential)]
public readonly partial struct HostBuffer
{
    private readonly nint _address;
    private readonly nuint _length;

    internal HostBuffer(nint address, int length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        (_address, _length) = (address, (nuint)length);
    }

    /// <summary>Address of the first byte in this process.</summary>
    public nint Address => _address;

    /// <summary>Bytes.</summary>
    public int Length => (int)_length;

    /// <summary>The part from <paramref name="start"/> to the end.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The start is not from 0 to the length.</exception>
    public HostBuffer Slice(int start) => Slice(start, Length - start);

    /// <summary>A part.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The part does not lie inside.</exception>
    public HostBuffer Slice(int start, int length)
    {
        if ((uint)start > (uint)Length || (uint)length > (uint)(Length - start))
            throw new ArgumentOutOfRangeException(nameof(start), $"{start}+{length} of {Length} bytes");
        return new HostBuffer(_address + start, length);
    }
}
