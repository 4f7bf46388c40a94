using System.Runtime.InteropServices;

namespace Kvm.Interop;

/// <summary><c>struct uffdio_api</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct UffdioApi
{
    public ulong Api;
    public ulong Features;
    public ulong Ioctls;
}

/// <summary><c>struct uffdio_register</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct UffdioRegister
{
    public ulong Start;
    public ulong Len;
    public ulong Mode;
    public ulong Ioctls;
}

/// <summary><c>struct uffdio_copy</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct UffdioCopy
{
    public ulong Dst;
    public ulong Src;
    public ulong Len;
    public ulong Mode;

    /// <summary>Bytes that were copied, or -errno.</summary>
    public long Copy;
}

/// <summary><c>struct uffdio_zeropage</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct UffdioZeropage
{
    public ulong Start;
    public ulong Len;
    public ulong Mode;

    /// <summary>Bytes that were mapped, or -errno.</summary>
    public long Zeropage;
}

/// <summary><c>struct uffd_msg</c> of an access to a page that is not there.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct UffdMsg
{
    public byte Event;
    public byte Reserved1;
    public ushort Reserved2;
    public uint Reserved3;
    public ulong Flags;
    public ulong Address;
    public ulong Reserved4;
}

// linux/userfaultfd.h
internal static unsafe partial class Libc
{
    public const long SYS_userfaultfd = 323;
    public const ulong UFFD_API = 0xaa;
    public const uint USERFAULTFD_IOC_NEW = 0xaa00;
    public const uint UFFDIO_API = 0xc018_aa3f;
    public const uint UFFDIO_REGISTER = 0xc020_aa00;
    public const uint UFFDIO_COPY = 0xc028_aa03;
    public const uint UFFDIO_ZEROPAGE = 0xc020_aa04;
    public const ulong UFFDIO_REGISTER_MODE_MISSING = 1;
    public const byte UFFD_EVENT_PAGEFAULT = 0x12;
}
