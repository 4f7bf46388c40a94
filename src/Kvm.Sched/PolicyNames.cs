using Kvm.Sched.Policies;

namespace Kvm.Sched;

/// <summary>The policies there are.</summary>
public static class PolicyNames
{
    /// <summary>Their names, in the order of the documents.</summary>
    public static IReadOnlyList<string> All { get; } = ["host", "fcfs", "sjf", "srtf", "priority", "priority-np", "rr", "tsp", "least-runtime", "rap", "rrp"];

    internal static Policy Make(string name, PolicySettings settings) => name switch
    {
        "host" => new HostPolicy(settings),
        "fcfs" => new FcfsPolicy(settings),
        "sjf" => new ShortestJobPolicy(settings, preemptive: false),
        "srtf" => new ShortestJobPolicy(settings, preemptive: true),
        "priority" => new PriorityPolicy(settings, preemptive: true),
        "priority-np" => new PriorityPolicy(settings, preemptive: false),
        "rr" => new RoundRobinPolicy(settings),
        "tsp" => new TimeSlicedPriorityPolicy(settings),
        "least-runtime" => new LeastRuntimePolicy(settings),
        "rap" => new AllocationPolicy(settings),
        "rrp" => new RequirementPolicy(settings),
        _ => throw new ArgumentException($"there is no policy {name}", nameof(name)),
    };
}
