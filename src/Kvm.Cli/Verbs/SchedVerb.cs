using System.CommandLine;
using System.Globalization;
using Kvm.Cli.Parsing;
using Kvm.Cli.Running;
using Kvm.Cli.Text;
using Kvm.Sched;
using Kvm.Sched.Simulation;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;
using Kvm.Vmm.Scheduling;
using Kvm.Vmm.Scheduling.Service;

namespace Kvm.Cli.Verbs;

/// <summary><c>kvmsharp sched</c>: scheduling policies, simulated in virtual time.</summary>
internal sealed class SchedVerb : Verb
{
    private const string Jobs = "Jobs and policies";
    private const string Rules = "Rules of policies";
    private const string Shown = "What is shown";
    private const string Live = "Real guests: serve, show, why";
    private const int VcpusPerCpu = 64;
    private const int MostVcpus = 65_536;

    private const int MostStays = 100_000;

    private readonly WordArgument _action = new("ACTION", "simulate: jobs in virtual time. serve: the scheduler of real guests, in the foreground. show: its table. why: the reason for a guest's placement.")
    { Kind = ValueKind.OneOf, Values = ["simulate", "serve", "show", "why"] };
    private readonly WordArgument _vm = new("VM", "why: the guest's name or process.");
    private readonly ValueOption _policy = new("--policy", "NAME[,NAME]", Jobs, $"The policies to compare: {string.Join(", ", PolicyNames.All)}.");
    private readonly ValueOption _jobs = new("--jobs", "FILE", Jobs, "The jobs, as comma-separated values with a header (columns below).") { Kind = ValueKind.File };
    private readonly ValueOption _cpus = new("--cpus", "N", Jobs, $"The number of CPUs, 1 to {CpuTopology.MostCpus} (default 1).");
    private readonly ValueOption _topology = new("--topology", "N,C,K,T", Jobs, "Instead: N nodes of C last-level caches of K cores of T threads.");
    private readonly ValueOption _seed = new("--seed", "S", Jobs, "Draws bursts and halts at random around the file's numbers, the same for the same seed.");
    private readonly ValueOption _until = new("--until", "DURATION", Jobs, "Ends the simulation then, finished or not.");

    private readonly RuleOptions _rules = new(Rules);
    private readonly SwitchOption _gang = new("--gang", Rules, "Runs all vCPUs of a job in the same slice.");
    private readonly ValueOption _switchCost = new("--switch-cost", "DURATION", Rules, "What a CPU loses when it changes to another job (default 0).");

    private readonly SwitchOption _gantt = new("--gantt", Shown, "Draws who ran when, with characters.");
    private readonly ValueOption _svg = new("--svg", "FILE", Shown, "Draws who ran when into an SVG file.") { Kind = ValueKind.File };

    private readonly ValueOption _pin = new("--pin", "LIST", Live, "serve: the CPUs it gives away, such as 0-3,8 (default those of the process).");
    private readonly ValueOption _memory = new("--memory", "SIZE", Live, "serve: the memory guests may be promised together (default the host's, or its cgroup's limit).");
    private readonly ValueOption _maxVcpus = new("--max-vcpus", "N", Live, $"serve: the vCPUs guests may be promised together (default {VcpusPerCpu} a CPU).");
    private readonly ValueOption _record = new("--record", "FILE", Live, "serve: writes what each guest did, for simulate --jobs FILE.") { Kind = ValueKind.File };
    private readonly SwitchOption _withGuests = new("--with-guests", Live, "serve: ends with its last guest.");
    private readonly SwitchOption _inherited = new("--inherited-socket", Live, "serve: listens on descriptor 3; how run starts it.");
    private readonly SwitchOption _watch = new("--watch", Live, "show: again each second.");
    private readonly SwitchOption _prometheus = new("--prometheus", Live, "show: counters in the text format of Prometheus.");

