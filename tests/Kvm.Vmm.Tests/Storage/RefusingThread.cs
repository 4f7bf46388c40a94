using System.Runtime.InteropServices;

namespace Kvm.Vmm.Tests.Storage;

/// <summary>Runs code on a thread of its own, for which the kernel answers some system calls by an error (seccomp), as containers and bad moments do.</summary>
internal static unsafe partial class RefusingThread
{
    public const int IoUringSetup = 425, IoUringEnter = 426;

    private const int SetNoNewPrivileges = 38, SetSeccomp = 22, FilterMode = 2;
    private const uint Allow = 0x7fff_0000, Fail = 0x0005_0000;

    /// <summary>Runs <paramref name="action"/> with one system call failing. It must start no threads, which would inherit that.</summary>
    public static void Run(int call, int errno, Action action)
    {
        Exception? thrown = null;
        bool refused = false;
        var thread = new Thread(() =>
        {
            try
            {
                refused = Install(call, errno);
                if (refused)
                    action();
            }
            catch (Exception e)
            {
                thrown = e;
            }
        });
        thread.Start();
        thread.Join();
        if (thrown is not null)
            throw new InvalidOperationException(thrown.Message, thrown);
        Skip.IfNot(refused, "this host has no seccomp filters");
    }

    private static bool Install(int call, int errno)
    {
        // struct sock_filter: the call's number is at 0 of struct seccomp_data (linux/seccomp.h).
        var program = stackalloc Instruction[]
        {
            new(0x20, 0, 0, 0),
            new(0x15, 0, 1, (uint)call),
            new(0x06, 0, 0, Fail | (uint)errno),
            new(0x06, 0, 0, Allow),
        };
        var filter = new Program { Length = 4, Instructions = program };
        return prctl(SetNoNewPrivileges, 1, 0, 0, 0) == 0 && prctl(SetSeccomp, FilterMode, (nint)(&filter), 0, 0) == 0;
    }

    [LibraryImport("libc")]
    private static partial int prctl(int option, nint a, nint b, nint c, nint d);

    private readonly record struct Instruction(ushort Code, byte IfTrue, byte IfFalse, uint Value);

    private struct Program
    {
        public ushort Length;
        public Instruction* Instructions;
    }
}
