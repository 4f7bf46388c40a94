using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Policy;
using Kvm.Devices.Net.Services;
using Kvm.Devices.Net.Switch;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Network.Model;

/// <summary>Makes a network of what its file says: every mistake is named, every name and address is somebody's alone, and who was given no address gets one. Used once.</summary>
internal sealed partial class ModelBuilder(ModelFile file, string path)
{
    private const int MostNames = 1000, MostRules = 500, MostServices = 64, MostLabels = 16, MostName = 32, MostPublished = 64;

    private readonly Dictionary<uint, string> _owners = [];
    private readonly HashSet<string> _names = new(StringComparer.Ordinal);
    private readonly List<uint> _serviceAddresses = [];
    private uint _network;
    private int _prefix;
    private uint _firstLease;
    private uint _lastLease;

    /// <summary>Makes it.</summary>
    /// <exception cref="VmmException">Something is wrong with it.</exception>
    public NetworkModel Build()
    {
        string name = Name(file.Name, "name");
        ReadSubnet();
        var uplink = ReadUplink(out string tap);
        uint gateway = uplink == ModelUplinkKind.None ? 0 : Own(file.Gateway, "gateway", _network + 1, "the gateway");
        uint server = Own(file.Server, "server", _network + 2, "the network's server");
        uint nameserver = ReadNameserver(uplink);
        ReadLeases();
        var machines = ReadMachines(name);
        var services = ReadServices(machines);
        var names = ReadNames(services);
        var model = new NetworkModel
        {
            Name = name,
            Uplink = uplink,
            TapName = tap,
            Machines = machines,
            Services = services,
            Rules = ReadRules(machines),
            AllowByDefault = ReadDefault(),
            Plan = new NetworkPlan
            {
                Network = _network,
                PrefixLength = _prefix,
                Server = server,
                ServerMac = MacOf(name, "/server"),
                Gateway = gateway,
                Nameserver = nameserver,
                FirstLease = _firstLease,
                LastLease = _lastLease,
                LeaseTime = TimeSpan.FromSeconds(InRange(file.Dhcp?.LeaseSeconds, 3600, 60, 31_536_000, "dhcp.lease_seconds")),
                Domain = file.Domain is null ? "" : Domain(file.Domain),
                Mtu = InRange(file.Mtu, 0, 576, 9000, "mtu"),
                Machines = [.. machines.Select(m => new PlannedMachine(m.Name, m.Mac, m.Address))],
                Names = names,
                ServiceAddresses = [.. _serviceAddresses.Distinct()],
            },
        };
        return ReadUser(model);
    }

    private void ReadSubnet()
    {
        string text = file.Subnet ?? throw Bad("has no 'subnet', such as \"10.20.0.0/24\"");
        if (text.Split('/') is not [var first, var bits] || !int.TryParse(bits, NumberStyles.None, CultureInfo.InvariantCulture, out _prefix) || _prefix is < 8 or > 29)
            throw Bad($"has the subnet {VisibleText.Quote(text, 40)}; one is written 10.20.0.0/24, with 8 to 29 bits");
        _network = Address(first, "subnet");
        uint mask = uint.MaxValue << 32 - _prefix;
        if ((_network & mask) != _network)
            throw Bad($"has the subnet {text}, whose first address is {NetworkModel.TextOf(_network & mask)}");
        // Loopback, link-local, groups and what is reserved are not a network's to give (RFC 6890).
        if (_network >> 24 is 0 or 127 or >= 224 || _network >> 16 == 0xa9fe)
            throw Bad($"has the subnet {text}, whose addresses have a meaning of their own");
    }

    private ModelUplinkKind ReadUplink(out string tap)
    {
        tap = "";
        switch (file.Uplink?.Split('=', 2))
        {
            case null or ["none"]:
                return ModelUplinkKind.None;
            case ["user"]:
                return ModelUplinkKind.User;
            case ["tap", var name]:
                tap = name;
                return NetConfig.Parse($"tap={name}", out _) is { } wrong ? throw Bad($"has an uplink that {wrong}") : ModelUplinkKind.Tap;
            default:
                throw Bad($"has the uplink {VisibleText.Quote(file.Uplink!, 40)}, not one of none, user, tap=NAME");
        }
    }

