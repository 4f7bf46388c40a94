using System.Globalization;
using Kvm.Devices.Limits;

namespace Kvm.Devices.Net.Switch;

/// <summary>What is at a port.</summary>
public enum PortRole
{
    /// <summary>A guest's card.</summary>
    Card,

    /// <summary>A service of the network itself: reached from isolated ports too, at no port's cost.</summary>
    Service,

    /// <summary>The way out: what goes there waits for its port's turn by weight. A switch has one at most.</summary>
    Uplink,
}

/// <summary>How a port is set up. Immutable.</summary>
public sealed record PortOptions
{
    /// <summary>VLANs are 1 to this; 0 and 4,095 are none (IEEE 802.1Q-2018, 9.6).</summary>
    public const int MaxVlan = 4094;

    /// <summary>The VLAN of ports that were given none.</summary>
    public const int DefaultVlan = 1;

    /// <summary>Weights are 1 to this.</summary>
    public const int MaxWeight = 10_000, DefaultWeight = 100;

    /// <summary>What it is called by people and policies; not unique.</summary>
    public string Label { get; init; } = "";

    /// <summary>What is at it.</summary>
    public PortRole Role { get; init; }

    /// <summary>The VLAN of frames without a tag; 0 only with <see cref="Trunk"/>, where such frames are dropped then.</summary>
    public int Vlan { get; init; } = DefaultVlan;

    /// <summary>The VLANs whose frames have their tag here; null for a port that has no tags at all.</summary>
    public VlanSet? Trunk { get; init; }

    /// <summary>Reaches the uplink and services alone, and is reached by them alone.</summary>
    public bool Isolated { get; init; }

    /// <summary>Those of one group do not reach each other; nothing for no group. Whom else they reach is as without.</summary>
    public string IsolationGroup { get; init; } = "";

    /// <summary>Its share of the uplink beside the others', 1 to <see cref="MaxWeight"/>.</summary>
    public int Weight { get; init; } = DefaultWeight;

    /// <summary>An address that is this port's alone, and its only one; null if it is learned.</summary>
    public MacAddress? Mac { get; init; }

    /// <summary>Frames to everybody or to nobody known that it may send; null is <see cref="SwitchOptions.FloodLimit"/>.</summary>
    public RateLimit? FloodLimit { get; init; }

    /// <summary>Bytes of frames that wait for it, at least <see cref="LeastQueue"/>.</summary>
    public int QueueBytes { get; init; } = 2 << 20;

    /// <summary>Bytes of its frames that wait for the uplink, at least <see cref="LeastQueue"/>.</summary>
    public int UplinkQueueBytes { get; init; } = 512 << 10;

    /// <summary>The smallest queue: two of the longest frames.</summary>
    public const int LeastQueue = 132 << 10;

    internal void Check()
    {
        if (Vlan is < 0 or > MaxVlan || (Vlan == 0 && Trunk is null))
            throw new ArgumentException($"VLAN {Vlan}; 1 to {MaxVlan} are possible", nameof(Vlan));
        if (Weight is < 1 or > MaxWeight)
            throw new ArgumentException($"a weight of {Weight}; 1 to {MaxWeight} are possible", nameof(Weight));
        if (Mac is { IsUsable: false } mac)
            throw new ArgumentException($"{mac} is no card's address", nameof(Mac));
        ArgumentOutOfRangeException.ThrowIfLessThan(QueueBytes, LeastQueue);
        ArgumentOutOfRangeException.ThrowIfLessThan(UplinkQueueBytes, LeastQueue);
    }
}

/// <summary>A set of VLANs. Immutable; equal by what is in it.</summary>
public sealed class VlanSet : IEquatable<VlanSet>
{
    private readonly ulong[] _bits = new ulong[(PortOptions.MaxVlan + 2) / 64];

    /// <summary>All of them.</summary>
    public static readonly VlanSet All = new(Enumerable.Range(1, PortOptions.MaxVlan));

    /// <summary>Makes a set.</summary>
    /// <exception cref="ArgumentOutOfRangeException">One is not 1 to <see cref="PortOptions.MaxVlan"/>.</exception>
    public VlanSet(IEnumerable<int> vlans)
    {
        ArgumentNullException.ThrowIfNull(vlans);
        foreach (int vlan in vlans)
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(vlan, 1);
            ArgumentOutOfRangeException.ThrowIfGreaterThan(vlan, PortOptions.MaxVlan);
            _bits[vlan / 64] |= 1UL << vlan % 64;
        }
    }

    /// <summary>Understands numbers and ranges with plus signs between them, such as <c>10+20-30</c>; false if the text is something else.</summary>
    public static bool TryParse(string text, out VlanSet? vlans)
    {
        ArgumentNullException.ThrowIfNull(text);
        vlans = null;
        var numbers = new List<int>();
        foreach (string part in text.Split('+'))
        {
            int dash = part.IndexOf('-', StringComparison.Ordinal);
            if (!TryRead(dash < 0 ? part : part[..dash], out int first) || !TryRead(dash < 0 ? part : part[(dash + 1)..], out int last) || last < first)
                return false;
            numbers.AddRange(Enumerable.Range(first, last - first + 1));
        }

        vlans = new VlanSet(numbers);
        return true;
    }

    /// <inheritdoc/>
    public bool Equals(VlanSet? other) => other is not null && _bits.AsSpan().SequenceEqual(other._bits);

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as VlanSet);

    /// <inheritdoc/>
    public override int GetHashCode() => ToString().GetHashCode(StringComparison.Ordinal);

    /// <summary>A text that <see cref="TryParse"/> understands as this; nothing for an empty set.</summary>
    public override string ToString()
    {
        var parts = new List<string>();
        for (int first = 1; first <= PortOptions.MaxVlan; first++)
        {
            if (!Contains(first))
                continue;
            int last = first;
            while (Contains(last + 1))
                last++;
            parts.Add(first == last ? $"{first}" : $"{first}-{last}");
            first = last;
        }

        return string.Join('+', parts);
    }

    private static bool TryRead(string text, out int vlan) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out vlan) && vlan is >= 1 and <= PortOptions.MaxVlan;

    /// <summary>True if a VLAN is in it; any number may be asked for.</summary>
    public bool Contains(int vlan) => (uint)vlan <= PortOptions.MaxVlan && (_bits[vlan / 64] >> vlan % 64 & 1) != 0;
}

/// <summary>What bounds a switch. Immutable.</summary>
public sealed record SwitchOptions
{
    /// <summary>Ports at most.</summary>
    public int MaxPorts { get; init; } = 256;

    /// <summary>Addresses that are known at most, and of one card's port; the uplink may have half of all.</summary>
    public int MaxAddresses { get; init; } = 8192;

    /// <summary>Addresses of one card's port.</summary>
    public int MaxAddressesPerPort { get; init; } = 128;

    /// <summary>After this an address that sends nothing is forgotten (IEEE 802.1Q-2018, 8.8.3: 300 s).</summary>
    public TimeSpan AgeingTime { get; init; } = TimeSpan.FromSeconds(300);

    /// <summary>Frames to everybody or to nobody known that a port may send: 2,000 at once and 10,000 a second.</summary>
    public RateLimit FloodLimit { get; init; } = new(2_000, 200_000_000);
}
