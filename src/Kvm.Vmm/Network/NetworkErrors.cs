namespace Kvm.Vmm.Network;

/// <summary>The errors of networks, KVM0180–KVM0199.</summary>
public static class NetworkErrors
{
    /// <summary>A TAP interface cannot be used.</summary>
    public static readonly ErrorInfo NoTap = new("KVM0180", "the TAP interface cannot be used",
        "It does not exist and may not be made by this user (CAP_NET_ADMIN), belongs to another user, is used by another guest, is no TAP interface, or has one queue where several were asked for.",
        "Make one for this user: sudo ip tuntap add NAME mode tap user $USER && sudo ip link set NAME up; or use --net, which needs no rights")
    { ExitCode = ExitCode.HostCannot };

    /// <summary>A descriptor that was passed in is not what it should be.</summary>
    public static readonly ErrorInfo BadDescriptor = new("KVM0181", "the network's descriptor cannot be used",
        "It is not open, or is not that of a TAP interface without packet information (IFF_TAP | IFF_NO_PI).",
        "Open /dev/net/tun in the program that starts this one, and pass the descriptor on: --net fd=N")
    { ExitCode = ExitCode.Usage };

    /// <summary>There is nobody to make a user-mode network.</summary>
    public static readonly ErrorInfo NoUserNetwork = new("KVM0182", "there is no user-mode network here",
        "It is made by passt or libslirp: neither is installed, the one asked for cannot start, or it cannot make one of this MTU.",
        "Install one: sudo apt install passt, or libslirp0; or use --net tap=NAME")
    { ExitCode = ExitCode.HostCannot };

    /// <summary>A published port cannot be listened at.</summary>
    public static readonly ErrorInfo NotPublished = new("KVM0183", "a port cannot be published",
        "Another program listens at it (EADDRINUSE), it is below 1,024 and this user may not listen there (EACCES), or the host does not have the address (EADDRNOTAVAIL).",
        "Publish another port, such as 8080:80, or see who has it: ss -ltnup")
    { ExitCode = ExitCode.HostCannot };

    /// <summary>A switch cannot be joined.</summary>
    public static readonly ErrorInfo NoSwitch = new("KVM0184", "the switch cannot be joined",
        "Its name or the runtime folder's is too long, the folder cannot be used, the switch has another uplink than the one asked for, the uplink cannot be opened, all of its ports are used, or the card's fixed address is another's.",
        "Choose another name, leave uplink= away, or give the card another address: --net switch=NAME,mac=ADDRESS")
    { ExitCode = ExitCode.HostCannot };

    /// <summary>The answers of a metadata service cannot be read.</summary>
    public static readonly ErrorInfo BadMetadata = new("KVM0189", "the metadata cannot be used",
        "The file is not there, may not be read by this user, or is not an object of JSON of at most 1 MiB and 32 levels.",
        "Look at what is wrong with it: jq . FILE")
    { ExitCode = ExitCode.Usage };

    /// <summary>A file that is to describe a network does not.</summary>
    public static readonly ErrorInfo BadModel = new("KVM0190", "the network's description is wrong",
        "A member is misspelt, missing or twice there, a value cannot be, or a name or address is given to two.",
        "Mend what is named; docs/network.md, 'A network as a model', has a complete one")
    { ExitCode = ExitCode.BadInput };

    /// <summary>All of the above, in ascending order of id.</summary>
    public static IReadOnlyList<ErrorInfo> All => [NoTap, BadDescriptor, NoUserNetwork, NotPublished, NoSwitch, BadMetadata, BadModel];
}
