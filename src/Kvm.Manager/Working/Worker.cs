using System.Runtime.InteropServices;
using Kvm.Manager.Pools;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Control;
using Kvm.Vmm.Host;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Scheduling;

namespace Kvm.Manager.Working;

/// <summary>
/// The process that runs one machine: builds it from its record, serves its control socket, keeps its console's output, and writes down
/// how it ended. Used once.
/// </summary>
public sealed class Worker : IDisposable
{
    private const int SigTerm = 15;

    private readonly ManagerOptions _options;
    private readonly VmManager _manager;
    private readonly string _name;
    private readonly long _generation;
    private readonly bool _confined;
    private readonly Action<string> _notice;
    private readonly StartLine? _line;
    private readonly ConsoleHub _console = new();
    private TerminalOutput? _output;
    private VirtualMachine? _machine;
    private ISchedulerPlace? _place;
    private ControlServer? _control;
    private RunSettings? _settings;

    private Worker(ManagerOptions options, string name, long generation, bool confined, Action<string> notice)
    {
        (_options, _name, _generation, _confined, _notice) = (options, name, generation, confined, notice);
        _line = StartLine.Take();
        _manager = new VmManager(options);
    }

    /// <summary>Runs a machine to its end.</summary>
    /// <param name="options">Where machines are.</param>
    /// <param name="name">The machine.</param>
    /// <param name="generation">The start that this process is for; where the record names another it does nothing.</param>
    /// <param name="confined">Whether this process has its machine's paths only already; else it becomes such a one first, where that can be.</param>
    /// <param name="notice">Takes messages for people.</param>
    /// <returns>The exit code.</returns>
    public static int Run(ManagerOptions options, string name, long generation, bool confined, Action<string> notice)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(notice);
        if (!confined && WorkerConfinement.TryBecome(options, name, generation) is { } why)
            notice($"this process keeps the paths of its user: {why}");
        using var worker = new Worker(options, name, generation, confined, notice);
        return worker.Run();
    }

    /// <summary>Has the guest stand still, or go on, and writes that down. Any thread but the machine's.</summary>
    /// <exception cref="VmmException">KVM0601: its state does not allow it.</exception>
    internal VmRecord SetPaused(bool paused) => Change(record =>
    {
        var next = record.To(paused ? VmState.Paused : VmState.Running, _options.Time.GetUtcNow());
        if (paused)
            _machine!.Pause();
        else
            _machine!.Resume();
        return next;
    }) ?? throw new VmmException(ManagerErrors.WrongState, $"{_name} is ending");

    /// <summary>Gives back what it has of the host, in reverse order.</summary>
    public void Dispose()
    {
        _control?.Dispose();
        _machine?.Dispose();
        _output?.Dispose();
        _place?.Dispose();
        _line?.Dispose();
    }

    private int Run()
    {
        // Whoever started this process has the lock until the record names it.
        if (Change(record => record) is not { } record)
            return ExitCode.Success;
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
        Dispose(ref _control);
        Dispose(ref _machine);
        Dispose(ref _output);
        Dispose(ref _place);
        Keep(report);
        _line?.Say();
        return report.ExitCode;
    }

    private void Build(VmRecord record)
    {
        _settings = VolumeDisks.Locate(record.Settings(), _options);
        _output = ConsoleTarget() is { } target ? new TerminalOutput(target) : null;
        _place = _settings.Scheduling.Join(_settings.Machine, _notice, CancellationToken.None);
        _machine = VirtualMachine.Build(_settings.Machine, new VmHost { ConsoleOutput = OnConsole, Notice = _notice, Seats = _place?.Seats });
        VolumeDisks.Check(_settings, _options);
        _machine.Stopping += () => _output?.Release();
        _console.Attach(_machine);
        if (_place is not null)
            _place.Seats.WhenLost = OnSchedulerLost;
        _control = ControlServer.TryOpen(_machine, _options.RuntimeFolder, out string? why, new StopRequest(), new KillRequest(), new PauseRequest(this, pause: true), new PauseRequest(this, pause: false), new ConsoleRequest(_console))
            ?? throw new VmmException(ManagerErrors.StartFailed, $"its control socket cannot be made: {why}");
    }

    private void OnConsole(ReadOnlySpan<byte> text)
    {
        _console.Write(text);
        _output?.Write(text);
    }

    private RunReport Serve()
    {
        // The host shuts down, or somebody has had enough: what the guest had on its disks' way is flushed.
        using var ending = PosixSignalRegistration.Create(PosixSignal.SIGTERM, context =>
        {
            context.Cancel = true;
            _machine!.Stop(VmOutcome.Signalled, SigTerm);
        });
        _line?.Say();
        _machine!.Start();
        var result = _machine.Ended.GetAwaiter().GetResult();
        _output?.Drain(TimeSpan.FromSeconds(1));
        var error = OutcomeErrors.For(result.Outcome) is { } info
            ? new VmmException(info, result.Explanation?.Split('\n', 2)[0] ?? ReportJson.NameOf(result.Outcome))
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
        IReadOnlyList<string> held = [.. _confined ? (string[])["landlock"] : [], .. Confinement.DropCalls()];
        var settings = _settings! with { Machine = _settings.Machine with { Engine = engine } };
        return record.To(VmState.Running, _options.Time.GetUtcNow()) with { Config = VmRecord.ConfigOf(settings), Confinement = held };
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
            if (!ReferenceEquals(next, record))
                _manager.Keep(next);
            return next;
        }
    }

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
