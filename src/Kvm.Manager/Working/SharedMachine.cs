using System.Globalization;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;

namespace Kvm.Manager.Working;

/// <summary>One start of one machine in the process of shared machines. Its thread runs it, writes down how it ended, and goes on with the next start where its rule says so.</summary>
internal sealed class SharedMachine(SharedHostServer server, string name, long generation)
{
    private const int StackBytes = 512 << 10;

    private static readonly TimeSpan s_retry = TimeSpan.FromMilliseconds(500);

    private readonly TaskCompletionSource _decided = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly object _lock = new();
    private readonly string _log = Path.Combine(server.Manager.Store.FolderOf(name), "worker.log");
    private MachineRun? _run;
    private volatile bool _stopped;

    public string Name => name;

    public long Generation => generation;

    /// <summary>Completes when it runs or has failed, and its record says so.</summary>
    public Task Decided => _decided.Task;

    /// <summary>Completes when it has ended and its record says so.</summary>
    public Task Ended => _ended.Task;

    /// <summary>Starts its thread.</summary>
    public void Begin() => new Thread(Main, StackBytes) { Name = "vm", IsBackground = true }.Start();

    /// <summary>Ends it because the process is to end. Any thread.</summary>
    public void Stop()
    {
        lock (_lock)
        {
            _stopped = true;
            Monitor.PulseAll(_lock);
        }

        Volatile.Read(ref _run)?.Stop();
    }

    private void Main()
    {
        for (var machine = this; machine is not null;)
        {
            machine.Run();
            var next = machine.Next();
            server.Replace(machine, next);
            machine = next;
        }
    }

    private void Run()
    {
        try
        {
            File.Delete(_log);
            using var run = new MachineRun(server.Options, name, generation, ProcessClock.SinceProcessStart(), () => server.Confinement, Tell) { Decided = () => _decided.TrySetResult() };
            Volatile.Write(ref _run, run);
            if (_stopped)
                run.Stop();
            run.Run();
        }
        // What would end a process of its own ends this machine alone.
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            Tell(e is VmmException or IOException ? e.Message : e.ToString());
            WriteEnd();
        }

        Volatile.Write(ref _run, null);
        _decided.TrySetResult();
        _ended.TrySetResult();
    }

    /// <summary>Its record must not say that it runs, while this process goes on: tried until the disk has room again.</summary>
    private void WriteEnd()
    {
        while (!_stopped)
        {
            try
            {
                server.Manager.EndShared(name, generation);
                return;
            }
            catch (VmmException)
            {
                Wait(s_retry);
            }
        }
    }

    /// <summary>Waits for the time of the machine's next start; null where there is none.</summary>
    private SharedMachine? Next()
    {
        try
        {
            while (server.Manager.Store.TryRead(name) is { RestartAt: { } at } record && record.Generation == generation && !_stopped)
            {
                var left = at - server.Options.Time.GetUtcNow();
                if (left <= TimeSpan.Zero)
                    return server.Manager.StartAgainShared(name, generation) is { } next ? new SharedMachine(server, name, next) : null;
                Wait(left);
            }
        }
        catch (VmmException e)
        {
            Tell(string.Create(CultureInfo.InvariantCulture, $"it is not started again by this process: {e.Message}"));
        }

        return null;
    }

    private void Wait(TimeSpan time)
    {
        lock (_lock)
        {
            if (!_stopped)
                Monitor.Wait(_lock, time);
        }
    }

    private void Tell(string message)
    {
        try
        {
            File.AppendAllText(_log, $"kvmsharp: {VisibleText.Escape(message)}\n");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A full disk, or a folder that was removed: nobody is left who could read it.
        }
    }
}
