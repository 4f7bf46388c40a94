using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Cli.Running;
using Kvm.Cli.Text;
using Kvm.Cli.Web;
using Kvm.Labs.Assembling;
using Kvm.Labs.Catalog;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Cli.Verbs;

/// <summary><c>kvmsharp lab</c>: programs of a page that show what a virtual machine monitor sees and does.</summary>
internal sealed class LabVerb : Verb
{
    /// <summary>The exit code of a check that does not hold.</summary>
    private const int NotSolved = 1;

    private const int MostSource = 1 << 20;

    private static readonly string[] s_actions = ["list", "show", "new", "run", "step", "check"];

    private static readonly string[] s_assemblers = ["own", "nasm", "gas"];

    private readonly WordArgument _action = new("ACTION", "list, show LAB, new LAB [FOLDER], run LAB, step LAB, check LAB, check --all.") { Kind = ValueKind.OneOf, Values = s_actions };
    private readonly WordArgument _lab = new("LAB", "A lab's number or name.");
    private readonly WordArgument _folder = new("FOLDER", "new: where the source is copied to; this folder where it is not said.") { Kind = ValueKind.File };
    private readonly ValueOption _source = new("--source", "FILE", "Sources", "run, step, check: the source to take; the one handed out where this is not given.") { Kind = ValueKind.File };
    private readonly ValueOption _assembler = new("--assembler", "NAME", "Sources", "own, nasm or gas; the latter where they are installed. [default: own]") { Kind = ValueKind.OneOf, Values = s_assemblers };
    private readonly ValueOption _engine = new("--engine", "NAME", "Running", "kvm or soft; KVM where it opens, and the software engine elsewhere, where this is not given.") { Kind = ValueKind.OneOf, Values = ["kvm", "soft"] };
    private readonly ValueOption _timeout = new("--timeout", "DURATION", "Running", "Ends a run after this much real time. [default: 5s]");
    private readonly ValueOption _steps = new("--steps", "N", "Running", "step, without a terminal: how many instructions. [default: 200]");
    private readonly ValueOption _web = WebOption.Create("Running", "run, step: on a page for a browser instead, at PORT of 127.0.0.1, a free one where nothing is said; prints its address.");
    private readonly SwitchOption _all = new("--all", "Running", "check: all labs, with their solutions.");

    public LabVerb()
        : base("lab", "Labs: small programs whose exits, registers and memory are looked at, with checks.")
    {
        foreach (var argument in (Argument[])[_action, _lab, _folder])
            Add(argument);
        foreach (var option in (Option[])[_source, _assembler, _engine, _timeout, _steps, _web, _all])
            Add(option);
        Examples =
        [
            ("kvmsharp lab list", "what there is"),
            ("kvmsharp lab show 1", "goal, background, exercises"),
            ("kvmsharp lab new 1", "01-first-exit.asm, to edit"),
            ("kvmsharp lab run 1 --source 01-first-exit.asm", "its exits, its console, how it ended"),
            ("kvmsharp lab step 1 --engine soft", "instruction by instruction, and back"),
            ("kvmsharp lab step 4 --engine soft --web", "the same in a browser, with the page tables"),
            ("kvmsharp lab check 1 --source 01-first-exit.asm", "exit code 0 when it is solved, 1 when not"),
        ];
        Notes =
        [
            "Keys of step: s or space one instruction, c to the next exit, b one back (soft), q ends.",
            "The language of the sources and the machine they run on: docs/labs/README.md.",
        ];
    }

    public override int Execute(ParseResult result, GlobalOptions global)
    {
        string action = Deed(_action, result);
        if (action != "new" && _folder.Text(result) is { } stray)
            throw new VmmException(UsageErrors.Unknown, $"lab {action} does not take {VisibleText.Quote(stray, 40)} here");
        if (action == "list")
            return Show(global, LabText.ListJson, LabText.List);
        bool all = _all.IsGiven(result);
        if (action == "check" && all)
            return CheckAll(result, global);
        if (all)
            throw new VmmException(UsageErrors.Conflict, $"--all goes with check, not with {action}");
        var lab = LabCatalog.Find(_lab.Text(result) ?? throw new VmmException(UsageErrors.Incomplete, $"lab {action} needs a LAB: its number or name"));
        return action switch
        {
            "show" => Show(global, json => LabText.ShowJson(json, lab), () => lab.Text),
            "new" => New(lab, _folder.Text(result) ?? ".", global),
            "run" => Run(result, lab, global),
            "step" => Step(result, lab, global),
            _ => Check(result, lab, global),
        };
    }

    private static int Show(GlobalOptions global, Action<System.Text.Json.Utf8JsonWriter> json, Func<string> text)
    {
        StandardStreams.Output(global.Json ? JsonText.Of(json) : text());
        return ExitCode.Success;
    }