    public SchedVerb()
        : base("sched", "Scheduling policies for vCPUs: over real guests, or simulated in virtual time and compared.")
    {
        Add(_action);
        Add(_vm);
        foreach (Option option in (Option[])[_pin, _memory, _maxVcpus, _record, _withGuests, _inherited, _watch, _prometheus, _policy, _jobs, _cpus, _topology, _seed, _until, .. _rules.All, _gang, _switchCost, _gantt, _svg])
            Add(option);
        Examples =
        [
            ("kvmsharp sched simulate --policy fcfs,sjf,rr --jobs docs/scheduling/jobs.csv", "what each does to the same jobs"),
            ("kvmsharp sched simulate --policy rr --jobs docs/scheduling/jobs.csv --slice 2ms --gantt", "who runs when"),
            ("kvmsharp run vmlinuz --engine kvm --policy rr; kvmsharp sched show --watch", "a guest under a policy, and the table it is in"),
            ("kvmsharp sched serve --policy rap --memory 4G --record jobs.csv", "a scheduler of one's own making, before its guests"),
        ];
        Notes =
        [
            $"Columns: {string.Join(", ", JobFile.Columns.Take(JobFile.RequiredColumns))}; also {string.Join(", ", JobFile.Columns.Skip(JobFile.RequiredColumns))}. "
                + "Times in ms, higher priorities first; length inf never ends. The rules are in docs/scheduling.md.",
            "Durations: a number with ns, us, ms, s, m or h.",
        ];
    }

    public override int Execute(ParseResult result, GlobalOptions global)
    {
        if (_action.Text(result) is not { } action)
            throw new VmmException(UsageErrors.Incomplete, "sched needs a word: simulate, serve, show or why");
        if (action != "why" && _vm.Text(result) is { } stray)
            throw new VmmException(UsageErrors.Unknown, $"sched {VisibleText.Escape(action)} does not take {VisibleText.Quote(stray, 40)} here");
        return action switch
        {
            "simulate" => Simulate(result, global),
            "serve" => Serve(result, global),
            "show" => SchedulerTable.Show(global.Json ? "json" : _prometheus.IsGiven(result) ? "prometheus" : "text", _watch.IsGiven(result)),
            "why" => SchedulerTable.Why(_vm.Text(result) ?? throw new VmmException(UsageErrors.Incomplete, "sched why needs a VM: kvmsharp sched show"), global.Json),
            _ => throw new VmmException(UsageErrors.Unknown, $"sched does not know {VisibleText.Quote(action, 40)}: simulate, serve, show or why"),
        };
    }

    private int Simulate(ParseResult result, GlobalOptions global)
    {
        var policies = Policies(_policy.Text(result) ?? throw new VmmException(UsageErrors.Incomplete, "sched simulate needs --policy NAME"));
        string file = _jobs.Text(result) ?? throw new VmmException(UsageErrors.Incomplete, "sched simulate needs --jobs FILE");
        string? svg = _svg.Text(result);
        bool drawn = _gantt.IsGiven(result) || svg is not null;
        if (svg is not null)
            ReportFile.Check(svg);
        var settings = Settings(result, drawn);
        var jobs = Read(file);
        var results = policies.Select(policy => Simulate(policy, jobs, settings, file)).ToList();
        if (svg is not null)
            ReportFile.Write(svg, GanttSvg.Of(results, jobs, settings.Topology.Count));
        StandardStreams.Output(global.Json
            ? JsonText.Of(json => SimulationText.Write(json, results, jobs, settings))
            : SimulationText.Of(results, jobs, settings, _gantt.IsGiven(result)));
        return ExitCode.Success;
    }

