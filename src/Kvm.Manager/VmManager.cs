using System.Globalization;
using System.Text.Json;
using Kvm.Manager.Faults;
using Kvm.Manager.Networks;
using Kvm.Manager.Pools;
using Kvm.Manager.Working;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Control;
using Kvm.Vmm.Host;

namespace Kvm.Manager;

/// <summary>
/// A user's machines: made, started, ended, looked at. There is no daemon: whoever calls works on the state folder and talks to the machines'
/// own processes. Whoever looks at a machine whose process is gone finds out that it crashed, and does what is due. Thread-safe, and between processes.
/// </summary>
/// <param name="options">Where they are.</param>
public sealed class VmManager(ManagerOptions options)
{
    private static readonly TimeSpan s_startPatience = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan s_endPatience = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan s_killPatience = TimeSpan.FromSeconds(10);

    private readonly string _bootId = HostProcess.BootId;

    /// <summary>Where their records are.</summary>
    public VmStore Store { get; } = new(options.StateFolder);

    /// <summary>What happens to them.</summary>
    public EventLog Events { get; } = new(options.StateFolder, options.Time);

    private DateTimeOffset Now => options.Time.GetUtcNow();

    /// <summary>Makes a machine. What the guest sees of it is fixed from now on.</summary>
    /// <param name="settings">Its configuration; where it has no name of its own it is given one.</param>
    /// <param name="restart">When it is started again.</param>
    /// <param name="autostart">Whether <c>serve</c> starts it.</param>
    /// <param name="cancel">Ends the wait for its lock.</param>
    /// <exception cref="VmmException">It cannot be made: KVM0006, KVM0602, KVM0603, KVM0605.</exception>
    public VmRecord Create(RunSettings settings, RestartPolicy restart = default, bool autostart = false, CancellationToken cancel = default) =>
        Create(settings, new CreateOptions { Restart = restart, Autostart = autostart }, cancel);

    /// <summary>Makes a machine. What the guest sees of it is fixed from now on.</summary>
    /// <param name="settings">Its configuration; where it has no name of its own it is given one.</param>
    /// <param name="how">How it is run.</param>
    /// <param name="cancel">Ends the wait for its lock.</param>
    /// <exception cref="VmmException">It cannot be made: KVM0006, KVM0602, KVM0603, KVM0605.</exception>
    public VmRecord Create(RunSettings settings, CreateOptions how, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(settings);
        ArgumentNullException.ThrowIfNull(how);
        if (settings.Machine.Validate() is [var problem, ..])
            throw new VmmException(UsageErrors.InvalidMachine, problem);
        string id = Guid.NewGuid().ToString("n");
        string name = settings.Machine.Name == VmConfig.DefaultName ? $"vm-{id[..8]}" : VmName.Check(settings.Machine.Name);
        settings = VolumeDisks.Name(settings, options).WithAbsolutePaths();
        settings = settings with { Machine = settings.Machine.WithFixedNumbers() with { Name = name } };
        var now = Now;
        var record = new VmRecord { Id = id, Name = name, Created = now, Since = now, Restart = how.Restart, Faults = how.Faults, Health = how.Health, Autostart = how.Autostart, Shared = how.Shared, Parents = how.Parents, Config = VmRecord.ConfigOf(settings) };
        using (Store.Lock(name, cancel))
            Store.Add(record);
        TellParents(record, children => [.. children, record.Id], cancel);
        Events.Tell(name, "created");
        return record;
    }

    /// <summary>What is known of a machine, after what is due was done.</summary>
    /// <exception cref="VmmException">KVM0600: there is none; KVM0604: its record cannot be read.</exception>
    public VmRecord Get(string name) => Settle(Store.Read(name));

    /// <summary>Every machine, by name, after what is due was done.</summary>
    public IReadOnlyList<VmEntry> List() => [.. Store.List().Select(entry => entry.Record is null ? entry : entry with { Record = Settle(entry.Record) })];

    /// <summary>Starts a machine and waits until its guest runs.</summary>
    /// <exception cref="VmmException">It may not be started now (KVM0601), or cannot be (KVM0607, KVM0608).</exception>
    /// <exception cref="OperationCanceledException">The wait was ended; the machine may start nevertheless.</exception>
    public VmRecord Start(string name, CancellationToken cancel = default)
    {
        ILaunched launched;
        long generation;
        using (Store.Lock(name, cancel))
        {
            var record = Store.Read(name).Settled(_bootId, Now);
            (launched, generation) = StartLocked(record with { Failures = 0 }, cancel);
        }

        using (launched)
        {
            launched.WaitForWord(s_startPatience, cancel);
            var started = Settle(name, cancel);
            if (started.Generation == generation && started.State == VmState.Crashed && started.End is { How: "failure" } end)
                throw new VmmException(ManagerErrors.StartFailed, end.Explanation is { } why ? $"{name}: {why}" : $"{name}: {end.Outcome}");
            return started;
        }
    }

