using System.Text.Json;
using Kvm.Manager.Networks;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;

namespace Kvm.Manager;

/// <summary>
/// Looks after all machines as long as it is there: finds out at once when a process has ended, starts again what is to be started again and has nobody for that,
/// and starts networks and machines that are to be started with the host. It has no state of its own and does nothing that whoever looks next would not do. Thread-safe.
/// </summary>
public sealed class Caretaker : IDisposable
{
    private const int StackBytes = 512 << 10;

    /// <summary>How often all are looked at though nothing was told: an event may be lost.</summary>
    private static readonly TimeSpan s_round = TimeSpan.FromMinutes(1);

    /// <summary>When one is looked at again that somebody else was at work on.</summary>
    private static readonly TimeSpan s_again = TimeSpan.FromMilliseconds(100);

    private readonly ManagerOptions _options;
    private readonly VmManager _manager;
    private readonly EventPulse _pulse;
    private readonly Action<string> _notice;
    private readonly ProcessWatch _watch = new();
    private readonly CancellationTokenSource _end = new();
    private readonly Dictionary<string, VmRecord> _known = new(StringComparer.Ordinal);
    private readonly Thread _thread;
    private readonly Thread _autostart;
    private bool _closed;

    private Caretaker(ManagerOptions options, EventPulse pulse, Action<string> notice)
    {
        (_options, _pulse, _notice) = (options, pulse, notice);
        _manager = new VmManager(options);
        _thread = new Thread(Main, StackBytes) { Name = "caretaker", IsBackground = true };
        _autostart = new Thread(Autostart, StackBytes) { Name = "autostart", IsBackground = true };
    }

    /// <summary>Begins: with those that run already.</summary>
    /// <param name="options">Where machines are.</param>
    /// <param name="pulse">Tells that something happened.</param>
    /// <param name="notice">Takes messages for people.</param>
    public static Caretaker Start(ManagerOptions options, EventPulse pulse, Action<string> notice)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(pulse);
        ArgumentNullException.ThrowIfNull(notice);
        var caretaker = new Caretaker(options, pulse, notice);
        caretaker._thread.Start();
        caretaker._autostart.Start();
        return caretaker;
    }

    /// <summary>Leaves machines to themselves.</summary>
    public void Dispose()
    {
        if (_closed)
            return;
        _closed = true;
        _end.Cancel();
        _watch.Wake();
        _thread.Join();
        _autostart.Join();
        _watch.Dispose();
        _end.Dispose();
    }

    private void Main()
    {
        var cursor = new EventCursor(_manager.Events.Path, null);
        // The place first: what happens while all are looked at is told afterwards.
        cursor.Read();
        LookAtAll();
        var round = _options.Time.GetUtcNow() + s_round;
        while (!_end.IsCancellationRequested)
        {
            var told = _pulse.Next;
            _ = told.ContinueWith(static (_, watch) => ((ProcessWatch)watch!).Wake(), _watch, _end.Token, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
            HashSet<string> names = new(Told(cursor), StringComparer.Ordinal);
            if (names.Count == 0)
                names.UnionWith(Ended(Patience(round)));
            foreach (string name in names)
                LookAt(name);
            if (_options.Time.GetUtcNow() < round)
                continue;
            LookAtAll();
            round = _options.Time.GetUtcNow() + s_round;
        }
    }

    private bool Tried(string what, Action work)
    {
        try
        {
            work();
            return true;
        }
        catch (Exception e) when (e is VmmException or IOException or UnauthorizedAccessException)
        {
            // A full disk, a record that cannot be read: the others are looked after.
            _notice($"{what}: {VisibleText.Escape(e.Message)}");
            return false;
        }
    }

    /// <summary>Waits until there is something to look at.</summary>
    /// <returns>Machines a process of which has ended, or whose time has come.</returns>
    private List<string> Ended(TimeSpan patience)
    {
        _watch.Set(_known.Values.Where(record => Lifecycle.IsActive(record.State)).SelectMany(ProcessesOf).ToHashSet());
        var ended = _watch.Wait(patience);
        var now = _options.Time.GetUtcNow();
        return [.. _known.Values.Where(record => ProcessesOf(record).Any(ended.Contains) || record.RestartAt <= now || IsBehind(record)).Select(record => record.Name)];
    }

    private TimeSpan Patience(DateTimeOffset round)
    {
        var now = _options.Time.GetUtcNow();
        if (_known.Values.Any(record => IsBehind(record) || record.RestartAt <= now))
            return s_again;
        var next = _known.Values.Min(record => record.RestartAt) is { } at && at < round ? at : round;
        return next > now ? next - now : TimeSpan.Zero;
    }

    /// <summary>Its record does not say yet that its process is gone.</summary>
    private static bool IsBehind(VmRecord record) => Lifecycle.IsActive(record.State) && ProcessesOf(record).All(process => !process.IsAlive);

    private static IEnumerable<HostProcess> ProcessesOf(VmRecord record)
    {
        if (record.Worker is { } worker)
            yield return worker;
        if (record.Supervisor is { } supervisor)
            yield return supervisor;
    }

    private void LookAtAll() => Tried("machines are not looked after for now", () =>
    {
        var entries = _manager.List();
        _known.Clear();
        foreach (var record in entries.Select(entry => entry.Record).OfType<VmRecord>())
            _known[record.Name] = record;
    });

    private void LookAt(string name)
    {
        if (!Tried(name, () =>
        {
            // Not there is no failure: it was removed.
            if (_manager.Store.TryRead(name) is null)
                _known.Remove(name);
            else
                _known[name] = _manager.Get(name);
        }))
            _known.Remove(name);
    }

    private static List<string> Told(EventCursor cursor)
    {
        List<string> names = [];
        foreach (var (_, line) in cursor.Read())
        {
            try
            {
                using var told = JsonDocument.Parse(line);
                if (told.RootElement.GetProperty("vm").GetString() is { } name && VmName.IsName(name))
                    names.Add(name);
            }
            catch (Exception e) when (e is JsonException or InvalidOperationException or KeyNotFoundException)
            {
                // Somebody else's line.
            }
        }

        return names;
    }

    /// <summary>Starts what is to be started with the host and was not since it booted: networks, then machines, one after another in the order in which they were made.</summary>
    private void Autostart()
    {
        Tried("no network is started with the host", () =>
        {
            foreach (var (name, why) in new NetworkStore(_options).StartAll(_end.Token))
                _notice($"the network {name} is not started: {VisibleText.Escape(why.Message)}");
        });
        string boot = HostProcess.BootId;
        List<string> due = [];
        Tried("no machine is started with the host", () => due = [.. _manager.List().Select(entry => entry.Record).OfType<VmRecord>()
            .Where(record => record.Autostart && record.BootId != boot && !Lifecycle.IsActive(record.State)).OrderBy(record => record.Created).Select(record => record.Name)]);
        foreach (string name in due.TakeWhile(_ => !_end.IsCancellationRequested))
            Tried($"{name} is not started", () => StartOnce(name));
    }

    private void StartOnce(string name)
    {
        try
        {
            _manager.Start(name, _end.Token);
        }
        catch (VmmException e) when (e.Error == ManagerErrors.WrongState)
        {
            // Somebody was faster.
        }
        catch (OperationCanceledException)
        {
            // The manager ends; the machine goes on.
        }
    }
}
