namespace Kvm.Vmm.Scheduling;

/// <summary>Errors of scheduling, KVM0400–KVM0419.</summary>
public static class SchedulingErrors
{
    /// <summary>The VM was not admitted.</summary>
    public static readonly ErrorInfo Refused = new("KVM0400", "the scheduler does not admit this guest",
        "The memory or the vCPUs that guests were promised would be more than there are, or its table is full.",
        "Ask for less, wait with --admission queue, or see who is there: kvmsharp sched show");

    /// <summary>Another policy rules these CPUs.</summary>
    public static readonly ErrorInfo OtherPolicy = new("KVM0401", "another policy rules these CPUs",
        "Guests on one set of CPUs follow one policy; a scheduler with another one runs there.",
        "Take its policy, other CPUs (--pin inside another cpuset), or wait until its guests have ended: kvmsharp sched show");

    /// <summary>The scheduler cannot be started or talked to.</summary>
    public static readonly ErrorInfo Unreachable = new("KVM0402", "the scheduler cannot be reached",
        "It could not be started, or its socket in the runtime folder does not answer.",
        "See why in sched.log in the runtime folder, or start it in the foreground: kvmsharp sched serve --policy NAME");

    /// <summary>There is none.</summary>
    public static readonly ErrorInfo NotRunning = new("KVM0403", "no scheduler is running",
        "The first guest with a policy other than host starts one; it ends with its last guest.",
        "Start a guest under a policy: kvmsharp run KERNEL --policy rr");

    /// <summary>CPUs that are not there.</summary>
    public static readonly ErrorInfo NoSuchCpu = new("KVM0404", "these CPUs cannot be used",
        "They do not exist, are offline, or lie outside the cpuset this process is in.",
        "See which there are: kvmsharp sched show; grep Cpus_allowed_list /proc/self/status")
    { ExitCode = ExitCode.Usage };

    /// <summary>The scheduler died and the guest was to stop then.</summary>
    public static readonly ErrorInfo Lost = new("KVM0405", "the scheduler was lost",
        "Its process ended while guests ran, and --on-scheduler-loss stop was given.",
        "Start the guest again: the next one starts a new scheduler. Without that option guests go on under the host's own.");

    /// <summary>No such VM.</summary>
    public static readonly ErrorInfo NoSuchVm = new("KVM0406", "the scheduler knows no such guest",
        "It has ended, or runs under another name.",
        "See who is there: kvmsharp sched show");

    /// <summary>All errors of this class in ascending order of id.</summary>
    public static IReadOnlyList<ErrorInfo> All => [Refused, OtherPolicy, Unreachable, NotRunning, NoSuchCpu, Lost, NoSuchVm];
}
