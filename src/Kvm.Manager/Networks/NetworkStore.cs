using System.Globalization;
using System.Text;
using System.Text.Json;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;
using Kvm.Vmm.Network.Model;

namespace Kvm.Manager.Networks;

/// <summary>A network as it is now.</summary>
/// <param name="Record">What is known of it.</param>
/// <param name="Model">Its description; null where that cannot be read.</param>
/// <param name="Problem">Why it cannot be, or null.</param>
public sealed record NetworkEntry(NetworkRecord Record, NetworkModel? Model, string? Problem)
{
    /// <summary>In a word: <c>broken</c> (it cannot be read), <c>running</c>, <c>failed</c> (it was started and is not there), <c>stopped</c>.</summary>
    public string State => Problem is not null ? "broken" : Record.Runs ? "running" : Record.Problem is not null ? "failed" : "stopped";

    /// <summary>Why it is not as it should be, or null.</summary>
    public string? Why => Problem ?? Record.Problem;
}

/// <summary>
/// A user's networks: <c>networks/NAME</c> in the state folder each, with its description (<c>network.json</c>) and a record. A started one is a process of its own that serves the switch. There is no
/// daemon: whoever looks at one whose process is gone starts it again. Thread-safe, and between processes.
/// </summary>
/// <param name="options">Where they are.</param>
public sealed class NetworkStore(ManagerOptions options)
{
    private const string RecordName = "record.json", ModelName = "network.json";
    private const int MostFailures = 5, MostRecordBytes = 1 << 16;

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30), s_endPatience = TimeSpan.FromSeconds(5), s_healthy = TimeSpan.FromSeconds(10);

    private readonly string _bootId = HostProcess.BootId;

    /// <summary>The folder that holds all of them.</summary>
    public string Folder { get; } = Path.Combine(options.StateFolder, "networks");

    /// <summary>Where a network's description is.</summary>
    public string ModelOf(string name) => Path.Combine(FolderOf(name), ModelName);

    /// <summary>Where a network that runs says how it is.</summary>
    public string SocketOf(string name) => Path.Combine(options.RuntimeFolder, "networks", CheckName(name) + ".sock");

    /// <summary>Defines a network, or one that does not run anew.</summary>
    /// <param name="description">Its description: JSON, or a network's XML of libvirt's.</param>
    /// <param name="fileName">What messages call it.</param>
    /// <exception cref="VmmException">It is wrong (KVM0190), says what is not done here (KVM0663), runs (KVM0661) or overlaps another one (KVM0662).</exception>
    public NetworkEntry Define(ReadOnlyMemory<byte> description, string fileName)
    {
        if (LibvirtNetwork.IsXml(description.Span))
            description = LibvirtNetwork.Convert(description, fileName);
        var model = NetworkModel.Parse(description.Span, fileName);
        // One lock more than a network's own, so that two that are defined at once see each other.
        using var all = Lock("*");
        using var held = Lock(model.Name);
        var before = TryRead(model.Name);
        if (before is { Runs: true })
            throw new VmmException(NetworkObjectErrors.WrongState, $"{model.Name} runs");
        foreach (var other in Names().Where(name => name != model.Name))
        {
            if (Look(other) is { Model: { } there } && model.Conflict(there) is { } conflict)
                throw new VmmException(NetworkObjectErrors.Overlaps, $"{model.Name}: {conflict}");
        }

        var record = before ?? new NetworkRecord(model.Name);
        Keep(() =>
        {
            MakeFolder(FolderOf(model.Name));
            DurableFile.Write(ModelOf(model.Name), description.Span);
            Write(record);
            DurableFile.SyncFolder(Folder);
            return true;
        });
        return new NetworkEntry(record, model, null);
    }

    /// <summary>What is known of a network, after what is due was done.</summary>
    /// <exception cref="VmmException">KVM0660: there is none; KVM0664.</exception>
    public NetworkEntry Get(string name)
    {
        _ = Settle(Read(name));
        return Look(name) ?? throw NoSuch(name);
    }

    /// <summary>Every network, by name, after what is due was done.</summary>
    public IReadOnlyList<NetworkEntry> List()
    {
        List<NetworkEntry> entries = [];
        foreach (string name in Names().Order(StringComparer.Ordinal))
        {
            if (Look(name) is { } entry)
                entries.Add(entry.Problem is null ? entry with { Record = Settle(entry.Record) } : entry);
        }

        return entries;
    }

    /// <summary>How a network that runs is: leases and counters; null where it does not answer.</summary>
    public JsonElement? Status(string name) => NetworkStatus.Ask(SocketOf(name));

    /// <summary>Starts a network, and waits until it is there.</summary>
    /// <exception cref="VmmException">KVM0661: it runs; KVM0666: it cannot be.</exception>
    public NetworkRecord Start(string name)
    {
        StartedProcess process;
        using (Lock(name))
        {
            var record = Read(name);
            if (record.Runs)
                throw new VmmException(NetworkObjectErrors.WrongState, $"{name} runs");
            process = Launch(record with { Failures = 0 });
        }

        return Await(name, process);
    }

    /// <summary>Has a network be there: starts it if it does not run.</summary>
    /// <exception cref="VmmException">KVM0660, KVM0666.</exception>
    public NetworkRecord Ensure(string name)
    {
        StartedProcess process;
        using (Lock(name))
        {
            var record = Read(name);
            if (record.Runs)
                return record;
            process = Launch(record with { Failures = 0 });
        }

        return Await(name, process);
    }

    /// <summary>Starts every network that is to be started with the host and was not since it booted: one that was stopped since stays stopped.</summary>
    /// <param name="cancel">Begins with no further one.</param>
    /// <returns>Those that could not be, with why.</returns>
    public IReadOnlyList<(string Name, VmmException Why)> StartAll(CancellationToken cancel)
    {
        List<(string, VmmException)> failed = [];
        foreach (var entry in List().Where(entry => entry.Record.AutoStart && entry.Record.BootId != _bootId).TakeWhile(_ => !cancel.IsCancellationRequested))
        {
            try
            {
                Ensure(entry.Record.Name);
            }
            catch (VmmException e)
            {
                failed.Add((entry.Record.Name, e));
            }
        }

        return failed;
    }

    /// <summary>Ends a network; cards that are at it are unplugged until it is started again.</summary>
    /// <exception cref="VmmException">KVM0661: it does not run.</exception>
    public NetworkRecord Stop(string name)
    {
        using (Lock(name))
        {
            var record = Read(name);
            if (!record.IsStarted && !record.Runs)
                throw new VmmException(NetworkObjectErrors.WrongState, $"{name} does not run");
            // First written down: whoever looks meanwhile does not start it again.
            record = record with { IsStarted = false, Problem = null };
            Write(record);
            End(record);
            record = record with { Process = null };
            Write(record);
            return record;
        }
    }

    /// <summary>Whether a network is started with the host.</summary>
    public NetworkRecord SetAutoStart(string name, bool on)
    {
        using (Lock(name))
        {
            var record = Read(name) with { AutoStart = on };
            Write(record);
            return record;
        }
    }

    /// <summary>Forgets a network.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="force">Ends it where it runs, and forgets it where its record cannot be read.</param>
    /// <exception cref="VmmException">KVM0660, KVM0661.</exception>
    public void Remove(string name, bool force)
    {
        using (Lock(name))
        {
            if (!Directory.Exists(FolderOf(name)))
                throw NoSuch(name);
            var record = force ? TryReadAnyway(name) : Read(name);
            if (record is { Runs: true } && !force)
                throw new VmmException(NetworkObjectErrors.WrongState, $"{name} runs");
            if (record is not null)
                End(record);
            Keep(() =>
            {
                // The record first: what is left of a removal that did not end is no network.
                File.Delete(RecordOf(name));
                DurableFile.SyncFolder(FolderOf(name));
                Directory.Delete(FolderOf(name), recursive: true);
                return true;
            });
        }
    }

    internal NetworkRecord? TryRead(string name)
    {
        try
        {
            using var file = File.OpenHandle(RecordOf(name), FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            byte[] bytes = new byte[Math.Min(RandomAccess.GetLength(file), MostRecordBytes)];
            return NetworkRecord.Parse(bytes.AsMemory(0, RandomAccess.Read(file, bytes, 0)), name);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
        catch (Exception e) when (e is FormatException or IOException or UnauthorizedAccessException)
        {
            throw new VmmException(NetworkObjectErrors.BadRecord, $"the record of {name}", e);
        }
    }

    internal void Write(NetworkRecord record) => Keep(() =>
    {
        DurableFile.Write(RecordOf(record.Name), record.ToBytes());
        return true;
    });

    internal HostLock Lock(string name) => Keep(() =>
    {
        MakeFolder(Folder);
        return HostLock.TryAcquire(Path.Combine(Folder, ".lock"), VmStore.PlaceOf(name == "*" ? name : CheckName(name)), s_patience);
    }) ?? throw new VmmException(NetworkObjectErrors.CannotKeep, $"{name} is locked by another process");

    private NetworkRecord Await(string name, StartedProcess process)
    {
        using (process)
        {
            process.WaitForWord(s_patience);
            var started = Read(name);
            return started.Runs ? started : throw new VmmException(NetworkObjectErrors.StartFailed, $"{name}: {started.Problem ?? "its process ended"}");
        }
    }

    /// <summary>Starts one again whose process is gone and that nobody stopped, five times in a row at most.</summary>
    private NetworkRecord Settle(NetworkRecord seen)
    {
        if (!seen.IsStarted || seen.Runs || seen.Problem is not null || seen.BootId != _bootId)
            return seen;
        StartedProcess? process = null;
        using (Lock(seen.Name))
        {
            if (TryRead(seen.Name) is not { IsStarted: true, Problem: null } record || record.Runs)
                return TryRead(seen.Name) ?? seen;
            int failures = options.Time.GetUtcNow() - record.Since < s_healthy ? record.Failures + 1 : 1;
            if (failures > MostFailures)
                Write(record with { Process = null, Problem = string.Create(CultureInfo.InvariantCulture, $"its process ended {MostFailures} times in a row") });
            else
                process = Launch(record with { Failures = failures });
        }

        using (process)
            process?.WaitForWord(s_patience);
        return TryRead(seen.Name) ?? seen;
    }

    /// <summary>Starts the process that the record then names. Under the network's lock, which the process waits for: it goes on only if it is named.</summary>
    private StartedProcess Launch(NetworkRecord record)
    {
        End(record);
        var next = record with { Generation = record.Generation + 1, IsStarted = true, BootId = _bootId, Since = options.Time.GetUtcNow(), Problem = null };
        try
        {
            var process = StartedProcess.Start(options.Program, ["worker", record.Name, NetworkHost.Role, next.Generation.ToString(CultureInfo.InvariantCulture), options.StateFolder, options.RuntimeFolder], Path.Combine(FolderOf(record.Name), "log"));
            Write(next with { Process = process.Process });
            return process;
        }
        catch (IOException e)
        {
            throw new VmmException(NetworkObjectErrors.StartFailed, $"{record.Name}: {VisibleText.Escape(e.Message)}", e);
        }
    }

    private static void End(NetworkRecord record)
    {
        if (record is not { Process: { } process, Runs: true })
            return;
        process.Terminate();
        if (process.WaitForEnd(s_endPatience))
            return;
        process.Kill();
        process.WaitForEnd(s_endPatience);
    }

    private NetworkEntry? Look(string name)
    {
        try
        {
            return TryRead(name) is { } record ? new NetworkEntry(record, NetworkModel.Load(ModelOf(name)), null) : null;
        }
        catch (VmmException e)
        {
            return new NetworkEntry(new NetworkRecord(name), null, $"{e.Error.Id}: {e.Message}");
        }
    }

    private NetworkRecord Read(string name) => TryRead(name) ?? throw NoSuch(name);

    private NetworkRecord? TryReadAnyway(string name)
    {
        try
        {
            return TryRead(name);
        }
        catch (VmmException)
        {
            return null;
        }
    }

    private VmmException NoSuch(string name)
    {
        string shown = VisibleText.Quote(name, 64);
        return new VmmException(NetworkObjectErrors.NoSuchNetwork, NearestName.Find(name, [.. Names()]) is { } near ? $"{shown} is not there; did you mean {near}?" : $"{shown} is not there");
    }

    private IEnumerable<string> Names() => Directory.Exists(Folder) ? Directory.GetDirectories(Folder).Select(folder => Path.GetFileName(folder)).Where(VmName.IsName) : [];

    private string FolderOf(string name) => Path.Combine(Folder, CheckName(name));

    private string RecordOf(string name) => Path.Combine(FolderOf(name), RecordName);

    private static string CheckName(string name) => VmName.IsName(name) ? name : throw new VmmException(NetworkObjectErrors.NoSuchNetwork, $"{VisibleText.Quote(name, 64)} is no network's name");

    private static T Keep<T>(Func<T> work)
    {
        try
        {
            return work();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new VmmException(NetworkObjectErrors.CannotKeep, HostFailureText.Of(e), e);
        }
    }

    private static void MakeFolder(string path) => Directory.CreateDirectory(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
}
