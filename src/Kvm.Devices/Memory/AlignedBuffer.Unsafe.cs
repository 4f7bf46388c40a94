using System.Runtime.InteropServices;

namespace Kvm.Devices.Memory;

// SAFETY (whole file): the only pointer is the one AlignedAlloc gave, freed once; Buffer is never longer than what was asked for.
public sealed unsafe partial class AlignedBuffer
{
    /// <summary>Takes memory.</summary>
    /// <param name="length">Bytes, not zero.</param>
    /// <param name="alignment">A power of two that the address is a multiple of.</param>
    public AlignedBuffer(int length, int alignment = GuestMemory.PageSize)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(length);
        if (alignment <= 0 || !int.IsPow2(alignment))
            throw new ArgumentOutOfRangeException(nameof(alignment), alignment, "a power of two");
        Length = length;
        _address = (nint)NativeMemory.AlignedAlloc((nuint)length, (nuint)alignment);
        NativeMemory.Clear((void*)_address, (nuint)length);
    }

    /// <summary>Gives the memory back if nobody disposed of it.</summary>
    ~AlignedBuffer() => Free();

    /// <inheritdoc/>
    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void Free()
    {
        nint address = Interlocked.Exchange(ref _address, 0);
        if (address != 0)
            NativeMemory.AlignedFree((void*)address);
    }
}
