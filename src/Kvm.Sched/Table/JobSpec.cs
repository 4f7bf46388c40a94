namespace Kvm.Sched;

/// <summary>What a policy is told of a VM when it arrives. A value outside its range is brought to the nearest end; who takes values from people refuses them first.</summary>
public readonly record struct JobSpec
{
    /// <summary>The most vCPUs of one VM.</summary>
    public const int MostVcpus = 4095;

    /// <summary>Priorities lie between this and its negative.</summary>
    public const int HighestPriority = 1_000_000;

    /// <summary>The least weight.</summary>
    public const double LeastWeight = 0.001;

    /// <summary>The most weight.</summary>
    public const double MostWeight = 1_000_000;

    /// <summary>Makes a job of one vCPU, priority 0 and weight 1.</summary>
    public JobSpec()
    {
    }

    /// <summary>What the owner of the table knows the VM by.</summary>
    public int Tag { get; init; }

    /// <summary>vCPUs, 1 to <see cref="MostVcpus"/>.</summary>
    public int Vcpus { get; init; } = 1;

    /// <summary>Higher goes first.</summary>
    public int Priority { get; init; }

    /// <summary>The share under <c>rap</c>, relative to other VMs'.</summary>
    public double Weight { get; init; } = 1;

    /// <summary>CPU time of each vCPU from start to end in ns, as declared; 0 where nobody knows.</summary>
    public long Length { get; init; }

    /// <summary>The class of VM by which lengths are learned, 0 to 65,535; −1 for none: nothing is known or learned of it.</summary>
    public int Class { get; init; }

    /// <summary>What it needs of the host besides CPUs.</summary>
    public ResourceVector Needs { get; init; }

    /// <summary>What of its needs it is to keep whatever the weights say; of memory, disk and network.</summary>
    public ResourceVector Reserved { get; init; }

    /// <summary>The most CPUs it may use under <c>rap</c>, over each period; 0 for no cap.</summary>
    public double Cap { get; init; }

    /// <summary>The CPUs it is to have under <c>rap</c> whatever the weights say; 0 for none.</summary>
    public double Reservation { get; init; }

    /// <summary>All its vCPUs run in the same slice, or none.</summary>
    public bool Gang { get; init; }

    /// <summary>The CPUs it may run on; null for all. One of which none exists is never met: who takes it from people refuses it.</summary>
    public CpuSet? Affinity { get; init; }

    /// <summary>The NUMA node its memory is on, or −1; <c>host</c> places it there while that costs nobody a CPU.</summary>
    public int Node { get; init; } = -1;
}
