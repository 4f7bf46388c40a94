namespace Kvm.Interop;

/// <summary>Who connected: as the kernel knows it, not as it says.</summary>
/// <param name="ProcessId">The process that connected; 0 where it is in another namespace.</param>
/// <param name="UserId">Its user.</param>
public readonly record struct PeerIdentity(int ProcessId, uint UserId);

/// <summary>
/// A Unix stream socket that can carry descriptors (unix(7)). Not thread-safe but for disposal. Faults of a peer are results, not exceptions.
/// </summary>
public sealed unsafe class UnixSocket : IDisposable
{
    /// <summary>Room for a path in <c>struct sockaddr_un</c>, its NUL included.</summary>
    public const int MostPathBytes = 108;

    /// <summary>Takes over a descriptor, such as one that was inherited.</summary>
    public UnixSocket(FdHandle handle) => Handle = handle;

    /// <summary>The descriptor.</summary>
    public FdHandle Handle { get; }

    /// <summary>Makes a non-blocking socket that listens at a path where nothing is. Its file's mode follows the umask.</summary>
    /// <param name="path">At most <see cref="MostPathBytes"/> − 1 bytes.</param>
    /// <param name="backlog">How many connections may wait to be accepted.</param>
    /// <exception cref="KvmException">EADDRINUSE: something is at the path; ENAMETOOLONG; ENOENT, EACCES: the folder.</exception>
    public static UnixSocket Listen(string path, int backlog)
    {
        if (!SockaddrUn.TryMake(path, out var address))
        {
            throw new KvmException($"bind ({path})", Errno.ENAMETOOLONG);
        }

        var socket = Create(Libc.SOCK_NONBLOCK);
        if (Libc.bind(socket.Handle.Fd, &address, address.Length) == 0 && Libc.listen(socket.Handle.Fd, backlog) == 0)
        {
            return socket;
        }

        int error = Errno.Last;
        socket.Dispose();
        throw new KvmException($"bind ({path})", error);
    }

    /// <summary>Connects to a path. Returns 0 or -errno: ECONNREFUSED (nobody listens any more), ENOENT, EACCES, EAGAIN (too many wait).</summary>
    /// <param name="path">At most <see cref="MostPathBytes"/> − 1 bytes.</param>
    /// <param name="socket">The socket, if 0 is returned.</param>
    /// <param name="wait">False for a non-blocking socket, and not to wait where too many do.</param>
    /// <exception cref="KvmException">No socket can be made.</exception>
    public static int TryConnect(string path, out UnixSocket? socket, bool wait = true)
    {
        socket = null;
        if (!SockaddrUn.TryMake(path, out var address))
        {
            return -Errno.ENAMETOOLONG;
        }

        var made = Create(wait ? 0 : Libc.SOCK_NONBLOCK);
        if (Libc.connect(made.Handle.Fd, &address, address.Length) == 0)
        {
            socket = made;
            return 0;
        }

        int error = Errno.Last;
        made.Dispose();
        return -error;
    }

    /// <summary>Takes the next client of a socket that listens.</summary>
    /// <param name="client">Its socket, non-blocking, or <c>null</c> where none waits or it has gone again.</param>
    /// <returns>False where one waits that cannot be taken: this process or the host has no descriptor or no memory for it.</returns>
    public bool TryAccept(out UnixSocket? client)
    {
        client = null;
        while (true)
        {
            int fd = Libc.accept4(Handle.Fd, null, null, Libc.SOCK_CLOEXEC | Libc.SOCK_NONBLOCK);
            if (fd >= 0)
            {
                client = new UnixSocket(new FdHandle(fd));
                return true;
            }

            int errno = Errno.Last;
            if (errno != Errno.EINTR)
            {
                return errno is not (Errno.EMFILE or Errno.ENFILE or Errno.ENOMEM or Errno.ENOBUFS);
            }
        }
    }

