using BenchmarkDotNet.Attributes;
using Kvm.Sched;

namespace Kvm.Benchmarks;

/// <summary>One event and the decision of each policy after it, with everybody waiting who can.</summary>
public class SchedBenchmarks
{
    private SchedDriver _driver = null!;

    /// <summary>The policies.</summary>
    public static IEnumerable<string> Policies => PolicyNames.All;

    /// <summary>The policy.</summary>
    [ParamsSource(nameof(Policies))]
    public string Policy { get; set; } = "rr";

    /// <summary>How many vCPUs there are.</summary>
    [Params(64, 4096)]
    public int Vcpus { get; set; }

    /// <summary>Eight CPUs; 64 where there are many vCPUs.</summary>
    [GlobalSetup]
    public void Fill() => _driver = new SchedDriver(Policy, Vcpus, CpuTopology.Flat(Vcpus > 64 ? 64 : 8));

    /// <summary>A slice's end, or a halt and a wake, each with its decision.</summary>
    [Benchmark]
    public int Step() => _driver.Step();
}
