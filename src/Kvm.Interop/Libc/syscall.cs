using System.Runtime.InteropServices;

namespace Kvm.Interop;

internal static unsafe partial class Libc
{
    public const long SYS_pread64 = 17, SYS_pwrite64 = 18;
    public const long SYS_gettid = 186;
    public const long SYS_tgkill = 234;
    public const long SYS_ioprio_set = 251;
    public const long SYS_pidfd_send_signal = 424;
    public const long SYS_io_uring_setup = 425;
    public const long SYS_io_uring_enter = 426;
    public const long SYS_io_uring_register = 427;
    public const long SYS_pidfd_open = 434;

    // syscall is variadic; integer arguments travel in registers either way. glibc before 2.30 has no gettid, so the numbers are used.
    [LibraryImport(C)]
    public static partial long syscall(long number, nint a, nint b, nint c);

    [LibraryImport(C)]
    public static partial long syscall(long number, nint a, nint b, nint c, nint d);

    [LibraryImport(C)]
    public static partial long syscall(long number, nint a, nint b, nint c, nint d, nint e, nint f);
}
