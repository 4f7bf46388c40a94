using System.Runtime.InteropServices;

namespace Kvm.Interop;

/// <summary>Owns a file descriptor and closes it once.</summary>
public sealed class FdHandle : SafeHandle
{
    /// <summary>Takes ownership of <paramref name="fd"/>.</summary>
    public FdHandle(int fd)
        : base(-1, ownsHandle: true)
    {
        SetHandle(fd);
    }

    /// <inheritdoc/>
    public override bool IsInvalid => handle < 0;

    /// <summary>The number, for calls that take it. Throws <see cref="ObjectDisposedException"/> after closing, so a number that was given away again is never used.</summary>
    public int Fd
    {
        get
        {
            ObjectDisposedException.ThrowIf(IsClosed, this);
            return (int)handle;
        }
    }

    /// <summary>A second descriptor of the same file, closed when a program is started.</summary>
    /// <exception cref="KvmException">EMFILE: the process has too many.</exception>
    public FdHandle Duplicate()
    {
        int fd = Libc.fcntl(Fd, Libc.F_DUPFD_CLOEXEC, 0);
        return fd < 0 ? throw new KvmException("fcntl (F_DUPFD_CLOEXEC)", Errno.Last) : new FdHandle(fd);
    }

    /// <summary>Gives the descriptor away: the number, which is the caller's to close from now on.</summary>
    public int Release()
    {
        int fd = Fd;
        SetHandleAsInvalid();
        return fd;
    }

    /// <inheritdoc/>
    protected override bool ReleaseHandle() => Libc.close((int)handle) == 0;
}
