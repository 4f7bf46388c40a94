using System.Runtime.InteropServices;

namespace Kvm.Interop;

/// <summary><c>struct epoll_event</c>; packed on x86-64 (sys/epoll.h).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
public struct EpollEvent
{
    /// <summary>Bits of <see cref="EpollEvents"/>: asked for, or what happened.</summary>
    public EpollEvents Events;

    /// <summary>What <see cref="Epoll.Add"/> was given for the descriptor.</summary>
    public ulong Data;
}

/// <summary>The <c>EPOLL</c> event bits.</summary>
[Flags]
public enum EpollEvents : uint
{
    /// <summary>None.</summary>
    None = 0,
    /// <summary>EPOLLIN: readable.</summary>
    In = 0x001,
    /// <summary>EPOLLOUT: writable.</summary>
    Out = 0x004,
    /// <summary>EPOLLERR: an error; always reported.</summary>
    Err = 0x008,
    /// <summary>EPOLLHUP: hung up; always reported.</summary>
    Hup = 0x010,
    /// <summary>EPOLLRDHUP: the peer shut down its writing half.</summary>
    RdHup = 0x2000,
    /// <summary>EPOLLEXCLUSIVE: wake one waiter, not all.</summary>
    Exclusive = 1u << 28,
    /// <summary>EPOLLONESHOT: disarm after one event.</summary>
    OneShot = 1u << 30,
    /// <summary>EPOLLET: report edges.</summary>
    EdgeTriggered = 1u << 31,
}

internal static unsafe partial class Libc
{
    public const int EPOLL_CLOEXEC = 0x80000;
    public const int EPOLL_CTL_ADD = 1;
    public const int EPOLL_CTL_DEL = 2;
    public const int EPOLL_CTL_MOD = 3;

    [LibraryImport(C)]
    public static partial int epoll_create1(int flags);

    [LibraryImport(C)]
    public static partial int epoll_ctl(int epfd, int operation, int fd, EpollEvent* what);

    [LibraryImport(C)]
    public static partial int epoll_wait(int epfd, EpollEvent* events, int maxEvents, int timeout);
}
