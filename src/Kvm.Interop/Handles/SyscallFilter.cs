namespace Kvm.Interop;

/// <summary>System calls that this process gives up for good (seccomp(2)): whatever it may be made to do, these fail with EPERM.</summary>
public static unsafe class SyscallFilter
{
    // struct seccomp_data: the number, the architecture, the instruction pointer (8 bytes), six arguments of 8 bytes.
    private const uint NumberOffset = 0, ArchitectureOffset = 4, FirstArgumentOffset = 16;

    /// <summary>Numbers from here on are those of the x32 ABI, which nothing here uses (asm/unistd_x32.h).</summary>
    private const uint X32 = 0x4000_0000;

    // BPF_LD | BPF_W | BPF_ABS; BPF_JMP | BPF_JEQ, JGE, JSET with a constant; BPF_RET of a constant (linux/bpf_common.h).
    private const ushort Load = 0x20, JumpIfEqual = 0x15, JumpIfGreaterOrEqual = 0x35, JumpIfAnySet = 0x45, Return = 0x06;

    private static readonly long[] Denied =
    [
        Libc.SYS_fork, Libc.SYS_vfork, Libc.SYS_execve, Libc.SYS_execveat,
        Libc.SYS_ptrace, Libc.SYS_process_vm_readv, Libc.SYS_process_vm_writev, Libc.SYS_kcmp, Libc.SYS_pidfd_getfd,
        Libc.SYS_mount, Libc.SYS_umount2, Libc.SYS_pivot_root, Libc.SYS_chroot, Libc.SYS_open_tree, Libc.SYS_move_mount, Libc.SYS_fsopen,
        Libc.SYS_fsconfig, Libc.SYS_fsmount, Libc.SYS_fspick, Libc.SYS_mount_setattr, Libc.SYS_unshare, Libc.SYS_setns,
        Libc.SYS_name_to_handle_at, Libc.SYS_open_by_handle_at, Libc.SYS_mknod, Libc.SYS_mknodat, Libc.SYS_quotactl, Libc.SYS_swapon, Libc.SYS_swapoff,
        Libc.SYS_init_module, Libc.SYS_finit_module, Libc.SYS_delete_module, Libc.SYS_kexec_load, Libc.SYS_kexec_file_load, Libc.SYS_bpf, Libc.SYS_perf_event_open,
        Libc.SYS_reboot, Libc.SYS_iopl, Libc.SYS_ioperm, Libc.SYS_modify_ldt, Libc.SYS_syslog, Libc.SYS_acct, Libc.SYS_vhangup,
        Libc.SYS_sethostname, Libc.SYS_setdomainname, Libc.SYS_settimeofday, Libc.SYS_clock_settime, Libc.SYS_adjtimex, Libc.SYS_clock_adjtime,
        Libc.SYS_setuid, Libc.SYS_setgid, Libc.SYS_setreuid, Libc.SYS_setregid, Libc.SYS_setgroups, Libc.SYS_setresuid, Libc.SYS_setresgid, Libc.SYS_setfsuid,
        Libc.SYS_setfsgid, Libc.SYS_capset, Libc.SYS_personality, Libc.SYS_add_key, Libc.SYS_request_key, Libc.SYS_keyctl,
    ];

    /// <summary>How many calls are given up.</summary>
    public static int Count => Denied.Length;

    /// <summary>Gives them up, and with them any right that a program brings that is started (PR_SET_NO_NEW_PRIVS). It cannot be taken back.</summary>
    /// <param name="allThreads">For every thread of the process; else for the calling one and those that it makes.</param>
    /// <returns>0 or -errno: EINVAL, ENOSYS where the kernel has no filters.</returns>
    public static int Install(bool allThreads)
    {
        List<SockFilter> program =
        [
            new() { Code = Load, K = ArchitectureOffset },
            new() { Code = JumpIfEqual, Jt = 1, K = Libc.AUDIT_ARCH_X86_64 },
            new() { Code = Return, K = Libc.SECCOMP_RET_KILL_PROCESS },
            new() { Code = Load, K = NumberOffset },
            new() { Code = JumpIfGreaterOrEqual, Jf = 1, K = X32 },
            new() { Code = Return, K = Libc.SECCOMP_RET_ERRNO | Errno.ENOSYS },
            // The C library makes threads by clone where there is no clone3, whose flags a filter cannot see.
            new() { Code = JumpIfEqual, Jf = 1, K = (uint)Libc.SYS_clone3 },
            new() { Code = Return, K = Libc.SECCOMP_RET_ERRNO | Errno.ENOSYS },
        ];
        foreach (long number in Denied)
        {
            program.Add(new() { Code = JumpIfEqual, Jf = 1, K = (uint)number });
            program.Add(new() { Code = Return, K = Libc.SECCOMP_RET_ERRNO | Errno.EPERM });
        }

        program.AddRange(
        [
            new() { Code = JumpIfEqual, Jt = 1, K = (uint)Libc.SYS_clone },
            new() { Code = Return, K = Libc.SECCOMP_RET_ALLOW },
            new() { Code = Load, K = FirstArgumentOffset },
            new() { Code = JumpIfAnySet, Jf = 1, K = (uint)Libc.CLONE_THREAD },
            new() { Code = Return, K = Libc.SECCOMP_RET_ALLOW },
            new() { Code = Return, K = Libc.SECCOMP_RET_ERRNO | Errno.EPERM },
        ]);

        if (Libc.prctl(Libc.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        {
            return -Errno.Last;
        }

        SockFilter[] filter = [.. program];
        fixed (SockFilter* first = filter)
        {
            SockFprog all = new() { Len = (ushort)filter.Length, Filter = first };
            long result = Libc.syscall(Libc.SYS_seccomp, (nint)Libc.SECCOMP_SET_MODE_FILTER, (nint)(allThreads ? Libc.SECCOMP_FILTER_FLAG_TSYNC : 0), (nint)(&all));
            // More than 0 is a thread that could not follow.
            return result == 0 ? 0 : result > 0 ? -Errno.ESRCH : -Errno.Last;
        }
    }
}
