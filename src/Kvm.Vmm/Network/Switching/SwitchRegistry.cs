using Kvm.Devices.Net;
using Kvm.Devices.Net.Switch;
using Kvm.Vmm.Host;

namespace Kvm.Vmm.Network.Switching;

/// <summary>The switches this process is at, each by one <see cref="SwitchNode"/>. Any thread.</summary>
/// <param name="folder">Where their sockets and locks are; null for the runtime folder.</param>
internal sealed class SwitchRegistry(string? folder = null)
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(15);

    private readonly Lock _gate = new();
    private readonly Dictionary<string, SwitchNode> _nodes = [];

    /// <summary>Those of the runtime folder.</summary>
    public static SwitchRegistry Shared { get; } = new();

    /// <summary>Joins a card to a switch, which is made if nobody serves it yet.</summary>
    /// <param name="name">The switch's name.</param>
    /// <param name="port">How the card wants to be there.</param>
    /// <param name="mac">Its address, if that is fixed.</param>
    /// <param name="failed">Told of a fault of the program on the switch's thread.</param>
    /// <param name="notice">Told what a person may want to know.</param>
    /// <exception cref="VmmException">It cannot be joined.</exception>
    public SwitchBackend Join(string name, SwitchPortConfig port, MacAddress? mac, Action<string> failed, Action<string>? notice)
    {
        var node = Enter(name, new SwitchOptions(), null, new SwitchHost(IsManaged: false, () => { }, failed, notice));
        var card = new SwitchBackend(node, port, mac, () => Leave(name, node));
        node.Add(card);
        string why = card.Joined.Wait(s_patience) ? card.Joined.Result : "whoever has it does not answer";
        if (why.Length == 0)
            return card;
        card.Dispose();
        throw new VmmException(NetworkErrors.NoSwitch, $"switch={name}: {why}");
    }

    /// <summary>
    /// Serves a switch for as long as the result is there, as who manages it: no other process serves it when this one ends, as nobody else knows its rules; cards of other
    /// processes are unplugged until somebody manages it again. Guests of this process and others join it by its name.
    /// </summary>
    /// <param name="name">The switch's name.</param>
    /// <param name="options">What bounds it.</param>
    /// <param name="uplink">Its way out, or null.</param>
    /// <param name="failed">Told of a fault of the program on the switch's thread.</param>
    /// <param name="notice">Told what a person may want to know.</param>
    /// <param name="prepare">Called with the switch before anybody can join it, as <see cref="SwitchHost.Prepare"/>.</param>
    /// <exception cref="VmmException">Somebody serves it already, or it cannot be.</exception>
    public ManagedSwitch Manage(string name, SwitchOptions options, SwitchUplink? uplink, Action<string> failed, Action<string>? notice, Action<NetworkSwitch>? prepare = null) =>
        TryManage(name, options, uplink, failed, notice, prepare) ?? throw new VmmException(NetworkErrors.NoSwitch, $"switch={name}: {SwitchNode.HasAnother}");

    /// <summary>As <see cref="Manage"/>; null where another process has the switch.</summary>
    public ManagedSwitch? TryManage(string name, SwitchOptions options, SwitchUplink? uplink, Action<string> failed, Action<string>? notice, Action<NetworkSwitch>? prepare)
    {
        var host = new SwitchHost(IsManaged: true, () => { }, failed, notice) { Prepare = prepare };
        var node = Enter(name, options, uplink, host);
        string why = !node.IsManagedBy(host) ? "this process is at it already" : node.Served.Wait(s_patience) ? node.Served.Result : "its thread does not answer";
        if (why.Length == 0)
            return new ManagedSwitch(node.Switch!, () => Leave(name, node));
        Leave(name, node);
        return why == SwitchNode.HasAnother ? null : throw new VmmException(NetworkErrors.NoSwitch, $"switch={name}: {why}");
    }

    private SwitchNode Enter(string name, SwitchOptions options, SwitchUplink? uplink, SwitchHost host)
    {
        var paths = SwitchName.PathsOf(folder ?? Folders.Runtime, name);
        lock (_gate)
        {
            if (!_nodes.TryGetValue(name, out var node))
                _nodes.Add(name, node = new SwitchNode(name, paths, options, uplink, host));
            node.Users++;
            return node;
        }
    }

    private void Leave(string name, SwitchNode node)
    {
        lock (_gate)
        {
            if (--node.Users > 0)
                return;
            _nodes.Remove(name);
        }

        node.Dispose();
    }
}

/// <summary>A switch that this process manages: it is there until this is disposed of.</summary>
internal sealed class ManagedSwitch : IDisposable
{
    private Action? _leave;

    internal ManagedSwitch(NetworkSwitch network, Action leave) => (Switch, _leave) = (network, leave);

    /// <summary>The switch: services attach to it, policies are set on it.</summary>
    public NetworkSwitch Switch { get; }

    /// <inheritdoc/>
    public void Dispose() => Interlocked.Exchange(ref _leave, null)?.Invoke();
}
