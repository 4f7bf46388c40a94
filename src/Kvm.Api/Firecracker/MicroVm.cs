using System.Diagnostics;
using System.Text;
using System.Text.Json;
using System.Threading.Channels;
using Kvm.Api.Http;
using Kvm.Devices.Net.Metadata;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Api.Firecracker;

/// <summary>One microVM: what was said of it before its start, the machine afterwards. Requests take their turns, as with Firecracker. Thread-safe.</summary>
internal sealed partial class MicroVm
{
    /// <summary>Firecracker's API that this one follows.</summary>
    public const string ApiVersion = "1.17.0";

    private readonly Lock _gate = new();
    private readonly Channel<MachineStart> _starts = Channel.CreateUnbounded<MachineStart>();
    private readonly string _id;
    private readonly int _mostMetadata;
    private MicroVmSettings _settings;
    private MachineStart? _pending;
    private VirtualMachine? _machine;
    private bool _isOver;

    /// <summary>Makes one of which nothing is known.</summary>
    /// <param name="id">What it is called.</param>
    /// <param name="settings">What holds before anything is said.</param>
    /// <param name="mostMetadata">The most bytes of metadata.</param>
    /// <param name="log">Where it logs.</param>
    public MicroVm(string id, MicroVmSettings settings, int mostMetadata, FirecrackerLog log)
    {
        (_id, _settings, _mostMetadata, Log) = (id, settings, mostMetadata, log);
        Metrics = new FirecrackerMetrics(id, () => Volatile.Read(ref _machine) is { } machine ? (machine, Volatile.Read(ref _settings).Machine) : null, log);
    }

    /// <summary>Machines that are to be started: at most one that starts.</summary>
    public ChannelReader<MachineStart> Starts => _starts.Reader;

    /// <summary>Where it logs.</summary>
    public FirecrackerLog Log { get; }

    /// <summary>What it counts.</summary>
    public FirecrackerMetrics Metrics { get; }

    /// <summary><c>GET /</c>.</summary>
    public ApiAnswer Describe() => Look((json, _) =>
    {
        json.WriteStartObject();
        json.WriteString("id", _id);
        json.WriteString("state", _machine is null ? "Not started" : _machine.IsPaused ? "Paused" : "Running");
        json.WriteString("vmm_version", ApiVersion);
        json.WriteString("app_name", "Firecracker");
        json.WriteEndObject();
    });

    /// <summary>Answers with something of what is known.</summary>
    public ApiAnswer Look(Action<Utf8JsonWriter, MicroVmSettings> write)
    {
        using (TakeTurn())
            return ApiAnswer.Json(json => write(json, _settings));
    }

    /// <summary>Changes what is started.</summary>
    /// <exception cref="ApiRefusal">400: it was started, or the change is refused.</exception>
    public ApiAnswer Configure(Func<MicroVmSettings, MicroVmSettings> change)
    {
        using (TakeTurn())
        {
            MustNotRun();
            _settings = change(_settings);
            return ApiAnswer.Done;
        }
    }

    /// <summary>Has the log written somewhere.</summary>
    public ApiAnswer ConfigureLogger(ReadOnlyMemory<byte> body) => Configure(vm =>
    {
        var logger = Body.Read(body, FirecrackerJson.Default.LoggerBody);
        Log.Configure(logger);
        return vm with { Logger = logger };
    });

    /// <summary>Has the metrics written somewhere, once.</summary>
    public ApiAnswer ConfigureMetrics(ReadOnlyMemory<byte> body) => Configure(vm =>
    {
        var metrics = Body.Read(body, FirecrackerJson.Default.MetricsBody);
        if (vm.Metrics is not null)
            throw Body.NotNow("the metrics go to a file already");
        Metrics.Open(metrics);
        return vm with { Metrics = metrics };
    });

    /// <summary>The metadata, at any time.</summary>
    public ApiAnswer ReadMetadata()
    {
        using (TakeTurn())
        {
            MustServeMetadata();
            return ApiAnswer.Bytes(ApiBody.JsonType, Encoding.UTF8.GetBytes(_settings.Metadata ?? "{}"));
        }
    }

