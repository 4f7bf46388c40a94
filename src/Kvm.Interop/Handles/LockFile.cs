namespace Kvm.Interop;

/// <summary>A file that one process at a time has locked. The lock ends with the object, or with the process however that ends.</summary>
public sealed unsafe class LockFile : IDisposable
{
    private readonly FdHandle _file;

    private LockFile(FdHandle file) => _file = file;

    /// <summary>Makes the file where it is missing (mode 0600) and waits until the lock is free.</summary>
    /// <exception cref="KvmException">The file cannot be opened or locked.</exception>
    public static LockFile Acquire(string path)
    {
        int fd = Descriptor.Open(path, Libc.O_RDWR | Libc.O_CREAT | Libc.O_CLOEXEC, 0x180);
        if (fd < 0)
        {
            throw new KvmException($"open ({path})", -fd);
        }

        FdHandle file = new(fd);
        FileLock whole = new() { LType = Libc.F_WRLCK };
        while (Libc.fcntl(fd, Libc.F_OFD_SETLKW, (nint)(&whole)) != 0)
        {
            int errno = Errno.Last;
            if (errno != Errno.EINTR)
            {
                file.Dispose();
                throw new KvmException($"fcntl (F_OFD_SETLKW, {path})", errno);
            }
        }

        return new LockFile(file);
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();
}

/// <summary>Who this process acts as.</summary>
public static class HostUser
{
    /// <summary>The effective user's number.</summary>
    public static uint EffectiveId => Libc.geteuid();
}