    /// <summary>Asks a machine's guest to power off, and ends it where it does not in time.</summary>
    /// <param name="name">The machine.</param>
    /// <param name="timeout">How long it may take.</param>
    /// <param name="cancel">Ends the wait; the guest has been asked then.</param>
    /// <returns>The record; <see cref="VmEnd.How"/> tells whether it powered off (<c>stop</c>) or was ended (<c>stop-timeout</c>).</returns>
    /// <exception cref="VmmException">It may not be stopped now, or does not end.</exception>
    public VmRecord Stop(string name, TimeSpan timeout, CancellationToken cancel = default)
    {
        if (BeginEnd(name, EndRequest.Stop, cancel) is not { } record)
            return Settle(name, cancel);
        // One that is still starting cannot be asked, and finds in its record that it is not to go on.
        _ = Ask(name, "stop");
        return WaitForEnd(record, timeout, cancel) ? Settle(name, cancel) : End(name, EndRequest.StopTimeout, cancel);
    }

    /// <summary>Ends a machine without asking its guest.</summary>
    /// <exception cref="VmmException">It may not be ended now, or does not end.</exception>
    public VmRecord Kill(string name, CancellationToken cancel = default) => End(name, EndRequest.Kill, cancel);

    /// <summary>Has a running machine's guest stand still, with nothing that it asked for lost.</summary>
    /// <exception cref="VmmException">It does not run.</exception>
    public VmRecord Pause(string name) => SetState(name, VmState.Paused, "pause");

    /// <summary>Lets a paused machine's guest go on where it stopped.</summary>
    /// <exception cref="VmmException">It is not paused.</exception>
    public VmRecord Resume(string name) => SetState(name, VmState.Running, "resume");

    /// <summary>Forgets a machine and removes its folder; its disks stay.</summary>
    /// <param name="name">The machine.</param>
    /// <param name="force">Ends it where it runs, and removes it where its record cannot be read.</param>
    /// <param name="cancel">Ends the wait for its lock.</param>
    /// <exception cref="VmmException">It runs, or cannot be removed.</exception>
    public void Remove(string name, bool force = false, CancellationToken cancel = default)
    {
        if (force && TryGet(name) is { } running && Lifecycle.IsActive(running.State))
            KillIfItRuns(name, cancel);
        VmRecord? removed = null;
        using (Store.Lock(name, cancel))
        {
            var record = force ? TryRead(name) : Store.Read(name).Settled(_bootId, Now);
            if (record is not null && Lifecycle.IsActive(record.State))
                throw new VmmException(ManagerErrors.WrongState, $"{name} is {Lifecycle.NameOf(record.State)}, and only what does not run can be removed");
            if (record is null && !Directory.Exists(Store.FolderOf(name)))
                throw Store.NoSuchVm(name);
            EndSupervisor(record);
            Store.Remove(name);
            removed = record;
        }

        if (removed is not null)
            TellParents(removed, children => [.. children.Where(child => child != removed.Id)], cancel);

        Events.Tell(name, "removed");
    }

    /// <summary>Connects to a running machine's control socket.</summary>
    /// <exception cref="VmmException">KVM0600, KVM0604; KVM0306: it does not run.</exception>
    public ControlClient Connect(string name)
    {
        _ = Get(name);
        return ControlClient.Connect(options.RuntimeFolder, name);
    }

    /// <summary>Every virtual resource of a running machine with what backs it (docs/cli.md, "Machines").</summary>
    /// <returns>One object of JSON; null where it does not run.</returns>
    /// <exception cref="VmmException">KVM0600, KVM0604; KVM0307: it does not tell.</exception>
    public JsonElement? Map(string name)
    {
        if (!Lifecycle.IsActive(Get(name).State))
            return null;
        using var client = ControlClient.Connect(options.RuntimeFolder, name);
        return client.AskOnce("map");
    }

