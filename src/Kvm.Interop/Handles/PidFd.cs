namespace Kvm.Interop;

/// <summary>A process by descriptor: readable (<see cref="EpollEvents.In"/>) once it ended, and never another process of the same number.</summary>
public sealed class PidFd : IDisposable
{
    /// <summary>pidfd_open (Linux 5.3). Throws ESRCH where there is no such process.</summary>
    public PidFd(int processId)
    {
        long fd = Libc.syscall(Libc.SYS_pidfd_open, processId, 0, 0);
        if (fd < 0)
        {
            throw new KvmException("pidfd_open", Errno.Last);
        }

        Handle = new FdHandle((int)fd);
    }

    /// <summary>The descriptor.</summary>
    public FdHandle Handle { get; }

    /// <summary>Sends the process a signal (pidfd_send_signal). Returns 0 or -errno: ESRCH where it has ended and was waited for.</summary>
    public int Signal(int signal) => Libc.syscall(Libc.SYS_pidfd_send_signal, Handle.Fd, signal, 0, 0) == 0 ? 0 : -Errno.Last;

    /// <summary>Takes the end of a child of this process, so that nothing is left of it; true if there was one to be taken.</summary>
    public static unsafe bool Reap(int processId) => Libc.waitpid(processId, null, Libc.WNOHANG) == processId;

    /// <inheritdoc/>
    public void Dispose() => Handle.Dispose();
}
