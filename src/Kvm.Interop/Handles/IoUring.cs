namespace Kvm.Interop;

/// <summary>
/// An io_uring: operations on files are prepared, handed to the kernel all at once, and their completions are found in memory, in any order.
/// Allocates nothing after construction.
/// </summary>
/// <remarks>
/// Not thread-safe, but any thread may use it: no set-up flag binds it to one. Whoever disposes of it has seen the completion of everything
/// that was submitted: until then the kernel may write to the memory of what is under way.
/// </remarks>
public sealed unsafe class IoUring : IDisposable
{
    private const int MostEntries = 1 << 14;
    private const int MostOperations = 256;

    private const uint NeededFeatures = Libc.IORING_FEAT_SINGLE_MMAP | Libc.IORING_FEAT_NODROP | Libc.IORING_FEAT_SUBMIT_STABLE;

    private readonly FdHandle _handle;
    private readonly MappingHandle _rings;
    private readonly MappingHandle _entries;
    private readonly uint* _sqHead;
    private readonly uint* _sqTail;
    private readonly uint* _cqHead;
    private readonly uint* _cqTail;
    private readonly uint* _cqFlags;
    private readonly IoUringCqe* _completions;
    private readonly uint _cqMask;
    private readonly IoUringSqe* _submissions;
    private readonly uint _sqMask;
    private uint _tail;

    private IoUring(FdHandle handle, in IoUringParams made)
    {
        _handle = handle;
        nuint submissions = made.SqOff.Array + made.SqEntries * sizeof(uint);
        nuint completions = made.CqOff.Cqes + made.CqEntries * (nuint)sizeof(IoUringCqe);
        const int protection = Libc.PROT_READ | Libc.PROT_WRITE, flags = Libc.MAP_SHARED | Libc.MAP_POPULATE;
        _rings = MappingHandle.Map(nuint.Max(submissions, completions), protection, flags, handle.Fd, Libc.IORING_OFF_SQ_RING, "io_uring");
        try
        {
            nuint size = made.SqEntries * (nuint)sizeof(IoUringSqe);
            _entries = MappingHandle.Map(size, protection, flags, handle.Fd, Libc.IORING_OFF_SQES, "io_uring entries");
        }
        catch
        {
            _rings.Dispose();
            throw;
        }

        byte* rings = (byte*)_rings.Address;
        _sqHead = (uint*)(rings + made.SqOff.Head);
        _sqTail = (uint*)(rings + made.SqOff.Tail);
        _cqHead = (uint*)(rings + made.CqOff.Head);
        _cqTail = (uint*)(rings + made.CqOff.Tail);
        // A kernel before 5.8 has no such flags and says 0, which is where something else is.
        _cqFlags = made.CqOff.Flags == 0 ? null : (uint*)(rings + made.CqOff.Flags);
        _completions = (IoUringCqe*)(rings + made.CqOff.Cqes);
        _submissions = (IoUringSqe*)_entries.Address;
        (_sqMask, _cqMask) = (*(uint*)(rings + made.SqOff.RingMask), *(uint*)(rings + made.CqOff.RingMask));
        // The kernel looks for the n-th submission where this array says; entries are used in their own order.
        uint* array = (uint*)(rings + made.SqOff.Array);
        for (uint i = 0; i < made.SqEntries; i++)
        {
            array[i] = i;
        }

        _tail = *_sqTail;
        Entries = (int)made.SqEntries;
    }

    /// <summary>Operations that can be prepared before they are submitted; completions have room for twice as many.</summary>
    public int Entries { get; }

    /// <summary>The descriptor.</summary>
    internal FdHandle Handle => _handle;

    /// <summary>Operations prepared and not yet taken by the kernel.</summary>
    public int Prepared => (int)(_tail - Volatile.Read(ref *_sqHead));

    /// <summary>Makes a ring, if this kernel has one that can do what is needed and this process may use it.</summary>
    /// <param name="entries">Operations prepared at once, 1 to 16384; rounded up to a power of two.</param>
    /// <param name="needed">Operations it must know.</param>
    /// <param name="ring">The ring, if 0 is returned.</param>
    /// <returns>0, or -errno: ENOSYS and EPERM where there is none or a policy forbids it, EOPNOTSUPP where the kernel's is too old.</returns>
    public static int TryCreate(int entries, ReadOnlySpan<IoUringOp> needed, out IoUring? ring)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(entries, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(entries, MostEntries);
        ring = null;
        IoUringParams parameters = default;
        long fd = Libc.syscall(Libc.SYS_io_uring_setup, entries, (nint)(&parameters), 0);
        if (fd < 0)
        {
            return -Errno.Last;
        }

        FdHandle handle = new((int)fd); // the kernel makes it close-on-exec
        int result = (parameters.Features & NeededFeatures) == NeededFeatures ? Probe(handle, needed) : -Errno.EOPNOTSUPP;
        try
        {
            ring = result == 0 ? new IoUring(handle, in parameters) : null;
        }
        catch (KvmException e)
        {
            result = -e.Errno;
        }

        if (ring is null)
        {
            handle.Dispose();
        }

        return result;
    }

