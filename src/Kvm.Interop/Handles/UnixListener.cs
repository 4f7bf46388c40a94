namespace Kvm.Interop;

/// <summary>
/// A Unix stream socket that waits for clients at a path, open to its owner only (mode 0600). Non-blocking. Not thread-safe.
/// </summary>
public sealed unsafe class UnixListener : IDisposable
{
    /// <summary>The longest path in bytes of UTF-8: <c>sun_path</c> of unix(7), less its NUL.</summary>
    public const int MaxPathBytes = UnixSocket.MostPathBytes - 1;

    private readonly UnixSocket _socket;
    private readonly ulong _inode;
    private SockaddrUn _address;

    private UnixListener(UnixSocket socket, in SockaddrUn address, ulong inode) => (_socket, _address, _inode) = (socket, address, inode);

    /// <summary>The descriptor, readable when a client waits.</summary>
    public FdHandle Handle => _socket.Handle;

    /// <summary>
    /// Makes the socket and listens. A socket of this user at the path that nobody listens at, left behind by a process that was killed,
    /// is replaced; anything else that is there is left alone.
    /// </summary>
    /// <param name="path">The path, at most <see cref="MaxPathBytes"/>.</param>
    /// <param name="backlog">Clients that wait at most.</param>
    /// <exception cref="KvmException">EADDRINUSE: something is at the path already; or what the call met.</exception>
    /// <exception cref="ArgumentException">The path is empty or too long.</exception>
    public static UnixListener Open(string path, int backlog)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (!SockaddrUn.TryMake(path, out var address))
        {
            throw new ArgumentException($"a socket's path has 1 to {MaxPathBytes} bytes", nameof(path));
        }

        var socket = UnixSocket.Create(Libc.SOCK_NONBLOCK);
        try
        {
            // Before it has a name: bind gives the name the socket's own mode, so that it is never open to others.
            Check("fchmod", Libc.fchmod(socket.Handle.Fd, 0x180)); // 0600
            if (Libc.bind(socket.Handle.Fd, &address, address.Length) != 0)
            {
                int errno = Errno.Last;
                if (errno != Errno.EADDRINUSE || !IsDead(ref address))
                {
                    throw new KvmException("bind", errno);
                }

                Check("unlink", Libc.unlink(address.SunPath));
                Check("bind", Libc.bind(socket.Handle.Fd, &address, address.Length));
            }

            Check("listen", Libc.listen(socket.Handle.Fd, backlog));
            return new UnixListener(socket, address, TryStat(ref address, out var stat) ? stat.StxIno : 0);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <inheritdoc cref="UnixSocket.TryAccept"/>
    public bool TryAccept(out UnixSocket? client) => _socket.TryAccept(out client);

    /// <summary>Stops listening and removes the path, if it still leads to this socket.</summary>
    public void Dispose()
    {
        if (Handle.IsClosed)
        {
            return;
        }

        if (TryStat(ref _address, out var stat) && stat.StxIno == _inode)
        {
            fixed (byte* path = _address.SunPath)
            {
                _ = Libc.unlink(path);
            }
        }

        _socket.Dispose();
    }

    /// <summary>True for a socket of this user that refuses connections.</summary>
    private static bool IsDead(ref SockaddrUn address)
    {
        if (!TryStat(ref address, out var stat) || (stat.StxMode & Libc.S_IFMT) != Libc.S_IFSOCK || stat.StxUid != Libc.geteuid())
        {
            return false;
        }

        using var probe = UnixSocket.Create(Libc.SOCK_NONBLOCK);
        fixed (SockaddrUn* name = &address)
        {
            return Libc.connect(probe.Handle.Fd, name, address.Length) != 0 && Errno.Last == Errno.ECONNREFUSED;
        }
    }

    private static bool TryStat(ref SockaddrUn address, out Statx stat)
    {
        byte* all = stackalloc byte[Libc.StatxBytes];
        fixed (byte* path = address.SunPath)
        {
            bool found = Libc.statx(Libc.CurrentFolder, path, Libc.AT_SYMLINK_NOFOLLOW, Libc.STATX_BASIC_STATS, all) == 0;
            stat = found ? *(Statx*)all : default;
            return found;
        }
    }

    private static void Check(string call, int result)
    {
        if (result < 0)
        {
            throw new KvmException(call, Errno.Last);
        }
    }
}
