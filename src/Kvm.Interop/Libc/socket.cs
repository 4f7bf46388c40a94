using System.Runtime.InteropServices;

namespace Kvm.Interop;

/// <summary><c>struct ucred</c>: who is at the other end of a Unix socket (unix(7), SO_PEERCRED).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct Ucred
{
    public int Pid;
    public uint Uid;
    public uint Gid;
}

/// <summary><c>struct msghdr</c> of the C library.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct Msghdr
{
    public void* MsgName;
    public uint MsgNamelen;
    public IoVector* MsgIov;
    public nuint MsgIovlen;
    public void* MsgControl;
    public nuint MsgControllen;
    public int MsgFlags;
}

/// <summary><c>struct cmsghdr</c>; data follow at the next multiple of eight.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct Cmsghdr
{
    public nuint CmsgLen;
    public int CmsgLevel;
    public int CmsgType;
}

internal static unsafe partial class Libc
{
    public const int AF_UNIX = 1;
    public const int SOCK_STREAM = 1;
    public const int SOCK_NONBLOCK = 0x800;
    public const int SOCK_CLOEXEC = 0x80000;
    public const int SOL_SOCKET = 1;
    public const int SO_PEERCRED = 17;
    public const int SCM_RIGHTS = 1;
    public const int MSG_DONTWAIT = 0x40;
    public const int MSG_CTRUNC = 8;
    public const int MSG_NOSIGNAL = 0x4000;
    public const int MSG_CMSG_CLOEXEC = 0x40000000;

    [LibraryImport(C)]
    public static partial int socket(int domain, int type, int protocol);

    [LibraryImport(C)]
    public static partial int socketpair(int domain, int type, int protocol, int* fds);

    [LibraryImport(C)]
    public static partial int bind(int fd, void* address, uint length);

    [LibraryImport(C)]
    public static partial int listen(int fd, int backlog);

    [LibraryImport(C)]
    public static partial int accept4(int fd, void* address, uint* length, int flags);

    [LibraryImport(C)]
    public static partial int connect(int fd, void* address, uint length);

    public const int SHUT_WR = 1;
    public const int SHUT_RDWR = 2;

    [LibraryImport(C)]
    public static partial int shutdown(int fd, int how);

    [LibraryImport(C)]
    public static partial int getsockopt(int fd, int level, int name, void* value, uint* length);

    [LibraryImport(C)]
    public static partial nint sendmsg(int fd, Msghdr* message, int flags);

    [LibraryImport(C)]
    public static partial nint recv(int fd, void* buffer, nuint length, int flags);

    [LibraryImport(C)]
    public static partial nint recvmsg(int fd, Msghdr* message, int flags);
}
