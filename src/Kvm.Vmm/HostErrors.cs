namespace Kvm.Vmm;

/// <summary>Errors of the host and of KVM: KVM0200–KVM0299.</summary>
internal static class HostErrors
{
    public static readonly ErrorInfo NoKvm = new("KVM0200", "/dev/kvm cannot be opened",
        "The KVM module is not loaded, virtualization is off, or the container has no such device.",
        "Type `kvmsharp doctor` to see why, or run with `--engine soft`.")
    { ExitCode = ExitCode.HostCannot };

    public static readonly ErrorInfo NotPermitted = new("KVM0201", "/dev/kvm may not be opened by this user",
        "The device belongs to root and the group kvm.",
        "Type `sudo usermod -aG kvm $USER`, log in again, or run with `--engine soft`.")
    { ExitCode = ExitCode.HostCannot };

    public static readonly ErrorInfo OldKvm = new("KVM0202", "this KVM lacks what a machine needs",
        "The API is not version 12, or a capability is missing that every KVM since Linux 4.13 has.",
        "Type `kvmsharp doctor` to see what is missing; use a newer kernel.")
    { ExitCode = ExitCode.HostCannot };

    public static readonly ErrorInfo NoMemory = new("KVM0203", "the host does not give the guest's memory",
        "The address space, a resource limit or overcommit settings do not allow it.",
        "Ask for less with `--memory`, or look at `ulimit -v` and /proc/sys/vm/overcommit_memory.");

    public static readonly ErrorInfo KvmRefused = new("KVM0204", "KVM refused a step of building the machine",
        "A capability is missing or a limit is reached; the detail names the call.",
        "Type `kvmsharp doctor` to see what this KVM can do.");

    public static readonly ErrorInfo NoNested = new("KVM0205", "this host cannot run hypervisors inside guests",
        "KVM offers neither VMX nor SVM to guests.",
        "Load the module with nesting on (`modprobe kvm_intel nested=1` or `modprobe kvm_amd nested=1`), or leave `--nested` out.")
    { ExitCode = ExitCode.HostCannot };

    public static readonly ErrorInfo BadConfiguration = new("KVM0206", "the machine cannot be built as asked",
        "A value is outside its range.",
        "Type `kvmsharp run --help` for the ranges.")
    { ExitCode = ExitCode.Usage };

    public static readonly ErrorInfo NoSuchEngine = new("KVM0207", "the engine asked for cannot run here",
        "The host lacks what it needs.",
        "Leave `--engine` out to take what this host can.")
    { ExitCode = ExitCode.HostCannot };

    public static readonly ErrorInfo NotDeterministic = new("KVM0208", "a deterministic run needs the software engine",
        "Under KVM a guest's time is the host's and its instructions are not counted, so no two runs are the same.",
        "Take `--engine soft`, or leave `--deterministic` out.")
    { ExitCode = ExitCode.Usage };

    public static readonly ErrorInfo NoShadowPaging = new("KVM0209", "shadow paging needs the software engine",
        "Under KVM the host's kernel translates addresses, and a program cannot choose how.",
        "Take `--engine soft`, or leave `--paging` out.")
    { ExitCode = ExitCode.Usage };

    public static readonly ErrorInfo NoCpuModel = new("KVM0210", "choosing the processor needs the software engine",
        "Under KVM a guest sees the host's processor.",
        "Take `--engine soft`, or leave `--cpu` out.")
    { ExitCode = ExitCode.Usage };

    public static readonly ErrorInfo NoPolicyForSoft = new("KVM0211", "a scheduling policy needs KVM",
        "A vCPU is stopped by a signal that only KVM_RUN lets through; the software engine's threads never notice it.",
        "Take `--engine kvm`, or leave `--policy` out.")
    { ExitCode = ExitCode.Usage };

    /// <summary>All of the above, in ascending order of id.</summary>
    public static IReadOnlyList<ErrorInfo> All =>
        [NoKvm, NotPermitted, OldKvm, NoMemory, KvmRefused, NoNested, BadConfiguration, NoSuchEngine, NotDeterministic, NoShadowPaging, NoCpuModel, NoPolicyForSoft];
}
