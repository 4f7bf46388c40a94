namespace Kvm.Sched;

/// <summary>What a VM is to have of each resource from now on.</summary>
/// <param name="Vm">Its slot.</param>
/// <param name="Amount">Memory to leave it (the balloon's target) and limits of disk and network; 0 where it asked for none. CPU is not set here.</param>
public readonly record struct ResourceTarget(int Vm, ResourceVector Amount);

/// <summary>
/// Divides memory, disk and network among VMs as <c>rap</c> divides CPUs: in proportion to the weights, nobody less than its reservation,
/// nobody more than it needs, and what one does not need goes to the others. A pure function.
/// </summary>
internal static class ResourceTargets
{
    // Halving an interval of doubles more often than this changes nothing.
    private const int Halvings = 100;

    /// <summary>One target a VM, as many as there is room for.</summary>
    /// <returns>How many.</returns>
    public static int Divide(JobTable table, in ResourceVector capacity, Span<ResourceTarget> targets)
    {
        var levels = new ResourceVector(0, Level(table, capacity, 1), Level(table, capacity, 2), Level(table, capacity, 3), Level(table, capacity, 4));
        int count = 0;
        for (int vm = 0; vm < table.VmEnd && count < targets.Length; vm++)
        {
            if (!table.HasVm(vm))
                continue;
            ref readonly var spec = ref table.Vm(vm).Spec;
            targets[count++] = new ResourceTarget(vm, new ResourceVector(0,
                Amount(spec, 1, levels.Memory), Amount(spec, 2, levels.DiskBytes), Amount(spec, 3, levels.DiskOperations), Amount(spec, 4, levels.Network)));
        }

        return count;
    }

    /// <summary>What each unit of weight is worth, so that all amounts together are the host's; without end where all fits.</summary>
    private static double Level(JobTable table, in ResourceVector capacity, int kind)
    {
        if (capacity[kind] <= 0 || Sum(table, kind, double.PositiveInfinity) <= capacity[kind])
            return double.PositiveInfinity;
        double low = 0, high = capacity[kind] / JobSpec.LeastWeight;
        for (int i = 0; i < Halvings; i++)
        {
            double middle = (low + high) / 2;
            if (Sum(table, kind, middle) <= capacity[kind])
                low = middle;
            else
                high = middle;
        }

        return low;
    }

    private static double Sum(JobTable table, int kind, double level)
    {
        double sum = 0;
        for (int vm = 0; vm < table.VmEnd; vm++)
        {
            if (table.HasVm(vm))
                sum += Amount(table.Vm(vm).Spec, kind, level);
        }

        return sum;
    }

    private static double Amount(in JobSpec spec, int kind, double level) =>
        Math.Min(spec.Needs[kind], Math.Max(spec.Reserved[kind], level * spec.Weight));
}
