using System.Globalization;

namespace Kvm.Vmm.Scheduling;

/// <summary>How much memory guests can be promised: the host's, or the limit of the cgroup this process is in ; and where it is.</summary>
public static class HostMemory
{
    /// <summary>Bytes.</summary>
    /// <param name="meminfo">The kernel's file, or one like it.</param>
    /// <param name="cgroup">This process's list of cgroups.</param>
    /// <param name="root">Where cgroups are mounted.</param>
    public static long Limit(string meminfo = "/proc/meminfo", string cgroup = "/proc/self/cgroup", string root = "/sys/fs/cgroup")
    {
        long limit = TotalIn(Cgroup.Read(meminfo));
        foreach (string folder in Cgroup.Folders("memory", cgroup, root))
        {
            foreach (string file in (string[])["memory.max", "memory.limit_in_bytes"])
            {
                if (long.TryParse(Cgroup.Read(Path.Combine(folder, file)).Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out long most))
                    limit = Math.Min(limit, most);
            }
        }

        return limit;
    }

    /// <summary>
    /// The NUMA node this process's memory comes from; −1 where it may come from several: then a page is taken from the node of the vCPU that
    /// touches it first.
    /// </summary>
    /// <param name="status">The kernel's file on this process, or one like it (proc(5), Mems_allowed_list).</param>
    public static int Node(string status = "/proc/self/status")
    {
        const string name = "Mems_allowed_list:";
        string? line = Cgroup.Read(status).Split('\n').FirstOrDefault(line => line.StartsWith(name, StringComparison.Ordinal));
        return line is not null && CpuList.Parse(line[name.Length..]) is [var only] ? only : -1;
    }

    private static long TotalIn(string meminfo)
    {
        foreach (string line in meminfo.Split('\n'))
        {
            string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (words is ["MemTotal:", var number, "kB"] && long.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out long kib))
                return kib << 10;
        }

        return long.MaxValue;
    }
}
