namespace Kvm.Interop;

/// <summary>
/// Accesses to pages of a process that are not there yet, told by descriptor and answered by whoever has it, mostly another process (userfaultfd(2)). Whoever
/// touches such a page, the kernel on its behalf included, sleeps until it is there. When the last copy of the descriptor is closed all go on: what is not there reads as zeros.
/// </summary>
public sealed unsafe class UserFault : IDisposable
{
    private const ulong PageSize = 4096;

    /// <summary>Takes over a descriptor that another process made by <see cref="TryCreate"/>.</summary>
    public UserFault(FdHandle handle) => Handle = handle;

    /// <summary>The descriptor: readable where an access waits.</summary>
    public FdHandle Handle { get; }

    /// <summary>
    /// Makes one for this process's memory that tells of the kernel's accesses too: by /dev/userfaultfd (Linux 6.1), which its file's mode governs, else by the system call,
    /// which is the administrator's where vm.unprivileged_userfaultfd is 0.
    /// </summary>
    /// <param name="fault">It, if 0 is returned.</param>
    /// <returns>0 or -errno: EPERM, EACCES: not permitted; ENOSYS: the kernel has none.</returns>
    public static int TryCreate(out UserFault? fault)
    {
        fault = null;
        const int flags = Libc.O_CLOEXEC | Libc.O_NONBLOCK;
        int fd = FromDevice(flags);
        if (fd < 0)
        {
            fd = (int)Libc.syscall(Libc.SYS_userfaultfd, flags, 0, 0);
        }

        if (fd < 0)
        {
            return -Errno.Last;
        }

        FdHandle handle = new(fd);
        UffdioApi api = new() { Api = Libc.UFFD_API };
        if (Libc.ioctl(fd, Libc.UFFDIO_API, (nuint)(&api)) != 0)
        {
            int errno = Errno.Last;
            handle.Dispose();
            return -errno;
        }

        fault = new UserFault(handle);
        return 0;
    }

    /// <summary>From now on accesses to pages of this memory that are not there wait. Returns 0 or -errno.</summary>
    /// <param name="address">Its first byte, a multiple of 4096.</param>
    /// <param name="length">Bytes, a multiple of 4096.</param>
    public int Watch(nint address, nuint length)
    {
        UffdioRegister register = new() { Start = (ulong)address, Len = length, Mode = Libc.UFFDIO_REGISTER_MODE_MISSING };
        return Libc.ioctl(Handle.Fd, Libc.UFFDIO_REGISTER, (nuint)(&register)) == 0 ? 0 : -Errno.Last;
    }

    /// <summary>Takes the next access that waits, without waiting for one.</summary>
    /// <param name="address">The address, in the process whose memory it is.</param>
    /// <returns>False where there is none.</returns>
    public bool TryTake(out ulong address)
    {
        UffdMsg message;
        nint count = Libc.read(Handle.Fd, &message, (nuint)sizeof(UffdMsg));
        address = count == sizeof(UffdMsg) && message.Event == Libc.UFFD_EVENT_PAGEFAULT ? message.Address : 0;
        return address != 0;
    }

    /// <summary>Puts pages where none are, and lets go on who waits for them; pages that are there stay as they are. Any thread.</summary>
    /// <param name="address">Where, in the process whose memory it is; a multiple of 4096.</param>
    /// <param name="content">A multiple of 4096 bytes.</param>
    /// <returns>0 or -errno: ESRCH: that process has ended; ENOENT: that is no memory of its any more.</returns>
    public int Fill(ulong address, ReadOnlySpan<byte> content)
    {
        fixed (byte* source = content)
        {
            for (ulong done = 0; done < (ulong)content.Length;)
            {
                UffdioCopy copy = new() { Dst = address + done, Src = (ulong)source + done, Len = (ulong)content.Length - done };
                int result = Libc.ioctl(Handle.Fd, Libc.UFFDIO_COPY, (nuint)(&copy)) == 0 ? 0 : -Errno.Last;
                if (!TryAdvance(result, copy.Len, copy.Copy, ref done))
                {
                    return result;
                }
            }
        }

        return 0;
    }

    /// <summary>As <see cref="Fill"/>, with zeros.</summary>
    /// <param name="address">Where.</param>
    /// <param name="length">A multiple of 4096 bytes.</param>
    public int FillZeros(ulong address, ulong length)
    {
        for (ulong done = 0; done < length;)
        {
            UffdioZeropage zeros = new() { Start = address + done, Len = length - done };
            int result = Libc.ioctl(Handle.Fd, Libc.UFFDIO_ZEROPAGE, (nuint)(&zeros)) == 0 ? 0 : -Errno.Last;
            if (!TryAdvance(result, zeros.Len, zeros.Zeropage, ref done))
            {
                return result;
            }
        }

        return 0;
    }

    /// <inheritdoc/>
    public void Dispose() => Handle.Dispose();

    /// <summary>What a call has done: all, a part (EAGAIN: the memory's map is being changed), or nothing, as its first page is there (EEXIST).</summary>
    private static bool TryAdvance(int result, ulong asked, long told, ref ulong done)
    {
        switch (result)
        {
            case 0:
                done += asked;
                return true;
            case -Errno.EAGAIN:
                done += told > 0 ? (ulong)told : 0;
                return true;
            case -Errno.EEXIST:
                done += PageSize;
                return true;
            case -Errno.EINTR:
                return true;
            default:
                return false;
        }
    }

    private static int FromDevice(int flags)
    {
        int device = Descriptor.Open("/dev/userfaultfd", Libc.O_RDWR | Libc.O_CLOEXEC);
        if (device < 0)
        {
            return device;
        }

        int fd = Libc.ioctl(device, Libc.USERFAULTFD_IOC_NEW, (nuint)(uint)flags);
        _ = Libc.close(device);
        return fd;
    }
}
