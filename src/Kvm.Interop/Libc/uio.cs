using System.Runtime.InteropServices;

namespace Kvm.Interop;

/// <summary>One piece of memory of a vectored transfer: <c>struct iovec</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct IoVector
{
    /// <summary>First byte.</summary>
    public nint IovBase;

    /// <summary>Bytes.</summary>
    public nuint IovLen;
}

internal static unsafe partial class Libc
{
    [LibraryImport(C)]
    public static partial nint preadv(int fd, IoVector* vectors, int count, long offset);

    [LibraryImport(C)]
    public static partial nint pwritev(int fd, IoVector* vectors, int count, long offset);
}
