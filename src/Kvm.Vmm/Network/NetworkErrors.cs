namespace Kvm.Vmm.Network;

/// <summary>The errors of networks, KVM0180–KVM0199.</summary>
public static class NetworkErrors
{
    /// <summary>A TAP interface cannot be used.</summary>
    public static readonly ErrorInfo NoTap = new("KVM0180", "the TAP interface cannot be used",
        "It does not exist and may not be made by this user (CAP_NET_ADMIN), belongs to another user, is used by another guest, is no TAP interface, or has one queue where several were asked for.",
        "Make one for this user: sudo ip tuntap add NAME mode tap user $USER && sudo ip link set NAME up")
    { ExitCode = ExitCode.HostCannot };

    /// <summary>A descriptor that was passed in is not what it should be.</summary>
    public static readonly ErrorInfo BadDescriptor = new("KVM0181", "the network's descriptor cannot be used",
        "It is not open, or is not that of a TAP interface without packet information (IFF_TAP | IFF_NO_PI).",
        "Open /dev/net/tun in the program that starts this one, and pass the descriptor on: --net fd=N")
    { ExitCode = ExitCode.Usage };

    /// <summary>All of the above, in ascending order of id.</summary>
    public static IReadOnlyList<ErrorInfo> All => [NoTap, BadDescriptor];
}
