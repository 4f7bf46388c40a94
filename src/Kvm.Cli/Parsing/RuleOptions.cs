using System.CommandLine;
using System.CommandLine.Parsing;
using Kvm.Cli.Text;
using Kvm.Sched;
using Kvm.Sched.Simulation;
using Kvm.Vmm.Configuration;

namespace Kvm.Cli.Parsing;

/// <summary>The rules of policies, which <c>sched</c> takes, and <c>run</c> for the scheduler it may have to start.</summary>
internal sealed class RuleOptions(string section, string of = "")
{
    private readonly ValueOption _slice = new("--slice", "DURATION", section, $"The time slice{of}, 10us to 1h (default 4ms).");
    private readonly ValueOption _ageing = new("--ageing", "DURATION", section, "priority, priority-np: waiting so long is worth one step. rrp: who waited so long holds others back (default 1s).");
    private readonly ValueOption _limit = new("--limit", "DURATION", section, "Policies that run to the end: after so long at a stretch a job goes behind all others.");
    private readonly ValueOption _boost = new("--boost", "DURATION", section, "tsp: how often all go to the highest level (default 1s).");
    private readonly ValueOption _period = new("--period", "DURATION", section, "rap: the time over which caps hold (default 100ms).");
    private readonly ValueOption _capacity = new("--capacity", "LIST", section, "What the host has for rrp and rap: memory=16G,disk=500M,iops=100K,network=1G; without end where not named.");
    private readonly SwitchOption _learn = new("--learn", section, "sjf, srtf: learns lengths by class instead of taking the declared ones.");

    public IReadOnlyList<Option> All => [_slice, _ageing, _limit, _boost, _period, _capacity, _learn];

    /// <summary>The rules before, overridden by the options.</summary>
    public SchedulerRules Read(ParseResult result, SchedulerRules before) => before with
    {
        Slice = Time(result, _slice, before.Slice, PolicySettings.ShortestSlice, PolicySettings.LongestSlice),
        Ageing = Time(result, _ageing, before.Ageing, PolicySettings.ShortestSlice, PolicySettings.LongestSlice),
        Limit = Time(result, _limit, before.Limit, PolicySettings.ShortestSlice, SimulatedJob.LatestTime),
        Boost = Time(result, _boost, before.Boost, PolicySettings.ShortestSlice, PolicySettings.LongestSlice),
        Period = Time(result, _period, before.Period, PolicySettings.ShortestSlice, PolicySettings.LongestSlice),
        Capacity = _capacity.Text(result) is { } capacity ? Capacity(capacity) : before.Capacity,
        Learn = _learn.IsGiven(result) || before.Learn,
    };

    /// <summary>A time in ns within bounds.</summary>
    public static long Time(ParseResult result, ValueOption option, long none, long least, long most)
    {
        if (option.Text(result) is not { } text)
            return none;
        if (!Quantities.TryParseNanoseconds(text, out long ns))
            throw Quantities.Bad(option.Name, text, "is not a duration such as 500us, 4ms or 2s");
        return ns >= least && ns <= most
            ? ns
            : throw Quantities.Bad(option.Name, text, $"is not from {SimulationText.Duration(least)} to {SimulationText.Duration(most)}");
    }

    private static ResourceVector Capacity(string text) =>
        SchedulerRules.ParseCapacity(text, out var capacity) is { } wrong ? throw Quantities.Bad("--capacity", wrong.Part, wrong.Problem) : capacity;
}
