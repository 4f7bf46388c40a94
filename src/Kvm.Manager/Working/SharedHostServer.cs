using System.Runtime.InteropServices;
using Kvm.Vmm;
using Kvm.Vmm.Control;
using Kvm.Vmm.Host;

namespace Kvm.Manager.Working;

/// <summary>
/// The process that runs the machines made with <c>--shared</c>: each on threads of its own, with a control socket of its own, and none knows of the others. It ends when
/// it has had no machine for a few seconds. It gives up what no machine needs before it has the first one.
/// </summary>
public sealed class SharedHostServer
{
    /// <summary>What is between two machines that come one after another is not worth a new process.</summary>
    private static readonly TimeSpan s_linger = TimeSpan.FromSeconds(5);

    private readonly ManagerOptions _options;
    private readonly Action<string> _notice;
    private readonly VmManager _manager;
    private readonly Dictionary<(string Name, long Generation), SharedMachine> _machines = [];
    private readonly object _lock = new();
    private bool _ends;

    private SharedHostServer(ManagerOptions options, Action<string> notice) => (_options, _notice, _manager) = (options, notice, new VmManager(options));

    /// <summary>What this process has given up.</summary>
    internal IReadOnlyList<string> Confinement { get; private set; } = [];

    internal ManagerOptions Options => _options;

    internal VmManager Manager => _manager;

    /// <summary>Runs machines until there are none.</summary>
    /// <param name="options">Where they are.</param>
    /// <param name="notice">Takes messages for people.</param>
    /// <returns>The exit code.</returns>
    public static int Run(ManagerOptions options, Action<string> notice)
    {
        ArgumentNullException.ThrowIfNull(options);
        using var line = StartLine.Take();
        return new SharedHostServer(options, notice).Run(line);
    }

    private int Run(StartLine? line)
    {
        Confinement = Vmm.Host.Confinement.DropCalls();
        using var control = ControlServer.TryOpenAt(SharedHost.SocketOf(_options), out string? why, new SharedStartRequest(this), new SharedEndedRequest(this));
        if (control is null)
        {
            _notice($"its socket cannot be made: {why}");
            return ExitCode.HostFailure;
        }

        using var ending = PosixSignalRegistration.Create(PosixSignal.SIGTERM, context =>
        {
            context.Cancel = true;
            EndAll();
        });
        line?.Say();
        lock (_lock)
        {
            while (_machines.Count > 0 || (!_ends && (Monitor.Wait(_lock, s_linger) || _machines.Count > 0)))
            {
                if (_machines.Count > 0)
                    Monitor.Wait(_lock);
            }

            // Whoever asks from now on is told nothing, and starts the next one.
            _ends = true;
        }

        return ExitCode.Success;
    }

    /// <summary>Takes a machine; null where this process is about to end.</summary>
    internal SharedMachine? Take(string name, long generation)
    {
        lock (_lock)
        {
            if (_ends)
                return null;
            var machine = new SharedMachine(this, name, generation);
            _machines[(name, generation)] = machine;
            Monitor.PulseAll(_lock);
            machine.Begin();
            return machine;
        }
    }

    /// <summary>When a start of a machine has ended; null where it is none of this process's, or has.</summary>
    internal Task? EndOf(string name, long generation)
    {
        lock (_lock)
            return _machines.TryGetValue((name, generation), out var machine) ? machine.Ended : null;
    }

    /// <summary>A machine's thread goes on with its next start, or ends.</summary>
    internal void Replace(SharedMachine machine, SharedMachine? next)
    {
        lock (_lock)
        {
            _machines.Remove((machine.Name, machine.Generation));
            if (next is not null)
                _machines[(next.Name, next.Generation)] = next;
            if (_ends)
                next?.Stop();
            Monitor.PulseAll(_lock);
        }
    }

    private void EndAll()
    {
        List<SharedMachine> machines;
        lock (_lock)
        {
            _ends = true;
            machines = [.. _machines.Values];
            Monitor.PulseAll(_lock);
        }

        foreach (var machine in machines)
            machine.Stop();
    }
}
