using System.Collections;
using System.Runtime.InteropServices;

namespace Kvm.Interop;

/// <summary>Starts processes that outlive this one: in a session of their own, away from its terminal, signals and descriptors.</summary>
public static unsafe class DetachedProcess
{
    /// <summary>The descriptor by which the new process finds the one it was given.</summary>
    public const int InheritedDescriptor = 3;

    /// <summary>posix_spawn with this process's environment. Standard input reads nothing; both outputs are appended to a file.</summary>
    /// <param name="path">The program.</param>
    /// <param name="arguments">Its arguments, without its own name.</param>
    /// <param name="logPath">Made with mode 0600, emptied where it is there.</param>
    /// <param name="inherited">Becomes descriptor <see cref="InheritedDescriptor"/> of the new process; no other is inherited that was opened to be closed.</param>
    /// <returns>The number of the process. It is this one's child until this one ends.</returns>
    /// <exception cref="KvmException">The program or the file cannot be opened, or there is no process to be had.</exception>
    public static int Start(string path, IReadOnlyList<string> arguments, string logPath, FdHandle inherited)
    {
        ArgumentNullException.ThrowIfNull(arguments);
        ArgumentNullException.ThrowIfNull(inherited);
        byte* actions = stackalloc byte[1024];
        byte* attributes = stackalloc byte[1024];
        byte** argv = Strings([path, .. arguments]);
        byte** envp = Strings([.. Environment.GetEnvironmentVariables().Cast<DictionaryEntry>().Select(e => $"{e.Key}={e.Value}")]);
        byte* log = (byte*)Marshal.StringToCoTaskMemUTF8(logPath);
        try
        {
            Check("posix_spawn_file_actions_init", Libc.posix_spawn_file_actions_init(actions));
            Check("posix_spawnattr_init", Libc.posix_spawnattr_init(attributes));
            fixed (byte* nothing = "/dev/null\0"u8)
            {
                Check("posix_spawn_file_actions_addopen", Libc.posix_spawn_file_actions_addopen(actions, 0, nothing, Libc.O_RDONLY, 0));
            }

            Check("posix_spawn_file_actions_addopen", Libc.posix_spawn_file_actions_addopen(actions, 1, log, Libc.O_WRONLY | Libc.O_CREAT | Libc.O_TRUNC, 0x180));
            Check("posix_spawn_file_actions_adddup2", Libc.posix_spawn_file_actions_adddup2(actions, 1, 2));
            Check("posix_spawn_file_actions_adddup2", Libc.posix_spawn_file_actions_adddup2(actions, inherited.Fd, InheritedDescriptor));
            SigSet none = default;
            Check("posix_spawnattr_setsigmask", Libc.posix_spawnattr_setsigmask(attributes, &none));
            Check("posix_spawnattr_setflags", Libc.posix_spawnattr_setflags(attributes, Libc.POSIX_SPAWN_SETSID | Libc.POSIX_SPAWN_SETSIGMASK));
            int pid = 0;
            Check($"posix_spawn ({path})", Libc.posix_spawn(&pid, argv[0], actions, attributes, argv, envp));
            _ = Libc.posix_spawn_file_actions_destroy(actions);
            _ = Libc.posix_spawnattr_destroy(attributes);
            return pid;
        }
        finally
        {
            Free(argv);
            Free(envp);
            Marshal.FreeCoTaskMem((nint)log);
        }
    }

    /// <summary>
    /// Becomes another program: of this process only its number, its environment and the descriptors are left that were not opened to be closed.
    /// What confines the calling thread confines the whole program then. Returns only where it cannot: -errno.
    /// </summary>
    /// <param name="path">The program.</param>
    /// <param name="arguments">Its arguments, without its own name.</param>
    public static int Become(string path, IReadOnlyList<string> arguments)
    {
        ArgumentNullException.ThrowIfNull(arguments);
        byte** argv = Strings([path, .. arguments]);
        byte** envp = Strings([.. Environment.GetEnvironmentVariables().Cast<DictionaryEntry>().Select(e => $"{e.Key}={e.Value}")]);
        try
        {
            _ = Libc.execve(argv[0], argv, envp);
            return -Errno.Last;
        }
        finally
        {
            Free(argv);
            Free(envp);
        }
    }

    private static void Check(string call, int errno)
    {
        if (errno != 0)
        {
            throw new KvmException(call, errno);
        }
    }

    private static byte** Strings(string[] texts)
    {
        byte** list = (byte**)NativeMemory.AllocZeroed((nuint)texts.Length + 1, (nuint)sizeof(byte*));
        for (int i = 0; i < texts.Length; i++)
        {
            list[i] = (byte*)Marshal.StringToCoTaskMemUTF8(texts[i]);
        }

        return list;
    }

    private static void Free(byte** list)
    {
        for (int i = 0; list[i] is not null; i++)
        {
            Marshal.FreeCoTaskMem((nint)list[i]);
        }

        NativeMemory.Free(list);
    }
}
