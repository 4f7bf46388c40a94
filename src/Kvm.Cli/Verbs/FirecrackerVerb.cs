using System.CommandLine;
using System.Globalization;
using Kvm.Api.Firecracker;
using Kvm.Cli.Parsing;
using Kvm.Cli.Running;
using Kvm.Cli.Text;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Cli.Verbs;

/// <summary><c>kvmsharp firecracker</c>: one microVM as a program named firecracker runs it.</summary>
internal sealed class FirecrackerVerb : Verb
{
    private const string Program = "firecracker";
    private const string Api = "API and configuration";
    private const string Logs = "Log and metrics";
    private const string Lacking = "Taken for its callers";
    private const string DefaultSocket = "/run/firecracker.socket";

    private readonly ValueOption _socket = new("--api-sock", "PATH", Api, $"The Unix socket of the API. [default: {DefaultSocket}]") { Kind = ValueKind.File };
    private readonly SwitchOption _noApi = new("--no-api", Api, "Runs without the API; with --config-file.");
    private readonly ValueOption _file = new("--config-file", "FILE", Api, "Starts the microVM that this file of JSON describes.") { Kind = ValueKind.File };
    private readonly ValueOption _metadata = new("--metadata", "FILE", Api, "What the guest may ask of itself at first, as JSON.") { Kind = ValueKind.File };
    private readonly ValueOption _id = new("--id", "ID", Api, $"The microVM's id: 1 to 64 letters, digits and dashes. [default: {FirecrackerOptions.DefaultId}]");
    private readonly ValueOption _payload = new("--http-api-max-payload-size", "BYTES", Api,
        $"The most bytes of a request's body, {FirecrackerOptions.MostPayload} at most. [default: {FirecrackerOptions.DefaultPayload}]");
    private readonly ValueOption _metadataLimit = new("--mmds-size-limit", "BYTES", Api, "The most bytes of metadata. [default: that of a body]");
    private readonly SwitchOption _pci = new("--enable-pci", Api, "Puts devices on a PCI bus, instead of registers in memory.");
    private readonly ValueOption _engine = new("--engine", "NAME", Api, "What runs the guest's instructions; not Firecracker's. [default: auto]") { Kind = ValueKind.OneOf, Values = SettingNames.Engines };

    private readonly ValueOption _log = new("--log-path", "FILE", Logs, "Where the log goes: a file or a named pipe.") { Kind = ValueKind.File };
    private readonly ValueOption _level = new("--level", "LEVEL", Logs, "How much is logged. [default: Info]") { Kind = ValueKind.OneOf, Values = ["Off", "Error", "Warning", "Info", "Debug", "Trace"] };
    private readonly ValueOption _module = new("--module", "NAME", Logs, "Logs only what this part of the program says: api_server or vmm.");
    private readonly SwitchOption _showLevel = new("--show-level", Logs, "Logs how much a line matters.");
    private readonly SwitchOption _showOrigin = new("--show-log-origin", Logs, "Logs which part of the program says a line.");
    private readonly ValueOption _metrics = new("--metrics-path", "FILE", Logs, "Where the metrics go: a file or a named pipe.") { Kind = ValueKind.File };
    private readonly ValueOption _startTime = new("--start-time-us", "TIME", Logs, "When the caller started the program, in microseconds since 1970, for the metrics.");

    private readonly SwitchOption _version = new("--version", Lacking, "Prints the version of Firecracker's API that is followed, and this program's.");
    private readonly SwitchOption _snapshotVersion = new("--snapshot-version", Lacking, "Prints the version of the files of snapshots.");
    private readonly ValueOption _describe = new("--describe-snapshot", "FILE", Lacking, "Prints the version of a snapshot's file.") { Kind = ValueKind.File };
    private readonly SwitchOption _noSeccomp = new("--no-seccomp", Lacking, "Changes nothing: no system calls are given up here (docs/firecracker.md).");
    private readonly ValueOption _seccomp = new("--seccomp-filter", "FILE", Lacking, "Refused: filters of one's own are not taken.") { Kind = ValueKind.File };
    private readonly SwitchOption _bootTimer = new("--boot-timer", Lacking, "Refused: there is no such device; run --ready-match measures a boot.");
    private readonly ValueOption _startCpu = new("--start-time-cpu-us", "TIME", Lacking, "Taken, and not reported.");
    private readonly ValueOption _parentCpu = new("--parent-cpu-time-us", "TIME", Lacking, "Taken, and not reported.");

    public FirecrackerVerb()
        : base(Program, "Runs one microVM with Firecracker's API and command line, for its clients and configuration files.")
    {
        foreach (var option in (Option[])
            [_socket, _noApi, _file, _metadata, _id, _payload, _metadataLimit, _pci, _engine, _log, _level, _module, _showLevel, _showOrigin, _metrics, _startTime,
             _version, _snapshotVersion, _describe, _noSeccomp, _seccomp, _bootTimer, _startCpu, _parentCpu])
        {
            Add(option);
        }

        Examples =
        [
            ("kvmsharp firecracker --api-sock vm.socket", "waits for a client: curl --unix-socket vm.socket http://localhost/"),
            ("kvmsharp firecracker --no-api --config-file vm.json", "runs what the file says, the console attached"),
            ("ln -s \"$(command -v kvmsharp)\" firecracker; ./firecracker --api-sock vm.socket", "under the name that its clients start"),
        ];
        Notes = ["What differs from Firecracker is listed in docs/firecracker.md; what is missing is refused with the reason."];
    }

