using System.Globalization;
using System.Text.Json;
using Kvm.Api.Http;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Virtio;

namespace Kvm.Api.Firecracker;

/// <summary>What <c>kvmsharp firecracker</c> was asked to do. Immutable.</summary>
public sealed record FirecrackerOptions
{
    /// <summary>The id of a microVM that nobody named.</summary>
    public const string DefaultId = "anonymous-instance";

    /// <summary>The most bytes of a body where nobody says, as with Firecracker.</summary>
    public const int DefaultPayload = 51200;

    /// <summary>The largest limit of a body.</summary>
    public const int MostPayload = 1 << 20;

    /// <summary>The API's socket; null for none.</summary>
    public string? ApiSocket { get; init; }

    /// <summary>The microVM's id: 1 to 64 letters, digits and dashes.</summary>
    public string Id { get; init; } = DefaultId;

    /// <summary>A configuration file, by which the microVM is started at once; or null.</summary>
    public string? ConfigFile { get; init; }

    /// <summary>A file of metadata, or null.</summary>
    public string? MetadataFile { get; init; }

    /// <summary>The log's file, or null.</summary>
    public string? LogPath { get; init; }

    /// <summary>The log's level, or null.</summary>
    public string? LogLevel { get; init; }

    /// <summary>The log says how much lines matter.</summary>
    public bool ShowLevel { get; init; }

    /// <summary>The log says where lines come from.</summary>
    public bool ShowLogOrigin { get; init; }

    /// <summary>What lines are from that are logged, or null for all.</summary>
    public string? LogModule { get; init; }

    /// <summary>The metrics' file, or null.</summary>
    public string? MetricsPath { get; init; }

    /// <summary>The most bytes of a body.</summary>
    public int MostBody { get; init; } = DefaultPayload;

    /// <summary>The most bytes of metadata; null for as many as a body has.</summary>
    public int? MostMetadata { get; init; }

    /// <summary>When the process was started by its parent's clock, in microseconds since 1970; or null.</summary>
    public long? StartTimeMicroseconds { get; init; }

    /// <summary>Devices are functions of a PCI bus.</summary>
    public bool EnablePci { get; init; }

    /// <summary>What runs the guest.</summary>
    public EngineChoice Engine { get; init; }

    /// <summary>Whether a text can be an id.</summary>
    public static bool IsId(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return text.Length is > 0 and <= 64 && text.All(c => char.IsAsciiLetterOrDigit(c) || c == '-');
    }
}

/// <summary>A microVM with Firecracker's API (docs/firecracker.md), from <see cref="Open"/> until it is disposed. Whoever opens it runs what clients start.</summary>
public sealed class FirecrackerInstance : IDisposable
{
    private readonly MicroVm _vm;
    private ApiServer? _server;

    private FirecrackerInstance(MicroVm vm) => _vm = vm;

    /// <summary>The version of Firecracker's API that is followed.</summary>
    public static string ApiVersion => MicroVm.ApiVersion;

    /// <summary>The version of the files of snapshots.</summary>
    public static string SnapshotVersion => SnapshotFiles.Version;

    /// <summary>Listens, and starts what a configuration file says.</summary>
    /// <exception cref="VmmException">The configuration, or the socket.</exception>
    public static FirecrackerInstance Open(FirecrackerOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        var log = new FirecrackerLog(options.Id, TimeProvider.System);
        var instance = new FirecrackerInstance(new MicroVm(options.Id, Settings(options), options.MostMetadata ?? options.MostBody, log));
        try
        {
            instance.Begin(options);
            return instance;
        }
        catch
        {
            instance.Dispose();
            throw;
        }
    }

    /// <summary>Waits for a machine to start.</summary>
    /// <param name="cancel">Ends the wait.</param>
    /// <returns>The machine; null where none will come.</returns>
    public MachineStart? NextStart(CancellationToken cancel)
    {
        try
        {
            return _vm.Starts.ReadAsync(cancel).AsTask().GetAwaiter().GetResult();
        }
        catch (Exception e) when (e is OperationCanceledException or System.Threading.Channels.ChannelClosedException)
        {
            return null;
        }
    }

    /// <summary>The version of the format of a snapshot's file.</summary>
    /// <exception cref="VmmException">KVM0723: it is none.</exception>
    public static string DescribeSnapshot(string path) => string.Create(CultureInfo.InvariantCulture, $"{SnapshotFiles.Read(path).Version}.0.0");

    /// <inheritdoc/>
    public void Dispose()
    {
        _vm.Close();
        _server?.Dispose();
        _vm.Metrics.Flush();
        _vm.Metrics.Dispose();
        _vm.Log.Dispose();
    }

    private static MicroVmSettings Settings(FirecrackerOptions options)
    {
        var run = MicroVmSettings.Default;
        return new MicroVmSettings
        {
            Run = run with
            {
                Machine = run.Machine with
                {
                    Name = options.Id == FirecrackerOptions.DefaultId ? VmConfig.DefaultName : options.Id,
                    Engine = options.Engine,
                    Virtio = options.EnablePci ? VirtioTransport.Pci : VirtioTransport.Mmio,
                },
            },
        };
    }

    private void Begin(FirecrackerOptions options)
    {
        var logger = new LoggerBody(options.LogPath, options.LogLevel, options.ShowLevel ? true : null, options.ShowLogOrigin ? true : null, options.LogModule);
        if (logger != new LoggerBody())
            _vm.Log.Configure(logger);
        if (options.MetricsPath is { } metrics)
            _vm.ConfigureMetrics(JsonSerializer.SerializeToUtf8Bytes(new MetricsBody(metrics), FirecrackerJson.Default.MetricsBody));
        _vm.Log.Write(Firecracker.LogLevel.Info, $"kvmsharp, with the API of Firecracker {ApiVersion}");
        if (options.StartTimeMicroseconds is { } start)
            _vm.Metrics.StartupMicroseconds = Math.Max(0, (DateTimeOffset.UtcNow - DateTimeOffset.UnixEpoch).Ticks / TimeSpan.TicksPerMicrosecond - start);
        if (options.MetadataFile is { } metadata)
            _vm.WriteMetadata(ConfigurationFile.ReadBounded(metadata), isPatch: false);
        if (options.ConfigFile is { } file)
            ConfigurationFile.Apply(_vm, file);
        if (options.ApiSocket is { } socket)
            _server = ApiServer.Open(socket, new FirecrackerRoutes(_vm, options.MostBody).Table());
        if (options.ConfigFile is not null)
            _vm.StartLater();
    }
}
