using Kvm.Vmm;
using Kvm.Vmm.Reporting;

namespace Kvm.Manager.Faults;

/// <summary>
/// Tells a running machine's faults and does about them what its rules say, on a thread of the pool: whoever notices a fault, a vCPU's thread among them, waits for nothing.
/// A fault that comes again at once is told once: a guest can report panics as fast as it runs.
/// </summary>
/// <param name="rules">The rules.</param>
/// <param name="tell">Tells an event with its detail.</param>
/// <param name="pause">Has the guest stand still, and writes that down.</param>
/// <param name="corePath">Where memory and registers are written to.</param>
internal sealed class FaultHandler(FaultRules rules, Action<string, string?> tell, Action pause, string corePath) : IDisposable
{
    private static readonly TimeSpan s_quiet = TimeSpan.FromSeconds(10);

    private readonly Lock _acting = new();
    private readonly long[] _last = new long[FaultRules.Kinds.Count];
    private VirtualMachine? _machine;
    private readonly string?[] _whys = new string?[FaultRules.Kinds.Count];

    /// <summary>Whose faults they are, once it is built.</summary>
    public void Attach(VirtualMachine machine) => _machine = machine;

    /// <summary>A fault of the machine's own. Any thread; does not block.</summary>
    /// <returns>Whether it is decided here what becomes of the guest.</returns>
    public bool OnFault(MachineFault fault, string why)
    {
        var kind = fault switch
        {
            MachineFault.Panic => FaultKind.Panic,
            MachineFault.Watchdog => FaultKind.Watchdog,
            _ => FaultKind.Hang,
        };
        Begin(kind, why);
        return rules[kind] != default;
    }

    /// <summary>As <see cref="OnFault"/>, of what was found out from outside.</summary>
    public void Begin(FaultKind kind, string why)
    {
        if (Interlocked.CompareExchange(ref _whys[(int)kind], why, null) is null)
            ThreadPool.UnsafeQueueUserWorkItem(_ => Act(kind), null);
    }

    /// <summary>Writes memory and registers of the machine, which stands still or has ended, and tells so.</summary>
    public void WriteCore()
    {
        try
        {
            _machine!.WriteCore(corePath);
            tell("dumped", corePath);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidOperationException)
        {
            tell("dump-failed", Vmm.Configuration.HostFailureText.Of(e));
        }
    }

    /// <summary>Tells what was not told yet, and does nothing more.</summary>
    public void Dispose()
    {
        for (int kind = 0; kind < _whys.Length; kind++)
            Act((FaultKind)kind);
        lock (_acting)
            _machine = null;
    }

    private void Act(FaultKind kind)
    {
        lock (_acting)
        {
            if (Interlocked.Exchange(ref _whys[(int)kind], null) is not { } why || _machine is not { } machine)
                return;
            ref long last = ref _last[(int)kind];
            if (last != 0 && Environment.TickCount64 - last < s_quiet.TotalMilliseconds)
                return;
            last = Environment.TickCount64;
            tell(FaultRules.Kinds[(int)kind], why);
            if (machine.Ended.IsCompleted)
                return;
            var action = rules[kind];
            if (action.Dump)
                Dump(machine);
            Follow(machine, kind, action.Step);
        }
    }

    private void Dump(VirtualMachine machine)
    {
        bool pauses = !machine.IsPaused;
        machine.Pause();
        WriteCore();
        if (pauses)
            machine.Resume();
    }

    private void Follow(VirtualMachine machine, FaultKind kind, FaultStep step)
    {
        switch (step)
        {
            case FaultStep.None:
                break;
            case FaultStep.Pause:
                TryPause();
                break;
            case FaultStep.Default when rules[kind] == default || kind is FaultKind.Hang or FaultKind.Unhealthy:
                // Only told; or the machine ends by itself, once its guest has printed what it has to say.
                break;
            default:
                machine.Stop(OutcomeOf(kind));
                break;
        }
    }

    private void TryPause()
    {
        try
        {
            pause();
        }
        catch (VmmException)
        {
            // It is paused, or ends.
        }
    }

    private static VmOutcome OutcomeOf(FaultKind kind) => kind switch
    {
        FaultKind.Panic => VmOutcome.Panic,
        FaultKind.Watchdog => VmOutcome.Watchdog,
        FaultKind.Hang => VmOutcome.Hung,
        _ => VmOutcome.Unhealthy,
    };
}
