using System.Text;

namespace Kvm.Interop;

/// <summary>
/// Calls on plain descriptors, mostly those this process was given (standard input, output and error) and does not own. Errors come
/// back as -errno; a call that a signal interrupted is made again.
/// </summary>
public static unsafe class Descriptor
{
    /// <summary>False where the number is no open descriptor.</summary>
    public static bool IsOpen(int fd) => Libc.fcntl(fd, Libc.F_GETFL, 0) >= 0;

    /// <summary>
    /// Opens a file for reading without ever waiting: a FIFO that nobody writes to opens as well, and is then found not to be a
    /// regular file. Returns the descriptor, which the caller owns, or -errno.
    /// </summary>
    public static int OpenForReading(string path) => Open(path, Libc.O_RDONLY | Libc.O_NONBLOCK | Libc.O_CLOEXEC);

    /// <summary>open(2) of something that is there: a descriptor, which the caller owns, or -errno.</summary>
    internal static int Open(string path, int flags, int mode = 0)
    {
        ArgumentNullException.ThrowIfNull(path);
        byte[] name = new byte[Encoding.UTF8.GetByteCount(path) + 1]; // ends with a NUL
        Encoding.UTF8.GetBytes(path, name);
        fixed (byte* p = name)
        {
            while (true)
            {
                int fd = Libc.open(p, flags, mode);
                if (fd >= 0)
                {
                    return fd;
                }

                int errno = Errno.Last;
                if (errno != Errno.EINTR)
                {
                    return -errno;
                }
            }
        }
    }

    /// <summary>Has what is in a file, or the names in a folder, last (fsync): 0 or -errno.</summary>
    public static int SyncPath(string path)
    {
        int fd = Open(path, Libc.O_RDONLY | Libc.O_CLOEXEC);
        if (fd < 0)
        {
            return fd;
        }

        using FdHandle file = new(fd);
        return Libc.fsync(fd) == 0 ? 0 : -Errno.Last;
    }

    /// <summary>fsync of a folder: what was made, renamed and removed in it lasts. Returns 0 or -errno.</summary>
    public static int SyncFolder(string path)
    {
        int fd = Open(path, Libc.O_RDONLY | Libc.O_DIRECTORY | Libc.O_CLOEXEC);
        if (fd < 0)
        {
            return fd;
        }

        int result = Libc.fsync(fd) == 0 ? 0 : -Errno.Last;
        _ = Libc.close(fd);
        return result;
    }

    /// <summary>Reads what there is, at most the buffer; 0 at the end. Blocks where nothing is there yet.</summary>
    public static int Read(int fd, Span<byte> buffer)
    {
        fixed (byte* p = buffer)
        {
            while (true)
            {
                nint count = Libc.read(fd, p, (nuint)buffer.Length);
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

    /// <summary>Reads at an offset, at most the buffer; the bytes that came, or -errno. Files of /proc are made anew by each reading at 0.</summary>
    public static int ReadAt(int fd, Span<byte> buffer, long offset)
    {
        fixed (byte* p = buffer)
        {
            while (true)
            {
                nint count = Libc.pread(fd, p, (nuint)buffer.Length, offset);
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

    /// <summary>Writes some or all; the number of bytes that went. Blocks where nothing can go yet.</summary>
    public static int Write(int fd, ReadOnlySpan<byte> bytes)
    {
        fixed (byte* p = bytes)
        {
            while (true)
            {
                nint count = Libc.write(fd, p, (nuint)bytes.Length);
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

    /// <summary>poll: waits until one of <paramref name="fds"/> is ready. Allocates nothing.</summary>
    /// <param name="fds">What to wait for; <see cref="PollFd.Revents"/> says what happened.</param>
    /// <param name="timeoutMilliseconds">-1 for ever, 0 not at all.</param>
    /// <returns>How many are ready; 0 after the timeout or when a signal interrupted the wait.</returns>
    public static int Poll(Span<PollFd> fds, int timeoutMilliseconds)
    {
        fixed (PollFd* p = fds)
        {
            int count = Libc.poll(p, (nuint)fds.Length, timeoutMilliseconds);
            if (count >= 0)
            {
                return count;
            }
        }

        int errno = Errno.Last;
        return errno == Errno.EINTR ? 0 : -errno;
    }
}
