using Kvm.Manager.Cloning;
using Kvm.Manager.Faults;
using Kvm.Manager.Networks;
using Kvm.Manager.Pools;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Control;
using Kvm.Vmm.Host;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Scheduling;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Manager.Working;

/// <summary>
/// One run of one machine, in a process of its own or beside others: builds it from its record, serves its control socket, keeps its console's output, and
/// writes down how it ended. Used once, by one thread, but for <see cref="Stop"/> and <see cref="SetPaused"/>.
/// </summary>
internal sealed class MachineRun : IDisposable
{
    private const int SigTerm = 15;

    private readonly ManagerOptions _options;
    private readonly VmManager _manager;
    private readonly string _name;
    private readonly long _generation;
    private readonly TimeSpan _began;
    private readonly Func<IReadOnlyList<string>> _confine;
    private readonly Action<string> _notice;
    private readonly ConsoleHub _console = new();
    private TerminalOutput? _output;
    private VirtualMachine? _machine;
    private volatile bool _stopped;
    private ISchedulerPlace? _place;
    private ControlServer? _control;
    private RunSettings? _settings;
    private FaultRules _rules = FaultRules.Default;
    private HealthCheck? _check;
    private FaultHandler? _faults;
    private HealthWatch? _health;
    private AgentErrands? _agent;
    private bool _isRestored;

    /// <summary>Prepares a run.</summary>
    /// <param name="options">Where machines are.</param>
    /// <param name="name">The machine.</param>
    /// <param name="generation">The start that this is for; where the record names another, or another process, nothing is done.</param>
    /// <param name="began">When it began, since the process was started: what reports count from.</param>
    /// <param name="confine">Called when the machine is built, before its guest's first instruction: gives up what the process does not need, and says what it gave up.</param>
    /// <param name="notice">Takes messages for people.</param>
    public MachineRun(ManagerOptions options, string name, long generation, TimeSpan began, Func<IReadOnlyList<string>> confine, Action<string> notice)
    {
        (_options, _name, _generation, _began, _confine, _notice) = (options, name, generation, began, confine, notice);
        _manager = new VmManager(options);
    }

    /// <summary>Called at least once: the record says that it runs, or that it has ended, or there is nothing to do. On the run's thread.</summary>
    public Action Decided { get; init; } = static () => { };

    /// <summary>Has the guest stand still, or go on, and writes that down. Any thread but the machine's.</summary>
    /// <exception cref="VmmException">KVM0601: its state does not allow it.</exception>
    internal VmRecord SetPaused(bool paused) => Change(record =>
    {
        var next = record.To(paused ? VmState.Paused : VmState.Running, _options.Time.GetUtcNow());
        if (paused)
            _machine!.Pause();
        else
            GoOn();
        return next;
    }) ?? throw new VmmException(ManagerErrors.WrongState, $"{_name} is ending");

    /// <summary>Gives back what it has of the host, in reverse order.</summary>
    public void Dispose()
    {
        _health?.Dispose();
        _faults?.Dispose();
        _control?.Dispose();
        _machine?.Dispose();
        _output?.Dispose();
        _place?.Dispose();
    }

    /// <summary>Ends the guest because the process is to end: what it had on its disks' way is flushed. Any thread.</summary>
    public void Stop()
    {
        _stopped = true;
        Volatile.Read(ref _machine)?.Stop(VmOutcome.Signalled, SigTerm);
    }

    /// <summary>Runs the machine to its end.</summary>
    /// <returns>The exit code.</returns>
    public int Run()
    {
        // Whoever started this has the lock until the record names this process.
        if (Change(record => record) is not { } record)
        {
            Decided();
            return ExitCode.Success;
        }

        RunReport report;
        try
        {
            Build(record);
            report = Change(IsUp) is { Ending: EndRequest.None } ? Serve() : Report(Result(VmOutcome.StoppedByUser), null);
        }
        catch (Exception e) when (e is VmmException or IOException or UnauthorizedAccessException)
        {
            report = Report(Result(VmOutcome.Error), e as VmmException ?? new VmmException(OutcomeErrors.HostFailed, HostFailureText.Of(e), e));
        }

        // Before the record says that it has ended: whoever then starts it again finds its socket, disks and interfaces free.
        Dispose(ref _health);
        Dispose(ref _faults);
        Dispose(ref _control);
        Dispose(ref _machine);
        Dispose(ref _output);
        Dispose(ref _place);
        Keep(report);
        Decided();
        return report.ExitCode;
    }

