using System.Runtime.InteropServices;
using System.Text;
using Kvm.Cli.Parsing;
using Kvm.Cli.Text;
using Kvm.Cli.Web;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Control;
using Kvm.Vmm.Debugging.Gdb;
using Kvm.Vmm.Host;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Scheduling;
using Kvm.Vmm.Snapshots.Templates;
using Kvm.Vmm.Tracing;

namespace Kvm.Cli.Running;

/// <summary>One guest in the foreground: console, keys, signals, and what is said at the end. Used once.</summary>
internal sealed class RunSession : IDisposable
{
    private const int SigHup = 1;
    private const int SigPipe = 13;
    private const int OverdueMilliseconds = 500;

    /// <summary>How long an ended machine's console may hold up a run that was ended from outside.</summary>
    private static readonly TimeSpan s_patience = TimeSpan.FromMilliseconds(50);

    private readonly RunSettings _settings;
    private readonly GlobalOptions _global;
    private readonly Func<VmConfig, VmHost, VirtualMachine> _build;
    private readonly Action<VirtualMachine>? _started;
    private readonly bool _takesInput;
    private readonly bool _attached;
    private readonly TerminalOutput? _output;
    private readonly ExitTrace? _trace;
    private readonly TracePage? _page;
    private VirtualMachine? _machine;
    private readonly CancellationTokenSource _joining = new();
    private TerminalMode? _terminal;
    private volatile string? _lost;
    private int _signals;
    private long _signalTime;

    /// <param name="settings">The machine and what is around it.</param>
    /// <param name="global">The options of every verb.</param>
    /// <param name="trace">Sees every exit; stays the caller's.</param>
    /// <param name="page">Shows the run; stays the caller's.</param>
    /// <param name="build">Makes the machine; null: one that boots.</param>
    /// <param name="started">Told when the guest runs.</param>
    public RunSession(RunSettings settings, GlobalOptions global, ExitTrace? trace = null, TracePage? page = null, Func<VmConfig, VmHost, VirtualMachine>? build = null, Action<VirtualMachine>? started = null)
    {
        _build = build ?? VirtualMachine.Build;
        _started = started;
        (_trace, _page) = (trace, page);
        _settings = settings;
        _global = global;
        // When a key is pressed is nobody's to repeat: a deterministic guest has no keyboard.
        _takesInput = settings.Console == ConsoleKind.Stdio && !settings.Machine.Deterministic;
        _attached = _takesInput && TerminalDescriptors.IsForegroundTerminal(TerminalDescriptors.Input);
        _output = Target() is { } target ? new TerminalOutput(target) { TargetGone = OnTargetGone } : null;
    }

    /// <summary>What the guest has otherwise than the template it goes on from, for the report.</summary>
    public IReadOnlyList<CloneChange>? Changes { get; init; }

    /// <summary>Runs the guest to its end.</summary>
    /// <returns>The exit code.</returns>
    public int Run()
    {
        if (_settings.ReportPath is { } path)
            ReportFile.Check(path);
        if (_settings.TranslationsPath is { } translations)
            ReportFile.Check(translations);
        // Until the report is written: a lost terminal's signal comes behind the hang-up that ended the run.
        using var signals = new SignalGuard(OnSignal, OnContinued);
        VmmException? error = null;
        RunResult? result = null;
        try
        {
            result = RunMachine();
            error = _lost is { } why ? new VmmException(SchedulingErrors.Lost, why) : null;
        }
        catch (VmmException e)
        {
            error = e;
        }
        finally
        {
            RestoreTerminal();
        }

        return Report(result, error);
    }

    public void Dispose()
    {
        RestoreTerminal();
        _machine?.Dispose();
        _output?.Dispose();
        _joining.Dispose();
    }

