using System.Globalization;
using System.Net;
using Kvm.Devices.Net.Policy;
using Kvm.Devices.Net.Services;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Network.Model;

/// <summary>What a network offers: services inside, ports of the host.</summary>
internal sealed partial class ModelBuilder
{
    private List<VirtualService> ReadServices(List<ModelMachine> machines)
    {
        var services = new List<VirtualService>();
        var files = Elements(file.Services, "services", MostServices);
        for (int i = 0; i < files.Count; i++)
        {
            string where = $"services[{i}]", name = Called(files[i].Name, where);
            var port = OnePort(files[i].Port, $"{where}.port");
            uint address = files[i].Address is null ? Free(name) : ServiceAddress(files[i].Address!, where, name);
            _serviceAddresses.Add(address);
            if (services.Any(other => other.Address == address && other.Port == port.First && other.Protocol == port.Protocol))
                throw Bad($"has two services at {NetworkModel.TextOf(address)} {port}");
            services.Add(new VirtualService(name, address, port.Protocol, port.First, (ushort)InRange(files[i].TargetPort, port.First, 1, ushort.MaxValue, $"{where}.target_port"), Backends(files[i], where, machines)));
        }

        return services;
    }

    // An address may have several services, by their ports.
    private uint ServiceAddress(string text, string where, string name) =>
        _serviceAddresses.Contains(Inside(text, $"{where}.address")) ? Inside(text, $"{where}.address") : Own(text, $"{where}.address", 0, name);

    private List<ServiceBackend> Backends(ServiceFile service, string where, List<ModelMachine> machines)
    {
        if (service.Backends is null || EndpointSelector.Parse(service.Backends) is not { Kind: SelectorKind.Label or SelectorKind.Name } who)
            throw Bad($"has '{where}.backends' {(service.Backends is null ? "missing" : VisibleText.Quote(service.Backends, 40))}, not label=LABEL or vm=NAME");
        CheckSelector(who, machines, $"the service '{service.Name}'");
        var chosen = machines.Where(machine => who.Matches(new PolicyEndpoint(machine.Name, machine.Labels))).ToList();
        if (chosen.Select(machine => machine.Vlan).Distinct().Count() > 1)
            throw Bad($"has the service '{service.Name}', whose machines are of different VLANs and cannot be reached by the same guests");
        if (service.Weights?.Keys.FirstOrDefault(name => chosen.TrueForAll(machine => machine.Name != name)) is { } stranger)
            throw Bad($"has a weight for {VisibleText.Quote(stranger, 40)}, which does not serve '{service.Name}'");
        return chosen.ConvertAll(machine => new ServiceBackend(machine.Name, machine.Mac, machine.Address,
            InRange(service.Weights is { } weights && weights.TryGetValue(machine.Name, out int weight) ? weight : null, 1, 1, ConsistentHash.MostWeight, $"{where}.weights.{machine.Name}"), machine.Vlan));
    }

    private PortRange OnePort(string? text, string where) =>
        text is not null && PortRange.Parse(text) is { IsWhole: false } range && range.First == range.Last ? range
            : throw Bad($"has '{where}' {(text is null ? "missing" : VisibleText.Quote(text, 40))}, which is no port such as tcp/80");

    /// <summary>What a user network has besides: ports of the host, both ways.</summary>
    private NetworkModel ReadUser(NetworkModel model)
    {
        var published = Elements(file.Publish, "publish", MostPublished);
        var allowed = Elements(file.AllowHost, "allow_host", MostPublished);
        if (model.Uplink != ModelUplinkKind.User && published.Count + allowed.Count > 0)
            throw Bad("has ports to publish or to allow, for which its uplink has to be user");
        var list = new List<ModelPublished>();
        for (int i = 0; i < published.Count; i++)
        {
            var one = Published(published[i], $"publish[{i}]", model);
            if (list.Any(other => other.Host.Collides(one.Host)))
                throw Bad(string.Create(CultureInfo.InvariantCulture, $"publishes port {one.Host.HostPort} twice"));
            list.Add(one);
        }

        return model with
        {
            Published = list,
            AllowHost = [.. allowed.Select(text => AllowedPort.Parse(text) ?? throw Bad($"has among 'allow_host' {VisibleText.Quote(text, 40)}, which is no port such as 8000 or 53/udp"))],
        };
    }

    private ModelPublished Published(PublishFile publish, string where, NetworkModel model)
    {
        var port = OnePort(publish.Port, $"{where}.port");
        string to = publish.To ?? throw Bad($"has '{where}' without 'to', the name of a machine or service");
        // As --publish has it, with the machine's port behind.
        string host = string.Create(CultureInfo.InvariantCulture, $"{publish.Host}:{port.First}{(port.Protocol == PacketHeaders.Udp ? "/udp" : "")}");
        if (PublishedPort.Parse(host, out var listens) is not null)
            throw Bad($"has '{where}.host' {VisibleText.Quote(publish.Host ?? "", 40)}, not [ADDRESS:]PORT");
        if (listens.IsIpv6)
            throw Bad($"publishes port {listens.HostPort} at {VisibleText.Quote(publish.Host!, 40)}; a network's machines have addresses of IPv4 alone, and so have their published ports");
        var service = model.Services.FirstOrDefault(s => s.Name == to);
        uint address = service?.Address ?? model.Machines.FirstOrDefault(m => m.Name == to)?.Address ?? throw Bad($"publishes port {listens.HostPort} for {VisibleText.Quote(to, 40)}, which is nobody's name");
        if (service is not null && (service.Port != port.First || service.Protocol != port.Protocol))
            throw Bad($"publishes port {listens.HostPort} for {to}, which is at {PortText(service)} and not at {port}");
        // Nobody comes in where no rule lets them: that is found out here, and not by trying.
        if (model.Why(NetworkServices.UplinkName, to, port.Protocol, port.First) is var reasons && !reasons.Any(reason => reason.Allowed))
            throw Bad($"publishes port {listens.HostPort} for {to}, where no rule lets anybody in from outside: add 'allow from uplink to {(service is null ? $"vm={to}" : "…")} …' ({reasons.Select(r => r.Reason).FirstOrDefault()})");
        return new ModelPublished(listens, to, address);
    }

    private static string PortText(VirtualService service) => new PortRange(service.Protocol, service.Port, service.Port).ToString();
}