    private static int New(Lab lab, string folder, GlobalOptions global)
    {
        string path = Path.Combine(folder, $"{lab.FileName}.{lab.Extension}");
        try
        {
            Directory.CreateDirectory(folder);
            using var file = new FileStream(path, FileMode.CreateNew, FileAccess.Write);
            file.Write(System.Text.Encoding.UTF8.GetBytes(lab.Source));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new VmmException(UsageErrors.CannotWrite, $"{VisibleText.Quote(path)}: {(File.Exists(path) ? "it is there already" : e.Message)}", e);
        }

        return Show(global, json => LabText.NewJson(json, lab, path), () => $"{VisibleText.Escape(path)}\nnext: kvmsharp lab check {lab.Number} --source {VisibleText.Escape(path)}\n");
    }

    private int Run(ParseResult result, Lab lab, GlobalOptions global)
    {
        if (_web.PortOf(result) is { } port)
            return Serve(port, result, lab, global, run: true);
        using var work = new LabWork();
        var report = lab.Run(SourceOf(result, lab), OptionsOf(result, lab), work.Cancellation);
        Show(global, json => LabText.RunJson(json, report), () => LabText.Run(report));
        if (work.ExitCode is { } signalled)
            return signalled;
        return report.Runs.Any(run => run.TimedOut) ? ExitCode.Timeout : ExitCode.Success;
    }

    private int Check(ParseResult result, Lab lab, GlobalOptions global)
    {
        using var work = new LabWork();
        var report = lab.Check(SourceOf(result, lab), OptionsOf(result, lab), work.Cancellation);
        Show(global, json => LabText.CheckJson(json, report), () => LabText.Check(report));
        return work.ExitCode ?? (report.Passed ? ExitCode.Success : NotSolved);
    }

    private int CheckAll(ParseResult result, GlobalOptions global)
    {
        if (_source.Text(result) is not null || _lab.Text(result) is not null)
            throw new VmmException(UsageErrors.Conflict, "check --all takes the labs' own solutions: neither a LAB nor --source goes with it");
        using var work = new LabWork();
        var reports = new List<CheckReport>();
        foreach (var lab in LabCatalog.All)
        {
            if (work.ExitCode is null)
                reports.Add(lab.CheckSolution(OptionsOf(result, lab), work.Cancellation));
        }

        Show(global, json => LabText.CheckAllJson(json, reports), () => string.Concat(reports.Select(LabText.CheckLine)));
        return work.ExitCode ?? (reports.All(report => report.Passed) ? ExitCode.Success : NotSolved);
    }

    private int Step(ParseResult result, Lab lab, GlobalOptions global)
    {
        if (_web.PortOf(result) is { } port)
            return Serve(port, result, lab, global, run: false);
        int steps = _steps.Text(result) is { } text ? Quantities.Count("--steps", text) : 200;
        if (steps < 1)
            throw Quantities.Bad("--steps", $"{steps}", "is not 1 or more");
        using var stepper = new LabStepper(lab, SourceOf(result, lab), OptionsOf(result, lab));
        return StepSession.Run(stepper, lab, steps, global.Json);
    }

    private int Serve(int port, ParseResult result, Lab lab, GlobalOptions global, bool run)
    {
        if (global.Json)
            throw new VmmException(UsageErrors.Conflict, "--web is a page for people: without --json");
        using var stepper = new LabStepper(lab, SourceOf(result, lab), OptionsOf(result, lab));
        using var page = new LabPage(stepper, lab, port);
        return page.Serve(run);
    }

    private LabOptions OptionsOf(ParseResult result, Lab lab)
    {
        string? engine = _engine.Text(result);
        if (engine is not (null or "kvm" or "soft"))
            throw Quantities.Bad("--engine", engine, "is not one of kvm, soft");
        var timeout = _timeout.Text(result) is { } time ? Quantities.Duration("--timeout", time) : TimeSpan.FromSeconds(5);
        if (timeout <= TimeSpan.Zero)
            throw Quantities.Bad("--timeout", _timeout.Text(result)!, "is not longer than zero");
        Func<string, AssemblyResult> assembler = (_assembler.Text(result) is { } name ? Quantities.OneOf("--assembler", name, s_assemblers) : 0) switch
        {
            0 => Assembler.Assemble,
            1 => ExternalAssembler.Nasm,
            _ => ExternalAssembler.Gas,
        };
        return new LabOptions { Engine = engine, Timeout = timeout, Assembler = assembler, FileName = _source.Text(result) ?? $"{lab.FileName}.{lab.Extension}" };
    }

    private string SourceOf(ParseResult result, Lab lab)
    {
        if (_source.Text(result) is not { } path)
            return lab.Source;
        try
        {
            using var file = new FileStream(path, FileMode.Open, FileAccess.Read);
            // A pipe has no length; of a file that grows no more is read than was asked for.
            var bytes = new byte[MostSource + 1];
            int length = file.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
            if (length > MostSource)
                throw new VmmException(LabErrors.UnreadableSource, $"{VisibleText.Quote(path)} is larger than 1 MiB");
            return System.Text.Encoding.UTF8.GetString(bytes, 0, length);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new VmmException(LabErrors.UnreadableSource, $"{VisibleText.Quote(path)}: {e.Message}", e);
        }
    }
}