    /// <summary>Who is at the other end, as of its connecting.</summary>
    /// <returns>0 or -errno.</returns>
    public int GetPeer(out PeerIdentity peer)
    {
        Ucred credentials = default;
        uint length = (uint)sizeof(Ucred);
        int result = Libc.getsockopt(Handle.Fd, Libc.SOL_SOCKET, Libc.SO_PEERCRED, &credentials, &length);
        peer = new PeerIdentity(credentials.Pid, credentials.Uid);
        return result == 0 ? 0 : -Errno.Last;
    }

    /// <summary>
    /// True if the other end is this process's user or the administrator, by the kernel's word. Who may write to a socket's file is who may
    /// connect, and whoever made the file is who is found behind it: both are looked at again by this.
    /// </summary>
    /// <param name="peer">Who it is.</param>
    public bool HasTrustedPeer(out PeerIdentity peer) => GetPeer(out peer) == 0 && (peer.UserId == 0 || peer.UserId == HostUser.EffectiveId);

    /// <summary>Sends some or all bytes, and with the first of them a descriptor.</summary>
    /// <param name="bytes">Not empty.</param>
    /// <param name="descriptor">A descriptor to give away a copy of, or null.</param>
    /// <param name="wait">False to return -EAGAIN instead of blocking.</param>
    /// <returns>How many bytes went, or -errno (EPIPE, ECONNRESET: the peer is gone). No signal is raised.</returns>
    public int Send(ReadOnlySpan<byte> bytes, FdHandle? descriptor = null, bool wait = true)
    {
        // Aligned for the header: 16 bytes of header, 4 of descriptor, 4 of padding.
        ulong* control = stackalloc ulong[3];
        fixed (byte* data = bytes)
        {
            IoVector piece = new() { IovBase = (nint)data, IovLen = (nuint)bytes.Length };
            Msghdr message = new() { MsgIov = &piece, MsgIovlen = 1 };
            if (descriptor is not null)
            {
                *(Cmsghdr*)control = new Cmsghdr { CmsgLen = (nuint)(sizeof(Cmsghdr) + sizeof(int)), CmsgLevel = Libc.SOL_SOCKET, CmsgType = Libc.SCM_RIGHTS };
                *(int*)((byte*)control + sizeof(Cmsghdr)) = descriptor.Fd;
                message.MsgControl = control;
                message.MsgControllen = 24;
            }

            while (true)
            {
                nint count = Libc.sendmsg(Handle.Fd, &message, Libc.MSG_NOSIGNAL | (wait ? 0 : Libc.MSG_DONTWAIT));
                if (count >= 0)
                {
                    return (int)count;
                }

                int errno = Errno.Last;
                if (errno != Errno.EINTR)
                {
                    return -errno;
                }
            }
        }
    }

    /// <summary>Two connected sockets: a non-blocking one for this process, and one for another, which may not expect that of it.</summary>
    public static (UnixSocket Own, UnixSocket Other) Pair()
    {
        int* fds = stackalloc int[2];
        if (Libc.socketpair(Libc.AF_UNIX, Libc.SOCK_STREAM | Libc.SOCK_CLOEXEC, 0, fds) != 0)
        {
            throw new KvmException("socketpair", Errno.Last);
        }

        (UnixSocket own, UnixSocket other) = (new UnixSocket(new FdHandle(fds[0])), new UnixSocket(new FdHandle(fds[1])));
        int flags = Libc.fcntl(fds[0], Libc.F_GETFL, 0);
        if (flags >= 0 && Libc.fcntl(fds[0], Libc.F_SETFL, flags | Libc.O_NONBLOCK) == 0)
        {
            return (own, other);
        }

        int errno = Errno.Last;
        own.Dispose();
        other.Dispose();
        throw new KvmException("fcntl (F_SETFL)", errno);
    }

