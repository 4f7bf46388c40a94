using System.Runtime.InteropServices;

#pragma warning disable CS1591 // fields and flags of <poll.h>, name for name

namespace Kvm.Interop;

/// <summary><c>struct pollfd</c> (poll.h): one descriptor, what is waited for, what happened.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct PollFd
{
    public const short POLLIN = 0x0001;
    public const short POLLPRI = 0x0002;
    public const short POLLOUT = 0x0004;
    public const short POLLERR = 0x0008;
    public const short POLLHUP = 0x0010;
    public const short POLLNVAL = 0x0020;

    /// <summary>The descriptor; a negative one is passed over.</summary>
    public int Fd;
    public short Events;
    public short Revents;
}

internal static unsafe partial class Libc
{
    [LibraryImport(C)]
    public static partial int poll(PollFd* fds, nuint count, int timeout);
}
