using System.Globalization;

namespace Kvm.Devices.Net.Policy;

/// <summary>Which ends of a conversation a rule is about. Immutable.</summary>
/// <param name="Kind">How it chooses.</param>
/// <param name="Value">The label or name, where there is one.</param>
public sealed record EndpointSelector(SelectorKind Kind, string Value = "")
{
    /// <summary>True if it chooses this one.</summary>
    public bool Matches(PolicyEndpoint endpoint)
    {
        ArgumentNullException.ThrowIfNull(endpoint);
        return Kind switch
        {
            SelectorKind.Any => true,
            SelectorKind.Uplink => endpoint.IsUplink,
            SelectorKind.Name => !endpoint.IsUplink && endpoint.Name == Value,
            _ => endpoint.Labels.Contains(Value, StringComparer.Ordinal),
        };
    }

    /// <summary>Understands <c>any</c>, <c>uplink</c>, <c>label=LABEL</c> and <c>vm=NAME</c>; null if it is something else.</summary>
    public static EndpointSelector? Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return text.Split('=', 2) switch
        {
            ["any"] => new EndpointSelector(SelectorKind.Any),
            ["uplink"] => new EndpointSelector(SelectorKind.Uplink),
            ["label", { Length: > 0 } label] => new EndpointSelector(SelectorKind.Label, label),
            ["vm", { Length: > 0 } name] => new EndpointSelector(SelectorKind.Name, name),
            _ => null,
        };
    }

    /// <summary>A text that <see cref="Parse"/> understands as this.</summary>
    public override string ToString() => Kind switch
    {
        SelectorKind.Any => "any",
        SelectorKind.Uplink => "uplink",
        SelectorKind.Label => $"label={Value}",
        _ => $"vm={Value}",
    };
}

/// <summary>How a rule chooses the ends it is about.</summary>
public enum SelectorKind
{
    /// <summary>Everybody, the uplink too.</summary>
    Any,

    /// <summary>The way out of the network.</summary>
    Uplink,

    /// <summary>All that have a label.</summary>
    Label,

    /// <summary>The one of a name.</summary>
    Name,
}

/// <summary>Ports of a protocol, as a rule names them. Immutable.</summary>
/// <param name="Protocol">The number of the protocol above IP.</param>
/// <param name="First">The first port of the receiver's.</param>
/// <param name="Last">The last.</param>
public readonly record struct PortRange(byte Protocol, ushort First, ushort Last)
{
    /// <summary>True if it names all of the protocol.</summary>
    public bool IsWhole => First == 0 && Last == ushort.MaxValue;

    /// <summary>True if a flow is to one of the ports. ICMP has none; what is said of it is true of both versions.</summary>
    public bool Matches(byte protocol, ushort port) =>
        (protocol == Protocol || (Protocol == PacketHeaders.Icmp && protocol == PacketHeaders.Icmp6)) && port >= First && port <= Last;

    /// <summary>Understands <c>tcp</c>, <c>tcp/80</c>, <c>udp/5000-5010</c>, <c>icmp</c>; null if it is something else.</summary>
    public static PortRange? Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        string[] parts = text.Split('/');
        byte protocol = parts[0] switch { "tcp" => PacketHeaders.Tcp, "udp" => PacketHeaders.Udp, "icmp" => PacketHeaders.Icmp, _ => 0 };
        if (protocol == 0 || parts.Length > 2 || (parts.Length == 2 && protocol == PacketHeaders.Icmp))
            return null;
        if (parts.Length == 1)
            return new PortRange(protocol, 0, ushort.MaxValue);
        string[] ends = parts[1].Split('-');
        return ends.Length <= 2 && TryPort(ends[0], out ushort first) && TryPort(ends[^1], out ushort last) && first <= last ? new PortRange(protocol, first, last) : null;
    }

    /// <summary>A text that <see cref="Parse"/> understands as this.</summary>
    public override string ToString()
    {
        string name = NameOf(Protocol);
        string last = First == Last ? "" : string.Create(CultureInfo.InvariantCulture, $"-{Last}");
        return IsWhole ? name : string.Create(CultureInfo.InvariantCulture, $"{name}/{First}{last}");
    }

    internal static string NameOf(byte protocol) => protocol switch
    {
        PacketHeaders.Tcp => "tcp",
        PacketHeaders.Udp => "udp",
        PacketHeaders.Icmp or PacketHeaders.Icmp6 => "icmp",
        _ => string.Create(CultureInfo.InvariantCulture, $"protocol {protocol}"),
    };

    private static bool TryPort(string text, out ushort port) => ushort.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out port) && port != 0;
}

/// <summary>Who may begin to talk to whom, or may not. Immutable.</summary>
/// <param name="Allow">It allows; else it denies.</param>
/// <param name="From">Who begins.</param>
/// <param name="To">With whom.</param>
/// <param name="Ports">By what; none is by everything.</param>
public sealed record PolicyRule(bool Allow, EndpointSelector From, EndpointSelector To, IReadOnlyList<PortRange> Ports)
{
    /// <summary>The most ranges of ports a rule has.</summary>
    public const int MostPorts = 16;

    /// <summary>True if a flow's protocol and port are among <see cref="Ports"/>.</summary>
    public bool MatchesPorts(byte protocol, ushort port)
    {
        if (Ports.Count == 0)
            return true;
        for (int i = 0; i < Ports.Count; i++)
        {
            if (Ports[i].Matches(protocol, port))
                return true;
        }

        return false;
    }

    /// <summary>Understands <c>allow|deny from WHO to WHO [PROTOCOL[/PORT[-PORT]][,…]]</c>.</summary>
    /// <param name="text">The text.</param>
    /// <param name="rule">The rule, where the text is one.</param>
    /// <returns>What is wrong with the text, or null.</returns>
    public static string? Parse(string text, out PolicyRule rule)
    {
        ArgumentNullException.ThrowIfNull(text);
        rule = new PolicyRule(false, new EndpointSelector(SelectorKind.Any), new EndpointSelector(SelectorKind.Any), []);
        string[] words = text.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        if (words.Length is < 5 or > 6 || words[0] is not ("allow" or "deny") || words[1] != "from" || words[3] != "to")
            return "is not 'allow|deny from WHO to WHO [PORTS]', such as 'allow from label=web to label=db tcp/5432'";
        foreach (string who in (string[])[words[2], words[4]])
        {
            if (EndpointSelector.Parse(who) is null)
                return $"names '{who}', not one of any, uplink, label=LABEL, vm=NAME";
        }

        string[] ranges = words.Length == 6 ? words[5].Split(',') : [];
        if (ranges.Length > MostPorts)
            return $"names more than {MostPorts} ranges of ports";
        if (Array.Find(ranges, range => PortRange.Parse(range) is null) is { } bad)
            return $"names the ports '{bad}', not such as tcp/5432, udp/5000-5010, tcp, icmp";
        rule = new PolicyRule(words[0] == "allow", EndpointSelector.Parse(words[2])!, EndpointSelector.Parse(words[4])!, [.. ranges.Select(range => PortRange.Parse(range)!.Value)]);
        return null;
    }

    /// <summary>A text that <see cref="Parse"/> understands as this.</summary>
    public override string ToString() => $"{(Allow ? "allow" : "deny")} from {From} to {To}{(Ports.Count == 0 ? "" : " " + string.Join(',', Ports))}";
}

/// <summary>Somebody that rules can be about. Immutable.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Labels">What it is.</param>
/// <param name="IsUplink">It is the way out.</param>
public sealed record PolicyEndpoint(string Name, IReadOnlyList<string> Labels, bool IsUplink = false);
