namespace Kvm.Interop;

/// <summary>A file that one process at a time has locked, or several together. The lock ends with the object, or with the process however that ends.</summary>
public sealed unsafe class LockFile : IDisposable
{
    private readonly FdHandle _file;

    private LockFile(FdHandle file) => _file = file;

    /// <summary>Makes the file where it is missing (mode 0600) and waits until the lock is free.</summary>
    /// <exception cref="KvmException">The file cannot be opened or locked.</exception>
    public static LockFile Acquire(string path) => Lock(path, Libc.F_OFD_SETLKW, Libc.F_WRLCK)!;

    /// <summary>As <see cref="Acquire"/>, but together with any others that ask like this.</summary>
    /// <exception cref="KvmException">The file cannot be opened or locked.</exception>
    public static LockFile AcquireShared(string path) => Lock(path, Libc.F_OFD_SETLKW, Libc.F_RDLCK)!;

    /// <summary>As <see cref="Acquire"/>, but does not wait: null where another has the lock.</summary>
    /// <exception cref="KvmException">The file cannot be opened or locked.</exception>
    public static LockFile? TryAcquire(string path) => Lock(path, Libc.F_OFD_SETLK, Libc.F_WRLCK);

    /// <summary>As <see cref="TryAcquire(string)"/>, but together with any others that ask like this: null where one has it alone.</summary>
    /// <exception cref="KvmException">The file cannot be opened or locked.</exception>
    public static LockFile? TryAcquireShared(string path) => Lock(path, Libc.F_OFD_SETLK, Libc.F_RDLCK);

    /// <summary>As <see cref="TryAcquire(string)"/>, of one byte: a file has as many locks as it has places, and need not be that long.</summary>
    /// <param name="path">The file.</param>
    /// <param name="place">Which byte, from 0.</param>
    /// <exception cref="KvmException">The file cannot be opened or locked.</exception>
    public static LockFile? TryAcquire(string path, long place) => Lock(path, Libc.F_OFD_SETLK, Libc.F_WRLCK, place, length: 1);

    private static LockFile? Lock(string path, int command, short type, long start = 0, long length = 0)
    {
        int fd = Descriptor.Open(path, Libc.O_RDWR | Libc.O_CREAT | Libc.O_CLOEXEC, 0x180);
        if (fd < 0)
        {
            throw new KvmException($"open ({path})", -fd);
        }

        FdHandle file = new(fd);
        FileLock part = new() { LType = type, LStart = start, LLen = length };
        while (Libc.fcntl(fd, command, (nint)(&part)) != 0)
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