    /// <summary>Sends pieces as one, some or all of their bytes, without waiting.</summary>
    /// <param name="pieces">At least one byte in all.</param>
    /// <returns>How many bytes went, or -errno (EAGAIN: no room; EPIPE, ECONNRESET: the peer is gone). No signal is raised.</returns>
    public int Send(ReadOnlySpan<IoVector> pieces)
    {
        fixed (IoVector* p = pieces)
        {
            Msghdr message = new() { MsgIov = p, MsgIovlen = (nuint)pieces.Length };
            while (true)
            {
                nint count = Libc.sendmsg(Handle.Fd, &message, Libc.MSG_NOSIGNAL | Libc.MSG_DONTWAIT);
                if (count >= 0)
                {
                    return (int)count;
                }

                int errno = Errno.Last;
                if (errno != Errno.EINTR)
                {
                    return -errno;
                }
            }
        }
    }

    /// <summary>Receives what is there, at most the buffer, and the one descriptor that came with it. A second descriptor is closed by the kernel.</summary>
    /// <param name="buffer">Not empty.</param>
    /// <param name="descriptor">A descriptor of this process's own now, or null.</param>
    /// <param name="wait">False to return -EAGAIN instead of blocking.</param>
    /// <returns>How many bytes came, 0 at the end of the stream, or -errno.</returns>
    public int Receive(Span<byte> buffer, out FdHandle? descriptor, bool wait = true)
    {
        ulong* control = stackalloc ulong[3];
        descriptor = null;
        fixed (byte* data = buffer)
        {
            while (true)
            {
                IoVector piece = new() { IovBase = (nint)data, IovLen = (nuint)buffer.Length };
                Msghdr message = new() { MsgIov = &piece, MsgIovlen = 1, MsgControl = control, MsgControllen = 24 };
                nint count = Libc.recvmsg(Handle.Fd, &message, Libc.MSG_CMSG_CLOEXEC | (wait ? 0 : Libc.MSG_DONTWAIT));
                if (count < 0)
                {
                    int errno = Errno.Last;
                    if (errno == Errno.EINTR)
                    {
                        continue;
                    }

                    return -errno;
                }

                Cmsghdr header = *(Cmsghdr*)control;
                if (message.MsgControllen >= 20 && header.CmsgLevel == Libc.SOL_SOCKET && header.CmsgType == Libc.SCM_RIGHTS && header.CmsgLen >= 20)
                {
                    descriptor = new FdHandle(*(int*)((byte*)control + sizeof(Cmsghdr)));
                }

                return (int)count;
            }
        }
    }

    /// <summary>Receives bytes that are there, without waiting; descriptors that came with them are closed by the kernel.</summary>
    /// <param name="buffer">Not empty.</param>
    /// <returns>How many bytes came, 0 at the end of the stream, or -errno (EAGAIN: there are none).</returns>
    public int ReceiveBytes(Span<byte> buffer)
    {
        fixed (byte* data = buffer)
        {
            while (true)
            {
                nint count = Libc.recv(Handle.Fd, data, (nuint)buffer.Length, Libc.MSG_DONTWAIT);
                if (count >= 0)
                {
                    return (int)count;
                }

                int errno = Errno.Last;
                if (errno != Errno.EINTR)
                {
                    return -errno;
                }
            }
        }
    }

    /// <summary>shutdown of both directions: whoever waits for this socket, here or at the other end, finds the stream's end. Any thread.</summary>
    public void Shutdown() => _ = Libc.shutdown(Handle.Fd, Libc.SHUT_RDWR);

    /// <summary>shutdown of what is sent: the other end reads to the end.</summary>
    public void EndWrites() => _ = Libc.shutdown(Handle.Fd, Libc.SHUT_WR);

    /// <inheritdoc/>
    public void Dispose() => Handle.Dispose();

    /// <summary>Makes a socket without an address.</summary>
    internal static UnixSocket Create(int flags)
    {
        int fd = Libc.socket(Libc.AF_UNIX, Libc.SOCK_STREAM | Libc.SOCK_CLOEXEC | flags, 0);
        return fd < 0 ? throw new KvmException("socket (AF_UNIX)", Errno.Last) : new UnixSocket(new FdHandle(fd));
    }
}
