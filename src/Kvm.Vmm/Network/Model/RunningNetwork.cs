using Kvm.Devices.Net;
using Kvm.Devices.Net.Policy;
using Kvm.Devices.Net.Services;
using Kvm.Devices.Net.Switch;
using Kvm.Vmm.Network.Switching;

namespace Kvm.Vmm.Network.Model;

/// <summary>
/// A network that is there: its switch, its rules, its services, its way out, for as long as anybody of this process has it. One process serves it; guests of others join it by its name. Any thread.
/// </summary>
public sealed class RunningNetwork : IDisposable
{
    private static readonly Lock s_gate = new();
    private static readonly Dictionary<(SwitchRegistry, string), Served> s_networks = [];

    private Served? _served;

    private RunningNetwork(Served served) => (_served, Model) = (served, served.Model);

    /// <summary>What it is.</summary>
    public NetworkModel Model { get; private set; }

    /// <summary>True if this process serves it; else another one does.</summary>
    public bool IsServedHere => _served?.Switch is not null;

    /// <summary>Serves a network, until the result is disposed of.</summary>
    /// <param name="model">The network.</param>
    /// <param name="failed">Told of a fault of the program on a thread of the network's.</param>
    /// <param name="notice">Told what a person may want to know, a line.</param>
    /// <exception cref="VmmException">Another process serves it, its way out cannot be opened, or one of this process is in its way.</exception>
    public static RunningNetwork Serve(NetworkModel model, Action<string> failed, Action<string>? notice)
    {
        var network = Enter(model, failed, notice);
        if (network.IsServedHere)
            return network;
        network.Dispose();
        throw new VmmException(NetworkErrors.NoSwitch, $"model={model.Name}: {SwitchNode.HasAnother}");
    }

    /// <summary>As <see cref="Serve"/>, but where another process serves it that is good too.</summary>
    public static RunningNetwork Enter(NetworkModel model, Action<string> failed, Action<string>? notice) => Enter(model, failed, notice, SwitchRegistry.Shared);

    /// <summary>The same among the switches of a registry, which is as a process of its own.</summary>
    internal static RunningNetwork Enter(NetworkModel model, Action<string> failed, Action<string>? notice, SwitchRegistry registry)
    {
        ArgumentNullException.ThrowIfNull(model);
        lock (s_gate)
        {
            if (!s_networks.TryGetValue((registry, model.Name), out var served))
            {
                if (s_networks.Values.Where(other => other.Registry == registry).Select(other => model.Conflict(other.Model)).FirstOrDefault(why => why is not null) is { } conflict)
                    throw new VmmException(NetworkErrors.BadModel, $"the network {model.Name}: {conflict}");
                s_networks.Add((registry, model.Name), served = new Served(model, failed, notice, registry));
            }
            else if (served.Model.SubnetText != model.SubnetText)
            {
                throw new VmmException(NetworkErrors.BadModel, $"the network {model.Name} is there already, with the subnet {served.Model.SubnetText} and not {model.SubnetText}");
            }

            served.Users++;
            return new RunningNetwork(served);
        }
    }

    /// <summary>Puts other rules in force, all at once; machines, addresses and services stay as they are.</summary>
    /// <param name="model">The same network with other rules.</param>
    /// <exception cref="InvalidOperationException">Another process serves it.</exception>
    public void ChangeRules(NetworkModel model)
    {
        ArgumentNullException.ThrowIfNull(model);
        var services = _served?.Services ?? throw new InvalidOperationException("the network is served by another process");
        services.Policy.Swap(model.Policy());
        Model = Model with { Rules = model.Rules, AllowByDefault = model.AllowByDefault };
    }

    /// <summary>Who has which address, and who is at the switch; nobody where another process serves it.</summary>
    public IReadOnlyList<NetworkLease> Leases
    {
        get
        {
            if (_served is not { Services: { } services, Switch.Switch: { } network })
                return [];
            var cards = network.Ports.Where(port => port.Options.Role == PortRole.Card).ToList();
            var dynamic = services.Responder.Dhcp.Leases();
            return
            [
                .. Model.Machines.Select(machine => new NetworkLease(machine.Name, machine.Mac.ToString(), NetworkModel.TextOf(machine.Address), true, null, cards.Any(port => port.Options.Label == machine.Name))),
                .. dynamic.Select(lease => new NetworkLease(cards.FirstOrDefault(port => port.Number == lease.Port)?.Options.Label ?? "", lease.Client.ToString(), NetworkModel.TextOf(lease.Address), false, lease.Left, cards.Any(port => port.Number == lease.Port))),
            ];
        }
    }

