using System.Text;

namespace Kvm.Interop;

/// <summary>How <see cref="HostMapping"/> backs memory with large pages.</summary>
public enum HugePages
{
    /// <summary>The system's default.</summary>
    Default,
    /// <summary>Transparent: MADV_HUGEPAGE; ignored where the kernel has none.</summary>
    Transparent,
    /// <summary>Reserved 2 MiB pages (hugetlbfs); fails where too few are reserved.</summary>
    Reserved,
}

/// <summary>Memory of this process that backs guest memory: anonymous, or a sealed memfd other processes can map. Zeroed. Unmapped on disposal.</summary>
public sealed unsafe class HostMapping : IDisposable
{
    private const nuint HugePageSize = 2 << 20;

    private readonly MappingHandle _mapping;
    private readonly nint _start;
    private bool _isCopy;

    private HostMapping(MappingHandle mapping, nint start, nuint length, FdHandle? file)
    {
        _mapping = mapping;
        _start = start;
        Length = length;
        File = file;
    }

    /// <summary>First byte; aligned to 2 MiB where <see cref="Length"/> is at least that, so that large pages fit guest-physical ones.</summary>
    public nint Address
    {
        get
        {
            ObjectDisposedException.ThrowIf(_mapping.IsClosed, this);
            return _start;
        }
    }

    /// <summary>Bytes.</summary>
    public nuint Length { get; }

    /// <summary>The memfd of a shared mapping, sealed against growing and shrinking; <c>null</c> for anonymous memory.</summary>
    public FdHandle? File { get; }

    /// <summary>Backs the first bytes by pages of 4 KiB, whatever was asked for: where little is touched, a large page is mostly waste.</summary>
    /// <param name="length">Bytes, a multiple of 4096; more than there are is all of them.</param>
    public void KeepSmall(nuint length)
    {
        // A kernel without transparent huge pages says EINVAL, and has small pages anyway.
        _ = Libc.madvise((void*)Address, Math.Min(length, Length), Libc.MADV_NOHUGEPAGE);
    }

    /// <summary>Private memory of this process.</summary>
    /// <param name="length">Bytes, a multiple of 4096 (of 2 MiB for <see cref="HugePages.Reserved"/>), not 0.</param>
    /// <param name="pages">Large pages.</param>
    /// <exception cref="KvmException">ENOMEM: more than the host gives.</exception>
    public static HostMapping Anonymous(nuint length, HugePages pages = HugePages.Default)
    {
        CheckLength(length, pages);
        int flags = Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_NORESERVE | (pages == HugePages.Reserved ? Libc.MAP_HUGETLB : 0);
        return Create(length, pages, flags, null);
    }

