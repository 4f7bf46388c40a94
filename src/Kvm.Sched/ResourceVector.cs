namespace Kvm.Sched;

/// <summary>An amount of each resource a job can need, or a host can have.</summary>
/// <param name="Cpu">CPUs.</param>
/// <param name="Memory">Bytes.</param>
/// <param name="DiskBytes">Bytes a second.</param>
/// <param name="DiskOperations">Operations a second.</param>
/// <param name="Network">Bytes a second.</param>
public readonly record struct ResourceVector(double Cpu, double Memory = 0, double DiskBytes = 0, double DiskOperations = 0, double Network = 0)
{
    /// <summary>How many resources there are.</summary>
    public const int Kinds = 5;

    /// <summary>Their names, in the order of <see cref="this[int]"/>.</summary>
    public static IReadOnlyList<string> Names { get; } = ["cpu", "memory", "disk", "iops", "network"];

    /// <summary>The amount of one resource, 0 to <see cref="Kinds"/> less 1.</summary>
    public double this[int kind] => kind switch { 0 => Cpu, 1 => Memory, 2 => DiskBytes, 3 => DiskOperations, _ => Network };

    /// <summary>Both amounts together.</summary>
    public static ResourceVector operator +(ResourceVector a, ResourceVector b) =>
        new(a.Cpu + b.Cpu, a.Memory + b.Memory, a.DiskBytes + b.DiskBytes, a.DiskOperations + b.DiskOperations, a.Network + b.Network);

    /// <summary>What is left of the first.</summary>
    public static ResourceVector operator -(ResourceVector a, ResourceVector b) =>
        new(a.Cpu - b.Cpu, a.Memory - b.Memory, a.DiskBytes - b.DiskBytes, a.DiskOperations - b.DiskOperations, a.Network - b.Network);

    /// <summary>Each amount as a part of a host's.</summary>
    public static ResourceVector operator /(ResourceVector a, ResourceVector b) => new(Part(a.Cpu, b.Cpu), Part(a.Memory, b.Memory),
        Part(a.DiskBytes, b.DiskBytes), Part(a.DiskOperations, b.DiskOperations), Part(a.Network, b.Network));

    /// <summary>Each amount, so many times.</summary>
    public static ResourceVector operator *(ResourceVector a, double times) =>
        new(a.Cpu * times, a.Memory * times, a.DiskBytes * times, a.DiskOperations * times, a.Network * times);

    /// <summary>The sum; for languages without operators.</summary>
    public static ResourceVector Add(ResourceVector left, ResourceVector right) => left + right;

    /// <summary>The difference; for languages without operators.</summary>
    public static ResourceVector Subtract(ResourceVector left, ResourceVector right) => left - right;

    /// <summary>The parts; for languages without operators.</summary>
    public static ResourceVector Divide(ResourceVector left, ResourceVector right) => left / right;

    /// <summary>The product; for languages without operators.</summary>
    public static ResourceVector Multiply(ResourceVector left, double right) => left * right;

    /// <summary>Each amount as a part of a host's, where what a host has no end of (0) is no part of it.</summary>
    internal ResourceVector ShareOf(in ResourceVector host) => new(
        Cpu / host.Cpu,
        host.Memory > 0 ? Memory / host.Memory : 0,
        host.DiskBytes > 0 ? DiskBytes / host.DiskBytes : 0,
        host.DiskOperations > 0 ? DiskOperations / host.DiskOperations : 0,
        host.Network > 0 ? Network / host.Network : 0);

    /// <summary>The largest of the amounts.</summary>
    public double Largest() => Math.Max(Math.Max(Math.Max(Cpu, Memory), Math.Max(DiskBytes, DiskOperations)), Network);

    /// <summary>Whether every amount is at most the other's.</summary>
    public bool FitsIn(in ResourceVector free) =>
        Cpu <= free.Cpu && Memory <= free.Memory && DiskBytes <= free.DiskBytes && DiskOperations <= free.DiskOperations && Network <= free.Network;

    // Nothing needed of nothing there is no part of it; something needed of nothing never fits.
    private static double Part(double need, double of) => need <= 0 ? 0 : of <= 0 ? double.PositiveInfinity : need / of;
}
