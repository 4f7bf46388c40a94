using System.Runtime.InteropServices;
using Kvm.Vmm.Host;

namespace Kvm.Manager.Working;

/// <summary>The process that runs one machine.</summary>
public static class Worker
{
    /// <summary>Runs a machine to its end.</summary>
    /// <param name="options">Where machines are.</param>
    /// <param name="name">The machine.</param>
    /// <param name="generation">The start that this process is for; where the record names another it does nothing.</param>
    /// <param name="confined">Whether this process has its machine's paths only already; else it becomes such a one first, where that can be.</param>
    /// <param name="notice">Takes messages for people.</param>
    /// <returns>The exit code.</returns>
    public static int Run(ManagerOptions options, string name, long generation, bool confined, Action<string> notice)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(notice);
        if (!confined && WorkerConfinement.TryBecome(options, name, generation) is { } why)
            notice($"this process keeps the paths of its user: {why}");
        using var line = StartLine.Take();
        using var run = new MachineRun(options, name, generation, TimeSpan.Zero, () => [.. confined ? (string[])["landlock"] : [], .. Confinement.DropCalls()], notice)
        {
            Decided = () => line?.Say(),
        };
        // The host shuts down, or somebody has had enough.
        using var ending = PosixSignalRegistration.Create(PosixSignal.SIGTERM, context =>
        {
            context.Cancel = true;
            run.Stop();
        });
        return run.Run();
    }
}
