namespace Kvm.Interop;

/// <summary>A file that one process at a time has locked, or several together. The lock ends with the object, or with the process however that ends.</summary>
public sealed unsafe class LockFile : IDisposable
{
    private readonly FdHandle _file;

    private LockFile(FdHandle file) => _file = file;

    /// <summary>Makes the file where it is missing (mode 0600) and waits until the lock is free.</summary>
    /// <exception cref="KvmException">The file cannot be opened or locked.</exception>
    public static LockFile Acquire(string path) => Lock(path, Libc.F_OFD_SETLKW, Libc.F_WRLCK)!;

    /// <summary>As <see cref="Acquire"/>, but does not wait: null where another has the lock.</summary>
    /// <exception cref="KvmException">The file cannot be opened or locked.</exception>
    public static LockFile? TryAcquire(string path) => Lock(path, Libc.F_OFD_SETLK, Libc.F_WRLCK);

    /// <summary>As <see cref="TryAcquire"/>, but together with any others that ask like this: null where one has it alone.</summary>
    /// <exception cref="KvmException">The file cannot be opened or locked.</exception>
    public static LockFile? TryAcquireShared(string path) => Lock(path, Libc.F_OFD_SETLK, Libc.F_RDLCK);

    private static LockFile? Lock(string path, int command, short type)
    {
        int fd = Descriptor.Open(path, Libc.O_RDWR | Libc.O_CREAT | Libc.O_CLOEXEC, 0x180);
        if (fd < 0)
        {
            throw new KvmException($"open ({path})", -fd);
        }

        FdHandle file = new(fd);
        FileLock whole = new() { LType = type };
        while (Libc.fcntl(fd, command, (nint)(&whole)) != 0)
        {
            int errno = Errno.Last;
            if (errno == Errno.EINTR)
            {
                continue;
            }

            file.Dispose();
            // fcntl(2): either of them says that it is locked.
            return command == Libc.F_OFD_SETLK && errno is Errno.EAGAIN or Errno.EACCES ? null : throw new KvmException($"fcntl (lock, {path})", errno);
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
