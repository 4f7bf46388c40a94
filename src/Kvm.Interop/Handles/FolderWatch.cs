using System.Text;

namespace Kvm.Interop;

/// <summary>Something happened to the files of a folder: a descriptor (inotify) that is readable then. Not thread-safe.</summary>
public sealed unsafe class FolderWatch : IDisposable
{
    /// <summary>Begins to watch what is written, made, moved to, or removed in a folder.</summary>
    /// <param name="path">The folder.</param>
    /// <exception cref="KvmException">ENOENT: there is none; EMFILE, ENOSPC: this user watches too much.</exception>
    public FolderWatch(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        int fd = Libc.inotify_init1(Libc.IN_CLOEXEC | Libc.IN_NONBLOCK);
        if (fd < 0)
        {
            throw new KvmException("inotify_init1", Errno.Last);
        }

        Handle = new FdHandle(fd);
        byte[] name = new byte[Encoding.UTF8.GetByteCount(path) + 1]; // ends with a NUL
        Encoding.UTF8.GetBytes(path, name);
        fixed (byte* p = name)
        {
            if (Libc.inotify_add_watch(fd, p, Libc.IN_MODIFY | Libc.IN_MOVED_TO | Libc.IN_CREATE | Libc.IN_DELETE | Libc.IN_DELETE_SELF) < 0)
            {
                int errno = Errno.Last;
                Handle.Dispose();
                throw new KvmException($"inotify_add_watch ({path})", errno);
            }
        }
    }

    /// <summary>The descriptor.</summary>
    public FdHandle Handle { get; }

    /// <summary>Forgets what has happened until now.</summary>
    public void Drain()
    {
        byte* events = stackalloc byte[4096];
        while (Libc.read(Handle.Fd, events, 4096) > 0)
        {
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Handle.Dispose();
}
