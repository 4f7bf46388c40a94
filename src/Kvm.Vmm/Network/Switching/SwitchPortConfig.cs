using System.Globalization;
using System.Text;
using Kvm.Devices.Net.Switch;
using Kvm.Interop;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Network.Switching;

/// <summary>The way out of a switch, for all of its ports.</summary>
/// <param name="Tap">The name of a TAP interface; null for a network in user space.</param>
public sealed record SwitchUplink(string? Tap)
{
    /// <summary>The network in user space, where it is not the usual one.</summary>
    internal NetConfig? User { get; init; }

    /// <summary>Ports of the host's loopback that every card of the switch may reach, of a network in user space.</summary>
    public IReadOnlyList<AllowedPort> AllowHost { get; init; } = [];

    /// <summary>True if it leads to where the other does.</summary>
    internal bool LeadsAs(SwitchUplink? other) => other is not null && Tap == other.Tap;

    /// <summary>Understands <c>user</c> or <c>tap=NAME</c>; null if the text is neither.</summary>
    public static SwitchUplink? Parse(string text) => text?.Split('=', 2) switch
    {
        ["user"] => new SwitchUplink((string?)null),
        ["tap", var name] when IsInterface(name) => new SwitchUplink(name),
        _ => null,
    };

    // What the kernel would not have (dev_valid_name), or would make a number of.
    private static bool IsInterface(string name) =>
        Encoding.UTF8.GetByteCount(name) is > 0 and <= TapQueue.MostNameBytes && name is not ("." or "..") && !name.Any(c => c is '/' or ':' or '%' || char.IsWhiteSpace(c) || char.IsControl(c));

    /// <summary>As <see cref="SwitchPortConfig"/> understands it.</summary>
    public override string ToString() => Tap is null ? $"user{string.Concat(AllowHost.Select(port => $",allow-host={port}"))}" : $"tap={Tap}";
}

/// <summary>How a card is on its switch, of <see cref="NetKind.Switch"/>. Immutable.</summary>
public sealed record SwitchPortConfig
{
    /// <summary>Bytes of a label at most.</summary>
    public const int MostLabel = 64;

    /// <summary>The VLAN of frames without a tag; 0, with <see cref="Trunk"/> alone, for none.</summary>
    public int Vlan { get; init; } = PortOptions.DefaultVlan;

    /// <summary>The VLANs whose frames have their tag at this card; null for none.</summary>
    public VlanSet? Trunk { get; init; }

    /// <summary>Reaches the uplink and services alone.</summary>
    public bool Isolated { get; init; }

    /// <summary>Does not reach the cards of the same group, nor they it; nothing for no group.</summary>
    public string IsolationGroup { get; init; } = "";

    /// <summary>Its share of the uplink, 1 to <see cref="PortOptions.MaxWeight"/>.</summary>
    public int Weight { get; init; } = PortOptions.DefaultWeight;

    /// <summary>What policies call it; nothing for the machine's name.</summary>
    public string Label { get; init; } = "";

    /// <summary>The switch's way out; null for whatever it has.</summary>
    public SwitchUplink? Uplink { get; init; }

    /// <summary>These settings with one more, as the command line writes it: <c>vlan=N</c>, <c>trunk=N[-N][+N[-N]]…</c>, <c>isolated[=GROUP]</c>, <c>weight=N</c>, <c>label=TEXT</c>, <c>uplink=user|tap=NAME</c>, and behind <c>uplink=user</c> <c>allow-host=PORT[/udp]</c>.</summary>
    /// <returns>Null if it is none of them.</returns>
    public SwitchPortConfig? With(string part)
    {
        ArgumentNullException.ThrowIfNull(part);
        return part.Split('=', 2) switch
        {
            ["vlan", var text] when Number(text) is { } vlan => this with { Vlan = vlan },
            ["trunk", var text] when VlanSet.TryParse(text, out var vlans) => this with { Trunk = vlans },
            ["isolated"] => this with { Isolated = true },
            ["isolated", { Length: > 0 } text] => this with { IsolationGroup = text },
            ["weight", var text] when Number(text) is { } weight => this with { Weight = weight },
            ["label", var text] => this with { Label = text },
            ["allow-host", var text] when Uplink is { Tap: null } user && AllowedPort.Parse(text) is { } port => this with { Uplink = user with { AllowHost = [.. user.AllowHost, port] } },
            ["uplink", var text] when SwitchUplink.Parse(text) is { } uplink => this with { Uplink = uplink },
            _ => null,
        };
    }

    /// <summary>What is wrong with them, or null.</summary>
    public string? Problem()
    {
        if (Vlan is < 0 or > PortOptions.MaxVlan || (Vlan == 0 && Trunk is null))
            return $"has the VLAN {Vlan}; 1 to {PortOptions.MaxVlan} are possible, and 0 with a trunk";
        if (Weight is < 1 or > PortOptions.MaxWeight)
            return $"has a weight of {Weight}; 1 to {PortOptions.MaxWeight} are possible";
        return NameProblem("the label", Label) ?? NameProblem("the isolation group", IsolationGroup);
    }

    private static string? NameProblem(string what, string name) => Encoding.UTF8.GetByteCount(name) > MostLabel || name.Any(c => char.IsControl(c) || c == ',')
        ? $"has {what} {VisibleText.Quote(name, 40)}; one has {MostLabel} bytes at most, without commas and control characters"
        : null;

    /// <summary>These settings, with a label where they have none and this can be one.</summary>
    internal SwitchPortConfig CalledAlso(string label) => Label.Length == 0 && this with { Label = label } is var named && named.Problem() is null ? named : this;

    /// <summary>These settings, where ports of the host are to be reached by the switch's user network.</summary>
    internal SwitchPortConfig Allowing(IReadOnlyList<AllowedPort> ports) => Uplink is { Tap: null } user && ports.Count > 0 ? this with { Uplink = user with { AllowHost = ports } } : this;

    /// <summary>All settings, with a comma before each.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $",vlan={Vlan}{(Trunk is null ? "" : $",trunk={Trunk}")}{(Isolated ? ",isolated" : "")}{(IsolationGroup.Length == 0 ? "" : $",isolated={IsolationGroup}")},weight={Weight}{(Label.Length == 0 ? "" : $",label={Label}")}{(Uplink is null ? "" : $",uplink={Uplink}")}");

    /// <summary>Understands what <see cref="ToString"/> says; null if that is not right.</summary>
    internal static SwitchPortConfig? Parse(string text)
    {
        SwitchPortConfig? port = new();
        foreach (string part in text.Split(',', StringSplitOptions.RemoveEmptyEntries))
            port = port?.With(part);
        return port?.Problem() is null ? port : null;
    }

    private static int? Number(string text) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : null;
}