    /// <summary>Starts a machine again whose time has come. For its supervisor.</summary>
    internal (StartedProcess Process, long Generation)? StartAgain(string name, HostProcess supervisor)
    {
        using (Store.Lock(name))
        {
            var record = Store.Read(name);
            if (record.RestartAt is null || record.Supervisor != supervisor)
                return null;
            return StartWorker(record.Started(supervisor, _bootId, Now) with { Restarts = record.Restarts + 1 });
        }
    }

    /// <summary>As <see cref="StartAgain"/>, of one that ran in this process beside others and runs there again: its new generation; null where it does not.</summary>
    internal long? StartAgainShared(string name, long generation)
    {
        using (Store.Lock(name))
        {
            if (Store.TryRead(name) is not { RestartAt: not null } record || record.Generation != generation)
                return null;
            var next = record.Started(HostProcess.Own, _bootId, Now) with { Restarts = record.Restarts + 1 };
            Keep(next);
            return next.Generation;
        }
    }

    /// <summary>Writes down that a machine of this process has failed in a way that it could not write down itself.</summary>
    internal void EndShared(string name, long generation)
    {
        using (Store.Lock(name))
        {
            if (Store.TryRead(name) is { } record && record.Generation == generation && record.Worker == HostProcess.Own && Lifecycle.IsActive(record.State))
                Keep(record.WorkerFailed("it failed in the process that it shared", Now));
        }
    }

    /// <summary>Starts the worker of a machine that waits for one.</summary>
    internal (StartedProcess Process, long Generation) StartWorker(VmRecord record)
    {
        var worker = Launch(record, "run");
        Keep(record with { Worker = worker.Process });
        return (worker, record.Generation);
    }

    /// <summary>Keeps what a machine is from now on and tells it. Under its lock.</summary>
    internal void Keep(VmRecord record)
    {
        Store.Write(record);
        Events.Tell(record.Name, Lifecycle.NameOf(record.State), record.End is { } end && !Lifecycle.IsActive(record.State) ? $"{end.Outcome}, {end.How}" : null);
    }

    /// <summary>Finds out what has become of a machine, and does what is due.</summary>
    internal VmRecord Settle(VmRecord seen)
    {
        if (ReferenceEquals(seen.Settled(_bootId, Now), seen) && !IsDue(seen))
            return seen;
        // Whoever has the lock is at work on it, and will find out.
        using var held = Store.TryLock(seen.Name, TimeSpan.Zero);
        return held is null || Store.TryRead(seen.Name) is not { } record ? seen : SettleLocked(record);
    }

    /// <summary>As <see cref="Settle(VmRecord)"/>, of one whose lock is waited for: what is returned is how it is.</summary>
    internal VmRecord Settle(string name, CancellationToken cancel)
    {
        using (Store.Lock(name, cancel))
            return SettleLocked(Store.Read(name));
    }

    private VmRecord SettleLocked(VmRecord record)
    {
        var settled = record.Settled(_bootId, Now);
        if (!ReferenceEquals(settled, record))
            Keep(settled);
        if (!IsDue(settled))
            return settled;
        StartLocked(settled with { Restarts = settled.Restarts + 1 }, CancellationToken.None).Launched.Dispose();
        return Store.Read(record.Name);
    }

    /// <summary>Its time to be started again has come, and there is nobody whose work that is.</summary>
    private bool IsDue(VmRecord record) => record.RestartAt is { } at && at <= Now && record.Supervisor is null;

    /// <summary>Starts the process that the record then names. Under the machine's lock, which the process waits for: it goes on only if it is named.</summary>
    private (ILaunched Launched, long Generation) StartLocked(VmRecord record, CancellationToken cancel)
    {
        Lifecycle.Check(record.Name, record.State, VmState.Starting);
        EndSupervisor(record);
        var next = record.Started(default, _bootId, Now);
        // Processes that shared ones need they cannot start themselves.
        if (next.Shared && next.Settings() is var settings)
            settings.Scheduling.StartScheduler(settings.Machine);
        // Before the machine's process has no paths but its own, in which it could start none.
        if (next.Config.Contains("\"network=", StringComparison.Ordinal))
            _ = NamedNetworks.Locate(next.Settings(), options);
        ILaunched launched = next.Shared
            ? SharedHost.Take(options, next.Name, next.Generation, cancel)
            : new OwnProcess(Launch(next, next.IsSupervised ? "supervise" : "run"));
        Keep(record.Started(launched.Process, _bootId, Now));
        return (launched, next.Generation);
    }

