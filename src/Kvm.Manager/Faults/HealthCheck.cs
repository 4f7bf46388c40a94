using System.Globalization;
using System.Net;

namespace Kvm.Manager.Faults;

/// <summary>How it is found out whether a machine's guest does what it is there for. Immutable.</summary>
public sealed record HealthCheck
{
    /// <summary>The port that is to take connections: of the guest's vsock where <see cref="Address"/> is null, else of TCP.</summary>
    public required uint Port { get; init; }

    /// <summary>Where TCP's port is, as this host sees it; null for vsock.</summary>
    public IPAddress? Address { get; init; }

    /// <summary>How long is waited between two questions.</summary>
    public TimeSpan Interval { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How long an answer may take.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(3);

    /// <summary>How long a guest that has never answered may take to begin to.</summary>
    public TimeSpan Start { get; init; } = TimeSpan.FromMinutes(1);

    /// <summary>Questions in a row without an answer that make it unhealthy.</summary>
    public int Failures { get; init; } = 3;

    /// <summary>Understands <c>vsock:PORT</c> or <c>tcp:[ADDRESS:]PORT</c> and, after commas, any of <c>interval=</c>, <c>timeout=</c>, <c>start=</c>, <c>failures=</c>.</summary>
    /// <param name="text">The text.</param>
    /// <param name="check">What it says, where nothing is wrong with it.</param>
    /// <param name="duration">Understands durations (<c>30s</c>); null for what is none.</param>
    /// <returns>What is wrong with the text, or null.</returns>
    public static string? Parse(string text, out HealthCheck check, Func<string, TimeSpan?> duration)
    {
        ArgumentNullException.ThrowIfNull(text);
        ArgumentNullException.ThrowIfNull(duration);
        check = new HealthCheck { Port = 0 };
        string[] parts = text.Split(',');
        if (EndPoint(parts[0]) is not { } place)
            return "is not vsock:PORT, tcp:PORT or tcp:ADDRESS:PORT";
        check = place;
        foreach (string part in parts.Skip(1))
        {
            var (name, value) = part.Split('=') is [var n, var v] ? (n, v) : (part, "");
            var span = name == "failures" ? null : duration(value);
            if (name == "failures" ? !int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out int failures) || failures is < 1 or > 1000 : span is null || span < s_least || span > s_most)
                return $"has {part}; it may have interval=, timeout= and start=, durations from 10ms to 1h, and failures=, 1 to 1000";
            check = name switch
            {
                "interval" => check with { Interval = span!.Value },
                "timeout" => check with { Timeout = span!.Value },
                "start" => check with { Start = span!.Value },
                "failures" => check with { Failures = int.Parse(value, CultureInfo.InvariantCulture) },
                _ => null!,
            };
            if (check is null)
                return $"has {part}; it may have interval=, timeout=, start= and failures=";
        }

        return null;
    }

    /// <inheritdoc/>
    /// <remarks>As <see cref="Parse"/> understands it.</remarks>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"{(Address is null ? "vsock:" : $"tcp:{Shown(Address)}:")}{Port},interval={Interval.TotalMilliseconds:f0}ms,timeout={Timeout.TotalMilliseconds:f0}ms,start={Start.TotalMilliseconds:f0}ms,failures={Failures}");

    private static readonly TimeSpan s_least = TimeSpan.FromMilliseconds(10), s_most = TimeSpan.FromHours(1);

    private static string Shown(IPAddress address) => address.AddressFamily == System.Net.Sockets.AddressFamily.InterNetworkV6 ? $"[{address}]" : address.ToString();

    private static HealthCheck? EndPoint(string text)
    {
        if (text.StartsWith("vsock:", StringComparison.Ordinal))
            return uint.TryParse(text.AsSpan(6), NumberStyles.None, CultureInfo.InvariantCulture, out uint port) && port < uint.MaxValue ? new HealthCheck { Port = port } : null;
        if (!text.StartsWith("tcp:", StringComparison.Ordinal))
            return null;
        string place = text[4..];
        int colon = place.LastIndexOf(':');
        var address = IPAddress.Loopback;
        if (colon >= 0 && !IPAddress.TryParse(place[..colon].Trim('[', ']'), out address))
            return null;
        return ushort.TryParse(place.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out ushort number) && number > 0 ? new HealthCheck { Port = number, Address = address } : null;
    }
}