    private uint ReadNameserver(ModelUplinkKind uplink)
    {
        if (uplink == ModelUplinkKind.None)
            return file.Nameserver is null ? 0u : throw Bad("has a 'nameserver' and no uplink to reach it by");
        if (uplink == ModelUplinkKind.User)
            return file.Nameserver is null ? Own(null, "nameserver", _network + 3, "the nameserver of the user network") : throw Bad("has a 'nameserver', which a user network has by itself");
        if (file.Nameserver is null)
            return 0;
        uint address = Address(file.Nameserver, "nameserver");
        return Contains(address) && !_owners.ContainsKey(address) ? Own(file.Nameserver, "nameserver", 0, "the nameserver") : address;
    }

    private void ReadLeases()
    {
        if (file.Dhcp is not { } dhcp || (dhcp.First ?? dhcp.Last) is null)
            return;
        (_firstLease, _lastLease) = (Inside(dhcp.First, "dhcp.first"), Inside(dhcp.Last, "dhcp.last"));
        if (_firstLease > _lastLease || _lastLease - _firstLease >= NetworkPlan.MostLeases)
            throw Bad($"gives out {dhcp.First} to {dhcp.Last}: that is not 1 to {NetworkPlan.MostLeases} addresses");
    }

    private List<ModelMachine> ReadMachines(string network)
    {
        var machines = new List<ModelMachine>();
        var macs = new Dictionary<ulong, string> { [MacOf(network, "/server").Value] = "the network's server" };
        var files = Elements(file.Machines, "machines", NetworkModel.MostMachines);
        // Who has an address of its own first: the others get what is left.
        var addresses = files.Select((m, i) => m.Address is null ? 0u : Own(m.Address, $"machines[{i}].address", 0, m.Name ?? "a machine")).ToList();
        for (int i = 0; i < files.Count; i++)
        {
            var machine = files[i];
            string where = $"machines[{i}]", name = Called(machine.Name, where);
            if (name == NetworkServices.UplinkName)
                throw Bad($"has a machine called {name}, which is what rules call the way out");
            var mac = machine.Mac is null ? MacOf(network, name)
                : MacAddress.TryParse(machine.Mac, out var given) && given.IsUsable ? given : throw Bad($"has '{where}.mac' {VisibleText.Quote(machine.Mac, 40)}, which is no card's address such as 52:54:00:12:34:56");
            for (string other = name; machine.Mac is null && macs.ContainsKey(mac.Value);)
                mac = MacOf(network, other += "'");
            if (!macs.TryAdd(mac.Value, name))
                throw Bad($"gives {name} and {macs[mac.Value]} the same card's address {mac}");
            var labels = Elements(machine.Labels, $"{where}.labels", MostLabels);
            if (labels.FirstOrDefault(label => !IsLabel(label)) is { } bad)
                throw Bad($"has the label {VisibleText.Quote(bad, 40)}; labels have 1 to {MostName} letters, digits, dots, dashes and underscores");
            if (machine.IsolationGroup is { } group && !IsLabel(group))
                throw Bad($"has the isolation group {VisibleText.Quote(group, 40)}; groups have 1 to {MostName} letters, digits, dots, dashes and underscores");
            machines.Add(new ModelMachine(name, labels, mac, addresses[i] == 0 ? Free(name) : addresses[i],
                InRange(machine.Vlan, PortOptions.DefaultVlan, 1, PortOptions.MaxVlan, $"{where}.vlan"), machine.Isolated ?? false, machine.IsolationGroup ?? "",
                InRange(machine.Weight, PortOptions.DefaultWeight, 1, PortOptions.MaxWeight, $"{where}.weight")));
        }

        return machines;
    }

    private Dictionary<string, uint> ReadNames(List<VirtualService> services)
    {
        var names = new Dictionary<string, uint>(StringComparer.Ordinal);
        foreach (var service in services)
            names[service.Name] = service.Address;
        if (file.Names?.Count > MostNames)
            throw Bad($"has more than {MostNames} names");
        foreach (var (name, address) in file.Names ?? new Dictionary<string, string>())
            names[Called(name, "names")] = Address(address, $"names.{name}");
        return names;
    }

    private List<PolicyRule> ReadRules(List<ModelMachine> machines)
    {
        var rules = new List<PolicyRule>();
        foreach (string text in Elements(file.Rules, "rules", MostRules))
        {
            if (PolicyRule.Parse(text, out var rule) is { } wrong)
                throw Bad($"has the rule {VisibleText.Quote(text)}, which {wrong}");
            foreach (var who in (EndpointSelector[])[rule.From, rule.To])
                CheckSelector(who, machines, $"the rule '{text}'");
            if (rules.Any(other => other.ToString() == rule.ToString()))
                throw Bad($"has the rule '{rule}' twice");
            rules.Add(rule);
        }

        return rules;
    }