    private RunResult RunMachine()
    {
        LastResort.Restore = RestoreTerminal;
        using var place = JoinScheduler();
        if (Volatile.Read(ref _signals) is > 0 and var early && place is null && _settings.Scheduling.Policy is not null)
            return Failed() with { Outcome = VmOutcome.Signalled, Signal = early };
        var machine = _build(_settings.Machine with { KeepTranslations = _settings.TranslationsPath is not null },
            new VmHost { ConsoleOutput = Sink(), Notice = OnNotice, Seats = place?.Seats, Trace = _trace });
        using var input = _takesInput ? Input(machine) : null;
        if (_attached)
            _terminal = TerminalMode.TryEnter(TerminalDescriptors.Input);
        using var resized = _attached ? PosixSignalRegistration.Create(PosixSignal.SIGWINCH, _ => TellSize(machine)) : null;
        TellSize(machine);
        Volatile.Write(ref _machine, machine);
        machine.Stopping += OnStopping;
        if (_trace is not null)
        {
            _trace.Complete += () => machine.Stop(VmOutcome.StoppedByUser);
            _trace.OutputFailed += _ => OnTargetGone();
        }

        if (place is not null)
            place.Seats.WhenLost = OnSchedulerLost;
        using var waiting = _settings.Gdb is { Wait: true } first ? new GdbServer(machine, first, OnNotice) : null;
        using var control = Control(machine);
        _page?.Attach(machine, _trace!, _joining.Token);
        using var ending = _page?.Ending.Register(() => machine.Stop(VmOutcome.StoppedByUser));
        machine.Start();
        _started?.Invoke(machine);
        using var attaching = _settings.Gdb is { Wait: false } later ? new GdbServer(machine, later, OnNotice) : null;
        // A signal that came while the machine was built found nothing to stop.
        if (Volatile.Read(ref _signals) is > 0 and var signal)
            machine.Stop(VmOutcome.Signalled, signal);
        input?.Start();
        var result = machine.Ended.GetAwaiter().GetResult();
        _page?.Detach(Ending(result));
        var ownEnd = result.Outcome is not (VmOutcome.StoppedByUser or VmOutcome.Signalled or VmOutcome.Timeout);
        _output?.Drain(ownEnd && Volatile.Read(ref _signals) == 0 ? null : s_patience);
        return result;
    }

    private ConsoleSink? Sink() => (_output, _page) switch
    {
        ({ } output, { } page) => text =>
        {
            page.Console(text);
            output.Write(text);
        }
        ,
        (_, { } page) => page.Console,
        ({ } output, _) => output.Write,
        _ => null,
    };

    private static string Ending(RunResult result) =>
        FirstLine(result.Explanation) is { } why ? $"{ReportJson.NameOf(result.Outcome)}: {why}" : ReportJson.NameOf(result.Outcome);

    /// <summary>The socket by which others ask the guest; only where somebody gave it a name.</summary>
    private ControlServer? Control(VirtualMachine machine)
    {
        if (_settings.Machine.Name == VmConfig.DefaultName)
            return null;
        var server = ControlServer.TryOpen(machine, Folders.Runtime, out string? why);
        if (server is null && _global.Verbose)
            OnNotice($"kvmsharp stats cannot ask this guest: {why}");
        return server;
    }

    /// <summary>The guest's place at a scheduler; null where its policy needs none, or a signal ended the wait for one.</summary>
    private ISchedulerPlace? JoinScheduler()
    {
        try
        {
            return _settings.Scheduling.Join(_settings.Machine, OnNotice, _joining.Token);
        }
        catch (OperationCanceledException)
        {
            return null;
        }
    }

    private void OnSchedulerLost(string why)
    {
        bool stop = _settings.Scheduling.StopOnLoss;
        _lost = stop ? why : null;
        string then = stop ? "the guest is stopped" : "the guest goes on under the host's own";
        OnNotice($"the scheduler is lost: {why}; {then}");
        if (stop)
            _machine?.Stop(VmOutcome.Error);
    }

    private void TellSize(VirtualMachine machine)
    {
        if (_attached && TerminalDescriptors.TryGetSize(TerminalDescriptors.Input, out ushort columns, out ushort rows))
            machine.SetConsoleSize(columns, rows);
    }

    private IConsoleTarget? Target() => _settings.Console switch
    {
        ConsoleKind.Stdio => StdioTarget(_global.Json ? TerminalDescriptors.Error : TerminalDescriptors.Output),
        ConsoleKind.File => FileTarget(_settings.ConsolePath!),
        _ => null,
    };

    private DescriptorTarget StdioTarget(int fd) => new(fd, escape: !_attached && TerminalDescriptors.IsTerminal(fd));

