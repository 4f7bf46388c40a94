using System.Net;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Policy;
using Kvm.Devices.Net.Services;
using Kvm.Devices.Net.Switch;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Network.Model;

/// <summary>What is beyond a network.</summary>
public enum ModelUplinkKind
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>Whatever the host reaches, by a stack in user space.</summary>
    User,

    /// <summary>A TAP interface of the host's kernel.</summary>
    Tap,
}

/// <summary>A machine of a network. Immutable.</summary>
/// <param name="Name">Its name: <c>run --name</c> or <c>label=</c>.</param>
/// <param name="Labels">What rules call it.</param>
/// <param name="Mac">Its card's address.</param>
/// <param name="Address">Its IPv4 address.</param>
/// <param name="Vlan">Its VLAN.</param>
/// <param name="Isolated">It reaches the uplink and the network's services alone.</param>
/// <param name="IsolationGroup">It does not reach those of the same group; nothing for no group.</param>
/// <param name="Weight">Its share of the uplink beside the others'.</param>
public sealed record ModelMachine(string Name, IReadOnlyList<string> Labels, MacAddress Mac, uint Address, int Vlan, bool Isolated, string IsolationGroup, int Weight);

/// <summary>A port of the host's loopback, or of an address, that somebody of the network serves. Immutable.</summary>
/// <param name="Host">Where the host listens.</param>
/// <param name="To">The machine or service.</param>
/// <param name="Address">Its address.</param>
public sealed record ModelPublished(PublishedPort Host, string To, uint Address);

/// <summary>A network as one description: who is in it, who may talk to whom, what it offers. Valid once it is there. Immutable.</summary>
public sealed record NetworkModel
{
    /// <summary>The most machines.</summary>
    public const int MostMachines = 250;

    /// <summary>Its name: that of its switch.</summary>
    public required string Name { get; init; }

    /// <summary>Who has which address.</summary>
    public required NetworkPlan Plan { get; init; }

    /// <summary>The way out.</summary>
    public ModelUplinkKind Uplink { get; init; }

    /// <summary>The interface, of <see cref="ModelUplinkKind.Tap"/>.</summary>
    public string TapName { get; init; } = "";

    /// <summary>The machines.</summary>
    public IReadOnlyList<ModelMachine> Machines { get; init; } = [];

    /// <summary>Who may begin to talk to whom; the first rule about a flow decides.</summary>
    public IReadOnlyList<PolicyRule> Rules { get; init; } = [];

    /// <summary>What becomes of flows that no rule is about.</summary>
    public bool AllowByDefault { get; init; }

    /// <summary>Addresses that stand for several machines.</summary>
    public IReadOnlyList<VirtualService> Services { get; init; } = [];

    /// <summary>Ports of the host that somebody of the network serves; of <see cref="ModelUplinkKind.User"/>.</summary>
    public IReadOnlyList<ModelPublished> Published { get; init; } = [];

    /// <summary>Ports of the host's loopback that are to be had at the gateway's address; of <see cref="ModelUplinkKind.User"/>.</summary>
    public IReadOnlyList<AllowedPort> AllowHost { get; init; } = [];

    /// <summary>Reads a network's file.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="VmmException">It cannot be read, or is no network; tells what and why.</exception>
    public static NetworkModel Load(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        return new ModelBuilder(ModelReader.Load(path), path).Build();
    }

    /// <summary>Understands a file's text.</summary>
    /// <param name="utf8">The text.</param>
    /// <param name="fileName">The file's name, for messages.</param>
    /// <exception cref="VmmException">It is no network; tells what and why.</exception>
    public static NetworkModel Parse(ReadOnlySpan<byte> utf8, string fileName) =>
        new ModelBuilder(ModelReader.Parse(utf8, fileName), fileName).Build();

    /// <summary>The rules, worked out.</summary>
    public CompiledPolicy Policy() => new(Rules, AllowByDefault,
        [.. Machines.Select(m => new PolicyEndpoint(m.Name, m.Labels)), new PolicyEndpoint(NetworkServices.UplinkName, [], IsUplink: true)]);

    /// <summary>Says which rule decides about a flow and why.</summary>
    /// <param name="from">Who begins: a machine's name, or <c>uplink</c>.</param>
    /// <param name="to">With whom: a machine's name, <c>uplink</c>, or a service's, which stands for its machines.</param>
    /// <param name="protocol">The number of the protocol above IP.</param>
    /// <param name="port">The receiver's port; 0 where there are none.</param>
    /// <returns>A reason for each machine that may be meant; none if a name is nobody's.</returns>
    public IReadOnlyList<PolicyReason> Why(string from, string to, byte protocol, ushort port)
    {
        var policy = Policy();
        if (Services.FirstOrDefault(s => s.Name == to && s.Protocol == protocol && s.Port == port) is { } service)
            return [.. service.Backends.Select(b => policy.Why(from, b.Name, protocol, service.TargetPort)).OfType<PolicyReason>()];
        return policy.Why(from, to, protocol, port) is { } reason ? [reason] : [];
    }

    /// <summary>A card of one of the network's machines, or of somebody else where addresses are given out by chance.</summary>
    /// <param name="card">The card as it was asked for; its label says whose it is.</param>
    /// <exception cref="VmmException">There is no such machine.</exception>
    internal NetConfig Settle(NetConfig card)
    {
        string label = card.Port.Label;
        var settled = card with { Kind = NetKind.Switch, Name = Name, Model = null };
        if (Machines.FirstOrDefault(m => m.Name == label) is { } machine)
        {
            return settled with
            {
                Mac = card.Mac ?? machine.Mac,
                FixedMac = true,
                Port = card.Port with { Vlan = machine.Vlan, Isolated = machine.Isolated, IsolationGroup = machine.IsolationGroup, Weight = machine.Weight },
            };
        }

        if (Plan.FirstLease != 0)
            return settled;
        string hint = NearestName.Find(label, Machines.Select(m => m.Name)) is { } near ? $"; did you mean '{near}'?" : "";
        throw new VmmException(NetworkErrors.BadModel, $"the network {Name} has no machine {(label.Length == 0 ? "without a name (--name, label=)" : VisibleText.Quote(label, 40))} and no addresses for others (dhcp){hint}");
    }

    /// <summary>The VLAN of a machine, or of the machines of a service, which have the same.</summary>
    internal int VlanOf(string name) =>
        Machines.FirstOrDefault(m => m.Name == name)?.Vlan ?? Services.Where(s => s.Name == name).SelectMany(s => s.Backends).FirstOrDefault()?.Vlan ?? PortOptions.DefaultVlan;

    /// <summary>What keeps two networks from being there together, or null.</summary>
    public string? Conflict(NetworkModel other)
    {
        ArgumentNullException.ThrowIfNull(other);
        uint mask = Plan.Mask & other.Plan.Mask;
        if (Name == other.Name)
            return $"there is a network called {Name} already";
        return (Plan.Network & mask) == (other.Plan.Network & mask)
            ? $"its subnet {SubnetText} overlaps {other.SubnetText} of the network {other.Name}"
            : null;
    }

    /// <summary>The subnet as it is written.</summary>
    public string SubnetText => $"{TextOf(Plan.Network)}/{Plan.PrefixLength}";

    /// <summary>An address as it is written.</summary>
    public static string TextOf(uint address) => new IPAddress([(byte)(address >> 24), (byte)(address >> 16), (byte)(address >> 8), (byte)address]).ToString();
}
