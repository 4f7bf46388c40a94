namespace Kvm.Interop;

/// <summary>A set of descriptors one thread waits for. <see cref="Add"/> and the like may be called from any thread.</summary>
public sealed unsafe class Epoll : IDisposable
{
    /// <summary>Makes an empty set.</summary>
    public Epoll()
    {
        int fd = Libc.epoll_create1(Libc.EPOLL_CLOEXEC);
        if (fd < 0)
        {
            throw new KvmException("epoll_create1", Errno.Last);
        }

        Handle = new FdHandle(fd);
    }

    /// <summary>The descriptor.</summary>
    public FdHandle Handle { get; }

    /// <summary>Adds a descriptor; <paramref name="data"/> comes back with its events. Throws EEXIST where it is in the set, EPERM for regular files.</summary>
    public void Add(int fd, EpollEvents events, ulong data) => Control(Libc.EPOLL_CTL_ADD, fd, events, data);

    /// <summary>Changes what is waited for.</summary>
    public void Modify(int fd, EpollEvents events, ulong data) => Control(Libc.EPOLL_CTL_MOD, fd, events, data);

    /// <summary>Takes a descriptor out; before it is closed, where it was duplicated.</summary>
    public void Remove(int fd) => Control(Libc.EPOLL_CTL_DEL, fd, EpollEvents.None, 0);

    /// <summary>Waits for events. Allocates nothing.</summary>
    /// <param name="events">Where they go; at least one.</param>
    /// <param name="timeoutMilliseconds">-1 for ever, 0 not at all.</param>
    /// <returns>How many; 0 after the timeout or when a signal interrupted the wait.</returns>
    public int Wait(Span<EpollEvent> events, int timeoutMilliseconds)
    {
        fixed (EpollEvent* p = events)
        {
            int count = Libc.epoll_wait(Handle.Fd, p, events.Length, timeoutMilliseconds);
            if (count >= 0)
            {
                return count;
            }
        }

        int errno = Errno.Last;
        return errno == Errno.EINTR ? 0 : throw new KvmException("epoll_wait", errno);
    }

    /// <inheritdoc/>
    public void Dispose() => Handle.Dispose();

    private void Control(int operation, int fd, EpollEvents events, ulong data)
    {
        EpollEvent what = new() { Events = events, Data = data };
        if (Libc.epoll_ctl(Handle.Fd, operation, fd, &what) != 0)
        {
            throw new KvmException("epoll_ctl", Errno.Last);
        }
    }
}
