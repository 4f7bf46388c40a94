using System.Globalization;
using Kvm.Devices.Limits;
using Kvm.Devices.Net;
using Kvm.Devices.Virtio.Net;
using Kvm.Interop;
using Kvm.Interop.Slirp;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Network.Switching;

namespace Kvm.Vmm.Network;

/// <summary>What a network card's cable ends in.</summary>
public enum NetKind
{
    /// <summary>A network in user space, behind which is whatever the host reaches: no rights are needed.</summary>
    User,

    /// <summary>A TAP interface of the host's kernel.</summary>
    Tap,

    /// <summary>A descriptor of a TAP or macvtap interface that the program was given.</summary>
    Descriptor,

    /// <summary>A switch, which other guests of this host are at too.</summary>
    Switch,

    /// <summary>Nothing: what is sent is lost.</summary>
    None,
}

/// <summary>Who makes a user network.</summary>
public enum UserStack
{
    /// <summary>passt where it is installed and can start, else libslirp.</summary>
    Auto,

    /// <summary>The program passt, a child of this one that ends with it.</summary>
    Passt,

    /// <summary>libslirp, in this process.</summary>
    Slirp,
}

/// <summary>One network card of a machine, as the user asked for it. Immutable.</summary>
public sealed record NetConfig
{
    /// <summary>The most cards of a machine.</summary>
    public const int MaxCards = 8;

    /// <summary>The other end.</summary>
    public required NetKind Kind { get; init; }

    /// <summary>What the configuration calls the card; null is <c>net</c> and its place.</summary>
    public string? Id { get; init; }

    /// <summary>The name of <see cref="NetKind.Tap"/>'s interface, or of <see cref="NetKind.Switch"/>.</summary>
    public string Name { get; init; } = "";

    /// <summary>The file that describes the network, of a <see cref="NetKind.Switch"/> that is one by a model; null for a switch alone.</summary>
    public string? Model { get; init; }

    /// <summary>The network called <see cref="Name"/> is one of the state folder, whose file is found at each start.</summary>
    public bool IsNetwork { get; init; }

    /// <summary>The descriptor, of <see cref="NetKind.Descriptor"/>.</summary>
    public int Descriptor { get; init; }

    /// <summary>The card's address; null is one by chance.</summary>
    public MacAddress? Mac { get; init; }

    /// <summary>The guest keeps its address, and sends from no other.</summary>
    public bool FixedMac { get; init; }

    /// <summary>What the guest is told of the longest packet; 0 is nothing, and so 1,500.</summary>
    public int Mtu { get; init; }

    /// <summary>Queue pairs, 1 to <see cref="NetOptions.MaxPairs"/>; more than one only of <see cref="NetKind.Tap"/>.</summary>
    public int Queues { get; init; } = 1;

    /// <summary>Who makes the network, of <see cref="NetKind.User"/>.</summary>
    public UserStack Via { get; init; }

    /// <summary>Who has which address, of <see cref="NetKind.User"/>; null for the usual ones.</summary>
    internal UserNetwork? Plan { get; init; }

    /// <summary>More ports may be allowed while it is there, of a user network behind a switch.</summary>
    internal bool MayAllowMore { get; init; }

    /// <summary>Ports of the host's loopback that the guest may reach at its gateway's address; of <see cref="NetKind.User"/>, and of a switch whose uplink that is.</summary>
    public IReadOnlyList<AllowedPort> AllowHost { get; init; } = [];

    /// <summary>Ports of the host that the guest serves; of <see cref="NetKind.User"/>.</summary>
    public IReadOnlyList<PublishedPort> Publish { get; init; } = [];

    /// <summary>How it is there, of <see cref="NetKind.Switch"/>.</summary>
    public SwitchPortConfig Port { get; init; } = new();

    /// <summary>How fast frames may come to the guest; what comes faster waits where it comes from.</summary>
    public IoLimits ReceiveLimits { get; init; } = IoLimits.None;

    /// <summary>How fast the guest's frames may go; what comes faster waits in the guest's rings.</summary>
    public IoLimits SendLimits { get; init; } = IoLimits.None;

