using System.Text;

namespace Kvm.Interop;

/// <summary>What a file holds and where, and moving it inside the kernel: for programs that copy disks.</summary>
public sealed unsafe partial class DiskFile
{
    /// <summary>Bytes of storage the file takes now.</summary>
    public ulong AllocatedBytes => StatOf(Handle.Fd).StxBlocks * Sector;

    /// <summary>True if a path leads to a regular file: not to a device of any kind, a pipe, a socket or a folder. Opens nothing.</summary>
    public static bool IsRegularFile(string path)
    {
        byte* all = stackalloc byte[Libc.StatxBytes];
        fixed (byte* p = NameOf(path))
        {
            return Libc.statx(Libc.CurrentFolder, p, 0, Libc.STATX_BASIC_STATS, all) == 0 && (((Statx*)all)->StxMode & Libc.S_IFMT) == Libc.S_IFREG;
        }
    }

    /// <summary>Gives a file another name besides the one it has, in the same file system (link): 0 or -errno (EEXIST where the name is taken).</summary>
    public static int Link(string path, string another)
    {
        fixed (byte* from = NameOf(path), to = NameOf(another))
        {
            return Libc.link(from, to) == 0 ? 0 : -Errno.Last;
        }
    }

    /// <summary>
    /// Makes another file hold what this one holds, sharing its storage until either is written (FICLONE): 0 or -errno (EOPNOTSUPP, EXDEV, EINVAL: these two files
    /// cannot).
    /// </summary>
    public int CloneTo(DiskFile target)
    {
        ArgumentNullException.ThrowIfNull(target);
        return Libc.ioctl(target.Handle.Fd, Libc.FICLONE, (nuint)Handle.Fd) == 0 ? 0 : -Errno.Last;
    }

    /// <summary>Makes the names in a folder durable (fsync of the folder): files made, renamed and removed in it are so after a crash too. 0 or -errno.</summary>
    public static int SyncFolder(string path)
    {
        int fd = Descriptor.Open(path, Libc.O_RDONLY | Libc.O_DIRECTORY | Libc.O_CLOEXEC);
        if (fd < 0)
        {
            return fd;
        }

        using FdHandle folder = new(fd);
        return Libc.fsync(fd) == 0 ? 0 : -Errno.Last;
    }

    /// <summary>Bytes in it now.</summary>
    public ulong CurrentLength => Libc.lseek(Handle.Fd, 0, Libc.SEEK_END) is >= 0 and var length ? (ulong)length : Length;

    /// <summary>Finds the first range at a position or behind it that may hold something else than zeros.</summary>
    /// <param name="from">The position.</param>
    /// <param name="start">First byte of the range.</param>
    /// <param name="end">The byte behind it.</param>
    /// <returns>0; -ENXIO where there is none; another -errno where this file cannot tell.</returns>
    public int FindData(ulong from, out ulong start, out ulong end)
    {
        (start, end) = (0, 0);
        long data = Libc.lseek(Handle.Fd, (long)from, Libc.SEEK_DATA);
        if (data < 0)
        {
            return -Errno.Last;
        }

        long hole = Libc.lseek(Handle.Fd, data, Libc.SEEK_HOLE);
        if (hole < 0)
        {
            return -Errno.Last;
        }

        (start, end) = ((ulong)data, (ulong)hole);
        return 0;
    }

    /// <summary>Copies a range to the same place of another file without it passing through this program: bytes copied, possibly fewer; or -errno.</summary>
    public nint CopyTo(DiskFile target, ulong position, ulong length)
    {
        ArgumentNullException.ThrowIfNull(target);
        long from = (long)position, to = from;
        nint count = Libc.copy_file_range(Handle.Fd, &from, target.Handle.Fd, &to, (nuint)length, 0);
        return count >= 0 ? count : -Errno.Last;
    }

    /// <summary>Makes the file longer or shorter: 0 or -errno. <see cref="Length"/> stays what it was when it was opened.</summary>
    public int Resize(ulong length) => Libc.ftruncate(Handle.Fd, (long)length) == 0 ? 0 : -Errno.Last;

    /// <summary>Takes storage for a range, which may reach past the end: 0 or -errno.</summary>
    public int Reserve(ulong position, ulong length) => Allocate(0, position, length);

    /// <summary>A path as the C library takes it: ends with a NUL.</summary>
    private static byte[] NameOf(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        byte[] name = new byte[Encoding.UTF8.GetByteCount(path) + 1];
        Encoding.UTF8.GetBytes(path, name);
        return name;
    }
}
