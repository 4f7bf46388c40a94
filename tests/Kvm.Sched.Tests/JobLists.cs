using Kvm.Sched.Simulation;

namespace Kvm.Sched.Tests;

/// <summary>Short ways to say jobs, in milliseconds.</summary>
internal static class JobLists
{
    public const long Ms = 1_000_000;

    public static SimulatedJob Job(string name, double arrival, double length, int priority = 0, double weight = 1, int vcpus = 1) => new()
    {
        Name = name,
        Arrival = (long)(arrival * Ms),
        Length = (long)(length * Ms),
        Spec = new JobSpec { Priority = priority, Weight = weight, Vcpus = vcpus },
    };

    public static SimulatedJob Endless(string name, double weight = 1, int vcpus = 1, double cap = 0, double reservation = 0) => new()
    {
        Name = name,
        Length = SimulatedJob.Endless,
        Spec = new JobSpec { Weight = weight, Vcpus = vcpus, Cap = cap, Reservation = reservation },
    };

    public static SimulationSettings On(int cpus, double slice = 4) => new()
    {
        Topology = CpuTopology.Flat(cpus),
        Policy = new PolicySettings { Slice = (long)(slice * Ms) },
        MostStays = 100_000,
    };

    /// <summary>The stays as text: `A0-4 B4-7`, with the CPU before the name where there are several; in the order of beginning.</summary>
    public static string Line(this SimulationResult result, IReadOnlyList<SimulatedJob> jobs)
    {
        bool several = result.Stays.Select(stay => stay.Cpu).Distinct().Count() > 1;
        return string.Join(' ', result.Stays.OrderBy(stay => stay.From).ThenBy(stay => stay.Cpu).Select(stay =>
            $"{(several ? $"{stay.Cpu}:" : "")}{jobs[stay.Job].Name}{InMs(stay.From)}-{InMs(stay.To)}"));
    }

    public static string InMs(double ns) => (ns / Ms).ToString("0.###", System.Globalization.CultureInfo.InvariantCulture);
}
