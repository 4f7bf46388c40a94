namespace Kvm.Vmm;

/// <summary>The errors of networks that outlive a command, KVM0660–KVM0669.</summary>
public static class NetworkObjectErrors
{
    /// <summary>No network of that name.</summary>
    public static readonly ErrorInfo NoSuchNetwork = new("KVM0660", "there is no network of that name",
        "It was never defined, was removed, or belongs to another user or another state folder.",
        "See which there are: kvmsharp net ls")
    { ExitCode = ExitCode.Usage };

    /// <summary>The state does not allow it.</summary>
    public static readonly ErrorInfo WrongState = new("KVM0661", "the network's state does not allow that",
        "One that runs is neither started nor removed nor defined anew, and one that does not run cannot be stopped.",
        "See its state: kvmsharp net ls")
    { ExitCode = ExitCode.Usage };

    /// <summary>Two networks want the same addresses.</summary>
    public static readonly ErrorInfo Overlaps = new("KVM0662", "the network is in another one's way",
        "Networks of one state folder have neither addresses nor names in common.",
        "Choose another subnet; see which are taken: kvmsharp net ls")
    { ExitCode = ExitCode.BadInput };

    /// <summary>A description of another program says what is not known here.</summary>
    public static readonly ErrorInfo Lacking = new("KVM0663", "the description says what is not done here",
        "A network of libvirt's may have what these networks have not; each is named.",
        "Take it out of the file, or write the network as in docs/network.md, 'A network as a model'.")
    { ExitCode = ExitCode.BadInput };

    /// <summary>The record cannot be understood.</summary>
    public static readonly ErrorInfo BadRecord = new("KVM0664", "what is known of the network cannot be read",
        "Its record (networks/NAME in the state folder) was cut, changed by hand, or written by a later version of the program.",
        "Define it anew: kvmsharp net rm --force NAME; kvmsharp net define FILE")
    { ExitCode = ExitCode.BadInput };

    /// <summary>Something cannot be written.</summary>
    public static readonly ErrorInfo CannotKeep = new("KVM0665", "what is known of the network cannot be kept",
        "The state folder is full, gone, or not writable by this user. What was known before still is.",
        "Check the folder: df and ls -ld \"${KVMSHARP_STATE:-${XDG_STATE_HOME:-$HOME/.local/state}/kvmsharp}\"");

    /// <summary>It failed to start.</summary>
    public static readonly ErrorInfo StartFailed = new("KVM0666", "the network did not start",
        "Its way out cannot be opened, somebody else serves a switch of its name, or its process ended.",
        "See why: kvmsharp net inspect NAME, and log in the network's folder below networks in the state folder.");

    /// <summary>All errors of this class in ascending order of id.</summary>
    public static IReadOnlyList<ErrorInfo> All => [NoSuchNetwork, WrongState, Overlaps, Lacking, BadRecord, CannotKeep, StartFailed];
}
