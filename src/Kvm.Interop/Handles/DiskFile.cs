using System.Runtime.InteropServices;

namespace Kvm.Interop;

/// <summary>Which file or block device it is, whatever its name: equal for two descriptors of the same one.</summary>
/// <param name="Device">The device its file system is on, or for a block device the device itself.</param>
/// <param name="Inode">The file on that device; 0 for a block device.</param>
public sealed record FileIdentity(ulong Device, ulong Inode);

/// <summary>
/// A file or block device with a disk's content: one method a system call, each returning what the kernel does or -errno, so that callers
/// see short transfers and interruptions. Safe from several threads at once but for disposal; never allocates after opening.
/// </summary>
public sealed unsafe partial class DiskFile : IDisposable
{
    private const int Sector = 512;
    private const int Page = 4096;

    private int _locked;

    private DiskFile(FdHandle handle, ulong length, int alignment, in Statx stat)
    {
        Handle = handle;
        Length = length;
        Alignment = alignment;
        IsBlockDevice = (stat.StxMode & Libc.S_IFMT) == Libc.S_IFBLK;
        Identity = IsBlockDevice
            ? new FileIdentity(Number(stat.StxRdevMajor, stat.StxRdevMinor), 0)
            : new FileIdentity(Number(stat.StxDevMajor, stat.StxDevMinor), stat.StxIno);
    }

    /// <summary>The descriptor.</summary>
    public FdHandle Handle { get; }

    /// <summary>Bytes in it when it was opened.</summary>
    public ulong Length { get; }

    /// <summary>What positions, lengths and addresses must be multiples of: 1, or 512 or 4096 where the page cache is passed by.</summary>
    public int Alignment { get; }

    /// <summary>True for a block device, false for a regular file.</summary>
    public bool IsBlockDevice { get; }

    /// <summary>Which one it is.</summary>
    public FileIdentity Identity { get; }

