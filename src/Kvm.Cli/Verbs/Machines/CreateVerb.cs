using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Cli.Running;
using Kvm.Cli.Text;
using Kvm.Manager;
using Kvm.Manager.Faults;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Cli.Verbs.Machines;

/// <summary><c>kvmsharp create</c>: a machine that outlives the command.</summary>
internal sealed class CreateVerb : RunVerb
{
    private readonly DetachedOptions _detached = new();
    private readonly SwitchOption _autostart = new("--autostart", "Console, end and report", "serve starts it when it begins, in the order in which machines were made.");

    public CreateVerb()
        : base("create", "Makes a machine that start starts: its record in the state folder, with all that its guest will see. Takes run's options.")
    {
        Add(_detached.Restart);
        Add(_detached.Shared);
        Add(_detached.On);
        Add(_detached.Health);
        Add(_autostart);
        Examples =
        [
            ("kvmsharp create vmlinuz --name web --disk web.qcow2 --publish 8080:80", "made, not started"),
            ("kvmsharp create vmlinuz --name db --restart on-failure:5", "started again when it fails, five times in a row at most"),
            ("kvmsharp create tiny.elf --name t1 --memory 2M --shared", "one of a hundred in one process"),
            ("kvmsharp create vmlinuz --name web --agent --health vsock:1027 --on unhealthy=restart --on panic=dump+restart", "started again when it does not answer; its memory kept when it panics"),
        ];
    }

    protected override int Run(ParseResult result, RunSettings settings, GlobalOptions global)
    {
        var record = new VmManager(ManagerOptions.OfThisUser()).Create(DetachedOptions.Detached(settings), _detached.Read(result) with { Autostart = _autostart.IsGiven(result) });
        return MachineText.Show(record, record.Name, global);
    }
}

/// <summary>The options of machines that outlive the command, and what a machine without a foreground cannot have.</summary>
internal sealed class DetachedOptions
{
    public ValueOption Restart { get; } = new("--restart", "POLICY", "Console, end and report",
        "When a machine is started again that was not stopped: no, on-failure, on-failure:N (at most N times in a row) or always. [default: no]")
    { Kind = ValueKind.OneOf, Values = ["no", "on-failure", "on-failure:5", "always"] };

    public ValueOption On { get; } = new("--on", "EVENT=ACTION", "Console, end and report",
        "What is done when something goes wrong, as often as there are events: panic, watchdog, hang or hang:DURATION (a vCPU at one place with interrupts off, 30s), unhealthy, crash; none, restart, restore (from its last snapshot), pause, kill, dump (memory and registers, to the file core in its folder), or dump+ before another one. [default: none for hang and unhealthy; else the run ends, and --restart decides]")
    { Kind = ValueKind.OneOf, Values = ["panic=", "watchdog=", "hang=", "unhealthy=", "crash="], Repeats = true };

    public ValueOption Health { get; } = new("--health", "CHECK", "Console, end and report",
        "Asks whether the guest is there: vsock:PORT or tcp:[ADDRESS:]PORT (as the host sees it) and, after commas, any of interval=10s, timeout=3s, start=1m (how long it may take to begin to answer), failures=3 (in a row).")
    { Kind = ValueKind.OneOf, Values = ["vsock:", "tcp:"] };

    public SwitchOption Shared { get; } = new("--shared", "Console, end and report",
        "Runs the machine in one process with all others made so: less memory and a faster start, but what ends that process ends all of them.");

    public CreateOptions Read(ParseResult result) => new()
    {
        Restart = Restart.Text(result) is not { } text ? default
            : RestartPolicy.Parse(text) ?? throw Quantities.Bad(Restart.Name, text, "is not one of no, on-failure, on-failure:N, always"),
        Shared = Shared.IsGiven(result),
        Faults = Rules(result),
        Health = Health.Text(result) is not { } health ? null : HealthCheck.Parse(health, out var check, Duration) is { } wrong ? throw Quantities.Bad(Health.Name, health, wrong) : check,
    };

    /// <summary>Refuses them where the machine ends with the command.</summary>
    public void Refuse(ParseResult result)
    {
        string? stray = Restart.Text(result) is not null ? Restart.Name : Shared.IsGiven(result) ? Shared.Name : On.Texts(result) is not null ? On.Name : Health.Text(result) is not null ? Health.Name : null;
        if (stray is not null)
            throw new VmmException(UsageErrors.Incomplete, $"{stray} is for machines that outlive the command: with --detach, or kvmsharp create");
    }

    /// <summary>Makes a machine and starts it.</summary>
    /// <returns>The exit code.</returns>
    public static int RunDetached(RunSettings settings, CreateOptions how, GlobalOptions global) => Cancellable.Run(cancel =>
    {
        var manager = new VmManager(ManagerOptions.OfThisUser());
        string name = manager.Create(Detached(settings), how, cancel).Name;
        return MachineText.Show(manager.Start(name, cancel), name, global);
    });

    /// <summary>Settings for a machine of the state folder.</summary>
    /// <exception cref="VmmException">They ask for something that only a guest in the foreground has.</exception>
    public static RunSettings Detached(RunSettings settings)
    {
        string? stray = settings.Gdb is not null ? "--gdb" : settings.ReportPath is not null ? "--report" : settings.TranslationsPath is not null ? "--translations" : null;
        return stray is null ? settings : throw new VmmException(UsageErrors.Conflict, $"{stray} is for a guest in the foreground: kvmsharp run");
    }

    private FaultRules Rules(ParseResult result)
    {
        if (On.Texts(result) is not { } texts)
            return FaultRules.Default;
        string text = string.Join(',', texts);
        return FaultRules.Parse(text, out var rules, Duration) is { } wrong ? throw Quantities.Bad(On.Name, text, wrong) : rules;
    }

    private static TimeSpan? Duration(string text) => Quantities.TryParseDuration(text, out var span) ? span : null;
}
