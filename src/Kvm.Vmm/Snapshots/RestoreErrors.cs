namespace Kvm.Vmm.Snapshots;

/// <summary>The errors of saving and restoring machines, KVM0520–KVM0529.</summary>
public static class RestoreErrors
{
    /// <summary>The machine or the host is not one that can go on from the state.</summary>
    public static readonly ErrorInfo Lacking = new("KVM0520", "this machine cannot go on from that state",
        "The configuration is another one, or the processor, its registers or its clock are not what the guest has seen so far; the message names all that is lacking.",
        "Restore it with the configuration it was saved with, under the same engine, on a host like the one it was saved on")
    { ExitCode = ExitCode.HostCannot };

    /// <summary>A record says what no machine can have saved.</summary>
    public static readonly ErrorInfo BadState = new("KVM0521", "the saved state is damaged",
        "A record of it is cut short, was changed, or says what no machine can have said.",
        "Restore another snapshot; see what is damaged: kvmsharp snapshot verify")
    { ExitCode = ExitCode.BadInput };

    /// <summary>A record of a later version.</summary>
    public static readonly ErrorInfo LaterState = new("KVM0522", "the state was saved by a later version",
        "A record of it has a version that this program does not know.",
        "Use the version that saved it, or a later one")
    { ExitCode = ExitCode.BadInput };

    /// <summary>A machine whose state is not taken out.</summary>
    public static readonly ErrorInfo NotSaved = new("KVM0523", "this machine's state cannot be saved",
        "Runs that repeat keep their past by themselves, and machines with devices for tests have devices without state.",
        "Leave --deterministic and --test-devices out; or go back with gdb: docs/debugging.md, \"Backwards\"")
    { ExitCode = ExitCode.Usage };

    /// <summary>Two at once.</summary>
    public static readonly ErrorInfo Busy = new("KVM0524", "a snapshot or backup of this machine is being made",
        "One is made at a time: each needs the list of what the guest writes for itself.",
        "Wait until it is there: kvmsharp snapshot ls, kvmsharp backup ls")
    { ExitCode = ExitCode.HostFailure };

    /// <summary>A template that no process holds.</summary>
    public static readonly ErrorInfo NotHeld = new("KVM0525", "the template is not in memory",
        "The process that is to hold it could not be started, could not read it, or another one is at its socket; the message says which.",
        "See what is wrong: kvmsharp template hold NAME");

    /// <summary>No checkpoint.</summary>
    public static readonly ErrorInfo NoWayBack = new("KVM0526", "this machine cannot go back",
        "No checkpoints are kept of it, not the one that was named, or they would take more memory than was allowed; or it has disks that its guest can write, which do not go back.",
        "See what there is: kvmsharp checkpoint ls VM; keep some: kvmsharp checkpoint start VM --budget 512M")
    { ExitCode = ExitCode.Usage };

    /// <summary>All of the above, in ascending order of id.</summary>
    public static IReadOnlyList<ErrorInfo> All => [Lacking, BadState, LaterState, NotSaved, Busy, NotHeld, NoWayBack];
}
