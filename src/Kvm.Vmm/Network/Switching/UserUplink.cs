using System.Buffers.Binary;
using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Switch;

namespace Kvm.Vmm.Network.Switching;

/// <summary>A user network that can be told of more ports of the host.</summary>
internal interface IGuardedBackend : INetworkBackend
{
    /// <summary>Lets the guest reach these too, from now on. One thread at a time.</summary>
    void Allow(IReadOnlyList<AllowedPort> ports);
}

/// <summary>
/// The way out of a switch by user networks: each VLAN has one of its own, so that none hears of another, made when somebody of it first sends. Frames come in one piece, as they lie in a
/// port's queue, which may be changed; those of <see cref="PortOptions.DefaultVlan"/> have no tag. One thread; allocates for a VLAN, and nothing for a frame.
/// </summary>
internal sealed class UserUplink : INetworkBackend, INetworkListener
{
    /// <summary>VLANs that have a network at most: each has a thread and its rings.</summary>
    public const int MostNetworks = 64;

    private const ushort CustomerTag = 0x8100;
    private const int Addresses = NetHeader.Size + 2 * MacAddress.Size, TagBytes = 4;

    private readonly NetConfig _config;
    private readonly Func<NetConfig, IGuardedBackend> _open;
    private readonly Action<string>? _notice;
    private readonly List<(int Vlan, IGuardedBackend Network)> _networks = [];
    private readonly Dictionary<int, IGuardedBackend?> _byVlan = [];
    private readonly byte[] _tagged = new byte[NetHeader.Size + NetHeader.MaxFrame + TagBytes];
    private IReadOnlyList<AllowedPort> _allowed;
    private INetworkListener? _listener;
    private bool _isFull;
    private int _turn;

    /// <summary>Makes the network of the VLAN without tags, and those that publish ports.</summary>
    /// <param name="config">What they have in common; published ports are of the VLAN they name.</param>
    /// <param name="open">Makes one.</param>
    /// <param name="notice">Told what a person may want to know.</param>
    /// <exception cref="VmmException">One cannot be made.</exception>
    public UserUplink(NetConfig config, Func<NetConfig, IGuardedBackend> open, Action<string>? notice)
    {
        (_config, _open, _notice, _allowed) = (config, open, notice, config.AllowHost);
        try
        {
            foreach (int vlan in config.Publish.Select(port => port.Vlan).Prepend(PortOptions.DefaultVlan).Distinct())
                Make(vlan);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public NetOffloads SendOffloads => NetOffloads.None;

    /// <inheritdoc/>
    public NetOffloads ReceiveOffloads => NetOffloads.None;

    /// <inheritdoc/>
    public int MaxPairs => 1;

    /// <summary>Lets guests of every VLAN reach these ports of the host's loopback, and no others.</summary>
    public void Allow(IReadOnlyList<AllowedPort> ports)
    {
        _allowed = ports;
        foreach (var (_, network) in _networks)
            network.Allow(ports);
    }

    /// <inheritdoc/>
    public void Connect(INetworkListener listener)
    {
        _listener = listener;
        foreach (var (_, network) in _networks)
            network.Connect(this);
    }

    /// <inheritdoc/>
    public void Configure(NetOffloads receive, int pairs)
    {
    }

    /// <inheritdoc/>
    public SendOutcome Send(int pair, ReadOnlySpan<HostBuffer> frame, int length)
    {
        var bytes = frame[0].Span;
        if (length < Addresses + TagBytes + sizeof(ushort) || BinaryPrimitives.ReadUInt16BigEndian(bytes[Addresses..]) != CustomerTag)
            return NetworkOf(PortOptions.DefaultVlan) is { } untagged ? untagged.Send(0, frame, length) : SendOutcome.Dropped;
        ushort tag = BinaryPrimitives.ReadUInt16BigEndian(bytes[(Addresses + sizeof(ushort))..]);
        if (NetworkOf(tag & 0xfff) is not { } network)
            return SendOutcome.Dropped;
        // What is before the tag takes its place; a frame that has to wait is as it was.
        bytes[..Addresses].CopyTo(bytes[TagBytes..]);
        var outcome = network.Send(0, [frame[0].Slice(TagBytes)], length - TagBytes);
        if (outcome == SendOutcome.Full)
        {
            bytes.Slice(TagBytes, Addresses).CopyTo(bytes);
            WriteTag(bytes[Addresses..], tag);
        }

        return outcome;
    }

    /// <inheritdoc/>
    public ReadOnlySpan<byte> Peek(int pair)
    {
        for (int i = 0; i < _networks.Count; i++)
        {
            var (vlan, network) = _networks[_turn];
            var frame = network.Peek(0);
            if (!frame.IsEmpty)
                return vlan == PortOptions.DefaultVlan ? frame : Tagged(frame, vlan);
            _turn = (_turn + 1) % _networks.Count;
        }

        return default;
    }

    /// <inheritdoc/>
    public void Take(int pair)
    {
        _networks[_turn].Network.Take(0);
        _turn = (_turn + 1) % _networks.Count;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var (_, network) in _networks)
            network.Dispose();
    }

    /// <inheritdoc/>
    void INetworkListener.FramesWaiting(int pair) => _listener?.FramesWaiting(0);

    /// <inheritdoc/>
    void INetworkListener.RoomAgain(int pair) => _listener?.RoomAgain(0);

    /// <inheritdoc/>
    void INetworkListener.LinkChanged(bool up)
    {
    }

    private IGuardedBackend? NetworkOf(int vlan)
    {
        if (_byVlan.TryGetValue(vlan, out var network))
            return network;
        string why = $"no more than {MostNetworks} VLANs have one";
        bool isSaid = false;
        try
        {
            if (_networks.Count < MostNetworks)
                return Make(vlan);
            (isSaid, _isFull) = (_isFull, true);
        }
        catch (VmmException e)
        {
            why = e.Message;
        }

        _byVlan[vlan] = null;
        if (!isSaid)
            _notice?.Invoke($"VLAN {vlan} has no user network: {why}");
        return null;
    }

    private IGuardedBackend Make(int vlan)
    {
        var network = _open(_config with { AllowHost = _allowed, Publish = [.. _config.Publish.Where(port => port.Vlan == vlan)] });
        _networks.Add((vlan, network));
        _byVlan.Add(vlan, network);
        if (_listener is not null)
            network.Connect(this);
        return network;
    }

    private ReadOnlySpan<byte> Tagged(ReadOnlySpan<byte> frame, int vlan)
    {
        frame[..Addresses].CopyTo(_tagged);
        WriteTag(_tagged.AsSpan(Addresses), (ushort)vlan);
        frame[Addresses..].CopyTo(_tagged.AsSpan(Addresses + TagBytes));
        return _tagged.AsSpan(0, frame.Length + TagBytes);
    }

    private static void WriteTag(Span<byte> at, ushort tag)
    {
        BinaryPrimitives.WriteUInt16BigEndian(at, CustomerTag);
        BinaryPrimitives.WriteUInt16BigEndian(at[sizeof(ushort)..], tag);
    }
}
