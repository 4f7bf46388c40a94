using Kvm.Manager.Faults;
using Kvm.Vmm;
using Kvm.Vmm.Host;

namespace Kvm.Manager;

/// <summary>What becomes of a record when something happens to its machine. Thread-safe: pure functions.</summary>
internal static class Transitions
{
    /// <summary>The record in another state.</summary>
    /// <exception cref="VmmException">KVM0601: that state may not follow.</exception>
    public static VmRecord To(this VmRecord record, VmState state, DateTimeOffset now)
    {
        Lifecycle.Check(record.Name, record.State, state);
        return record with { State = state, Since = now };
    }

    /// <summary>It is being started.</summary>
    /// <param name="record">The machine.</param>
    /// <param name="process">Its worker, or its supervisor where it has a rule for starting again and a process of its own.</param>
    /// <param name="bootId">The host's boot.</param>
    /// <param name="now">The time.</param>
    public static VmRecord Started(this VmRecord record, HostProcess process, string bootId, DateTimeOffset now)
    {
        bool supervised = record.IsSupervised;
        return record.To(VmState.Starting, now) with
        {
            Generation = record.Generation + 1,
            Worker = supervised ? null : process,
            Supervisor = supervised ? process : null,
            BootId = bootId,
            Ending = EndRequest.None,
            RestartAt = null,
            HealthState = null,
        };
    }

    /// <summary>Its run has ended: what it is now, and when it is to be started again.</summary>
    /// <param name="record">The machine, in a state in which a worker has it.</param>
    /// <param name="outcome">As in reports.</param>
    /// <param name="exitCode">The program's exit code for that.</param>
    /// <param name="now">The time.</param>
    public static VmRecord Ended(this VmRecord record, string outcome, int exitCode, DateTimeOffset now)
    {
        bool asked = record.Ending != EndRequest.None, crashed = !asked && exitCode != ExitCode.Success;
        string how = asked ? VmRecordJson.NameOf(record.Ending) : exitCode is ExitCode.HostFailure or ExitCode.Usage or ExitCode.BadInput or ExitCode.HostCannot ? "failure" : "guest";
        bool soon = record.State == VmState.Starting || now - record.Since < RestartPolicy.Healthy;
        // Under --restart always a guest that powers off as soon as it is up is one that fails, as far as waiting goes.
        int failures = asked || !(crashed || record.Restart.When == RestartWhen.Always) ? 0 : soon ? record.Failures + 1 : crashed ? 1 : 0;
        var step = crashed ? record.Faults.After(outcome).Step : FaultStep.Default;
        bool again = !asked && StartsAgain(record.Restart, step, crashed, failures);
        return record.To(crashed ? VmState.Crashed : VmState.Stopped, now) with
        {
            Worker = null,
            Ending = EndRequest.None,
            End = new VmEnd(outcome, exitCode, how, now),
            Failures = failures,
            RestartAt = again ? now + RestartPolicy.Delay(failures) : null,
            RestoresNext = again && step == FaultStep.Restore,
        };
    }

    /// <summary>What was said of the fault that ended it, before its rule for starting again.</summary>
    private static bool StartsAgain(RestartPolicy restart, FaultStep step, bool crashed, int failures) => step switch
    {
        FaultStep.Kill => false,
        FaultStep.Restart or FaultStep.Restore when restart.When == RestartWhen.No => true,
        _ => restart.Applies(crashed, failures),
    };

    /// <summary>Nobody is to start it again.</summary>
    public static VmRecord WithoutRestart(this VmRecord record, DateTimeOffset now) =>
        (record.State == VmState.Stopped ? record : record.To(VmState.Stopped, now)) with { RestartAt = null, RestoresNext = false, Failures = 0 };

    /// <summary>
    /// What the record should say, seen from outside: where the processes that a state needs are gone, whatever ended them, the run has ended.
    /// The same record where it is right. Under the machine's lock.
    /// </summary>
    public static VmRecord Settled(this VmRecord record, string bootId, DateTimeOffset now)
    {
        bool sameBoot = record.BootId == bootId;
        bool supervised = sameBoot && record.Supervisor is { IsAlive: true };
        if (record.Supervisor is not null && !supervised)
            record = record with { Supervisor = null };
        if (!Lifecycle.IsActive(record.State) || (sameBoot && record.Worker is { IsAlive: true }) || (record.Worker is null && supervised))
            return record;
        return record.WorkerFailed(sameBoot ? "its process was killed or failed" : "the host was started again while it ran", now);
    }

    /// <summary>Who ran it can no longer say how it ended: crashed, or stopped where somebody had asked for the end.</summary>
    public static VmRecord WorkerFailed(this VmRecord record, string explanation, DateTimeOffset now)
    {
        bool asked = record.Ending != EndRequest.None;
        var ended = record.Ended(asked ? "stopped-by-user" : "worker-died", asked ? ExitCode.Success : ExitCode.HostFailure, now);
        return asked ? ended : ended with { End = ended.End! with { Explanation = explanation } };
    }
}
