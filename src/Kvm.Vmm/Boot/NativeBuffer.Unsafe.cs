using System.Runtime.InteropServices;

namespace Kvm.Vmm.Boot;

/// <summary>
/// Host memory outside the managed heap for one large transient: a kernel's compressed bytes would otherwise stay in
/// the large-object heap for the life of the guest.
/// </summary>
internal sealed unsafe class NativeBuffer : IDisposable
{
    private readonly int _length;
    private void* _start;

    /// <summary>Allocates <paramref name="length"/> bytes, contents undefined.</summary>
    internal NativeBuffer(int length)
    {
        _length = length;
        // SAFETY: freed once, by Dispose.
        _start = NativeMemory.Alloc((nuint)Math.Max(length, 1));
    }

    /// <summary>The bytes; not to be used after <see cref="Dispose"/>.</summary>
    internal Span<byte> Span
    {
        get
        {
            ObjectDisposedException.ThrowIf(_start is null, this);
            // SAFETY: _start has _length bytes until Dispose.
            return new Span<byte>(_start, _length);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        // SAFETY: NativeMemory.Free takes null.
        NativeMemory.Free(_start);
        _start = null;
    }
}