    /// <summary>From now on each completion signals <paramref name="bell"/>, until <see cref="Mute"/>.</summary>
    /// <exception cref="KvmException">The kernel refuses; EBUSY: there is a bell already.</exception>
    public void SignalBy(EventFd bell)
    {
        ArgumentNullException.ThrowIfNull(bell);
        int fd = bell.Handle.Fd;
        if (Libc.syscall(Libc.SYS_io_uring_register, _handle.Fd, (nint)IoUringRegister.Eventfd, (nint)(&fd), 1) < 0)
        {
            throw new KvmException("io_uring_register (eventfd)", Errno.Last);
        }
    }

    /// <summary>Completions need not signal: somebody looks at them anyway. Kernels before 5.8 signal all the same.</summary>
    public void Mute()
    {
        if (_cqFlags is not null)
        {
            Volatile.Write(ref *_cqFlags, Libc.IORING_CQ_EVENTFD_DISABLED);
        }
    }

    /// <summary>Completions signal again.</summary>
    /// <returns>True if there are some that nobody took, for which no signal need come.</returns>
    public bool Unmute()
    {
        if (_cqFlags is not null)
        {
            Volatile.Write(ref *_cqFlags, 0);
            // The kernel writes a completion, then looks at the flag; here it is the other way round, and one of both must see the other's.
            Thread.MemoryBarrier();
        }

        return HasCompletion;
    }

    /// <summary>True if <see cref="TryTake"/> would give one.</summary>
    public bool HasCompletion => *_cqHead != Volatile.Read(ref *_cqTail);

    /// <summary>
    /// Prepares a transfer at a position. More than one piece: the array of pieces lies in memory that does not move, until <see cref="Submit"/>.
    /// What the pieces name is used until the completion, whose result is the number of bytes, or -errno.
    /// </summary>
    /// <returns>False if the ring is full.</returns>
    public bool TryTransfer(int fd, bool write, ulong position, ReadOnlySpan<IoVector> pieces, ulong tag)
    {
        if (pieces.Length == 1)
        {
            // The length of an operation has 32 bits, and no transfer is longer than 2 GiB less a page: a short transfer is the caller's to go on from.
            uint length = (uint)nuint.Min(pieces[0].IovLen, int.MaxValue);
            return TryPrepare(write ? IoUringOp.Write : IoUringOp.Read, fd, position, (ulong)pieces[0].IovBase, length, 0, tag);
        }

        fixed (IoVector* first = pieces)
        {
            return TryPrepare(write ? IoUringOp.Writev : IoUringOp.Readv, fd, position, (ulong)first, (uint)pieces.Length, 0, tag);
        }
    }

    /// <summary>Prepares fdatasync; the result is 0 or -errno. False if the ring is full.</summary>
    public bool TryFlush(int fd, ulong tag) => TryPrepare(IoUringOp.Fsync, fd, 0, 0, 0, Libc.IORING_FSYNC_DATASYNC, tag);

    /// <summary>Prepares giving a range's storage back (<see cref="DiskFile.PunchHole"/>); the result is 0 or -errno. False if the ring is full.</summary>
    public bool TryPunchHole(int fd, ulong position, ulong length, ulong tag) =>
        TryPrepare(IoUringOp.Fallocate, fd, position, length, Libc.FALLOC_FL_PUNCH_HOLE | Libc.FALLOC_FL_KEEP_SIZE, 0, tag);

    /// <summary>Prepares making a range read as zeros (<see cref="DiskFile.ZeroRange"/>); the result is 0 or -errno. False if the ring is full.</summary>
    public bool TryZeroRange(int fd, ulong position, ulong length, ulong tag) =>
        TryPrepare(IoUringOp.Fallocate, fd, position, length, Libc.FALLOC_FL_ZERO_RANGE | Libc.FALLOC_FL_KEEP_SIZE, 0, tag);