    /// <summary>Understands a card as the command line writes it: <c>user[,allow-host=PORT[/udp]]…[,via=passt|slirp]|tap=NAME|fd=N|model=FILE|network=NAME|switch=NAME[,vlan=N][,trunk=N+N][,isolated[=GROUP]][,weight=N][,label=TEXT][,uplink=user|tap=NAME]|none[,mac=ADDRESS][,fixed-mac][,mtu=N][,queues=N][,rx-bps=SIZE]…</c>.</summary>
    /// <param name="text">The text.</param>
    /// <param name="net">The card, where the text describes one.</param>
    /// <returns>What is wrong with the text, or null.</returns>
    public static string? Parse(string text, out NetConfig net)
    {
        ArgumentNullException.ThrowIfNull(text);
        string[] parts = text.Split(',');
        if (ParseBackend(parts[0], out net) is { } unknown)
            return unknown;
        LimitText receive = new("pps"), send = new("pps");
        foreach (string part in parts[1..])
        {
            if (part.Split('=', 2) is [['r' or 't', 'x', '-', .. var limit], var value] && receive.Knows(limit))
            {
                if (!(part[0] == 'r' ? ref receive : ref send).TrySet(limit, value))
                    return $"has the limit {VisibleText.Quote(part, 40)}; {receive.Form}";
            }
            else if (net.With(part) is { } next)
            {
                net = next;
            }
            else
            {
                return $"has the part {VisibleText.Quote(part, 40)}, not one of mac=ADDRESS, fixed-mac, mtu=N, queues=N, allow-host=PORT[/udp], via=passt|slirp, vlan=N, trunk=N+N, isolated[=GROUP], weight=N, label=TEXT, uplink=user|tap=NAME, "
                    + "rx-bps=SIZE, rx-pps=N, rx-bps-burst=SIZE, rx-pps-burst=N, and the same with tx-";
            }
        }

        net = net with { ReceiveLimits = receive.Limits, SendLimits = send.Limits };
        return receive.Problem ?? send.Problem ?? net.Problem();
    }

    /// <summary>Understands the other end alone.</summary>
    internal static string? ParseBackend(string text, out NetConfig net)
    {
        net = new NetConfig { Kind = NetKind.None };
        switch (text.Split('=', 2))
        {
            case ["none"]:
                return null;
            case ["user"]:
                net = net with { Kind = NetKind.User };
                return null;
            case ["tap", var name]:
                net = net with { Kind = NetKind.Tap, Name = name };
                return null;
            case ["switch", var name]:
                net = net with { Kind = NetKind.Switch, Name = name };
                return null;
            case ["network", var name]:
                net = net with { Kind = NetKind.Switch, Name = name, IsNetwork = true };
                return null;
            case ["model", { Length: > 0 } file]:
                net = net with { Kind = NetKind.Switch, Model = file };
                return null;
            case ["fd", var fd] when int.TryParse(fd, NumberStyles.None, CultureInfo.InvariantCulture, out int number):
                net = net with { Kind = NetKind.Descriptor, Descriptor = number };
                return null;
            default:
                return $"begins with {VisibleText.Quote(text, 40)}, not with one of user, tap=NAME, switch=NAME, network=NAME, model=FILE, fd=N, none";
        }
    }

    /// <summary>The other end as the command line and the configuration file write it.</summary>
    public string BackendText => Kind switch
    {
        NetKind.Tap => $"tap={Name}",
        NetKind.Descriptor => string.Create(CultureInfo.InvariantCulture, $"fd={Descriptor}"),
        NetKind.User => "user",
        NetKind.Switch => IsNetwork ? $"network={Name}" : Model is null ? $"switch={Name}" : $"model={Model}",
        _ => "none",
    };

