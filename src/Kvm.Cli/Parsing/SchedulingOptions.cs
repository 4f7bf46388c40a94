using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using Kvm.Sched;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Scheduling;

namespace Kvm.Cli.Parsing;

/// <summary>The options of <c>run</c> that say what a guest is to its scheduler.</summary>
internal sealed class SchedulingOptions
{
    private const string Section = "Scheduling (docs/sched-gate.md)";

    private readonly ValueOption _policy = new("--policy", "NAME", Section,
        "Puts the guest under a policy; the first guest starts the scheduler. Without one the host's kernel schedules it. Needs KVM.")
    { Kind = ValueKind.OneOf, Values = PolicyNames.All };
    private readonly ValueOption _pin = new("--pin", "LIST", Section, "The CPUs its vCPUs may run on, such as 0-3,8.");
    private readonly ValueOption _priority = new("--priority", "N", Section, "priority, priority-np, tsp: higher goes first. [default: 0]");
    private readonly ValueOption _weight = new("--weight", "W", Section, "rap: its share relative to others'. [default: 1]");
    private readonly ValueOption _length = new("--length", "DURATION", Section, "sjf, srtf: the CPU time it will take; learned by class where it is not said.");
    private readonly ValueOption _class = new("--class", "NAME", Section, "sjf, srtf: the class by which lengths are learned. [default: by the name, else by the kernel]");
    private readonly ValueOption _cap = new("--cap", "CPUS", Section, "rap: the most CPUs it may use, such as 0.5.");
    private readonly ValueOption _reservation = new("--reservation", "CPUS", Section, "rap: the CPUs it is to have whatever the weights say.");
    private readonly SwitchOption _gang = new("--gang", Section, "All its vCPUs run in the same slice, or none.");
    private readonly RuleOptions _rules = new(Section, " of a scheduler that has to be started, as the rules after it");
    private readonly ValueOption _admission = new("--admission", "WHAT", Section, "Where there is no room for it now: refuse or queue. [default: refuse]")
    { Kind = ValueKind.OneOf, Values = SchedulingSettings.Admissions };
    private readonly ValueOption _loss = new("--on-scheduler-loss", "WHAT", Section, "When the scheduler dies: run (under the host's own) or stop. [default: run]")
    { Kind = ValueKind.OneOf, Values = SchedulingSettings.Losses };

    public IReadOnlyList<Option> All => [_policy, _pin, _priority, _weight, _length, _class, _cap, _reservation, _gang, .. _rules.All, _admission, _loss];

    /// <summary>The CPUs of --pin, or those before.</summary>
    public IReadOnlyList<int> Affinity(ParseResult result, IReadOnlyList<int> before) => _pin.Text(result) is { } list ? Cpus("--pin", list) : before;

    /// <summary>The settings, overridden by the options.</summary>
    public SchedulingSettings Read(ParseResult result, SchedulingSettings before) => before with
    {
        Policy = _policy.Text(result) is { } policy ? PolicyNames.All[Quantities.OneOf("--policy", policy, PolicyNames.All)] : before.Policy,
        Priority = _priority.Text(result) is { } priority ? Priority(priority) : before.Priority,
        Weight = Number(result, _weight, before.Weight, JobSpec.LeastWeight, JobSpec.MostWeight),
        Length = RuleOptions.Time(result, _length, before.Length, 1, long.MaxValue / 8),
        Class = _class.Text(result) ?? before.Class,
        Cap = Number(result, _cap, before.Cap, 0.001, JobSpec.MostVcpus),
        Reservation = Number(result, _reservation, before.Reservation, 0.001, JobSpec.MostVcpus),
        Gang = _gang.IsGiven(result) || before.Gang,
        Rules = _rules.Read(result, before.Rules),
        MayWait = _admission.Text(result) is { } admission ? Quantities.OneOf("--admission", admission, SchedulingSettings.Admissions) == 1 : before.MayWait,
        StopOnLoss = _loss.Text(result) is { } loss ? Quantities.OneOf("--on-scheduler-loss", loss, SchedulingSettings.Losses) == 1 : before.StopOnLoss,
    };

    /// <summary>A list of CPUs that this process may use.</summary>
    public static IReadOnlyList<int> Cpus(string option, string list)
    {
        var cpus = CpuList.Parse(list) ?? throw Quantities.Bad(option, list, "is not a list of CPUs such as 0-3,8");
        CpuAffinity.Check(cpus);
        return cpus;
    }

    private static int Priority(string text) => Quantities.Count("--priority", text) is >= -JobSpec.HighestPriority and <= JobSpec.HighestPriority and var priority
        ? priority
        : throw Quantities.Bad("--priority", text, $"is not from {-JobSpec.HighestPriority} to {JobSpec.HighestPriority}");

    private static double Number(ParseResult result, ValueOption option, double none, double least, double most)
    {
        if (option.Text(result) is not { } text)
            return none;
        return double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double value) && value >= least && value <= most
            ? value
            : throw Quantities.Bad(option.Name, text, string.Create(CultureInfo.InvariantCulture, $"is not a number from {least} to {most}"));
    }
}
