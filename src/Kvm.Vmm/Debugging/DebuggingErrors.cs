namespace Kvm.Vmm.Debugging;

/// <summary>The errors of debugging, KVM0450–KVM0459.</summary>
public static class DebuggingErrors
{
    /// <summary>A debugger cannot be waited for there.</summary>
    public static readonly ErrorInfo NoListener = new("KVM0450", "no debugger can be waited for there",
        "Another program listens at the port, or something is at the socket's path already, or its folder is not writable by this user.",
        "Take another port or path: --gdb 0 takes a free port and says which")
    { ExitCode = ExitCode.BadInput };

    /// <summary>All of the above, in ascending order of id.</summary>
    public static IReadOnlyList<ErrorInfo> All => [NoListener];
}
