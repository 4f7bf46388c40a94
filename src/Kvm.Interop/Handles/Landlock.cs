using System.Text;

namespace Kvm.Interop;

/// <summary>What may be done with a file, or with all that is below a folder.</summary>
[Flags]
public enum PathRights
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>Read files and list folders.</summary>
    Read = 1,

    /// <summary>Write files that are there, and set devices.</summary>
    Write = 2,

    /// <summary>Make, rename and remove files, folders and sockets.</summary>
    Change = 4,

    /// <summary>Start programs.</summary>
    Execute = 8,
}

/// <summary>Paths that a thread, and those it makes, may use from now on, and no others (landlock(7)). Not thread-safe.</summary>
public sealed unsafe class Landlock : IDisposable
{
    private const int FirstWithNetwork = 4, FirstWithScopes = 6;

    private readonly FdHandle _ruleset;
    private readonly ulong _handled;

    private Landlock(FdHandle ruleset, ulong handled) => (_ruleset, _handled) = (ruleset, handled);

    /// <summary>The version the kernel has, from 1; 0 where it has none.</summary>
    public static int Version => (int)Math.Max(0, Libc.syscall(Libc.SYS_landlock_create_ruleset, 0, 0, (nint)Libc.LANDLOCK_CREATE_RULESET_VERSION));

    /// <summary>A set that allows nothing yet.</summary>
    /// <param name="network">Whether TCP may be used as before.</param>
    /// <exception cref="KvmException">The kernel has no Landlock.</exception>
    public static Landlock Begin(bool network)
    {
        int version = Version;
        LandlockRulesetAttr attributes = new()
        {
            HandledAccessFs = HandledBy(version),
            HandledAccessNet = version >= FirstWithNetwork && !network ? Libc.LANDLOCK_ACCESS_NET_BIND_TCP | Libc.LANDLOCK_ACCESS_NET_CONNECT_TCP : 0,
            Scoped = version >= FirstWithScopes ? Libc.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | Libc.LANDLOCK_SCOPE_SIGNAL : 0,
        };
        // A kernel takes a longer structure than its own as long as the rest is 0.
        long fd = Libc.syscall(Libc.SYS_landlock_create_ruleset, (nint)(&attributes), sizeof(LandlockRulesetAttr), 0);
        return fd < 0 ? throw new KvmException("landlock_create_ruleset", Errno.Last) : new Landlock(new FdHandle((int)fd), attributes.HandledAccessFs);
    }

    /// <summary>Allows something at a path; nothing happens where nothing is there.</summary>
    /// <param name="path">A file, or a folder with all that is below it.</param>
    /// <param name="rights">What.</param>
    /// <exception cref="KvmException">The path cannot be opened.</exception>
    public void Allow(string path, PathRights rights)
    {
        int fd = Descriptor.Open(path, Libc.O_PATH | Libc.O_CLOEXEC);
        if (fd is -Errno.ENOENT or -Errno.ENOTDIR)
        {
            return;
        }

        if (fd < 0)
        {
            throw new KvmException($"open ({path})", -fd);
        }

        using FdHandle parent = new(fd);
        LandlockPathBeneathAttr rule = new() { ParentFd = fd, AllowedAccess = AccessOf(rights, Directory.Exists(path)) & _handled };
        if (Libc.syscall(Libc.SYS_landlock_add_rule, _ruleset.Fd, Libc.LANDLOCK_RULE_PATH_BENEATH, (nint)(&rule), 0) != 0)
        {
            throw new KvmException($"landlock_add_rule ({path})", Errno.Last);
        }
    }

    /// <summary>From now on the calling thread, and what it makes or becomes (execve), has these paths only. It cannot be taken back.</summary>
    /// <exception cref="KvmException">The kernel refuses.</exception>
    public void Enter()
    {
        if (Libc.prctl(Libc.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        {
            throw new KvmException("prctl (PR_SET_NO_NEW_PRIVS)", Errno.Last);
        }

        if (Libc.syscall(Libc.SYS_landlock_restrict_self, _ruleset.Fd, 0, 0) != 0)
        {
            throw new KvmException("landlock_restrict_self", Errno.Last);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _ruleset.Dispose();

    private static ulong HandledBy(int version) => version switch
    {
        <= 1 => (Libc.LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1,
        2 => (Libc.LANDLOCK_ACCESS_FS_REFER << 1) - 1,
        3 or 4 => (Libc.LANDLOCK_ACCESS_FS_TRUNCATE << 1) - 1,
        _ => (Libc.LANDLOCK_ACCESS_FS_IOCTL_DEV << 1) - 1,
    };

    private static ulong AccessOf(PathRights rights, bool folder)
    {
        ulong access = 0;
        if (rights.HasFlag(PathRights.Read))
        {
            access |= Libc.LANDLOCK_ACCESS_FS_READ_FILE | (folder ? Libc.LANDLOCK_ACCESS_FS_READ_DIR : 0);
        }

        if (rights.HasFlag(PathRights.Write))
        {
            access |= Libc.LANDLOCK_ACCESS_FS_WRITE_FILE | Libc.LANDLOCK_ACCESS_FS_TRUNCATE | Libc.LANDLOCK_ACCESS_FS_IOCTL_DEV;
        }

        if (rights.HasFlag(PathRights.Execute))
        {
            access |= Libc.LANDLOCK_ACCESS_FS_EXECUTE;
        }

        if (rights.HasFlag(PathRights.Change) && folder)
        {
            access |= Libc.LANDLOCK_ACCESS_FS_MAKE_REG | Libc.LANDLOCK_ACCESS_FS_MAKE_DIR | Libc.LANDLOCK_ACCESS_FS_MAKE_SOCK | Libc.LANDLOCK_ACCESS_FS_REMOVE_FILE | Libc.LANDLOCK_ACCESS_FS_REMOVE_DIR;
        }

        return access;
    }
}
