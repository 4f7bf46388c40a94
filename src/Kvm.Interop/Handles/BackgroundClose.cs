namespace Kvm.Interop;

/// <summary>
/// Lets the kernel finish closing a file in the background. The last close of a VM waits for the SRCU grace periods that making its
/// interrupt chips left behind (4 to 25 ms measured, HZ=250), which nobody needs to wait for: not a person at a prompt, not a test.
/// An io_uring holds a second reference to the file; a ring is taken apart by a kernel worker, so the file's last close happens there.
/// </summary>
internal static unsafe class BackgroundClose
{
    /// <summary>
    /// A ring that holds <paramref name="file"/> until it is disposed; the caller closes the file first. Null where the host has no
    /// io_uring or does not permit it: the close then waits, which is all that changes.
    /// </summary>
    public static FdHandle? Hold(FdHandle file)
    {
        IoUringParams plain = default;
        long ring = Libc.syscall(Libc.SYS_io_uring_setup, 1, (nint)(&plain), 0);
        if (ring < 0)
        {
            return null;
        }

        var holder = new FdHandle((int)ring); // the kernel makes it close-on-exec
        int fd = file.Fd;
        if (Libc.syscall(Libc.SYS_io_uring_register, holder.Fd, (nint)IoUringRegister.Files, (nint)(&fd), 1) < 0)
        {
            holder.Dispose();
            return null;
        }

        return holder;
    }
}
