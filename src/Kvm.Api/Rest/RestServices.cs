using System.Text.Json;
using Kvm.Api.Http;
using Kvm.Manager;
using Kvm.Manager.Commands;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Control;
using Kvm.Vmm.Host;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Api.Rest;

/// <summary>What the manager's routes work with. Thread-safe.</summary>
internal sealed class RestServices : IDisposable
{
    /// <summary>Streams at a time: events, logs that are followed, consoles.</summary>
    public const int MostStreams = 32;

    /// <summary>How long a running machine may take to answer.</summary>
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(5);

    private int _streams;
    private long _gaps;

    public RestServices(ManagerOptions options, VersionForm version)
    {
        (Options, Version) = (options, version);
        Manager = new VmManager(options);
        Queue = new CommandQueue(options, CommandVerbs.Standard.With("snapshot", ["name", "incremental"], TakeSnapshot));
        Pulse = new EventPulse(Manager.Events);
    }

    public ManagerOptions Options { get; }

    public VersionForm Version { get; }

    public VmManager Manager { get; }

    public CommandQueue Queue { get; }

    public EventPulse Pulse { get; }

    public SnapshotStore Snapshots => SnapshotStore.Open(Folders.SnapshotsOf(Options.StateFolder));

    /// <summary>Streams now.</summary>
    public int Streams => Volatile.Read(ref _streams);

    /// <summary>How often a reader of events was too slow.</summary>
    public long Gaps => Volatile.Read(ref _gaps);

    /// <summary>A reader of events was too slow.</summary>
    public void CountGap() => Interlocked.Increment(ref _gaps);

    /// <summary>An answer that goes on, one of few.</summary>
    /// <exception cref="ApiRefusal">503: there are too many.</exception>
    public ApiAnswer Stream(string type, ApiStream stream)
    {
        if (Streams >= MostStreams)
            throw new ApiRefusal(503, ApiErrors.TooMany, $"{MostStreams} streams are open");
        return ApiAnswer.Streamed(type, async (to, cancel) =>
        {
            Interlocked.Increment(ref _streams);
            try
            {
                await stream(to, cancel);
            }
            finally
            {
                Interlocked.Decrement(ref _streams);
            }
        });
    }

    /// <summary>Has a running machine answer, within five seconds.</summary>
    /// <exception cref="VmmException">KVM0600, KVM0604; KVM0306: it does not run or does not answer.</exception>
    public Task<JsonElement> Ask(string vm, string request, CancellationToken cancel) => Task.Run(() => Ask(Manager, vm, request, s_patience, cancel), cancel);

    /// <summary>As <see cref="Ask(string, string, CancellationToken)"/>, and waits.</summary>
    public static JsonElement Ask(VmManager manager, string vm, string request, TimeSpan patience, CancellationToken cancel)
    {
        using var client = manager.Connect(vm);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(patience);
        using var ending = limit.Token.Register(client.Cancel);
        var answer = client.AskOnce(request);
        cancel.ThrowIfCancellationRequested();
        return answer ?? throw new VmmException(ControlErrors.NoGuest, limit.IsCancellationRequested ? $"{vm} does not answer" : $"{vm} has ended");
    }

    public void Dispose() => Pulse.Dispose();

    private string TakeSnapshot(VmManager manager, string vm, JsonElement arguments, CancellationToken cancel)
    {
        string name = arguments.GetProperty("name").GetString() ?? "";
        string store = Folders.SnapshotsOf(Options.StateFolder);
        // The request is words and a line: neither name nor folder may end it early.
        if (name.Length == 0 || name.Contains(' ', StringComparison.Ordinal) || (name + store).AsSpan().ContainsAny('\n', '\r'))
            throw new VmmException(SnapshotErrors.BadName, VisibleText.Quote(name, 64));
        string kind = arguments.TryGetProperty("incremental", out var incremental) && incremental.GetBoolean() ? "increment" : "all";
        return Ask(manager, vm, $"snapshot {name} {kind} {SnapshotCompression.Lz4} {store}", Timeout.InfiniteTimeSpan, cancel).GetRawText();
    }
}