    private StartedProcess Launch(VmRecord record, string role)
    {
        try
        {
            return StartedProcess.Start(options.Program, ["worker", record.Name, role, record.Generation.ToString(CultureInfo.InvariantCulture), options.StateFolder, options.RuntimeFolder],
                Path.Combine(Store.FolderOf(record.Name), role == "run" ? "worker.log" : "supervisor.log"));
        }
        catch (IOException e)
        {
            throw new VmmException(ManagerErrors.NoWorker, $"{record.Name}: {VisibleText.Escape(e.Message)}", e);
        }
    }

    private static void EndSupervisor(VmRecord? record)
    {
        if (record?.Supervisor is not { } supervisor || supervisor == HostProcess.Own)
            return;
        supervisor.Kill();
        supervisor.WaitForEnd(s_endPatience);
    }

    /// <summary>Writes down that a machine is to end. Null where nothing runs that would have to be ended: it is started no more.</summary>
    private VmRecord? BeginEnd(string name, EndRequest request, CancellationToken cancel)
    {
        using (Store.Lock(name, cancel))
        {
            var record = Store.Read(name).Settled(_bootId, Now);
            if (record.RestartAt is not null)
            {
                EndSupervisor(record);
                Keep(record.WithoutRestart(Now) with { Supervisor = null });
                return null;
            }

            if (record.State == VmState.Stopping)
                record = record with { Ending = record.Ending > request ? record.Ending : request };
            else
                record = record.To(VmState.Stopping, Now) with { Ending = request };
            Keep(record);
            return record;
        }
    }

    private VmRecord End(string name, EndRequest request, CancellationToken cancel)
    {
        if (BeginEnd(name, request, cancel) is not { } record)
            return Settle(name, cancel);
        // In order first, so that it gives back what it has of the host: sockets, interfaces, locks.
        if (!(Ask(name, "kill") && WaitForEnd(record, s_endPatience, cancel)))
        {
            // A process that has other machines is nobody's to kill for one of them.
            if (!record.Shared)
                record.Worker?.Kill();
            if (!WaitForEnd(record, s_killPatience, cancel))
                throw new VmmException(ManagerErrors.DidNotEnd, record.Shared ? $"{name} is still there in process {record.Worker?.Id}, which has others too" : $"process {record.Worker?.Id} of {name} is still there");
        }

        return Settle(name, cancel);
    }

    /// <summary>Changes the children of the machines that one was made from; of those that are gone nothing is to be told.</summary>
    private void TellParents(VmRecord record, Func<IReadOnlyList<string>, IReadOnlyList<string>> change, CancellationToken cancel)
    {
        if (record.Parents.Count == 0)
            return;
        foreach (var entry in Store.List().Where(entry => entry.Record is { } parent && record.Parents.Contains(parent.Id)))
        {
            using (Store.Lock(entry.Name, cancel))
            {
                if (Store.TryRead(entry.Name) is { } parent && parent.Id == entry.Record!.Id)
                    Store.Write(parent with { Children = change(parent.Children) });
            }
        }
    }

    private void KillIfItRuns(string name, CancellationToken cancel)
    {
        try
        {
            Kill(name, cancel);
        }
        catch (VmmException e) when (e.Error == ManagerErrors.WrongState)
        {
            // It has ended meanwhile.
        }
    }

    private VmRecord SetState(string name, VmState state, string request)
    {
        Lifecycle.Check(name, Get(name).State, state);
        return Ask(name, request) ? Get(name) : throw new VmmException(ManagerErrors.WrongState, $"{name} is ending");
    }

    private bool WaitForEnd(VmRecord record, TimeSpan patience, CancellationToken cancel) => record.Shared
        ? SharedHost.WaitForEnd(options, record, patience, cancel)
        : (record.Worker?.WaitForEnd(patience, cancel) ?? true) && (record.Supervisor?.WaitForEnd(patience, cancel) ?? true);

    /// <summary>Has a running machine's process do something; false where it does not answer.</summary>
    private bool Ask(string name, string request)
    {
        try
        {
            using var client = ControlClient.Connect(options.RuntimeFolder, name);
            return client.AskOnce(request) is not null;
        }
        catch (VmmException e) when (e.Error == ControlErrors.NoGuest)
        {
            return false;
        }
    }

    private VmRecord? TryGet(string name) => TryRead(name) is { } record ? Settle(record) : null;

    private VmRecord? TryRead(string name)
    {
        try
        {
            return Store.TryRead(name);
        }
        catch (VmmException e) when (e.Error == ManagerErrors.BadRecord)
        {
            return null;
        }
    }
}