    /// <summary>Memory other processes can map through <see cref="File"/>, whose size is sealed: a peer cannot shrink it and make accesses fault.</summary>
    /// <param name="length">Bytes, a multiple of 4096 (of 2 MiB for <see cref="HugePages.Reserved"/>), not 0.</param>
    /// <param name="name">Shown in /proc; at most 249 bytes.</param>
    /// <param name="pages">Large pages.</param>
    public static HostMapping Shared(nuint length, string name, HugePages pages = HugePages.Default)
    {
        CheckLength(length, pages);
        uint memfdFlags = Libc.MFD_CLOEXEC | Libc.MFD_ALLOW_SEALING | (pages == HugePages.Reserved ? Libc.MFD_HUGETLB : 0);
        int fd;
        fixed (byte* text = Encoding.UTF8.GetBytes(name + "\0"))
        {
            fd = Libc.memfd_create(text, memfdFlags);
        }

        if (fd < 0)
        {
            throw new KvmException("memfd_create", Errno.Last);
        }

        FdHandle file = new(fd);
        try
        {
            if (Libc.ftruncate(fd, (long)length) != 0)
            {
                throw new KvmException("ftruncate (memfd)", Errno.Last);
            }

            if (Libc.fcntl(fd, Libc.F_ADD_SEALS, Libc.F_SEAL_SHRINK | Libc.F_SEAL_GROW | Libc.F_SEAL_SEAL) != 0)
            {
                throw new KvmException("fcntl (F_ADD_SEALS)", Errno.Last);
            }

            return Create(length, pages, Libc.MAP_SHARED | Libc.MAP_NORESERVE, file);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Maps memory that another process made by <see cref="Shared"/> and gave this one.</summary>
    /// <param name="file">The memfd; owned from now on, also where this throws.</param>
    /// <param name="most">The most bytes that are mapped.</param>
    /// <exception cref="KvmException">EINVAL: empty, larger than <paramref name="most"/>, no multiple of a page, or not sealed against shrinking, so that an access could fault.</exception>
    public static HostMapping Open(FdHandle file, nuint most)
    {
        ArgumentNullException.ThrowIfNull(file);
        try
        {
            long length = Libc.lseek(file.Fd, 0, Libc.SEEK_END);
            int seals = Libc.fcntl(file.Fd, Libc.F_GET_SEALS, 0);
            if (length <= 0 || (nuint)length > most || length % Environment.SystemPageSize != 0 || seals < 0 || (seals & Libc.F_SEAL_SHRINK) == 0)
            {
                throw new KvmException("mmap (shared memory of another process)", Errno.EINVAL);
            }

            return Create((nuint)length, HugePages.Default, Libc.MAP_SHARED | Libc.MAP_NORESERVE, file);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Memory that has a sealed file's content: this process's own where it is written, shared with all who map the file where it is not.</summary>
    /// <param name="file">The file; stays the caller's, and may be closed.</param>
    /// <param name="offset">Where in it, a multiple of 4096.</param>
    /// <param name="length">Bytes, a multiple of 4096, not 0.</param>
    /// <exception cref="KvmException">EINVAL: the file is shorter; or what mmap met.</exception>
    public static HostMapping CopyOf(SealedFile file, long offset, nuint length)
    {
        ArgumentNullException.ThrowIfNull(file);
        CheckLength(length, HugePages.Default);
        if (offset < 0 || offset > file.Length || length > (nuint)(file.Length - offset))
        {
            throw new KvmException("mmap (a file that is too short)", Errno.EINVAL);
        }

        var mapping = Create(length, HugePages.Default, Libc.MAP_PRIVATE | Libc.MAP_NORESERVE, file.Handle, offset);
        return new HostMapping(mapping._mapping, mapping._start, length, null) { _isCopy = true };
    }

    /// <summary>The memory as a span, for mappings up to 2 GiB − 1.</summary>
    public Span<byte> Span => new((void*)Address, checked((int)Length));

    /// <summary>Gives pages back to the host (balloon, dropped snapshots): they read as zero afterwards. Returns 0 or -errno.</summary>
    public int Discard(nuint offset, nuint length)
    {
        if (!_isCopy)
        {
            return Advise(offset, length, File is null ? Libc.MADV_DONTNEED : Libc.MADV_REMOVE);
        }

        // The file's content would be there again: memory of no file takes its place.
        CheckRange(offset, length);
        const int flags = Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_NORESERVE | Libc.MAP_FIXED;
        return Libc.mmap((byte*)Address + offset, length, Libc.PROT_READ | Libc.PROT_WRITE, flags, -1, 0) == Libc.MAP_FAILED ? -Errno.Last : 0;
    }

    /// <summary>Populates pages now rather than at the guest's first touch (MADV_POPULATE_WRITE, Linux 5.14). Returns 0 or -errno.</summary>
    public int Populate(nuint offset, nuint length) => Advise(offset, length, Libc.MADV_POPULATE_WRITE);

    /// <summary>Lets the host merge equal pages (KSM). Returns 0 or -errno (EINVAL: the kernel has no KSM).</summary>
    public int AllowMerging() => Advise(0, Length, Libc.MADV_MERGEABLE);

    /// <summary>Keeps the memory from being swapped out. Returns 0 or -errno (ENOMEM, EPERM: over the limit of locked memory).</summary>
    public int Lock() => Libc.mlock((void*)Address, Length) == 0 ? 0 : -Errno.Last;

    /// <summary>Bytes that the host has really given so far (mincore; of a copy its own pages). Walks the page tables: not for hot paths.</summary>
    public long ResidentBytes()
    {
        if (_isCopy)
        {
            return OwnBytes();
        }

        const int pagesAtOnce = 1 << 16;
        byte[] residency = new byte[pagesAtOnce];
        nuint page = (nuint)Environment.SystemPageSize;
        long resident = 0;
        for (nuint offset = 0; offset < Length; offset += pagesAtOnce * page)
        {
            nuint piece = Math.Min(pagesAtOnce * page, Length - offset);
            fixed (byte* answer = residency)
            {
                if (Libc.mincore((byte*)Address + offset, piece, answer) != 0)
                {
                    return 0;
                }
            }

            foreach (byte state in residency.AsSpan(0, (int)(piece / page)))
            {
                resident += state & 1;
            }
        }

        return resident * (long)page;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _mapping.Dispose();
        File?.Dispose();
    }

    /// <summary>Pages that are this process's own (/proc/self/pagemap: bit 63, there; bit 61, of a file).</summary>
    private long OwnBytes()
    {
        const int entry = 8, entriesAtOnce = 8192;
        const ulong there = 1UL << 63, ofFile = 1UL << 61;
        int fd = Descriptor.Open("/proc/self/pagemap", Libc.O_RDONLY | Libc.O_CLOEXEC);
        if (fd < 0)
        {
            return 0;
        }

        using FdHandle pagemap = new(fd);
        ulong[] entries = new ulong[entriesAtOnce];
        long page = Environment.SystemPageSize, pages = (long)Length / page, own = 0;
        for (long first = 0; first < pages; first += entriesAtOnce)
        {
            int count = (int)Math.Min(entriesAtOnce, pages - first);
            fixed (ulong* to = entries)
            {
                if (Libc.pread(fd, to, (nuint)(count * entry), ((Address / page) + first) * entry) != count * entry)
                {
                    return own * page;
                }
            }

            foreach (ulong state in entries.AsSpan(0, count))
            {
                own += (state & (there | ofFile)) == there ? 1 : 0;
            }
        }

        return own * page;
    }

    private void CheckRange(nuint offset, nuint length)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, Length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, Length - offset);
    }

    private int Advise(nuint offset, nuint length, int advice)
    {
        CheckRange(offset, length);
        return Libc.madvise((byte*)Address + offset, length, advice) == 0 ? 0 : -Errno.Last;
    }

    private static void CheckLength(nuint length, HugePages pages)
    {
        nuint unit = pages == HugePages.Reserved ? HugePageSize : (nuint)Environment.SystemPageSize;
        // mmap's own limit is far below; this keeps the padding of Create from wrapping.
        if (length == 0 || length % unit != 0 || length > nuint.MaxValue / 2)
        {
            throw new ArgumentOutOfRangeException(nameof(length), length, $"not a positive multiple of {unit}");
        }
    }

    private static HostMapping Create(nuint length, HugePages pages, int flags, FdHandle? file, long offset = 0)
    {
        // Address space for aligning costs nothing; a mapping over part of it keeps one owner for the whole.
        bool align = length >= HugePageSize && pages != HugePages.Reserved;
        nuint reserved = align ? length + HugePageSize : length;
        if (!align)
        {
            MappingHandle exact = MappingHandle.Map(length, Libc.PROT_READ | Libc.PROT_WRITE, flags, file?.Fd ?? -1, offset, "guest memory");
            return new HostMapping(exact, exact.Address, length, file);
        }

        const int reserve = Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_NORESERVE;
        MappingHandle whole = MappingHandle.Map(reserved, Libc.PROT_NONE, reserve, -1, 0, "guest memory");
        nuint start = ((nuint)whole.Address + HugePageSize - 1) & ~(HugePageSize - 1);
        void* placed = Libc.mmap((void*)start, length, Libc.PROT_READ | Libc.PROT_WRITE, flags | Libc.MAP_FIXED, file?.Fd ?? -1, offset);
        if (placed == Libc.MAP_FAILED)
        {
            int errno = Errno.Last;
            whole.Dispose();
            throw new KvmException("mmap (guest memory)", errno);
        }

        if (pages == HugePages.Transparent)
        {
            // A kernel without transparent huge pages says EINVAL: the memory is as good, only slower.
            _ = Libc.madvise(placed, length, Libc.MADV_HUGEPAGE);
        }

        return new HostMapping(whole, (nint)start, length, file);
    }
}
