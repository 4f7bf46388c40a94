using System.Globalization;
using Kvm.Sched;

namespace Kvm.Vmm.Scheduling;

/// <summary>What the host's CPUs share, by /sys/devices/system/cpu (Documentation/admin-guide/cputopology.rst). What cannot be read counts as shared with nobody.</summary>
public static class HostTopology
{
    /// <summary>The topology of some of the host's CPUs.</summary>
    /// <param name="cpus">Their numbers; at least one.</param>
    /// <param name="root">The folder of the CPUs, for tests.</param>
    public static CpuTopology Read(IReadOnlyList<int> cpus, string root = "/sys/devices/system/cpu")
    {
        ArgumentNullException.ThrowIfNull(cpus);
        return new CpuTopology([.. cpus.Select(cpu => Place(cpu, Path.Combine(root, $"cpu{cpu}")))]);
    }

    // The lowest CPU of a list names what the list shares.
    private static CpuPlace Place(int cpu, string folder) => new(
        cpu,
        First(Path.Combine(folder, "topology/thread_siblings_list")) ?? cpu,
        LastCache(folder) ?? -1 - cpu,
        Node(folder));

    private static int? LastCache(string folder)
    {
        for (int index = 9; index >= 0; index--)
        {
            if (First(Path.Combine(folder, $"cache/index{index}/shared_cpu_list")) is { } first)
                return first;
        }

        return null;
    }

    private static int Node(string folder)
    {
        for (int node = 0; node < 1024; node++)
        {
            if (Directory.Exists(Path.Combine(folder, string.Create(CultureInfo.InvariantCulture, $"node{node}"))))
                return node;
        }

        return 0;
    }

    private static int? First(string path)
    {
        try
        {
            return File.Exists(path) && CpuList.Parse(File.ReadAllText(path)) is [var first, ..] ? first : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
