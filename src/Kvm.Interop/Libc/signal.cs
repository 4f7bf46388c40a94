using System.Runtime.InteropServices;

namespace Kvm.Interop;

/// <summary><c>sigset_t</c> of the C library: 1024 bits, of which the kernel uses the first 64 (signal.h).</summary>
[StructLayout(LayoutKind.Sequential, Size = 128)]
internal struct SigSet
{
    /// <summary>Bit <c>n − 1</c> stands for signal <c>n</c>.</summary>
    public ulong Low;

    /// <summary>The set of one signal, 1 … 64.</summary>
    public static SigSet Of(int signal) => new() { Low = 1UL << (signal - 1) };
}

internal static unsafe partial class Libc
{
    public const int SIG_BLOCK = 0;
    public const int SIG_UNBLOCK = 1;
    public const int SIG_SETMASK = 2;
    public const int SIGKILL = 9;
    public const int SIGTERM = 15;

    // These return the error number itself, not -1.
    [LibraryImport(C)]
    public static partial int pthread_sigmask(int how, SigSet* set, SigSet* old);

    [LibraryImport(C)]
    public static partial int sigtimedwait(SigSet* set, void* info, Timespec* timeout);

    [LibraryImport(C)]
    public static partial int kill(int pid, int signal);
}