    /// <summary>
    /// Prepares giving up the operation with the tag <paramref name="which"/>, which then completes with -ECANCELED or -EINTR, or as it would have.
    /// The result of this one is 0 or -errno (ENOENT: it is not under way). False if the ring is full.
    /// </summary>
    public bool TryCancel(ulong which, ulong tag) => TryPrepare(IoUringOp.AsyncCancel, -1, 0, which, 0, 0, tag);

    /// <summary>Hands what was prepared to the kernel: one system call as a rule, none where nothing is prepared. An interrupted one is made again.</summary>
    /// <returns>0, or -errno with the rest still prepared: EAGAIN, EBUSY: no memory for it now.</returns>
    public int Submit()
    {
        Volatile.Write(ref *_sqTail, _tail);
        while (Prepared is > 0 and var count)
        {
            long taken = Libc.syscall(Libc.SYS_io_uring_enter, _handle.Fd, count, 0, 0, 0, 0);
            if (taken < 0 && Errno.Last is not Errno.EINTR and var errno)
            {
                return -errno;
            }

            if (taken == 0)
            {
                return -Errno.EAGAIN;
            }
        }

        return 0;
    }

    /// <summary>Takes the operation back that was prepared last, if the kernel has not taken it.</summary>
    public bool TryWithdraw(out ulong tag)
    {
        tag = 0;
        if (Prepared == 0)
        {
            return false;
        }

        _tail--;
        // Nobody reads the tail but a call of Submit, which this thread makes.
        Volatile.Write(ref *_sqTail, _tail);
        tag = _submissions[_tail & _sqMask].UserData;
        return true;
    }

    /// <summary>Takes a completion, if there is one.</summary>
    public bool TryTake(out ulong tag, out int result)
    {
        uint head = *_cqHead;
        if (head == Volatile.Read(ref *_cqTail))
        {
            (tag, result) = (0, 0);
            return false;
        }

        ref IoUringCqe completion = ref _completions[head & _cqMask];
        (tag, result) = (completion.UserData, completion.Res);
        Volatile.Write(ref *_cqHead, head + 1);
        return true;
    }

    /// <summary>Waits until there is a completion, without submitting. Something must be under way. A signal does not end the wait.</summary>
    /// <returns>0 or -errno.</returns>
    public int Wait()
    {
        while (!HasCompletion)
        {
            if (Libc.syscall(Libc.SYS_io_uring_enter, _handle.Fd, 0, 1, (nint)Libc.IORING_ENTER_GETEVENTS, 0, 0) < 0 && Errno.Last is not Errno.EINTR and var errno)
            {
                return -errno;
            }
        }

        return 0;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _entries.Dispose();
        _rings.Dispose();
        _handle.Dispose();
    }

    private bool TryPrepare(IoUringOp operation, int fd, ulong offset, ulong address, uint length, uint flags, ulong tag)
    {
        if (Prepared == Entries)
        {
            return false;
        }

        _submissions[_tail & _sqMask] = new IoUringSqe
        {
            Opcode = operation,
            Fd = fd,
            Off = offset,
            Addr = address,
            Len = length,
            RwFlags = flags,
            UserData = tag,
        };
        _tail++;
        return true;
    }

    /// <summary>Asks the kernel which operations it knows: 0, or -EOPNOTSUPP, or -errno.</summary>
    private static int Probe(FdHandle ring, ReadOnlySpan<IoUringOp> needed)
    {
        int size = sizeof(IoUringProbe) + MostOperations * sizeof(IoUringProbeOp);
        byte* answer = stackalloc byte[size];
        new Span<byte>(answer, size).Clear();
        if (Libc.syscall(Libc.SYS_io_uring_register, ring.Fd, (nint)IoUringRegister.Probe, (nint)answer, MostOperations) < 0)
        {
            // Kernels before 5.6 do not know the question.
            return Errno.Last == Errno.EINVAL ? -Errno.EOPNOTSUPP : -Errno.Last;
        }

        int known = ((IoUringProbe*)answer)->OpsLen;
        IoUringProbeOp* operations = (IoUringProbeOp*)(answer + sizeof(IoUringProbe));
        foreach (IoUringOp operation in needed)
        {
            if ((int)operation >= known || (operations[(int)operation].Flags & Libc.IO_URING_OP_SUPPORTED) == 0)
            {
                return -Errno.EOPNOTSUPP;
            }
        }

        return 0;
    }
}
