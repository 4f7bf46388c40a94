using System.Buffers.Binary;
using Kvm.Devices.Net.Switch;

namespace Kvm.Devices.Net.Policy;

/// <summary>Knows flows by another name: an address that stands for several machines. Any thread; must not throw, block or allocate.</summary>
public interface IFlowAlias
{
    /// <summary>What a rewritten answer was before: whoever decides about flows knows them by the machines they are between.</summary>
    /// <param name="key">The flow, changed if it is such an answer.</param>
    void Restore(ref FlowKey key);
}

/// <summary>
/// Decides about every frame between two ports of a switch: by the rules in force, by what was decided about its flow, and never in favour of what cannot be understood. Rules are
/// changed while frames pass, all at once; then flows that live are decided anew. Any thread; allocates nothing for a frame.
/// </summary>
public sealed class FlowPolicy : IFramePolicy
{
    /// <summary>Ports of a switch that can be told apart.</summary>
    public const int MostPorts = 4096;

    private const int Services = -2;
    private const ushort DhcpServer = 67, DhcpClient = 68, Dhcp6Server = 547;
    private const byte RouterAdvertisement = 134;

    private readonly Lock _change = new();
    private readonly FlowTable _flows;
    private readonly IFlowAlias? _alias;
    private readonly long[] _kinds = new long[(int)PacketKind.TooManyHeaders + 1];
    private readonly Dictionary<int, string?> _names = [];
    private readonly HashSet<uint> _reserved;
    private volatile State _state;
    private long _spoofed;
    private long _rogue;
    private long _unrelated;

    /// <summary>Makes one.</summary>
    /// <param name="policy">The rules.</param>
    /// <param name="flows">What is known of flows.</param>
    /// <param name="alias">Who rewrites frames before they come here; null is nobody.</param>
    /// <param name="reserved">IPv4 addresses that are somebody's: who has none of its own may not send from them; null is none.</param>
    public FlowPolicy(CompiledPolicy policy, FlowTable flows, IFlowAlias? alias = null, IEnumerable<uint>? reserved = null)
    {
        ArgumentNullException.ThrowIfNull(policy);
        ArgumentNullException.ThrowIfNull(flows);
        (_flows, _alias, _reserved) = (flows, alias, [.. reserved ?? []]);
        _state = new State(policy, 1, [], []);
    }

    /// <summary>The rules in force.</summary>
    public CompiledPolicy Rules => _state.Policy;

    /// <summary>Frames from an address that is not their sender's.</summary>
    public long Spoofed => Volatile.Read(ref _spoofed);

    /// <summary>What only the network itself may say, said by others: answers of DHCP servers, routers' advertisements.</summary>
    public long Rogue => Volatile.Read(ref _rogue);

    /// <summary>Errors about packets of flows that nobody knows.</summary>
    public long Unrelated => Volatile.Read(ref _unrelated);

    /// <summary>Frames refused because of what they are, not by a rule.</summary>
    public long Refused(PacketKind kind) => Volatile.Read(ref _kinds[(int)kind]);

    /// <summary>Puts other rules in force; ports keep the names they have.</summary>
    public void Swap(CompiledPolicy policy)
    {
        ArgumentNullException.ThrowIfNull(policy);
        lock (_change)
        {
            policy.CountOnFrom(_state.Policy);
            _state = new State(policy, _state.Generation + 1, Numbers(policy), _state.Addresses);
        }
    }

    /// <summary>Says who is behind a port: one that rules know by that name, or a stranger.</summary>
    /// <param name="port">The switch's port, 0 to <see cref="MostPorts"/> less 1.</param>
    /// <param name="name">The name.</param>
    /// <param name="address">Its IPv4 address, from which it may send alone; 0 is any.</param>
    public void Bind(int port, string name, uint address = 0)
    {
        ArgumentNullException.ThrowIfNull(name);
        Change(port, name, address);
    }

    /// <summary>Says that the network's own services are behind a port: they decide themselves about what they are sent and send.</summary>
    public void BindServices(int port) => Change(port, null, 0);

    /// <summary>Says that nobody is behind a port any more.</summary>
    public void Unbind(int port)
    {
        lock (_change)
        {
            if (!_names.Remove(port))
                return;
            Publish();
        }

        _flows.Forget((ushort)port);
    }

    /// <inheritdoc/>
    public bool Allows(int fromPort, int toPort, ReadOnlySpan<byte> frame)
    {
        var state = _state;
        int from = state.EndpointOf(fromPort), to = state.EndpointOf(toPort);
        if (from == Services || to == Services)
            return true;
        var kind = PacketHeaders.Parse(frame, out var packet);
        var key = packet.Key;
        if (kind == PacketKind.Flow)
            _alias?.Restore(ref key);
        if (IsDhcp(kind, in key) || (kind == PacketKind.Neighbour && frame[packet.TransportOffset] == RouterAdvertisement && !state.IsUplink(from)))
            return !IsQuestion(kind, in key) && Refuse(ref _rogue);
        if (kind <= PacketKind.Fragment && !IsOwnAddress(state, fromPort, kind, in packet, in key, frame))
            return Refuse(ref _spoofed);
        switch (kind)
        {
            case PacketKind.Flow:
                return AllowsFlow(state, fromPort, toPort, frame, in key, packet.TcpFlags);
            case PacketKind.Arp or PacketKind.Neighbour:
                return state.Policy.MaySend(from, to) || state.Policy.MaySend(to, from) || Refuse(ref _kinds[(int)kind]);
            case PacketKind.Fragment or PacketKind.Other or PacketKind.Error when state.Policy.Always(from, to) is { } rule && state.Policy.Allows(rule):
                state.Policy.Counted(rule);
                return true;
            case PacketKind.Error:
                // It goes to the sender of what it is about.
                if (!_flows.Knows(state, (ushort)toPort, (ushort)fromPort, packet.Key, out int about))
                    return Refuse(ref _unrelated);
                state.Policy.Counted(about);
                return true;
            default:
                return Refuse(ref _kinds[(int)kind]);
        }
    }

