namespace Kvm.Vmm.Virtio.Ports;

/// <summary>The errors of named ports, KVM0170–KVM0174.</summary>
public static class PortErrors
{
    /// <summary>Something is at the socket's path.</summary>
    public static readonly ErrorInfo InUse = new("KVM0170", "something is at the path of the port's socket already",
        "Another program listens there, or it is no socket, or a socket of another user; only a socket of this user's that nobody listens at is replaced.",
        "Name another path, or look what is there: ls -l PATH; ss -xlp")
    { ExitCode = ExitCode.BadInput };

    /// <summary>The socket cannot be made.</summary>
    public static readonly ErrorInfo NoSocket = new("KVM0171", "the port's socket cannot be made",
        "The folder does not exist or is not writable by this user.",
        "Check the folder and its permissions: ls -ld FOLDER")
    { ExitCode = ExitCode.BadInput };

    /// <summary>All of the above, in ascending order of id.</summary>
    public static IReadOnlyList<ErrorInfo> All => [InUse, NoSocket];
}
