namespace Kvm.Vmm;

/// <summary>The exit codes of <c>kvmsharp</c> (docs/cli.md): one number per thing a caller would do differently.</summary>
public static class ExitCode
{
    /// <summary>The guest powered off, asked for a reboot, wrote 0 to the debug-exit port, or was ended by Ctrl-A x.</summary>
    public const int Success = 0;

    /// <summary>Another failure on the host.</summary>
    public const int HostFailure = 1;

    /// <summary>Wrong usage: an option, a member of the configuration, or a value outside its range.</summary>
    public const int Usage = 2;

    /// <summary>A bad input file: kernel, initial RAM disk, disk image, configuration.</summary>
    public const int BadInput = 3;

    /// <summary>This host cannot: no /dev/kvm, no permission, a missing capability.</summary>
    public const int HostCannot = 4;

    /// <summary>The guest panicked.</summary>
    public const int GuestPanic = 10;

    /// <summary>The guest triple-faulted.</summary>
    public const int TripleFault = 11;

    /// <summary>KVM could not go on: an instruction that neither it nor we can run.</summary>
    public const int KvmFailed = 12;

    /// <summary><c>--timeout</c> ran out.</summary>
    public const int Timeout = 13;

    /// <summary>Every vCPU halted with interrupts off.</summary>
    public const int Halted = 14;

    /// <summary>The guest did not set its watchdog back in time.</summary>
    public const int Watchdog = 15;

    /// <summary>A vCPU made no progress.</summary>
    public const int Hung = 16;

    /// <summary>The guest did not answer whoever looked after its health.</summary>
    public const int Unhealthy = 17;

    /// <summary>Added to what the guest wrote (1–100) to the debug-exit port; more than 100 is reported as 120.</summary>
    public const int DebugExitBase = 20;

    /// <summary>Ended by SIGINT.</summary>
    public const int Interrupted = 130;

    /// <summary>Ended by SIGTERM.</summary>
    public const int Terminated = 143;
}