    private static bool Refuse(ref long counter)
    {
        Interlocked.Increment(ref counter);
        return false;
    }

    private static bool IsDhcp(PacketKind kind, in FlowKey key) => kind == PacketKind.Flow && key.Protocol == PacketHeaders.Udp
        && (key.Version == 4 ? key is { SourcePort: DhcpServer or DhcpClient, DestinationPort: DhcpServer or DhcpClient } : key.SourcePort == Dhcp6Server);

    // For the network's own server, whoever else hears it; answers come from nobody else.
    private static bool IsQuestion(PacketKind kind, in FlowKey key) => kind == PacketKind.Flow && key.SourcePort == DhcpClient;

    private bool AllowsFlow(State state, int fromPort, int toPort, ReadOnlySpan<byte> frame, in FlowKey key, byte tcpFlags)
    {
        int from = state.EndpointOf(fromPort), to = state.EndpointOf(toPort), rule;
        bool allowed;
        if ((frame[0] & 1) != 0 || state.Policy.IsSame(from, to))
        {
            // Nobody answers a group as such, and where all or nothing is allowed both ways there is nothing to remember.
            rule = state.Policy.Find(from, to, key.Protocol, key.DestinationPort);
            allowed = state.Policy.Allows(rule);
        }
        else
        {
            allowed = _flows.Decide(state, (ushort)fromPort, (ushort)toPort, in key, tcpFlags, out rule);
        }

        state.Policy.Counted(rule);
        return allowed;
    }

    private bool IsOwnAddress(State state, int port, PacketKind kind, in PacketHeaders packet, in FlowKey key, ReadOnlySpan<byte> frame)
    {
        uint own = state.AddressOf(port);
        if (own == 0 && (_reserved.Count == 0 || state.IsUplink(state.EndpointOf(port))))
            return true;
        if (kind == PacketKind.Flow)
            return key.Version == 6 || (own == 0 ? !_reserved.Contains((uint)key.Source) : key.Source == own);
        if (kind != PacketKind.Arp && frame[packet.NetworkOffset] >> 4 == 6)
            return true;
        uint from = BinaryPrimitives.ReadUInt32BigEndian(frame[(packet.NetworkOffset + (kind == PacketKind.Arp ? 14 : 12))..]);
        // RFC 5227, 2.1.1: who asks whether an address is free has none.
        return (own == 0 ? !_reserved.Contains(from) : from == own) || (kind == PacketKind.Arp && from == 0);
    }

    private void Change(int port, string? name, uint address)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(port);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(port, MostPorts);
        bool other;
        lock (_change)
        {
            other = !_names.TryGetValue(port, out string? before) || before != name;
            _names[port] = name;
            var addresses = new uint[Math.Max(_state.Addresses.Length, port + 1)];
            _state.Addresses.CopyTo(addresses, 0);
            addresses[port] = address;
            // What was decided about somebody else here on another thread meanwhile is decided anew.
            _state = new State(_state.Policy, _state.Generation + 1, Numbers(_state.Policy), addresses);
        }

        if (other)
            _flows.Forget((ushort)port);
    }

    private void Publish() => _state = new State(_state.Policy, _state.Generation + 1, Numbers(_state.Policy),
        [.. _state.Addresses.Select((address, port) => _names.ContainsKey(port) ? address : 0)]);

    private int[] Numbers(CompiledPolicy policy)
    {
        int[] numbers = new int[_names.Count == 0 ? 0 : _names.Keys.Max() + 1];
        Array.Fill(numbers, CompiledPolicy.Stranger);
        foreach (var (port, name) in _names)
            numbers[port] = name is null ? Services : State.Number(policy, name);
        return numbers;
    }

    /// <summary>All that changes together.</summary>
    private sealed class State(CompiledPolicy policy, uint generation, int[] endpoints, uint[] addresses) : IFlowJudge
    {
        public CompiledPolicy Policy => policy;

        public uint Generation => generation;

        public uint[] Addresses => addresses;

        public static int Number(CompiledPolicy policy, string name)
        {
            for (int i = 0; i < policy.Endpoints.Count; i++)
            {
                if (policy.Endpoints[i].Name == name)
                    return i;
            }

            return CompiledPolicy.Stranger;
        }

        public bool IsUplink(int endpoint) => endpoint >= 0 && policy.Endpoints[endpoint].IsUplink;

        public int EndpointOf(int port) => (uint)port < (uint)endpoints.Length ? endpoints[port] : CompiledPolicy.Stranger;

        public uint AddressOf(int port) => (uint)port < (uint)addresses.Length ? addresses[port] : 0;

        public int Judge(ushort from, ushort to, in FlowKey key) => policy.Find(EndpointOf(from), EndpointOf(to), key.Protocol, key.DestinationPort);

        public bool Allows(int rule) => policy.Allows(rule);
    }
}
