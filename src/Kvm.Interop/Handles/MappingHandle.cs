using System.Runtime.InteropServices;

namespace Kvm.Interop;

/// <summary>Owns one mmap and unmaps it once.</summary>
internal sealed class MappingHandle : SafeHandle
{
    private readonly nuint _length;

    public MappingHandle(nint address, nuint length)
        : base(-1, ownsHandle: true)
    {
        SetHandle(address);
        _length = length;
    }

    public override bool IsInvalid => handle == -1;

    public nint Address
    {
        get
        {
            ObjectDisposedException.ThrowIf(IsClosed, this);
            return handle;
        }
    }

    protected override unsafe bool ReleaseHandle() => Libc.munmap((void*)handle, _length) == 0;

    /// <summary>Maps <paramref name="length"/> bytes or throws.</summary>
    public static unsafe MappingHandle Map(nuint length, int protection, int flags, int fd, long offset, string what)
    {
        void* address = Libc.mmap(null, length, protection, flags, fd, offset);
        if (address == Libc.MAP_FAILED)
        {
            throw new KvmException($"mmap ({what})", Errno.Last);
        }

        return new MappingHandle((nint)address, length);
    }
}
