using System.Runtime.InteropServices;

namespace Kvm.Interop;

/// <summary><c>struct sock_filter</c>: one instruction of a classic BPF program (linux/filter.h).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SockFilter
{
    public ushort Code;
    public byte Jt;
    public byte Jf;
    public uint K;
}

/// <summary><c>struct sock_fprog</c>: such a program.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct SockFprog
{
    public ushort Len;
    public SockFilter* Filter;
}

internal static partial class Libc
{
    public const long SYS_seccomp = 317;
    public const uint SECCOMP_SET_MODE_FILTER = 1;
    public const uint SECCOMP_FILTER_FLAG_TSYNC = 1;
    public const uint SECCOMP_RET_KILL_PROCESS = 0x8000_0000;
    public const uint SECCOMP_RET_ERRNO = 0x0005_0000;
    public const uint SECCOMP_RET_ALLOW = 0x7fff_0000;
    public const uint AUDIT_ARCH_X86_64 = 0xc000_003e;
    public const ulong CLONE_THREAD = 0x0001_0000;
    public const int RLIMIT_CORE = 4;

    // The calls that a machine's process has no use for: starting programs and processes, looking into others, changing the host, becoming somebody else.
    public const long SYS_fork = 57, SYS_vfork = 58, SYS_execve = 59, SYS_execveat = 322, SYS_clone = 56, SYS_clone3 = 435;
    public const long SYS_ptrace = 101, SYS_process_vm_readv = 310, SYS_process_vm_writev = 311, SYS_kcmp = 312, SYS_pidfd_getfd = 438;
    public const long SYS_mount = 165, SYS_umount2 = 166, SYS_pivot_root = 155, SYS_chroot = 161, SYS_open_tree = 428, SYS_move_mount = 429, SYS_fsopen = 430,
        SYS_fsconfig = 431, SYS_fsmount = 432, SYS_fspick = 433, SYS_mount_setattr = 442, SYS_unshare = 272, SYS_setns = 308;
    public const long SYS_name_to_handle_at = 303, SYS_open_by_handle_at = 304, SYS_mknod = 133, SYS_mknodat = 259, SYS_quotactl = 179, SYS_swapon = 167, SYS_swapoff = 168;
    public const long SYS_init_module = 175, SYS_finit_module = 313, SYS_delete_module = 176, SYS_kexec_load = 246, SYS_kexec_file_load = 320, SYS_bpf = 321, SYS_perf_event_open = 298,
        SYS_reboot = 169, SYS_iopl = 172, SYS_ioperm = 173, SYS_modify_ldt = 154, SYS_syslog = 103, SYS_acct = 163, SYS_vhangup = 153;
    public const long SYS_sethostname = 170, SYS_setdomainname = 171, SYS_settimeofday = 164, SYS_clock_settime = 227, SYS_adjtimex = 159, SYS_clock_adjtime = 305;
    public const long SYS_setuid = 105, SYS_setgid = 106, SYS_setreuid = 113, SYS_setregid = 114, SYS_setgroups = 116, SYS_setresuid = 117, SYS_setresgid = 119, SYS_setfsuid = 122,
        SYS_setfsgid = 123, SYS_capset = 126, SYS_personality = 135, SYS_add_key = 248, SYS_request_key = 249, SYS_keyctl = 250;
}
