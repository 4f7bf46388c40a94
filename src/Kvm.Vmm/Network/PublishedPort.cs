using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Kvm.Devices.Net;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Network;

/// <summary>A port of the host that the guest serves. Immutable.</summary>
/// <param name="Address">Where the host listens.</param>
/// <param name="HostPort">The host's port, 1 to 65,535.</param>
/// <param name="GuestPort">The guest's.</param>
/// <param name="Udp">UDP instead of TCP.</param>
public sealed record PublishedPort(IPAddress Address, ushort HostPort, ushort GuestPort, bool Udp)
{
    /// <summary>The guest's VLAN, in a network of several.</summary>
    internal int Vlan { get; init; } = Kvm.Devices.Net.Switch.PortOptions.DefaultVlan;

    /// <summary>The guest's IPv4 address, in a network of several; 0 in one of its own.</summary>
    internal uint Guest { get; init; }

    /// <summary>
    /// Understands <c>[ADDRESS:]HOST:GUEST[/udp|/tcp]</c>; without an address the host's loopback listens, by IPv4. An address of IPv6, in brackets, leads to the guest's IPv6.
    /// </summary>
    /// <param name="text">The text.</param>
    /// <param name="port">The port, where the text describes one.</param>
    /// <returns>What is wrong with the text, or null.</returns>
    public static string? Parse(string text, out PublishedPort port)
    {
        ArgumentNullException.ThrowIfNull(text);
        port = new PublishedPort(IPAddress.Loopback, 0, 0, false);
        const string form = "is not [ADDRESS:]HOST:GUEST or that with /udp, such as 8080:80";
        var (ports, udp) = Protocol(text);
        int last = ports?.LastIndexOf(':') ?? -1;
        if (ports is null || last <= 0)
            return form;
        int first = ports.LastIndexOf(':', last - 1);
        var address = IPAddress.Loopback;
        if (first >= 0 && ProblemOfAddress(ports[..first], out address) is { } problem)
            return $"has the address {VisibleText.Quote(ports[..first], 40)}, {problem}";
        if (!TryPort(ports[(first + 1)..last], out ushort host) || !TryPort(ports[(last + 1)..], out ushort guest))
            return form;
        port = new PublishedPort(address, host, guest, udp);
        return null;
    }

    /// <summary>It listens at an address of IPv6, and the guest serves it by IPv6.</summary>
    internal bool IsIpv6 => Address.AddressFamily == AddressFamily.InterNetworkV6;

    /// <summary>A text that <see cref="Parse"/> understands as this.</summary>
    public override string ToString()
    {
        string address = IPAddress.Loopback.Equals(Address) ? "" : IsIpv6 ? $"[{Address}]:" : $"{Address}:";
        return string.Create(CultureInfo.InvariantCulture, $"{address}{HostPort}:{GuestPort}{(Udp ? "/udp" : "")}");
    }

    /// <summary>True if both cannot be listened at. IPv4 and IPv6 are not in each other's way: whoever listens at <c>[::]</c> does so for IPv6 alone.</summary>
    internal bool Collides(PublishedPort other) =>
        HostPort == other.HostPort && Udp == other.Udp && IsIpv6 == other.IsIpv6 && (Address.Equals(other.Address) || IsAny(Address) || IsAny(other.Address));

    /// <summary>What the guard has to know of such ports.</summary>
    internal static IReadOnlyList<GuardedPort> Guarded(IReadOnlyList<PublishedPort> ports) => [.. ports.Select(p => new GuardedPort(p.GuestPort, p.Udp, p.IsIpv6))];

    private static bool IsAny(IPAddress address) => address.Equals(IPAddress.Any) || address.Equals(IPAddress.IPv6Any);

    private static string? ProblemOfAddress(string text, out IPAddress address)
    {
        bool inBrackets = text.LastIndexOf('[') == 0 && text[^1] == ']';
        if (!IPAddress.TryParse(inBrackets ? text[1..^1] : text, out address!))
            return "which is none";
        bool ipv6 = address.AddressFamily == AddressFamily.InterNetworkV6;
        if (ipv6 != inBrackets)
            return ipv6 ? "which is written in brackets, such as [::1]" : "which needs no brackets";
        // Which link it means, no port can say.
        return ipv6 && (address.IsIPv6LinkLocal || address.ScopeId != 0) ? "which is of one link alone" : address.IsIPv4MappedToIPv6 ? "which is one of IPv4" : null;
    }

    /// <summary>Cuts <c>/udp</c> or <c>/tcp</c> off; null if something else is there.</summary>
    internal static (string? Ports, bool Udp) Protocol(string text) => text.Split('/') switch
    {
        [var ports] => (ports, false),
        [var ports, "tcp"] => (ports, false),
        [var ports, "udp"] => (ports, true),
        _ => (null, false),
    };

    internal static bool TryPort(string text, out ushort port) => ushort.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out port) && port != 0;
}

/// <summary>A port of the host's loopback that the guest may reach. Immutable.</summary>
/// <param name="Port">1 to 65,535.</param>
/// <param name="Udp">UDP instead of TCP.</param>
public sealed record AllowedPort(ushort Port, bool Udp)
{
    /// <summary>Understands <c>PORT[/udp|/tcp]</c>; null if it is something else.</summary>
    public static AllowedPort? Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var (port, udp) = PublishedPort.Protocol(text);
        return port is not null && PublishedPort.TryPort(port, out ushort number) ? new AllowedPort(number, udp) : null;
    }

    /// <summary>A text that <see cref="Parse"/> understands as this.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Port}{(Udp ? "/udp" : "")}");
}
