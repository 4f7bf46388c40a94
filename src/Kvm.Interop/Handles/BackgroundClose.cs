namespace Kvm.Interop;

/// <summary>
/// Lets the kernel finish closing a file in the background. The last close of a VM waits for the SRCU grace periods that making its
/// interrupt chips left behind (4 to 25 ms measured, HZ=250), which nobody needs to wait for: not a person at a prompt, not a test.
/// An io_uring holds a second reference to the file; a ring is taken apart by a kernel worker, so the file's last close happens there.
/// </summary>
internal static unsafe class BackgroundClose
{
    // struct io_uring_params (linux/io_uring.h) is 120 bytes, all zero for a plain ring.
    private const int ParamsSize = 120;
    private const int IORING_REGISTER_FILES = 2;

    /// <summary>
    /// A ring that holds <paramref name="file"/> until it is disposed; the caller closes the file first. Null where the host has no
    /// io_uring or does not permit it: the close then waits, which is all that changes.
    /// </summary>
    public static FdHandle? Hold(FdHandle file)
    {
        byte* parameters = stackalloc byte[ParamsSize];
        new Span<byte>(parameters, ParamsSize).Clear();
        long ring = Libc.syscall(Libc.SYS_io_uring_setup, 1, (nint)parameters, 0);
        if (ring < 0)
        {
            return null;
        }

        var holder = new FdHandle((int)ring); // the kernel makes it close-on-exec
        int fd = file.Fd;
        if (Libc.syscall(Libc.SYS_io_uring_register, holder.Fd, IORING_REGISTER_FILES, (nint)(&fd), 1) < 0)
        {
            holder.Dispose();
            return null;
        }

        return holder;
    }
}
