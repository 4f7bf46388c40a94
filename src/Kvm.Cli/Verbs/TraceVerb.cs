using System.CommandLine;
using System.Globalization;
using Kvm.Cli.Parsing;
using Kvm.Cli.Running;
using Kvm.Cli.Text;
using Kvm.Cli.Web;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;
using Kvm.Vmm.Tracing;

namespace Kvm.Cli.Verbs;

/// <summary><c>kvmsharp trace</c>: a guest whose every exit is shown, or a recorded trace of one.</summary>
internal sealed class TraceVerb : RunVerb
{
    private readonly TraceOptions _trace = new();
    private readonly ValueOption _replay = new("--replay", "FILE", "Form", "Shows what trace --format binary recorded, instead of running a guest.") { Kind = ValueKind.File };
    private readonly ValueOption _web = WebOption.Create("Form", "Shows it in a browser instead: prints the address of a page at PORT of 127.0.0.1, a free one where nothing is said, and waits for it to be opened.");

    public TraceVerb()
        : base("trace", "Runs a guest and shows each exit: its names, place, instruction, changed registers, what was done, what it cost. Takes run's options.")
    {
        foreach (var option in _trace.All)
            Add(option);
        Add(_replay);
        Add(_web);
        Examples =
        [
            ("kvmsharp trace vmlinux --count 20", "the first twenty exits"),
            ("kvmsharp trace vmlinux --only mmio,wrmsr --symbols vmlinux --timeout 10s", "registers in memory and MSRs, with names of the kernel's functions"),
            ("kvmsharp trace vmlinux --exit-port 0x3f8-0x3ff --format json | jq -r .value", "what goes through the serial port"),
            ("kvmsharp trace vmlinux --format chrome --output boot.json --timeout 20s", "for ui.perfetto.dev"),
            ("kvmsharp trace vmlinux --format binary --output boot.trace --timeout 20s", "recorded, to be looked at again"),
            ("kvmsharp trace vmlinux --count 5000 --format html --output boot.html", "a page for a browser"),
            ("kvmsharp trace vmlinux --web", "live in a browser: console, exits, schedule, registers, page tables"),
            ("kvmsharp trace --replay boot.trace --only mmio --from 1000 --count 5", "five of them"),
        ];
        Notes =
        [
            "Exit codes are run's. Without --output the trace has standard output, and the guest's console is not shown unless --console says where.",
            "Under the software engine accesses to devices are what exits are under KVM.",
        ];
    }

    public override int Execute(ParseResult result, GlobalOptions global)
    {
        if (_replay.Text(result) is not { } file)
            return base.Execute(result, global);
        return Replay(file, result, global);
    }

    protected override int Run(ParseResult result, RunSettings settings, GlobalOptions global)
    {
        if (_web.PortOf(result) is { } port)
            return Serve(port, result, settings, global);
        var filter = _trace.Filter(result);
        var format = _trace.Format(result, global.Json);
        var output = _trace.Output(result);
        if (output is null && format == TraceFormat.Binary)
            throw new VmmException(UsageErrors.Incomplete, "--format binary needs --output FILE");
        var symbols = _trace.Symbols(result) ?? SymbolTable.Beside(settings.Machine.KernelPath);
        if (output is null && !NamesConsole(result))
            settings = settings with { Console = ConsoleKind.None };
        using var trace = new ExitTrace(filter, format, Open(output?.Path), output?.Most ?? long.MaxValue, symbols);
        int exitCode;
        using (var session = new RunSession(settings, global with { Json = false }, trace))
            exitCode = session.Run();
        trace.Finish();
        if (trace.Lost > 0)
            StandardStreams.Error($"kvmsharp: {trace.Lost} of {trace.Lost + trace.Recorded} exits were left away\n");
        return exitCode;
    }

    /// <summary>Runs the guest for a page, which stays until it is told to end.</summary>
    private int Serve(int port, ParseResult result, RunSettings settings, GlobalOptions global)
    {
        RefuseForms(result, global);
        if (settings.Gdb is not null)
            throw new VmmException(UsageErrors.Conflict, "--web stops and steps the guest, and --gdb too: only one of them");
        using var page = new TracePage(port);
        var symbols = _trace.Symbols(result) ?? SymbolTable.Beside(settings.Machine.KernelPath);
        using var trace = new ExitTrace(_trace.Filter(result), TraceFormat.Json, page.Exits, long.MaxValue, symbols);
        // Nobody's guest waits for a browser.
        trace.Release();
        page.Announce("the guest starts when this page is opened");
        int exitCode;
        using (var session = new RunSession(settings, global, trace, page))
            exitCode = session.Run();
        trace.Finish();
        if (exitCode <= 128)
            page.WaitForEnd();
        return exitCode;
    }

    private int ServeReplay(int port, string path, ParseResult result, GlobalOptions global)
    {
        RefuseForms(result, global);
        using var page = new TracePage(port);
        using var input = OpenTrace(path);
        var filter = _trace.Filter(result);
        page.Replay(path);
        var replayed = TraceReader.Replay(input, path, filter, TraceFormat.Json, page.Exits, TracePage.MostReplayed, _trace.Symbols(result));
        Say(replayed, filter);
        page.WaitForEnd("the trace");
        return ExitCode.Success;
    }

    private void RefuseForms(ParseResult result, GlobalOptions global)
    {
        if (global.Json || _trace.NamesForm(result))
            throw new VmmException(UsageErrors.Conflict, "--web is a form of its own: without --format, --output and --json");
    }

    private int Replay(string path, ParseResult result, GlobalOptions global)
    {
        if (_web.PortOf(result) is { } port)
            return ServeReplay(port, path, result, global);
        var filter = _trace.Filter(result);
        var format = _trace.Format(result, global.Json);
        var target = _trace.Output(result);
        if (target is null && format == TraceFormat.Binary)
            throw new VmmException(UsageErrors.Incomplete, "--format binary needs --output FILE");
        var symbols = _trace.Symbols(result);
        using var input = OpenTrace(path);
        using var output = Open(target?.Path);
        ReplayResult replayed;
        try
        {
            replayed = TraceReader.Replay(input, path, filter, format, output, target?.Most ?? long.MaxValue, symbols);
        }
        catch (IOException e)
        {
            throw new VmmException(UsageErrors.CannotWrite, e.Message, e);
        }

        Say(replayed, filter);
        return ExitCode.Success;
    }

    private static void Say(ReplayResult replayed, TraceFilter filter)
    {
        if (replayed.Lost is null && replayed.Shown < filter.Count)
            StandardStreams.Error(string.Create(CultureInfo.InvariantCulture, $"kvmsharp: the trace was cut: it has no end behind its {replayed.Exits} exits\n"));
        else if (replayed.Lost > 0)
            StandardStreams.Error(string.Create(CultureInfo.InvariantCulture, $"kvmsharp: {replayed.Lost} exits were left away when it was recorded\n"));
    }

    private static FileStream OpenTrace(string path)
    {
        try
        {
            return new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 1 << 16);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new VmmException(UsageErrors.BadTrace, $"{VisibleText.Quote(path)}: {HostFailureText.Of(e)}", e);
        }
    }

    private static Stream Open(string? path)
    {
        if (path is null)
            return new DescriptorStream(TerminalDescriptors.Output);
        try
        {
            return new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.Read, bufferSize: 0);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new VmmException(UsageErrors.CannotWrite, $"{VisibleText.Quote(path)}: {HostFailureText.Of(e)}", e);
        }
    }
}
