namespace Kvm.Vmm;

/// <summary>The errors of machines that outlive a command, KVM0600–KVM0619.</summary>
public static class ManagerErrors
{
    /// <summary>No machine of that name.</summary>
    public static readonly ErrorInfo NoSuchVm = new("KVM0600", "there is no machine of that name",
        "It was never created, was removed, or belongs to another user or another state folder.",
        "See which there are: kvmsharp ps --all")
    { ExitCode = ExitCode.Usage };

    /// <summary>The state does not allow it.</summary>
    public static readonly ErrorInfo WrongState = new("KVM0601", "the machine's state does not allow that",
        "Only some states may follow another: one that runs cannot be started, one that is stopped cannot be paused.",
        "See its state: kvmsharp ps --all; what may follow is in docs/manager.md.")
    { ExitCode = ExitCode.Usage };

    /// <summary>The name cannot be a machine's.</summary>
    public static readonly ErrorInfo BadName = new("KVM0602", "a machine cannot have that name",
        "A name is 1 to 64 letters of the Latin alphabet without accents, digits, '-', '_' and '.', and does not begin with '.' or '-'.",
        "Choose another one: kvmsharp create KERNEL --name web-1")
    { ExitCode = ExitCode.Usage };

    /// <summary>The name is taken.</summary>
    public static readonly ErrorInfo NameTaken = new("KVM0603", "there is a machine of that name",
        "Names are unique in a state folder, those of stopped machines too.",
        "Choose another name, or remove the old machine: kvmsharp rm NAME")
    { ExitCode = ExitCode.Usage };

    /// <summary>The record cannot be understood.</summary>
    public static readonly ErrorInfo BadRecord = new("KVM0604", "what is known of the machine cannot be read",
        "Its record (vcb.json in the state folder) was cut, changed by hand, or written by a later version of the program.",
        "Use the version that wrote it, or give the machine up: kvmsharp rm --force NAME")
    { ExitCode = ExitCode.BadInput };

    /// <summary>The state folder cannot be written.</summary>
    public static readonly ErrorInfo CannotKeep = new("KVM0605", "what is known of the machine cannot be kept",
        "The state folder is full, gone, or not writable by this user. What was known before still is.",
        "Check the folder: df and ls -ld \"${KVMSHARP_STATE:-${XDG_STATE_HOME:-$HOME/.local/state}/kvmsharp}\"");

    /// <summary>Another operation is under way.</summary>
    public static readonly ErrorInfo Busy = new("KVM0606", "another operation on the machine is under way",
        "Operations on one machine come one after another, and the one before did not end in time.",
        "Try again, or end the machine: kvmsharp kill NAME");

    /// <summary>The worker cannot be started.</summary>
    public static readonly ErrorInfo NoWorker = new("KVM0607", "the machine's process cannot be started",
        "The program's file cannot be executed, or the host has no process or memory to give.",
        "See what it said: worker.log in the machine's folder below vms in the state folder.");

    /// <summary>The machine failed to start.</summary>
    public static readonly ErrorInfo StartFailed = new("KVM0608", "the machine did not start",
        "Its kernel, a disk or something else it needs cannot be used, or its process ended.",
        "See why: kvmsharp inspect NAME; kvmsharp logs NAME");

    /// <summary>It did not end.</summary>
    public static readonly ErrorInfo DidNotEnd = new("KVM0609", "the machine did not end",
        "Its process does not end although it was killed: the kernel holds it in a system call.",
        "Look at the process (kvmsharp inspect NAME) and at what the host's kernel says: dmesg");

    /// <summary>The command is none.</summary>
    public static readonly ErrorInfo BadCommand = new("KVM0615", "that is no command for a machine",
        "Its verb, a member of its arguments or its key is none that is known.",
        "See which there are in docs/manager.md, under Commands.")
    { ExitCode = ExitCode.Usage };

    /// <summary>Too many commands wait.</summary>
    public static readonly ErrorInfo QueueFull = new("KVM0616", "too many commands wait",
        "A machine's commands are done one after another, and 64 of it, or 4,096 of all, are not done yet.",
        "Wait until some are done, or take some back.");

    /// <summary>No command of that id.</summary>
    public static readonly ErrorInfo NoSuchCommand = new("KVM0617", "there is no command of that id",
        "It was never taken, or has ended so long ago that it is forgotten: the last 1,024 that ended are kept.",
        "See what became of the machine: kvmsharp inspect NAME")
    { ExitCode = ExitCode.Usage };

    /// <summary>All errors of this class in ascending order of id.</summary>
    public static IReadOnlyList<ErrorInfo> All => [NoSuchVm, WrongState, BadName, NameTaken, BadRecord, CannotKeep, Busy, NoWorker, StartFailed, DidNotEnd, BadCommand, QueueFull, NoSuchCommand];
}