    /// <summary>Replaces the metadata, or of a PATCH merges with them (RFC 7396), at any time.</summary>
    public ApiAnswer WriteMetadata(ReadOnlyMemory<byte> body, bool isPatch)
    {
        using (TakeTurn())
        {
            MustServeMetadata();
            var value = Body.Parse(body, []);
            if (isPatch && _settings.Metadata is null)
                throw Body.NotNow("there is no metadata yet that a PATCH could change");
            string json = isPatch ? MergePatch.Apply(_settings.Metadata!, value) : value.GetRawText();
            byte[] utf8 = Encoding.UTF8.GetBytes(json);
            if (utf8.Length > _mostMetadata)
                throw new ApiRefusal(413, FirecrackerErrors.BadValue, $"the metadata would have {utf8.Length} bytes; the most is {_mostMetadata} (--mmds-size-limit)");
            if (MetadataTree.Parse(utf8, out var tree) is { } problem)
                throw Body.Wrong($"the metadata {problem}");
            _machine?.SetMetadata(tree!);
            _settings = _settings with { Metadata = json };
            return ApiAnswer.Done;
        }
    }

    /// <summary>Starts what was configured, and waits until it runs.</summary>
    /// <exception cref="ApiRefusal">400: it runs, or cannot be built; then it can be configured further.</exception>
    public ApiAnswer Start()
    {
        using (TakeTurn())
        {
            MustNotRun();
            Wait(Begin(Ready(), VirtualMachine.Build, isOfFile: false));
            return ApiAnswer.Done;
        }
    }

    /// <summary>Has what a file configured started, by whoever looks at <see cref="Starts"/> next.</summary>
    /// <exception cref="ApiRefusal">400: it is no machine.</exception>
    public void StartLater()
    {
        using (TakeTurn())
            Begin(Ready(), VirtualMachine.Build, isOfFile: true);
    }

    /// <summary>The machine as it was configured, if it is one.</summary>
    private RunSettings Ready()
    {
        if (_settings.Machine.KernelPath.Length == 0)
            throw Body.NotNow("no kernel was named: PUT /boot-source");
        var run = _settings.ToStart();
        return run.Machine.Validate() is [var problem, ..] ? throw Body.Wrong(problem) : run;
    }

    /// <summary>Hands a machine to who has the console.</summary>
    private MachineStart Begin(RunSettings run, Func<VmConfig, VmHost, VirtualMachine> build, bool isOfFile)
    {
        var start = new MachineStart(run, build, machine => Volatile.Write(ref _machine, machine), EndOfMachine) { IsOfFile = isOfFile };
        if (!_starts.Writer.TryWrite(start))
            throw Body.NotNow("the program is ending");
        return _pending = start;
    }

    private void Wait(MachineStart start)
    {
        long began = Stopwatch.GetTimestamp();
        try
        {
            start.Outcome.GetAwaiter().GetResult();
        }
        catch (VmmException e)
        {
            _pending = null;
            throw new ApiRefusal(400, e.Error, e.Message, e);
        }

        Log.Write(LogLevel.Info, $"the guest runs, after {Stopwatch.GetElapsedTime(began).TotalMilliseconds:0.0} ms");
    }

    /// <summary>No more machine is started: who waits for one is told.</summary>
    public void Close()
    {
        _starts.Writer.TryComplete();
        while (_starts.Reader.TryRead(out var never))
            never.Failed(new VmmException(FirecrackerErrors.NotNow, "the program is ending"));
    }

    /// <summary>Waits for a request's turn, and for a machine that a file started.</summary>
    private Lock.Scope TakeTurn()
    {
        var turn = _gate.EnterScope();
        // Whatever came of it: it is looked at next.
        ((IAsyncResult?)_pending?.Outcome)?.AsyncWaitHandle.WaitOne();
        return turn;
    }

    private void EndOfMachine()
    {
        lock (_gate)
        {
            _isOver = true;
            Metrics.Flush();
            Volatile.Write(ref _machine, null);
        }
    }

    private void MustNotRun()
    {
        if (_isOver)
            throw Body.NotNow("the guest has ended");
        if (_pending is not null)
            throw Body.NotNow("the microVM was started: this is done before");
    }

    private VirtualMachine MustRun()
    {
        if (_isOver)
            throw Body.NotNow("the guest has ended");
        return Volatile.Read(ref _machine) ?? throw Body.NotNow("the microVM was not started");
    }

    /// <summary>A machine that was started without a service has none.</summary>
    private void MustServeMetadata()
    {
        if (_isOver || (_pending is not null && !_settings.ServesMetadata))
            throw Body.NotNow("the microVM was started without metadata: PUT /mmds/config before the start");
    }
}
