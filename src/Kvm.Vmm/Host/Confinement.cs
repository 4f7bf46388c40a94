using Kvm.Interop;

namespace Kvm.Vmm.Host;

/// <summary>
/// What this process gives up for good before a guest runs in it: paths (Landlock), system calls (seccomp), memory images (RLIMIT_CORE).
/// </summary>
public static class Confinement
{
    /// <summary>Whether the kernel can confine a process to paths.</summary>
    public static bool KnowsPaths => Landlock.Version > 0;

    /// <summary>
    /// Becomes a program that has these paths and no others, from its first instruction on: number, line (<see cref="StartLine"/>) and outputs stay. The kernel
    /// confines threads, and this process has some already, so that it begins anew as one. To be called on the main thread, before anything was opened.
    /// </summary>
    /// <param name="paths">The paths; what is not there is left away.</param>
    /// <param name="network">Whether TCP may be used.</param>
    /// <param name="program">The program.</param>
    /// <param name="arguments">Its arguments.</param>
    /// <returns>Only where it cannot: why, and nothing is given up, or this thread alone.</returns>
    public static string Become(IEnumerable<(string Path, PathUse Use)> paths, bool network, string program, IReadOnlyList<string> arguments)
    {
        ArgumentNullException.ThrowIfNull(paths);
        try
        {
            using (var allowed = Landlock.Begin(network))
            {
                foreach (var (path, use) in paths)
                    allowed.Allow(path, RightsOf(use));
                allowed.Enter();
            }

            return Errno.TextOf(-DetachedProcess.Become(program, arguments));
        }
        catch (KvmException e)
        {
            return e.Message;
        }
    }

    /// <summary>Gives up what nothing in a machine's process needs once the machine is built: other processes, mounts, modules, other users, memory images. For all threads.</summary>
    /// <returns>What holds from now on, as words.</returns>
    public static IReadOnlyList<string> DropCalls()
    {
        List<string> held = [];
        if (ResourceLimits.ForbidCore() == 0)
            held.Add("no-core");
        if (SyscallFilter.Install(allThreads: true) == 0)
            held.AddRange(["no-new-privileges", "seccomp"]);
        return held;
    }

    private static PathRights RightsOf(PathUse use) => use switch
    {
        PathUse.Read => PathRights.Read,
        PathUse.ReadWrite => PathRights.Read | PathRights.Write,
        PathUse.Make => PathRights.Change,
        PathUse.Folder => PathRights.Read | PathRights.Write | PathRights.Change,
        _ => PathRights.Read | PathRights.Execute,
    };
}