    private NetConfig? With(string part)
    {
        switch (part.Split('=', 2))
        {
            case ["mac", var text] when MacAddress.TryParse(text, out var mac):
                return this with { Mac = mac };
            case ["fixed-mac"]:
                return this with { FixedMac = true };
            case ["mtu", var text] when int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int mtu):
                return this with { Mtu = mtu };
            case ["queues", var text] when int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int queues):
                return this with { Queues = queues };
            case ["via", var text] when SettingNames.IndexOf(SettingNames.UserStacks, text) is >= 0 and var index:
                return this with { Via = (UserStack)index };
            case ["allow-host", var text] when AllowedPort.Parse(text) is { } port:
                return this with { AllowHost = [.. AllowHost, port] };
            default:
                return Port.With(part) is { } onSwitch ? this with { Port = onSwitch } : null;
        }
    }

    /// <summary>What is wrong with the card, or null.</summary>
    internal string? Problem()
    {
        if (Mac is { IsUsable: false } mac)
            return $"has the address {mac}, which is a group's or nobody's";
        if (Mtu != 0 && Mtu is < NetOptions.MinMtu or > NetOptions.MaxMtu)
            return $"has an MTU of {Mtu}; {NetOptions.MinMtu} to {NetOptions.MaxMtu} are possible";
        if (Queues is < 1 or > NetOptions.MaxPairs || (Queues > 1 && Kind != NetKind.Tap))
            return $"has {Queues} queues; one with tap= has 1 to {NetOptions.MaxPairs}, any other 1";
        if (Kind != NetKind.User && Via != UserStack.Auto)
            return "says who makes a user network and is none";
        if (Kind != NetKind.User && Publish.Count > 0)
            return "has ports to publish, which belong to user alone";
        if (Kind != NetKind.User && AllowHost.Count > 0 && Port.Uplink is not { Tap: null })
            return "has ports to allow, which belong to user and to a switch with uplink=user";
        if (Kind == NetKind.User && Mtu > SlirpStack.MostMtu)
            return $"has an MTU of {Mtu}; with user it is {SlirpStack.MostMtu} at most";
        if (Kind != NetKind.Switch && Port != new SwitchPortConfig())
            return "has settings of a switch's port and is at none";
        if (Kind == NetKind.Switch)
            return (Model is null ? SwitchName.Problem(Name) : null) ?? Port.Problem();
        return Kind == NetKind.Tap ? ProblemOfName() : null;
    }

    private string? ProblemOfName() => SwitchUplink.Parse($"tap={Name}") is null
        ? $"has the interface's name {VisibleText.Quote(Name, 40)}; names have 1 to {TapQueue.MostNameBytes} bytes without slashes, colons, percent signs and spaces"
        : null;

    /// <summary>Where a user network expects the guest by IPv6: at the address that guests make of their cards', as nobody gives them one.</summary>
    internal byte[] GuestAddress6(UserNetwork plan) => plan.Address6(Mac is { } mac ? UserNetwork.InterfaceId(mac) : plan.Guest & 0xff);

    /// <summary>What the card is called that has this place.</summary>
    internal string NameAt(int place) => Id ?? string.Create(CultureInfo.InvariantCulture, $"net{place}");

    /// <summary>What is wrong with several cards of one machine, or null.</summary>
    internal static string? Problem(IReadOnlyList<NetConfig> cards)
    {
        if (cards.Count > MaxCards)
            return $"{cards.Count} network cards were asked for; a machine has {MaxCards} at most";
        for (int i = 0; i < cards.Count; i++)
        {
            if (cards[i].Problem() is { } problem)
                return $"network card {i} {problem}";
            for (int p = 1; p < cards[i].Publish.Count; p++)
            {
                if (cards[i].Publish.Take(p).Any(cards[i].Publish[p].Collides))
                    return $"port {cards[i].Publish[p].HostPort} is published twice";
            }

            for (int j = 0; j < i; j++)
            {
                if (cards[i].NameAt(i) == cards[j].NameAt(j))
                    return $"network cards {j} and {i} have the same name";
                if (cards[i].Mac is { } mac && mac == cards[j].Mac)
                    return $"network cards {j} and {i} have the same address";
                if (cards[i].Publish.FirstOrDefault(p => cards[j].Publish.Any(p.Collides)) is { } twice)
                    return $"network cards {j} and {i} both publish port {twice.HostPort}";
                if (cards[i].Kind == NetKind.Tap && cards[j].Kind == NetKind.Tap && cards[i].Name == cards[j].Name)
                    return $"network cards {j} and {i} have the same interface";
            }
        }

        return null;
    }
}