    private void Build(VmRecord record)
    {
        (_settings, _rules, _check) = (NamedNetworks.Locate(VolumeDisks.Locate(record.Settings(), _options), _options, start: false), record.Faults, record.Health);
        _faults = new FaultHandler(_rules, Tell, () => SetPaused(true), Path.Combine(_manager.Store.FolderOf(_name), "core"));
        _output = ConsoleTarget() is { } target ? new TerminalOutput(target) : null;
        _place = _settings.Scheduling.Join(_settings.Machine, _notice, CancellationToken.None);
        var host = new VmHost { ConsoleOutput = OnConsole, Notice = _notice, Seats = _place?.Seats, Faulted = _faults.OnFault, HangAfter = _rules.HangAfter };
        // Later its disks are not those of the snapshot any more: it boots.
        _machine = record is { Generation: 1, Origin: { } origin } ? VmCloner.Restore(_options, origin, _settings.Machine, host) : Make(record.RestoresNext, host);
        _faults.Attach(_machine);
        if (_settings.Machine is { Agent: true, Vsock: { } sockets })
            _agent = new AgentErrands(_machine, sockets.SocketPath, _options.Time);
        VolumeDisks.Check(_settings, _options);
        _machine.Stopping += () => _output?.Release();
        _console.Attach(_machine);
        if (_place is not null)
            _place.Seats.WhenLost = OnSchedulerLost;
        _control = ControlServer.TryOpen(_machine, _options.RuntimeFolder, out string? why, new StopRequest(_agent), new KillRequest(), new PauseRequest(this, pause: true), new PauseRequest(this, pause: false), new ConsoleRequest(_console))
            ?? throw new VmmException(ManagerErrors.StartFailed, $"its control socket cannot be made: {why}");
    }

    /// <summary>Builds the machine: one that goes on from its last snapshot, where that is asked for and can be, else one that boots.</summary>
    private VirtualMachine Make(bool restores, VmHost host)
    {
        if (!restores)
            return VirtualMachine.Build(_settings!.Machine, host);
        try
        {
            if (LastSnapshot.Find(SnapshotStore.Open(Folders.SnapshotsOf(_options.StateFolder)), _name) is { } reader)
            {
                using (reader)
                {
                    var machine = VirtualMachine.Restore(_settings!.Machine, host, reader);
                    _isRestored = true;
                    Tell("restored", reader.Name);
                    return machine;
                }
            }

            Tell("restore-failed", "it has no snapshot");
        }
        catch (VmmException e)
        {
            Tell("restore-failed", e.Message);
        }

        // A guest that boots is more than one that does not run.
        return VirtualMachine.Build(_settings!.Machine, host);
    }

    private void GoOn()
    {
        _machine!.Resume();
        // Where its time jumped, its clock is right.
        if (_machine.PauseStopsTime)
            _agent?.SetClock();
    }

    private void Tell(string what, string? detail) => _manager.Events.Tell(_name, what, detail is null ? null : VisibleText.Escape(detail));

    private void OnHealth(bool healthy, string why)
    {
        if (healthy)
            Tell("healthy", why);
        Change(record => record with { HealthState = healthy ? "healthy" : "unhealthy" });
        if (!healthy)
            _faults!.Begin(FaultKind.Unhealthy, why);
    }

    private void OnConsole(ReadOnlySpan<byte> text)
    {
        _console.Write(text);
        _output?.Write(text);
    }

    private RunReport Serve()
    {
        Decided();
        _machine!.Start();
        if (_stopped)
            Stop();
        if (_isRestored)
            _agent?.SetClock();
        _health = _check is null ? null : new HealthWatch(_check, _settings!.Machine.Vsock?.SocketPath, () => _machine.IsPaused, OnHealth, _options.Time);
        _health?.Start();
        var result = Since(_machine.Ended.GetAwaiter().GetResult());
        _output?.Drain(TimeSpan.FromSeconds(1));
        Dispose(ref _health);
        string outcome = ReportJson.NameOf(result.Outcome);
        if (result.ExitCode != ExitCode.Success && FaultRules.KindOf(outcome) == FaultKind.Crash && _rules[FaultKind.Crash].Dump)
            _faults!.WriteCore();
        var error = OutcomeErrors.For(result.Outcome) is { } info
            ? new VmmException(info, result.Explanation?.Split('\n', 2)[0] ?? outcome)
            : null;
        return Report(result, error);
    }

