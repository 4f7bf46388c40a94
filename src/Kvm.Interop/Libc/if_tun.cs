using System.Runtime.InteropServices;

namespace Kvm.Interop;

// linux/if_tun.h, net/if.h and linux/sockios.h: network interfaces by ioctl.
internal static unsafe partial class Libc
{
    public const uint TUNSETIFF = 0x400454ca;
    public const uint TUNGETFEATURES = 0x800454cf;
    public const uint TUNSETOFFLOAD = 0x400454d0;
    public const uint TUNGETIFF = 0x800454d2;
    public const uint TUNSETVNETHDRSZ = 0x400454d8;
    public const uint TUNSETQUEUE = 0x400454d9;
    public const int IFF_TAP = 0x0002;
    public const int IFF_NO_PI = 0x1000;
    public const int IFF_VNET_HDR = 0x4000;
    public const int IFF_MULTI_QUEUE = 0x0100;
    public const int IFF_ATTACH_QUEUE = 0x0200;
    public const int IFF_DETACH_QUEUE = 0x0400;
    public const int IFNAMSIZ = 16;
    public const int IFF_UP = 1;
    public const uint SIOCGIFFLAGS = 0x8913;
    public const uint SIOCSIFFLAGS = 0x8914;

    [LibraryImport(C)]
    public static partial nint writev(int fd, IoVector* vectors, int count);
}
