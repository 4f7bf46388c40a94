namespace Kvm.Interop;

/// <summary>An eventfd: a counter that can be signalled and waited for, by KVM too. Non-blocking. Thread-safe but for disposal.</summary>
public sealed unsafe class EventFd : IDisposable
{
    /// <summary>Makes one with count 0.</summary>
    public EventFd()
    {
        int fd = Libc.eventfd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK);
        if (fd < 0)
        {
            throw new KvmException("eventfd", Errno.Last);
        }

        Handle = new FdHandle(fd);
    }

    /// <summary>The descriptor.</summary>
    public FdHandle Handle { get; }

    /// <summary>Adds <paramref name="count"/>. Never blocks, never allocates; a counter that is full is signalled already.</summary>
    public void Signal(ulong count = 1)
    {
        while (Libc.write(Handle.Fd, &count, sizeof(ulong)) < 0 && Errno.Last == Errno.EINTR)
        {
        }
    }

    /// <summary>Takes the whole count and returns it; 0 where nothing was signalled.</summary>
    public ulong Drain()
    {
        ulong count = 0;
        while (true)
        {
            if (Libc.read(Handle.Fd, &count, sizeof(ulong)) == sizeof(ulong))
            {
                return count;
            }

            if (Errno.Last != Errno.EINTR)
            {
                return 0;
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Handle.Dispose();
}
