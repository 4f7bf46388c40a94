using Kvm.Vmm;
using Kvm.Vmm.Host;

namespace Kvm.Manager;

/// <summary>
/// A machine's supervisor: the parent of its worker, there for machines that are started again when they end. It does nothing but wait, for its
/// worker and for the time of the next start. Whoever kills it ends nothing: the machine is then looked after by whoever looks next.
/// </summary>
public static class Supervisor
{
    /// <summary>Looks after a machine until it is not to be started again.</summary>
    /// <param name="options">Where machines are.</param>
    /// <param name="name">The machine.</param>
    /// <param name="generation">The start that this process is for.</param>
    /// <returns>The exit code.</returns>
    public static int Run(ManagerOptions options, string name, long generation)
    {
        ArgumentNullException.ThrowIfNull(options);
        using var line = StartLine.Take();
        var manager = new VmManager(options);
        var own = HostProcess.Own;
        if (First(manager, name, generation, own) is not { } worker)
            return ExitCode.Success;
        while (true)
        {
            using (worker.Process)
            {
                worker.Process.WaitForWord(TimeSpan.MaxValue);
                line?.Say();
                worker.Process.Process.WaitForEnd(Timeout.InfiniteTimeSpan);
            }

            if (manager.Get(name) is not { RestartAt: { } at } record || record.Supervisor != own)
                return Leave(manager, name, own);
            // A later start, or an end of the wait that somebody asked for, is found out about afterwards.
            if (at - options.Time.GetUtcNow() is var wait && wait > TimeSpan.Zero)
                options.Time.Wait(wait);
            if (manager.StartAgain(name, own) is not { } next)
                return Leave(manager, name, own);
            worker = next;
        }
    }

    private static (StartedProcess Process, long Generation)? First(VmManager manager, string name, long generation, HostProcess own)
    {
        using (manager.Store.Lock(name))
        {
            return manager.Store.TryRead(name) is { State: VmState.Starting } record && record.Generation == generation && record.Supervisor == own
                ? manager.StartWorker(record)
                : null;
        }
    }

    private static int Leave(VmManager manager, string name, HostProcess own)
    {
        using (manager.Store.Lock(name))
        {
            if (manager.Store.TryRead(name) is { } record && record.Supervisor == own)
                manager.Store.Write(record with { Supervisor = null });
        }

        return ExitCode.Success;
    }

    private static void Wait(this TimeProvider time, TimeSpan span)
    {
        using var due = new ManualResetEventSlim();
        using var timer = time.CreateTimer(_ => due.Set(), null, span, Timeout.InfiniteTimeSpan);
        due.Wait();
    }
}
