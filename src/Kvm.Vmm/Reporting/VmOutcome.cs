namespace Kvm.Vmm.Reporting;

/// <summary>How a guest ended. The names in reports are in docs/cli.md.</summary>
public enum VmOutcome
{
    /// <summary>The guest powered itself off (ACPI S5).</summary>
    PowerOff,

    /// <summary>The guest asked for a reset.</summary>
    Reboot,

    /// <summary>Every vCPU halted with interrupts off: nothing can wake it.</summary>
    Halted,

    /// <summary>The guest's kernel panicked.</summary>
    Panic,

    /// <summary>A triple fault shut a vCPU down.</summary>
    TripleFault,

    /// <summary>KVM could not go on, and neither could instruction completion.</summary>
    KvmFailed,

    /// <summary>The time allowed ran out.</summary>
    Timeout,

    /// <summary>The guest switched its watchdog on and did not set it back in time.</summary>
    Watchdog,

    /// <summary>A vCPU made no progress, and that was to end it.</summary>
    Hung,

    /// <summary>It did not answer whoever looked after its health, and that was to end it.</summary>
    Unhealthy,

    /// <summary>The guest wrote to the debug-exit port.</summary>
    DebugExit,

    /// <summary>The user ended it from the console.</summary>
    StoppedByUser,

    /// <summary>A signal ended the run (SIGINT, SIGTERM).</summary>
    Signalled,

    /// <summary>Something failed on the host.</summary>
    Error,
}
