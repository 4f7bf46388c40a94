using System.Buffers.Binary;
using Kvm.Devices.Net.Policy;
using Kvm.Devices.Net.Switch;

namespace Kvm.Devices.Net.Services;

/// <summary>
/// Makes a switch a network: its policy, its services at a port of their own, its addresses that stand for several machines. A port that is attached is known to the policy by its
/// label, which is the machine's name. The services have no thread: they answer on the thread of whoever asks.
/// </summary>
public sealed class NetworkServices : IPortListener, IDisposable
{
    /// <summary>What rules call the way out.</summary>
    public const string UplinkName = "uplink";

    private readonly NetworkSwitch _switch;
    private readonly NetworkPlan _plan;
    private readonly BackendHealth _health;
    private readonly SwitchPort _port;
    private readonly ITimer? _timer;
    private readonly Lock _asking = new();
    private readonly byte[] _answer = new byte[ServiceResponder.MostBytes + 4], _question = new byte[ServiceResponder.MostBytes + 4];
    private int _waiting;
    private uint _round;

    /// <summary>Takes a switch over; ports that are there already are known at once.</summary>
    /// <param name="network">The switch.</param>
    /// <param name="plan">Who has which address.</param>
    /// <param name="policy">Who may talk to whom.</param>
    /// <param name="services">Addresses that stand for several machines; the policy's alias.</param>
    /// <param name="vlans">The VLANs where the services are to be had, beside that of untagged frames.</param>
    /// <param name="time">The clock.</param>
    /// <exception cref="InvalidOperationException">The switch has no port for the services.</exception>
    public NetworkServices(NetworkSwitch network, NetworkPlan plan, FlowPolicy policy, VirtualServices services, IEnumerable<int> vlans, TimeProvider time)
    {
        ArgumentNullException.ThrowIfNull(network);
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(policy);
        ArgumentNullException.ThrowIfNull(services);
        ArgumentNullException.ThrowIfNull(time);
        (_switch, _plan, Policy, Services) = (network, plan, policy, services);
        _health = new BackendHealth(services, time);
        Responder = new ServiceResponder(plan, _health, time);
        int[] tagged = [.. vlans.Where(vlan => vlan != PortOptions.DefaultVlan).Distinct()];
        network.PortAttached += OnAttached;
        network.PortDetached += OnDetached;
        (network.Policy, network.Rewriter) = (policy, services);
        foreach (var port in network.Ports)
            OnAttached(port);
        _port = network.TryAttach(
            new PortOptions { Role = PortRole.Service, Label = "services", Mac = plan.ServerMac, Trunk = tagged.Length == 0 ? null : new VlanSet(tagged) }, this, out string why)
            ?? throw new InvalidOperationException(why);
        // What a card of the same process leaves undone was damaged by no cable.
        _port.Takes = NetOffloads.Checksum;
        if (services.Services.Count > 0)
            _timer = time.CreateTimer(_ => Ask(), null, BackendHealth.AskingTime, BackendHealth.AskingTime);
    }

    /// <summary>Who may talk to whom.</summary>
    public FlowPolicy Policy { get; }

    /// <summary>Addresses that stand for several machines.</summary>
    public VirtualServices Services { get; }

    /// <summary>What the services say.</summary>
    public ServiceResponder Responder { get; }

    /// <inheritdoc/>
    public void FramesWaiting(SwitchPort port)
    {
        ArgumentNullException.ThrowIfNull(port);
        // Whoever comes while somebody answers leaves its frame to them: nobody waits here, however services ask each other.
        if (Interlocked.Increment(ref _waiting) != 1)
            return;
        int seen;
        do
        {
            seen = Volatile.Read(ref _waiting);
            while (port.Peek() is { IsEmpty: false } frame)
            {
                int length = Responder.Answer(frame[NetHeader.Size..], PortOf(frame[NetHeader.Size..]), _answer);
                port.Take();
                if (length > 0)
                    port.Send(_answer.AsSpan(0, length));
            }
        }
        while (Interlocked.CompareExchange(ref _waiting, 0, seen) != seen);
    }

    /// <summary>Asks every machine behind a service whether it is there, and takes connections where it has to; gives up those that were silent.</summary>
    public void Ask()
    {
        lock (_asking)
        {
            _health.Expire();
            foreach (var backend in _health.Attached)
            {
                int length = Responder.Ask(backend.Address, backend.Mac, backend.Vlan == PortOptions.DefaultVlan ? 0 : backend.Vlan, _question);
                _port.Send(_question.AsSpan(0, length));
            }

            _round = unchecked(_round + 1);
            foreach (var (backend, port) in _health.AttachedPorts)
            {
                int length = Responder.Probe(backend, port, _round, _question);
                _port.Send(_question.AsSpan(0, length));
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _timer?.Dispose();
        _switch.PortAttached -= OnAttached;
        _switch.PortDetached -= OnDetached;
        _port.Dispose();
    }

    private int PortOf(ReadOnlySpan<byte> frame)
    {
        int tag = BinaryPrimitives.ReadUInt16BigEndian(frame[(2 * MacAddress.Size)..]) == PacketHeaders.EtherVlan && frame.Length >= NetHeader.EthernetSize + 4
            ? BinaryPrimitives.ReadUInt16BigEndian(frame[NetHeader.EthernetSize..]) & 0xfff : 0;
        return _switch.PortOf(tag == 0 ? PortOptions.DefaultVlan : tag, MacAddress.Read(frame[MacAddress.Size..]));
    }

    private void OnAttached(SwitchPort port)
    {
        switch (port.Options.Role)
        {
            case PortRole.Service:
                Policy.BindServices(port.Number);
                break;
            case PortRole.Uplink:
                Policy.Bind(port.Number, UplinkName);
                Responder.UplinkPort = port.Number;
                break;
            default:
                string name = port.Options.Label;
                // One that has a machine's name and not its card is given another address.
                Policy.Bind(port.Number, name, _plan.Machines.FirstOrDefault(machine => machine.Name == name && machine.Mac == port.Options.Mac)?.Address ?? 0);
                _health.SetAttached(name, true);
                break;
        }
    }

    private void OnDetached(SwitchPort port)
    {
        Policy.Unbind(port.Number);
        if (port.Options.Role == PortRole.Uplink)
            Responder.UplinkPort = -1;
        else if (port.Options.Role == PortRole.Card)
            _health.SetAttached(port.Options.Label, _switch.Ports.Any(other => other.Options.Label == port.Options.Label));
    }
}
