namespace Kvm.Vmm.Probing;

/// <summary>
/// What is known of this host's KVM: found by running tiny guests (<see cref="HostProber"/>), kept for the life of the
/// host's boot (<see cref="HostProfileCache"/>). Every workaround is switched by a fact here, never by the backend's name.
/// </summary>
public sealed record HostProfile
{
    /// <summary>A host with a KVM that has nothing special: what a probe of VT-x or AMD-V finds.</summary>
    public static HostProfile Plain { get; } = new();

    /// <summary>What is behind /dev/kvm, for people: <c>vmx svm pvm unknown none</c>.</summary>
    public string Backend { get; init; } = "unknown";

    /// <summary>Time of one kernel-mode instruction of a guest, in nanoseconds, measured over a loop.</summary>
    public double NanosecondsPerKernelInstruction { get; init; }

    /// <summary>True if guest kernels are interpreted: an instruction takes longer than any processor's.</summary>
    public bool KernelInterpreted => NanosecondsPerKernelInstruction > InterpretedAbove;

    /// <summary>Some kernel-mode instructions of a guest end in KVM_EXIT_INTERNAL_ERROR (emulation failure).</summary>
    public bool GivesUpOnInstructions { get; init; }

    /// <summary><c>syscall</c> from user mode arrives with the user's CS and SS.</summary>
    public bool SyscallBroken { get; init; }

    /// <summary>A loop of two simple instructions takes under 2 ns each natively, even at 500 MHz; interpreters take hundreds.</summary>
    internal const double InterpretedAbove = 50;
}
