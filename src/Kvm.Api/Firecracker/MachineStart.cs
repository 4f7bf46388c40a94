using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Api.Firecracker;

/// <summary>A machine that a client asked to start: whoever has the console builds and runs it, and says here what came of that. Thread-safe.</summary>
public sealed class MachineStart
{
    private readonly Func<VmConfig, VmHost, VirtualMachine> _build;
    private readonly Action<VirtualMachine> _started;
    private readonly Action _over;
    private readonly TaskCompletionSource<VirtualMachine> _outcome = new(TaskCreationOptions.RunContinuationsAsynchronously);

    internal MachineStart(RunSettings settings, Func<VmConfig, VmHost, VirtualMachine> build, Action<VirtualMachine> started, Action over) =>
        (Settings, _build, _started, _over) = (settings, build, started, over);

    /// <summary>The machine and its console.</summary>
    public RunSettings Settings { get; }

    /// <summary>A configuration file says it: without it there is nothing to do.</summary>
    public bool IsOfFile { get; internal init; }

    /// <summary>Whether the guest runs, or did.</summary>
    public bool IsStarted => _outcome.Task.IsCompletedSuccessfully;

    /// <summary>Completes when it runs; fails with what was in the way.</summary>
    internal Task Outcome => _outcome.Task;

    /// <summary>Builds it: one that boots, or one that goes on from a snapshot.</summary>
    /// <exception cref="VmmException">It cannot be built, which the client is told too.</exception>
    public VirtualMachine Build(VmConfig config, VmHost host)
    {
        try
        {
            return _build(config, host);
        }
        catch (VmmException e)
        {
            Failed(e);
            throw;
        }
    }

    /// <summary>The guest runs.</summary>
    /// <param name="machine">The machine.</param>
    public void Started(VirtualMachine machine)
    {
        _started(machine);
        _outcome.TrySetResult(machine);
    }

    /// <summary>It will not run.</summary>
    /// <param name="why">Why; the first reason counts.</param>
    public void Failed(VmmException why) => _outcome.TrySetException(why);

    /// <summary>The guest has ended, and its machine is about to go: clients are told so from now on. Waits for a request that is under way.</summary>
    public void Over() => _over();
}
