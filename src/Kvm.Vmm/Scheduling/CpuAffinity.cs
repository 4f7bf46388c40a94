using System.Globalization;
using Kvm.Interop;

namespace Kvm.Vmm.Scheduling;

/// <summary>Whether CPUs that somebody named can be used by this process.</summary>
public static class CpuAffinity
{
    /// <summary>The CPUs this process may use: its cpuset's that are online.</summary>
    public static IReadOnlyList<int> Own => HostThread.GetAffinity(0);

    /// <summary>Throws if one of these cannot be used, and says which and why.</summary>
    /// <param name="cpus">CPUs; none is allowed.</param>
    /// <exception cref="VmmException">One does not exist, is offline or outside the process's cpuset.</exception>
    public static void Check(IReadOnlyList<int> cpus)
    {
        ArgumentNullException.ThrowIfNull(cpus);
        if (cpus.Count == 0)
            return;
        int[] own = HostThread.GetAffinity(0);
        foreach (int cpu in cpus.Except(own))
            throw new VmmException(SchedulingErrors.NoSuchCpu, string.Create(CultureInfo.InvariantCulture, $"CPU {cpu} {Reason(cpu)}; this process may use {CpuList.Format(own)}"));
    }

    private static string Reason(int cpu)
    {
        if (!Directory.Exists(string.Create(CultureInfo.InvariantCulture, $"/sys/devices/system/cpu/cpu{cpu}")))
            return "does not exist";
        using var online = new OnlineCpus();
        return online.HasChanged() && !online.IsOnline(cpu) ? "is offline" : "is outside the cpuset of this process";
    }
}