    /// <summary>Opens one; a FIFO without a peer does not block.</summary>
    /// <param name="path">Its path.</param>
    /// <param name="readOnly">For reading only.</param>
    /// <param name="direct">Past the page cache (O_DIRECT).</param>
    /// <exception cref="KvmException">It cannot be opened, is no file with positions (ESPIPE), or is a folder (EISDIR); EINVAL: this file system has no O_DIRECT.</exception>
    public static DiskFile Open(string path, bool readOnly, bool direct)
    {
        int flags = (readOnly ? Libc.O_RDONLY : Libc.O_RDWR) | Libc.O_CLOEXEC | Libc.O_NONBLOCK | (direct ? Libc.O_DIRECT : 0);
        int fd = Descriptor.Open(path, flags);
        if (fd < 0)
        {
            throw new KvmException("open", -fd);
        }

        FdHandle handle = new(fd);
        try
        {
            long length = Libc.lseek(fd, 0, Libc.SEEK_END);
            if (length < 0)
            {
                throw new KvmException("lseek", Errno.Last);
            }

            int alignment = Probe(fd, direct);
            // An io_uring takes O_NONBLOCK for a wish to be told EAGAIN rather than to wait for the storage. For pread it means nothing.
            if (Libc.fcntl(fd, Libc.F_SETFL, direct ? Libc.O_DIRECT : 0) != 0)
            {
                throw new KvmException("fcntl (F_SETFL)", Errno.Last);
            }

            return new DiskFile(handle, (ulong)length, alignment, StatOf(fd));
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Locks all of it for this open description (fcntl F_OFD_SETLK): for writing by one, or for reading by many. Returns 0, or -EAGAIN where
    /// somebody has a lock that excludes this one. Advisory; closing releases it.
    /// </summary>
    public int TryLock(bool exclusive)
    {
        FileLock request = new() { LType = exclusive ? Libc.F_WRLCK : Libc.F_RDLCK };
        if (Libc.fcntl(Handle.Fd, Libc.F_OFD_SETLK, (nint)(&request)) != 0)
        {
            return -Errno.Last;
        }

        _locked = 1;
        return 0;
    }

    // One piece goes by the system call itself: in a process of several threads the C library's function is a point where a thread may be
    // cancelled, which costs it a twentieth of a small transfer from the page cache.

    /// <summary>Reads at a position into pieces of memory, one after another: bytes read, possibly fewer, 0 at the end; or -errno.</summary>
    public nint ReadAt(ulong position, ReadOnlySpan<IoVector> pieces)
    {
        fixed (IoVector* first = pieces)
        {
            nint count = pieces.Length == 1
                ? (nint)Libc.syscall(Libc.SYS_pread64, Handle.Fd, first->IovBase, (nint)first->IovLen, (nint)position)
                : Libc.preadv(Handle.Fd, first, pieces.Length, (long)position);
            return count >= 0 ? count : -Errno.Last;
        }
    }

    /// <summary>Writes at a position from pieces of memory, one after another: bytes written, possibly fewer; or -errno.</summary>
    public nint WriteAt(ulong position, ReadOnlySpan<IoVector> pieces)
    {
        fixed (IoVector* first = pieces)
        {
            nint count = pieces.Length == 1
                ? (nint)Libc.syscall(Libc.SYS_pwrite64, Handle.Fd, first->IovBase, (nint)first->IovLen, (nint)position)
                : Libc.pwritev(Handle.Fd, first, pieces.Length, (long)position);
            return count >= 0 ? count : -Errno.Last;
        }
    }

    /// <summary>fdatasync: 0 or -errno.</summary>
    public int Flush() => Libc.fdatasync(Handle.Fd) == 0 ? 0 : -Errno.Last;

    /// <summary>Gives a range's storage back; it reads as zeros then: 0 or -errno (EOPNOTSUPP: this file system or device cannot).</summary>
    public int PunchHole(ulong position, ulong length) => Allocate(Libc.FALLOC_FL_PUNCH_HOLE | Libc.FALLOC_FL_KEEP_SIZE, position, length);

    /// <summary>Makes a range read as zeros and keeps its storage: 0 or -errno (EOPNOTSUPP: this file system or device cannot).</summary>
    public int ZeroRange(ulong position, ulong length) => Allocate(Libc.FALLOC_FL_ZERO_RANGE | Libc.FALLOC_FL_KEEP_SIZE, position, length);

    /// <summary>
    /// Gives the lock back and closes. A program that another thread is just starting has the description until it runs, and with it would have the
    /// lock: so that goes first, and for all.
    /// </summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _locked, 0) != 0)
        {
            FileLock request = new() { LType = Libc.F_UNLCK };
            _ = Libc.fcntl(Handle.Fd, Libc.F_OFD_SETLK, (nint)(&request));
        }

        Handle.Dispose();
    }

    private static ulong Number(uint major, uint minor) => (ulong)major << 32 | minor;

    private static Statx StatOf(int fd)
    {
        byte* all = stackalloc byte[Libc.StatxBytes];
        byte empty = 0;
        return Libc.statx(fd, &empty, Libc.AT_EMPTY_PATH, Libc.STATX_BASIC_STATS, all) == 0 ? *(Statx*)all : throw new KvmException("statx", Errno.Last);
    }

    private int Allocate(int mode, ulong position, ulong length) =>
        Libc.fallocate(Handle.Fd, mode, (long)position, (long)length) == 0 ? 0 : -Errno.Last;

    /// <summary>Finds out by reading whether this is a file at all, and which transfers it takes.</summary>
    private static int Probe(int fd, bool direct)
    {
        byte* memory = (byte*)NativeMemory.AlignedAlloc(2 * Page, Page);
        try
        {
            // At 512 neither place, length nor memory is a multiple of 4096.
            if (Libc.pread(fd, memory + Sector, Sector, Sector) >= 0)
            {
                return direct ? Sector : 1;
            }

            int errno = Errno.Last;
            if (direct && errno == Errno.EINVAL && Libc.pread(fd, memory, Page, 0) >= 0)
            {
                return Page;
            }

            throw new KvmException("pread", errno);
        }
        finally
        {
            NativeMemory.AlignedFree(memory);
        }
    }
}