    private int Serve(ParseResult result, GlobalOptions global)
    {
        var policies = Policies(_policy.Text(result) ?? throw new VmmException(UsageErrors.Incomplete, "sched serve needs --policy NAME"));
        if (policies.Count > 1)
            throw Quantities.Bad("--policy", _policy.Text(result)!, "names more than one: real CPUs follow one policy");
        var cpus = _pin.Text(result) is { } pin ? SchedulingOptions.Cpus("--pin", pin) : CpuAffinity.Own;
        double memory = _memory.Text(result) is { } size ? Quantities.Size("--memory", size) : HostMemory.Limit();
        int vcpus = _maxVcpus.Text(result) is { } most ? Quantities.Count("--max-vcpus", most) : VcpusPerCpu * cpus.Count;
        if (vcpus is < 1 or > MostVcpus)
            throw Quantities.Bad("--max-vcpus", _maxVcpus.Text(result)!, $"is not from 1 to {MostVcpus}");
        var rules = PolicyRules(result);
        if (rules.Capacity.Memory <= 0)
            rules = rules with { Capacity = rules.Capacity with { Memory = memory } };
        return SchedulerService.Run(
            new SchedulerServerSettings
            {
                Dispatcher = new DispatcherSettings { Policy = policies[0], Rules = rules, Topology = HostTopology.Read(cpus) },
                Limits = new AdmissionLimits(memory, vcpus),
                EndWithGuests = _withGuests.IsGiven(result),
            },
            _record.Text(result), _inherited.IsGiven(result), global.Json);
    }

    private static List<string> Policies(string text)
    {
        List<string> names = [];
        foreach (string name in text.Split(','))
        {
            names.Add(PolicyNames.All[Quantities.OneOf("--policy", name, PolicyNames.All)]);
            if (names.IndexOf(name) < names.Count - 1)
                throw Quantities.Bad("--policy", text, $"names {name} twice");
        }

        return names;
    }

    private SimulationSettings Settings(ParseResult result, bool drawn) => new()
    {
        Topology = Topology(result),
        SwitchCost = RuleOptions.Time(result, _switchCost, 0, 0, PolicySettings.LongestSlice),
        Seed = _seed.Text(result) is { } seed ? Quantities.Seed("--seed", seed) : null,
        Until = RuleOptions.Time(result, _until, 0, 1, SimulatedJob.LatestTime),
        MostStays = drawn ? MostStays : 0,
        Policy = PolicyRules(result),
    };

    private PolicySettings PolicyRules(ParseResult result) => _rules.Read(result, new SchedulerRules()).ToSettings() with { Gang = _gang.IsGiven(result) };

    private CpuTopology Topology(ParseResult result)
    {
        if (_topology.Text(result) is not { } text)
        {
            int cpus = _cpus.Text(result) is { } count ? Quantities.Count("--cpus", count) : 1;
            return cpus is >= 1 and <= CpuTopology.MostCpus
                ? CpuTopology.Flat(cpus)
                : throw Quantities.Bad("--cpus", _cpus.Text(result)!, $"is not from 1 to {CpuTopology.MostCpus}");
        }

        if (_cpus.Text(result) is not null)
            throw new VmmException(UsageErrors.Conflict, "--topology says how many CPUs there are: leave --cpus out");
        int[] parts = [.. text.Split(',').Select(part => int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out int n) ? n : 0)];
        return parts is [> 0, > 0, > 0, > 0] && parts.Aggregate((Int128)1, (product, n) => product * n) <= CpuTopology.MostCpus
            ? CpuTopology.Uniform(parts[0], parts[1], parts[2], parts[3])
            : throw Quantities.Bad("--topology", text, $"is not four numbers such as 2,1,8,2 with a product of at most {CpuTopology.MostCpus}");
    }

    private static IReadOnlyList<SimulatedJob> Read(string file)
    {
        try
        {
            using var reader = new StreamReader(file);
            return JobFile.Read(reader);
        }
        catch (JobFileException e)
        {
            throw new VmmException(UsageErrors.BadJobs, $"{VisibleText.Quote(file)}, {VisibleText.Escape(e.Message)}", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new VmmException(UsageErrors.BadJobs, $"{VisibleText.Quote(file)}: {HostFailureText.Of(e)}", e);
        }
    }

    private static SimulationResult Simulate(string policy, IReadOnlyList<SimulatedJob> jobs, SimulationSettings settings, string file)
    {
        if (Simulator.Obstacle(policy, jobs, settings) is { } obstacle)
            throw new VmmException(UsageErrors.BadJobs, $"{VisibleText.Quote(file)} under {policy}: {VisibleText.Escape(obstacle)}");
        return Simulator.Run(policy, jobs, settings);
    }
}