    /// <summary>Counters by their names, the rules' first; none where another process serves it.</summary>
    public IReadOnlyList<(string Name, long Value)> Counters
    {
        get
        {
            if (_served?.Services is not { } services)
                return [];
            var (policy, responder) = (services.Policy, services.Responder);
            return
            [
                .. policy.Rules.Rules.Select((rule, i) => (rule.ToString(), policy.Rules.Count(i))), ("default", policy.Rules.Count(-1)),
                ("spoofed", policy.Spoofed), ("rogueDhcp", policy.Rogue), ("unrelatedErrors", policy.Unrelated),
                .. Enum.GetValues<PacketKind>().Where(kind => kind is not (PacketKind.Flow or PacketKind.Error)).Select(kind => ($"refused{kind}", policy.Refused(kind))),
                ("leases", responder.Dhcp.Acknowledged), ("leasesRefused", responder.Dhcp.RefusedCount), ("leasesExhausted", responder.Dhcp.Exhausted), ("dhcpMalformed", responder.Dhcp.Malformed),
                ("names", responder.Dns.Answers), ("namesForwarded", responder.Forwarded), ("dnsMalformed", responder.Dns.Malformed),
                ("serviceFlows", services.Services.Begun), ("serviceUnserved", services.Services.Unserved),
            ];
        }
    }

    /// <summary>Leaves it; who leaves last ends it.</summary>
    public void Dispose()
    {
        var served = Interlocked.Exchange(ref _served, null);
        if (served is null)
            return;
        lock (s_gate)
        {
            if (--served.Users > 0)
                return;
            s_networks.Remove((served.Registry, served.Model.Name));
            served.End();
        }
    }

    /// <summary>What this process has of a network, for all who have it.</summary>
    private sealed class Served
    {
        public Served(NetworkModel model, Action<string> failed, Action<string>? notice, SwitchRegistry registry)
        {
            (Model, Registry) = (model, registry);
            try
            {
                Switch = registry.TryManage(model.Name, new SwitchOptions(), UplinkOf(model), failed, notice, Prepare);
            }
            finally
            {
                if (Switch is null)
                    End();
            }
        }

        public NetworkModel Model { get; }

        public SwitchRegistry Registry { get; }

        public ManagedSwitch? Switch { get; }

        public NetworkServices? Services { get; private set; }

        public int Users { get; set; }

        public void End()
        {
            Services?.Dispose();
            Services = null;
            Switch?.Dispose();
        }

        /// <summary>Before anybody is at the switch: nothing passes without rules.</summary>
        private void Prepare(NetworkSwitch network)
        {
            Services?.Dispose();
            var services = new VirtualServices(Model.Services, TimeProvider.System);
            var policy = new FlowPolicy(Model.Policy(), new FlowTable(TimeProvider.System), services,
                [Model.Plan.Server, Model.Plan.Gateway, Model.Plan.Nameserver, .. Model.Plan.ServiceAddresses, .. Model.Machines.Select(machine => machine.Address)]);
            Services = new NetworkServices(network, Model.Plan, policy, services, Model.Machines.Select(machine => machine.Vlan), TimeProvider.System);
        }

        private static SwitchUplink? UplinkOf(NetworkModel model) => model.Uplink switch
        {
            ModelUplinkKind.Tap => new SwitchUplink(model.TapName),
            ModelUplinkKind.User => new SwitchUplink((string?)null)
            {
                AllowHost = model.AllowHost,
                User = new NetConfig
                {
                    Kind = NetKind.User,
                    Via = UserStack.Slirp,
                    Mtu = model.Plan.Mtu,
                    Publish = [.. model.Published.Select(published => published.Host with { Guest = published.Address, Vlan = model.VlanOf(published.To) })],
                    Plan = new UserNetwork
                    {
                        Network = model.Plan.Network,
                        PrefixLength = model.Plan.PrefixLength,
                        Host = model.Plan.Gateway,
                        Nameserver = model.Plan.Nameserver,
                        // The stack's own DHCP is asked by nobody: the rules keep such questions here.
                        Guest = model.Plan.Server,
                    },
                },
            },
            _ => null,
        };
    }
}
