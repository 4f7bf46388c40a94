using System.Globalization;

namespace Kvm.Vmm.Scheduling;

/// <summary>How much CPU time the cgroups of this process allow: <c>cpu.max</c> of version 2, <c>cpu.cfs_quota_us</c> of version 1.</summary>
public static class HostCpuQuota
{
    /// <summary>CPUs; infinite without a limit.</summary>
    /// <param name="cgroup">This process's list of cgroups.</param>
    /// <param name="root">Where cgroups are mounted.</param>
    public static double Limit(string cgroup = "/proc/self/cgroup", string root = "/sys/fs/cgroup")
    {
        double limit = double.PositiveInfinity;
        foreach (string folder in Cgroup.Folders("cpu", cgroup, root))
        {
            string[] both = Cgroup.Read(Path.Combine(folder, "cpu.max")).Split((char[])[' ', '\n'], StringSplitOptions.RemoveEmptyEntries);
            limit = both is [var quota, var period, ..] ? Math.Min(limit, Part(quota, period)) : limit;
            limit = Math.Min(limit, Part(Cgroup.Read(Path.Combine(folder, "cpu.cfs_quota_us")), Cgroup.Read(Path.Combine(folder, "cpu.cfs_period_us"))));
        }

        return limit;
    }

    // "max" and -1 are no limit.
    private static double Part(string quota, string period) =>
        long.TryParse(quota.Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out long used) && long.TryParse(period.Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out long of) && of > 0
            ? (double)used / of
            : double.PositiveInfinity;
}
