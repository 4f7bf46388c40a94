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

    /// <inheritdoc/>
    public void Dispose() => Handle.Dispose();
}