    private static RotatingFileTarget FileTarget(string path)
    {
        try
        {
            return new RotatingFileTarget(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new VmmException(UsageErrors.CannotWrite, $"{VisibleText.Quote(path)}: {HostFailureText.Of(e)}", e);
        }
    }

    private TerminalInput Input(VirtualMachine machine)
    {
        var input = new TerminalInput(TerminalDescriptors.Input, _attached, machine.SendConsoleInput)
        {
            Command = OnCommand,
            HungUp = () => EndBy(SigHup),
        };
        machine.ConsoleInputReady += input.GuestIsReady;
        return input;
    }

    private void OnCommand(TerminalCommand command)
    {
        if (command == TerminalCommand.Quit)
            _machine?.Stop(VmOutcome.StoppedByUser);
        else
            _output?.Write("\r\nkvmsharp: Ctrl-A x ends the guest, Ctrl-A h shows this, Ctrl-A Ctrl-A types Ctrl-A\r\n"u8);
    }

    private void OnSignal(int signal)
    {
        // The first signal ends the run in order. A terminal that dies tells it twice, at whatever distance, and people press
        // twice: only one that comes when the end is overdue does not wait for anything.
        if (EndBy(signal) || signal == SigHup || Environment.TickCount64 - Volatile.Read(ref _signalTime) < OverdueMilliseconds)
            return;
        RestoreTerminal();
        Environment.Exit(128 + signal);
    }

    /// <summary>Ends the run for a signal's reason, if none was there before.</summary>
    private bool EndBy(int signal)
    {
        Interlocked.CompareExchange(ref _signalTime, Environment.TickCount64, 0);
        var first = Interlocked.CompareExchange(ref _signals, signal, 0) == 0;
        if (first)
            _joining.Cancel();
        if (first)
            Volatile.Read(ref _machine)?.Stop(VmOutcome.Signalled, signal);
        // The guest has ended already, and only its last words wait for a reader.
        if (Volatile.Read(ref _machine)?.Ended.IsCompleted == true)
            _output?.Abandon();
        return first;
    }

    private void OnStopping()
    {
        _output?.Release();
        _trace?.Release();
    }

    private void OnTargetGone() => _machine?.Stop(VmOutcome.Signalled, SigPipe);

    private void OnContinued() => _terminal?.Enter();

    private void OnNotice(string message) => StandardStreams.Error($"kvmsharp: {VisibleText.Escape(message)}\n");

    private void RestoreTerminal() => _terminal?.Restore();

    private int Report(RunResult? result, VmmException? error)
    {
        error ??= OutcomeErrors.For(result!.Outcome) is { } info
            ? new VmmException(info, FirstLine(result.Explanation) ?? ReportJson.NameOf(result.Outcome))
            : null;
        var report = new RunReport
        {
            Result = result ?? Failed(),
            Name = _settings.Machine.Name,
            CommandLine = _machine?.CommandLine,
            Changes = Changes,
            Error = error,
            ConsoleWrittenBytes = _output?.WrittenBytes ?? 0,
            ConsoleLostBytes = _output?.LostBytes ?? 0,
        };
        Say(report);
        var exitCode = report.ExitCode;
        if (_global.Json)
            TryWrite(() => StandardStreams.Output(ReportJson.ToText(report)), ref exitCode);
        if (_settings.ReportPath is { } path)
            TryWrite(() => ReportFile.Write(path, ReportJson.ToText(report)), ref exitCode);
        if (_settings.TranslationsPath is { } translations && result is not null)
            TryWrite(() => ReportFile.Write(translations, _machine!.WriteTranslations), ref exitCode);
        return exitCode;
    }

    /// <summary>A report that cannot be written spoils a good end; a bad end keeps its own exit code.</summary>
    private void TryWrite(Action write, ref int exitCode)
    {
        try
        {
            write();
        }
        catch (VmmException e)
        {
            StandardStreams.Error(ErrorText.Of(e, _global.Verbose));
            exitCode = exitCode == ExitCode.Success ? e.ExitCode : exitCode;
        }
    }

    private void Say(RunReport report)
    {
        var text = new StringBuilder();
        if (report.ConsoleLostBytes > 0)
            text.Append($"kvmsharp: {report.ConsoleLostBytes} of {report.ConsoleWrittenBytes} bytes of the console were dropped\n");
        if (report.Error is { } error)
            text.Append(ErrorText.Of(error, _global.Verbose && error.InnerException is not null));
        if (_global.Verbose && report.Result.Explanation is { } explanation && explanation.Contains('\n'))
            text.Append(string.Join('\n', explanation.Split('\n').Skip(1).Select(VisibleText.Escape))).Append('\n');
        if (text.Length > 0)
            StandardStreams.Error(text.ToString());
    }

    private static string? FirstLine(string? text) => text?.Split('\n', 2)[0];

    /// <summary>The result of a guest that never ran.</summary>
    private RunResult Failed() => new()
    {
        Outcome = VmOutcome.Error,
        Engine = SettingNames.Of(_settings.Machine.Engine),
        HostBackend = "none",
    };
}
