using System.Text;

namespace Kvm.Interop;

/// <summary>
/// A Unix stream socket that waits for clients at a path, open to its owner only (mode 0600). Non-blocking. Not thread-safe.
/// </summary>
public sealed unsafe class UnixListener : IDisposable
{
    /// <summary>The longest path in bytes of UTF-8: <c>sun_path</c> of unix(7), less its NUL.</summary>
    public const int MaxPathBytes = UnixSocket.MostPathBytes - 1;

    private const int AddressBytes = 2 + MaxPathBytes + 1;

    private readonly string _path;
    private readonly ulong _inode;

    private UnixListener(FdHandle handle, string path, ulong inode) => (Handle, _path, _inode) = (handle, path, inode);

    /// <summary>The descriptor, readable when a client waits.</summary>
    public FdHandle Handle { get; }

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
        Span<byte> address = stackalloc byte[AddressBytes];
        uint length = AddressOf(path, address);
        FdHandle handle = new(Check("socket", Libc.socket(Libc.AF_UNIX, Libc.SOCK_STREAM | Libc.SOCK_CLOEXEC | Libc.SOCK_NONBLOCK, 0)));
        try
        {
            // Before it has a name: bind gives the name the socket's own mode, so that it is never open to others.
            Check("fchmod", Libc.fchmod(handle.Fd, 0x180)); // 0600
            fixed (byte* p = address)
            {
                if (Libc.bind(handle.Fd, p, length) != 0)
                {
                    int errno = Errno.Last;
                    if (errno != Errno.EADDRINUSE || !IsDead(p, length))
                    {
                        throw new KvmException("bind", errno);
                    }

                    Check("unlink", Libc.unlink(p + 2));
                    Check("bind", Libc.bind(handle.Fd, p, length));
                }

                Check("listen", Libc.listen(handle.Fd, backlog));
                return new UnixListener(handle, path, TryStat(p + 2, out var stat) ? stat.StxIno : 0);
            }
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    /// <summary>Takes the next client.</summary>
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

    /// <summary>Stops listening and removes the path, if it still leads to this socket.</summary>
    public void Dispose()
    {
        if (Handle.IsClosed)
        {
            return;
        }

        Span<byte> address = stackalloc byte[AddressBytes];
        AddressOf(_path, address);
        fixed (byte* p = address)
        {
            if (TryStat(p + 2, out var stat) && stat.StxIno == _inode)
            {
                _ = Libc.unlink(p + 2);
            }
        }

        Handle.Dispose();
    }

    /// <summary>True for a socket of this user that refuses connections.</summary>
    private static bool IsDead(byte* address, uint length)
    {
        if (!TryStat(address + 2, out var stat) || (stat.StxMode & Libc.S_IFMT) != Libc.S_IFSOCK || stat.StxUid != Libc.geteuid())
        {
            return false;
        }

        using FdHandle probe = new(Check("socket", Libc.socket(Libc.AF_UNIX, Libc.SOCK_STREAM | Libc.SOCK_CLOEXEC | Libc.SOCK_NONBLOCK, 0)));
        return Libc.connect(probe.Fd, address, length) != 0 && Errno.Last == Errno.ECONNREFUSED;
    }

    private static bool TryStat(byte* path, out Statx stat)
    {
        byte* all = stackalloc byte[Libc.StatxBytes];
        bool found = Libc.statx(Libc.CurrentFolder, path, Libc.AT_SYMLINK_NOFOLLOW, Libc.STATX_BASIC_STATS, all) == 0;
        stat = found ? *(Statx*)all : default;
        return found;
    }

    private static uint AddressOf(string path, Span<byte> address)
    {
        address.Clear();
        int bytes = Encoding.UTF8.GetByteCount(path);
        if (bytes is 0 or > MaxPathBytes)
        {
            throw new ArgumentException($"a socket's path has 1 to {MaxPathBytes} bytes, not {bytes}", nameof(path));
        }

        address[0] = Libc.AF_UNIX;
        Encoding.UTF8.GetBytes(path, address[2..]);
        return (uint)(2 + bytes + 1);
    }

    private static int Check(string call, int result) => result >= 0 ? result : throw new KvmException(call, Errno.Last);
}