    private RotatingFileTarget? ConsoleTarget() => _settings!.Console switch
    {
        ConsoleKind.None => null,
        ConsoleKind.File => new RotatingFileTarget(_settings.ConsolePath!),
        _ => new RotatingFileTarget(_manager.Store.ConsoleLogOf(_name), keep: true),
    };

    private void OnSchedulerLost(string why)
    {
        _notice($"the scheduler is lost: {why}");
        if (_settings!.Scheduling.StopOnLoss)
            _machine?.Stop(VmOutcome.Error);
    }

    /// <summary>The guest is about to run: from now on it sees what it saw at its first boot.</summary>
    private VmRecord IsUp(VmRecord record)
    {
        if (record.Ending != EndRequest.None)
            return record;
        // What "auto" came to is what the guest saw of the processor.
        var engine = (EngineChoice)SettingNames.IndexOf(SettingNames.Engines, _machine!.EngineName);
        // Before the guest's first instruction, and after the last thing that needs any of it.
        var held = _confine();
        var settings = _settings! with { Machine = _settings.Machine with { Engine = engine } };
        return record.To(VmState.Running, _options.Time.GetUtcNow()) with { Config = VmRecord.ConfigOf(settings), Confinement = held, PauseStopsTime = _machine.PauseStopsTime, RestoresNext = false };
    }

    private void Keep(RunReport report)
    {
        string outcome = ReportJson.NameOf(report.Result.Outcome);
        try
        {
            File.WriteAllText(Path.Combine(_manager.Store.FolderOf(_name), "report.json"), ReportJson.ToText(report));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            _notice($"the report is lost: {HostFailureText.Of(e)}");
        }

        Change(record =>
        {
            var ended = record.Ended(outcome, report.ExitCode, _options.Time.GetUtcNow());
            return ended with
            {
                End = ended.End! with
                {
                    Explanation = report.Error is { } error ? VisibleText.Escape($"{error.Error.Summary}: {error.Message}") : null,
                    ErrorId = report.Error?.Error.Id,
                },
                Usage = new VmUsage(report.Result.Total.TotalMilliseconds, report.Result.Vcpus.Sum(vcpu => vcpu.CpuTime.TotalMilliseconds), report.Result.GuestResidentBytes, report.Result.VmmRssBytes),
            };
        });
    }

    /// <summary>Changes the record, if it is still this process's; null where it is not.</summary>
    private VmRecord? Change(Func<VmRecord, VmRecord> change)
    {
        using (_manager.Store.Lock(_name))
        {
            if (_manager.Store.TryRead(_name) is not { } record || record.Generation != _generation || record.Worker != HostProcess.Own || !Lifecycle.IsActive(record.State))
                return null;
            var next = change(record);
            if (next.State != record.State)
                _manager.Keep(next);
            else if (!ReferenceEquals(next, record))
                _manager.Store.Write(next);
            return next;
        }
    }

    /// <summary>The result with times since this run began, rather than the process.</summary>
    private RunResult Since(RunResult result) => result with { FirstRun = result.FirstRun - _began, Ready = result.Ready - _began, Total = result.Total - _began };

    private RunReport Report(RunResult result, VmmException? error) => new()
    {
        Result = result,
        Name = _name,
        CommandLine = _machine?.CommandLine,
        Error = error,
        ConsoleWrittenBytes = _output?.WrittenBytes ?? 0,
        ConsoleLostBytes = _output?.LostBytes ?? 0,
    };

    /// <summary>The result of a guest that never ran.</summary>
    private static RunResult Result(VmOutcome outcome) => new() { Outcome = outcome, Engine = "none", HostBackend = "none" };

    private static void Dispose<T>(ref T? part) where T : class, IDisposable
    {
        part?.Dispose();
        part = null;
    }
}
