using System.Globalization;
using System.Runtime.InteropServices;

#pragma warning disable CS1591 // values of <asm-generic/errno.h>, name for name

namespace Kvm.Interop;

/// <summary>Error numbers of Linux on x86-64, their names and texts (errno.h).</summary>
public static class Errno
{
    public const int EPERM = 1;
    public const int ENOENT = 2;
    public const int ESRCH = 3;
    public const int EINTR = 4;
    public const int EIO = 5;
    public const int ENXIO = 6;
    public const int E2BIG = 7;
    public const int EBADF = 9;
    public const int ECHILD = 10;
    public const int EAGAIN = 11;
    public const int ENOMEM = 12;
    public const int EACCES = 13;
    public const int EFAULT = 14;
    public const int EBUSY = 16;
    public const int EEXIST = 17;
    public const int EXDEV = 18;
    public const int ENODEV = 19;
    public const int ENOTDIR = 20;
    public const int EISDIR = 21;
    public const int EINVAL = 22;
    public const int ENFILE = 23;
    public const int EMFILE = 24;
    public const int ENOTTY = 25;
    public const int EFBIG = 27;
    public const int ENOSPC = 28;
    public const int ESPIPE = 29;
    public const int EROFS = 30;
    public const int EPIPE = 32;
    public const int ERANGE = 34;
    public const int ENAMETOOLONG = 36;
    public const int ENOSYS = 38;
    public const int EOVERFLOW = 75;
    public const int EOPNOTSUPP = 95;
    public const int EADDRINUSE = 98;
    public const int EADDRNOTAVAIL = 99;
    public const int EBADFD = 77;
    public const int ECONNRESET = 104;
    public const int ENOBUFS = 105;
    public const int ETIMEDOUT = 110;
    public const int ECONNREFUSED = 111;
    public const int EDQUOT = 122;
    public const int ECANCELED = 125;
    public const int EHWPOISON = 133;

    private static readonly (int Number, string Name)[] Names =
    [
        (EPERM, nameof(EPERM)), (ENOENT, nameof(ENOENT)), (ESRCH, nameof(ESRCH)), (EINTR, nameof(EINTR)), (EIO, nameof(EIO)),
        (ENXIO, nameof(ENXIO)), (E2BIG, nameof(E2BIG)), (EBADF, nameof(EBADF)), (ECHILD, nameof(ECHILD)), (EAGAIN, nameof(EAGAIN)),
        (ENOMEM, nameof(ENOMEM)), (EACCES, nameof(EACCES)), (EFAULT, nameof(EFAULT)), (EBUSY, nameof(EBUSY)), (EEXIST, nameof(EEXIST)),
        (ENODEV, nameof(ENODEV)), (ENOTDIR, nameof(ENOTDIR)), (EISDIR, nameof(EISDIR)), (EINVAL, nameof(EINVAL)), (ENFILE, nameof(ENFILE)),
        (EMFILE, nameof(EMFILE)), (ENOTTY, nameof(ENOTTY)), (EFBIG, nameof(EFBIG)), (ENOSPC, nameof(ENOSPC)), (ESPIPE, nameof(ESPIPE)),
        (EROFS, nameof(EROFS)), (EPIPE, nameof(EPIPE)), (ERANGE, nameof(ERANGE)), (ENOSYS, nameof(ENOSYS)), (EOVERFLOW, nameof(EOVERFLOW)),
        (EOPNOTSUPP, nameof(EOPNOTSUPP)), (ETIMEDOUT, nameof(ETIMEDOUT)), (ENAMETOOLONG, nameof(ENAMETOOLONG)),
        (EBADFD, nameof(EBADFD)), (EADDRINUSE, nameof(EADDRINUSE)), (EADDRNOTAVAIL, nameof(EADDRNOTAVAIL)), (ECONNRESET, nameof(ECONNRESET)), (ENOBUFS, nameof(ENOBUFS)), (ECONNREFUSED, nameof(ECONNREFUSED)), (EDQUOT, nameof(EDQUOT)),
        (ECANCELED, nameof(ECANCELED)), (EHWPOISON, nameof(EHWPOISON)),
    ];

    /// <summary>All numbers this library names.</summary>
    internal static ReadOnlySpan<(int Number, string Name)> All => Names;

    /// <summary>The name of a positive error number ("EBUSY"), or "errno N" where it has none here.</summary>
    public static string NameOf(int errno)
    {
        foreach ((int number, string name) in Names)
        {
            if (number == errno)
            {
                return name;
            }
        }

        return string.Create(CultureInfo.InvariantCulture, $"errno {errno}");
    }

    /// <summary>The C library's text for a positive error number ("Device or resource busy").</summary>
    public static string TextOf(int errno) => Marshal.GetPInvokeErrorMessage(errno);

    /// <summary>
    /// The error number of the call this thread made last. Read it at once: the imports are declared without SetLastError, which costs a
    /// store and a load around each call; both runtimes preserve errno across the return to managed code.
    /// </summary>
    internal static int Last => Marshal.GetLastSystemError();
}