    // A list of what is allowed is one because the rest is not.
    private bool ReadDefault() => file.Default switch
    {
        null => (file.Rules?.Count ?? 0) == 0,
        "allow" => true,
        "deny" => false,
        _ => throw Bad($"has the default {VisibleText.Quote(file.Default, 40)}, not allow or deny"),
    };

    private void CheckSelector(EndpointSelector who, List<ModelMachine> machines, string where)
    {
        var known = who.Kind == SelectorKind.Label ? machines.SelectMany(m => m.Labels).Distinct().ToList() : machines.ConvertAll(m => m.Name);
        if (who.Kind is not (SelectorKind.Label or SelectorKind.Name) || known.Contains(who.Value))
            return;
        string hint = NearestName.Find(who.Value, known) is { } near ? $"; did you mean '{near}'?" : "";
        throw Bad($"has {where}, but no machine {(who.Kind == SelectorKind.Label ? "with the label" : "called")} {VisibleText.Quote(who.Value, 40)}{hint}");
    }

    private static bool IsLabel(string text) => text.Length is > 0 and <= MostName && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_');

    private string Called(string? text, string where)
    {
        string name = Name(text, where);
        return _names.Add(name) ? name : throw Bad($"calls two things {name}");
    }

    // RFC 1123, 2.1: what a host may be called.
    private string Name(string? text, string where) =>
        text is { Length: > 0 and <= MostName } && text.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c == '-') && text[0] != '-' && text[^1] != '-'
            ? text : throw Bad($"has {(text is null ? "no name" : $"the name {VisibleText.Quote(text, 40)}")} in '{where}'; names have 1 to {MostName} lower-case letters, digits and dashes");

    private string Domain(string text) => text.Length <= 63 && text.Split('.').All(label => label.Length > 0)
        ? string.Join('.', text.Split('.').Select(label => Name(label, "domain"))) : throw Bad($"has the domain {VisibleText.Quote(text, 40)}, which is none such as lab or lab.internal");

    private int InRange(int? value, int otherwise, int least, int most, string where) =>
        value is null ? otherwise : value >= least && value <= most ? value.Value : throw Bad($"has '{where}' {value}, not {least} to {most}");

    private uint Address(string? text, string where) =>
        text is not null && text.Count(c => c == '.') == 3 && IPAddress.TryParse(text, out var address) && address.AddressFamily == AddressFamily.InterNetwork
            ? System.Buffers.Binary.BinaryPrimitives.ReadUInt32BigEndian(address.GetAddressBytes())
            : throw Bad($"has '{where}' {(text is null ? "missing" : VisibleText.Quote(text, 40))}, which is no IPv4 address");

    private bool Contains(uint address) => (address & uint.MaxValue << 32 - _prefix) == _network;

    private uint Inside(string? text, string where)
    {
        uint address = Address(text, where);
        return Contains(address) && address != _network && address != (_network | ~(uint.MaxValue << 32 - _prefix)) ? address
            : throw Bad($"has '{where}' {text}, which is no machine's address in {file.Subnet}");
    }

    private uint Own(string? text, string where, uint otherwise, string owner)
    {
        uint address = text is null ? otherwise : Inside(text, where);
        return _owners.TryAdd(address, owner) ? address : throw Bad($"gives {owner} and {_owners[address]} the same address {NetworkModel.TextOf(address)}");
    }

    /// <summary>The lowest address nobody has, outside the range that is given out by chance.</summary>
    private uint Free(string owner)
    {
        uint last = (_network | ~(uint.MaxValue << 32 - _prefix)) - 1;
        for (uint address = _network + 1; address <= last; address++)
        {
            if ((_firstLease == 0 || address < _firstLease || address > _lastLease) && _owners.TryAdd(address, owner))
                return address;
        }

        throw Bad($"has no address left for {owner} in {file.Subnet}");
    }

    /// <summary>The card's address of who was given none: always the same one for the same names.</summary>
    private static MacAddress MacOf(string network, string name) => new(0x5254_0000_0000 | ConsistentHash.IdOf($"{network}/{name}") & 0xff_ffff);

    private List<T> Elements<T>(IReadOnlyList<T>? list, string where, int most)
        where T : class
    {
        if (list is null)
            return [];
        if (list.Count > most)
            throw Bad($"has more than {most} {where}");
        return list.Any(element => element is null) ? throw Bad($"has nothing (null) among '{where}'") : [.. list];
    }

    private VmmException Bad(string what) => new(NetworkErrors.BadModel, $"{VisibleText.Quote(path)} {VisibleText.Escape(what)}");
}
