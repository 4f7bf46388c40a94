using System.Runtime.InteropServices;

namespace Kvm.Interop;

/// <summary><c>struct landlock_ruleset_attr</c> (linux/landlock.h); its last member came with version 6, the one before with version 4.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct LandlockRulesetAttr
{
    public ulong HandledAccessFs;
    public ulong HandledAccessNet;
    public ulong Scoped;
}

/// <summary><c>struct landlock_path_beneath_attr</c>; packed.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct LandlockPathBeneathAttr
{
    public ulong AllowedAccess;
    public int ParentFd;
}

internal static partial class Libc
{
    public const long SYS_landlock_create_ruleset = 444;
    public const long SYS_landlock_add_rule = 445;
    public const long SYS_landlock_restrict_self = 446;
    public const int O_PATH = 0x200000;

    public const uint LANDLOCK_CREATE_RULESET_VERSION = 1;
    public const int LANDLOCK_RULE_PATH_BENEATH = 1; // an enumerator

    public const ulong LANDLOCK_ACCESS_FS_EXECUTE = 1 << 0;
    public const ulong LANDLOCK_ACCESS_FS_WRITE_FILE = 1 << 1;
    public const ulong LANDLOCK_ACCESS_FS_READ_FILE = 1 << 2;
    public const ulong LANDLOCK_ACCESS_FS_READ_DIR = 1 << 3;
    public const ulong LANDLOCK_ACCESS_FS_REMOVE_DIR = 1 << 4;
    public const ulong LANDLOCK_ACCESS_FS_REMOVE_FILE = 1 << 5;
    public const ulong LANDLOCK_ACCESS_FS_MAKE_CHAR = 1 << 6;
    public const ulong LANDLOCK_ACCESS_FS_MAKE_DIR = 1 << 7;
    public const ulong LANDLOCK_ACCESS_FS_MAKE_REG = 1 << 8;
    public const ulong LANDLOCK_ACCESS_FS_MAKE_SOCK = 1 << 9;
    public const ulong LANDLOCK_ACCESS_FS_MAKE_FIFO = 1 << 10;
    public const ulong LANDLOCK_ACCESS_FS_MAKE_BLOCK = 1 << 11;
    public const ulong LANDLOCK_ACCESS_FS_MAKE_SYM = 1 << 12;
    public const ulong LANDLOCK_ACCESS_FS_REFER = 1 << 13;
    public const ulong LANDLOCK_ACCESS_FS_TRUNCATE = 1 << 14;
    public const ulong LANDLOCK_ACCESS_FS_IOCTL_DEV = 1 << 15;
    public const ulong LANDLOCK_ACCESS_NET_BIND_TCP = 1 << 0;
    public const ulong LANDLOCK_ACCESS_NET_CONNECT_TCP = 1 << 1;
    public const ulong LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET = 1 << 0;
    public const ulong LANDLOCK_SCOPE_SIGNAL = 1 << 1;
}
