namespace Kvm.Vmm.Reporting;

/// <summary>The ends of a guest that a person should read about, KVM0300–KVM0319.</summary>
public static class OutcomeErrors
{
    /// <summary>The guest's kernel panicked.</summary>
    public static readonly ErrorInfo Panic = new("KVM0300", "the guest's kernel panicked",
        "The kernel found a state it cannot go on from: no root file system, a killed init, a fault of a driver.",
        "Read the console above the panic; a wrong root= or a missing --initrd is the most frequent reason.")
    { ExitCode = ExitCode.GuestPanic };

    /// <summary>A triple fault.</summary>
    public static readonly ErrorInfo TripleFault = new("KVM0301", "the guest triple-faulted",
        "An exception happened while the processor tried to deliver an exception: wrong page tables, a wrong IDT or stack.",
        "Check that the kernel suits the machine; --report FILE and --verbose show the registers.")
    { ExitCode = ExitCode.TripleFault };

    /// <summary>KVM could not go on.</summary>
    public static readonly ErrorInfo KvmFailed = new("KVM0302", "KVM could not go on",
        "The guest used an instruction or a state that this host's KVM cannot run and that is not completed in user space.",
        "Try --engine soft; --report FILE and --verbose show the instruction and the registers.")
    { ExitCode = ExitCode.KvmFailed };

    /// <summary>The time allowed ran out.</summary>
    public static readonly ErrorInfo Timeout = new("KVM0303", "the guest did not end in time",
        "--timeout ran out while the guest still ran.",
        "Allow more time, or look at the console for what the guest waits for.")
    { ExitCode = ExitCode.Timeout };

    /// <summary>Halted for ever.</summary>
    public static readonly ErrorInfo Halted = new("KVM0304", "the guest halted for ever",
        "Every vCPU executed HLT with interrupts off: nothing can wake it.",
        "Let the guest power off (poweroff), or add panic=-1 to have it reboot after a panic.")
    { ExitCode = ExitCode.Halted };

    /// <summary>A failure of the host while the guest ran.</summary>
    public static readonly ErrorInfo HostFailed = new("KVM0305", "the host failed while the guest ran",
        "A system call failed that never should, or a fault of the program.",
        "Run it again with --verbose --report FILE and report what they say.");

    /// <summary>The watchdog's time ran out.</summary>
    public static readonly ErrorInfo Watchdog = new("KVM0308", "the guest's watchdog ran out",
        "The guest switched its watchdog timer on and did not set it back in time: its kernel or the program that does it hangs.",
        "Read the end of the console: kvmsharp logs NAME; --on watchdog=dump keeps its memory and registers.")
    { ExitCode = ExitCode.Watchdog };

    /// <summary>A vCPU made no progress.</summary>
    public static readonly ErrorInfo Hung = new("KVM0309", "the guest hung",
        "A vCPU ran at one place with interrupts off for longer than --on hang allows: a lock that is never released, or a loop that never ends.",
        "Look at where it was: --on hang=dump+restart keeps its memory and registers, which gdb reads.")
    { ExitCode = ExitCode.Hung };

    /// <summary>It did not answer.</summary>
    public static readonly ErrorInfo Unhealthy = new("KVM0310", "the guest did not answer",
        "The port that --health names took no connections for as many questions in a row as it allows.",
        "Read the end of the console: kvmsharp logs NAME; allow more time by --health …,interval=,timeout=,start=,failures=.")
    { ExitCode = ExitCode.Unhealthy };

    /// <summary>All errors of this class in ascending order of id.</summary>
    public static IReadOnlyList<ErrorInfo> All => [Panic, TripleFault, KvmFailed, Timeout, Halted, HostFailed, Watchdog, Hung, Unhealthy];

    /// <summary>The error of an outcome, or null where the guest or the user ended it as they meant to.</summary>
    /// <param name="outcome">How the guest ended.</param>
    public static ErrorInfo? For(VmOutcome outcome) => outcome switch
    {
        VmOutcome.Panic => Panic,
        VmOutcome.TripleFault => TripleFault,
        VmOutcome.KvmFailed => KvmFailed,
        VmOutcome.Timeout => Timeout,
        VmOutcome.Halted => Halted,
        VmOutcome.Watchdog => Watchdog,
        VmOutcome.Hung => Hung,
        VmOutcome.Unhealthy => Unhealthy,
        VmOutcome.Error => HostFailed,
        _ => null,
    };
}