    /// <summary>The words of the command line, with this verb before them where the program was started as <c>firecracker</c>.</summary>
    public static string[] AsCalled(string[] args) =>
        Environment.GetCommandLineArgs() is [var name, ..] && Path.GetFileName(name) == Program ? [Program, .. args] : args;

    public override int Execute(ParseResult result, GlobalOptions global)
    {
        if (_version.IsGiven(result) || _snapshotVersion.IsGiven(result) || _describe.Text(result) is not null)
        {
            StandardStreams.Output(Told(result));
            return ExitCode.Success;
        }

        if (_noApi.IsGiven(result) && _file.Text(result) is null)
            throw new VmmException(UsageErrors.Incomplete, "--no-api needs --config-file: nobody else says what to run");
        if (_seccomp.Text(result) is not null)
            throw new VmmException(FirecrackerErrors.Unsupported, "--seccomp-filter: filters of one's own are not taken");
        if (_bootTimer.IsGiven(result))
            throw new VmmException(FirecrackerErrors.Unsupported, "--boot-timer: there is no such device; kvmsharp run --ready-match TEXT --report FILE measures a boot");
        // From before there is a socket, which goes with the program.
        int came = 0;
        using var ending = new CancellationTokenSource();
        using var signals = new SignalGuard(number =>
        {
            Interlocked.CompareExchange(ref came, number, 0);
            ending.Cancel();
        }, () => { });
        using var instance = FirecrackerInstance.Open(Asked(result));
        return Serve(instance, global, ending.Token) ?? 128 + Volatile.Read(ref came);
    }

    /// <summary>Runs what is started, until a guest has ended.</summary>
    /// <returns>The exit code; null where a signal came before.</returns>
    private static int? Serve(FirecrackerInstance instance, GlobalOptions global, CancellationToken ending)
    {
        while (instance.NextStart(ending) is { } start)
        {
            try
            {
                using var session = new RunSession(start.Settings, global, build: start.Build, started: start.Started);
                int code = session.Run();
                start.Failed(new VmmException(UsageErrors.InvalidMachine, "the machine did not start; standard error says why"));
                if (start.IsStarted)
                    start.Over();
                if (start.IsStarted || start.IsOfFile)
                    return code;
            }
            catch (VmmException e) when (!start.IsOfFile)
            {
                start.Failed(e);
            }
        }

        return null;
    }

    private string Told(ParseResult result)
    {
        if (_version.IsGiven(result))
            return $"Firecracker v{FirecrackerInstance.ApiVersion}\n\n{ProductVersion.Line}\n";
        return _snapshotVersion.IsGiven(result) ? $"v{FirecrackerInstance.SnapshotVersion}\n" : $"v{FirecrackerInstance.DescribeSnapshot(_describe.Text(result)!)}\n";
    }

    private FirecrackerOptions Asked(ParseResult result) => new()
    {
        ApiSocket = _noApi.IsGiven(result) ? null : _socket.Text(result) ?? DefaultSocket,
        Id = _id.Text(result) is { } id ? Id(id) : FirecrackerOptions.DefaultId,
        ConfigFile = _file.Text(result),
        MetadataFile = _metadata.Text(result),
        LogPath = _log.Text(result),
        LogLevel = _level.Text(result),
        ShowLevel = _showLevel.IsGiven(result),
        ShowLogOrigin = _showOrigin.IsGiven(result),
        LogModule = _module.Text(result),
        MetricsPath = _metrics.Text(result),
        MostBody = Number(_payload, result, FirecrackerOptions.MostPayload) is { } payload ? (int)payload : FirecrackerOptions.DefaultPayload,
        MostMetadata = (int?)Number(_metadataLimit, result, FirecrackerOptions.MostPayload),
        StartTimeMicroseconds = Number(_startTime, result, long.MaxValue),
        EnablePci = _pci.IsGiven(result),
        Engine = _engine.Text(result) is { } engine ? (EngineChoice)Quantities.OneOf("--engine", engine, SettingNames.Engines) : EngineChoice.Auto,
    };

    private static string Id(string text) =>
        FirecrackerOptions.IsId(text) ? text : throw Quantities.Bad("--id", text, "is not 1 to 64 letters, digits and dashes");

    private static long? Number(ValueOption option, ParseResult result, long most)
    {
        if (option.Text(result) is not { } text)
            return null;
        return long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long value) && value >= 0 && value <= most
            ? value : throw Quantities.Bad(option.Name, text, string.Create(CultureInfo.InvariantCulture, $"is not a whole number from 0 to {most}"));
    }
}
