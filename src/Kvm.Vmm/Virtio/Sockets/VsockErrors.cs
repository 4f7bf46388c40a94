namespace Kvm.Vmm.Virtio.Sockets;

/// <summary>The errors of sockets between guest and host, KVM0175–KVM0179.</summary>
public static class VsockErrors
{
    /// <summary>Something is at the socket's path.</summary>
    public static readonly ErrorInfo InUse = new("KVM0175", "something is at the path of the guest's sockets already",
        "Another program listens there, or it is no socket, or a socket of another user; only a socket of this user's that nobody listens at is replaced.",
        "Name another path: --vsock CID,path=PATH; or look what is there: ls -l PATH; ss -xlp")
    { ExitCode = ExitCode.BadInput };

    /// <summary>The socket cannot be made.</summary>
    public static readonly ErrorInfo NoSocket = new("KVM0176", "the Unix socket for the guest's sockets cannot be made",
        "The folder does not exist or is not writable by this user.",
        "Check the folder and its permissions: ls -ld FOLDER")
    { ExitCode = ExitCode.BadInput };

    /// <summary>All of the above, in ascending order of id.</summary>
    public static IReadOnlyList<ErrorInfo> All => [InUse, NoSocket];
}
