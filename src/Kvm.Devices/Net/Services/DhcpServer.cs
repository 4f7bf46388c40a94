using System.Buffers.Binary;
using System.Text;

namespace Kvm.Devices.Net.Services;

/// <summary>An address of the range that a client has. Immutable.</summary>
/// <param name="Client">The client's card.</param>
/// <param name="Address">The address.</param>
/// <param name="Left">For how long it still has it.</param>
/// <param name="Port">The switch's port it asked at.</param>
public sealed record DhcpLease(MacAddress Client, uint Address, TimeSpan Left, int Port);

/// <summary>
/// Gives addresses out (RFC 2131): to machines of the plan their own, to others one of a bounded range, as long as there are any; to one port of the switch no more than a few.
/// Whoever asks from a card that is not the one its message names gets nothing. Thread-safe; allocates nothing for a message.
/// </summary>
public sealed class DhcpServer
{
    /// <summary>The most addresses of the range for one port of the switch.</summary>
    public const int MostOfPort = 16;

    /// <summary>The shortest answer: what clients from before DHCP take.</summary>
    public const int LeastBytes = 300;

    /// <summary>The longest answer.</summary>
    public const int MostBytes = 576;

    private static readonly TimeSpan s_offerTime = TimeSpan.FromSeconds(30), s_declineTime = TimeSpan.FromMinutes(10);

    private readonly Lock _gate = new();
    private readonly NetworkPlan _plan;
    private readonly TimeProvider _time;
    private readonly byte[] _domain;
    private readonly Dictionary<ulong, (uint Address, byte[] Name)> _machines;
    private readonly HashSet<uint> _taken;
    private readonly Lease[] _leases;
    private readonly Dictionary<ulong, int> _byClient;

    /// <summary>Makes a server that has given nothing out.</summary>
    /// <param name="plan">The network.</param>
    /// <param name="time">The clock.</param>
    public DhcpServer(NetworkPlan plan, TimeProvider time)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(time);
        (_plan, _time, _domain) = (plan, time, Encoding.ASCII.GetBytes(plan.Domain));
        _machines = plan.Machines.ToDictionary(m => m.Mac.Value, m => (m.Address, Encoding.ASCII.GetBytes(m.Name)));
        _taken = [plan.Server, plan.Gateway, plan.Nameserver, .. plan.ServiceAddresses, .. plan.Machines.Select(m => m.Address), .. plan.Names.Values];
        int count = plan.FirstLease == 0 || plan.LastLease < plan.FirstLease ? 0 : (int)Math.Min(plan.LastLease - plan.FirstLease + 1, NetworkPlan.MostLeases);
        _leases = new Lease[count];
        _byClient = new Dictionary<ulong, int>(count);
    }

    /// <summary>Messages that are none, or are of another card than they say.</summary>
    public long Malformed { get; private set; }

    /// <summary>Clients that got nothing because everything was given out, or to their port enough.</summary>
    public long Exhausted { get; private set; }

    /// <summary>Addresses given to clients that asked for the offer.</summary>
    public long Acknowledged { get; private set; }

    /// <summary>Clients told that they may not have what they use or want.</summary>
    public long RefusedCount { get; private set; }

    /// <summary>Answers a message.</summary>
    /// <param name="bytes">The datagram's payload.</param>
    /// <param name="sender">The card it came from.</param>
    /// <param name="port">The switch's port it came from.</param>
    /// <param name="answer">At least <see cref="MostBytes"/>.</param>
    /// <returns>The answer's length; 0 if there is none.</returns>
    public int Answer(ReadOnlySpan<byte> bytes, MacAddress sender, int port, Span<byte> answer)
    {
        if (!DhcpMessage.TryRead(bytes, out var message) || message.Client != sender)
        {
            Malformed++;
            return 0;
        }

        lock (_gate)
            return Answer(bytes, in message, port, answer);
    }

    /// <summary>Addresses of the range that are given out now.</summary>
    public IReadOnlyList<DhcpLease> Leases()
    {
        lock (_gate)
        {
            long now = _time.GetTimestamp();
            List<DhcpLease> leases = [];
            for (int i = 0; i < _leases.Length; i++)
            {
                if (_leases[i] is { Client: not 0 } lease && lease.Until > now)
                    leases.Add(new DhcpLease(new MacAddress(lease.Client), _plan.FirstLease + (uint)i, _time.GetElapsedTime(now, lease.Until), lease.Port));
            }

            return leases;
        }
    }

    private int Answer(ReadOnlySpan<byte> bytes, in DhcpMessage message, int port, Span<byte> answer)
    {
        switch (message.Type)
        {
            case DhcpMessage.Discover:
                return Lend(in message, port, s_offerTime, message.Wanted) is var offered and not 0 ? Write(bytes, DhcpMessage.Offer, offered, answer) : 0;
            case DhcpMessage.Request:
                return Request(bytes, in message, port, answer);
            case DhcpMessage.Inform:
                return Write(bytes, DhcpMessage.Acknowledge, 0, answer);
            case DhcpMessage.Release or DhcpMessage.Decline:
                GiveBack(in message);
                return 0;
            default:
                return 0;
        }
    }

    /// <summary>The address of the range a client has now; 0 if none.</summary>
    public uint AddressOf(MacAddress client)
    {
        lock (_gate)
        {
            return _machines.TryGetValue(client.Value, out var machine) ? machine.Address
                : _byClient.TryGetValue(client.Value, out int at) && _leases[at].Until > _time.GetTimestamp() ? _plan.FirstLease + (uint)at : 0;
        }
    }

    private int Request(ReadOnlySpan<byte> bytes, in DhcpMessage message, int port, Span<byte> answer)
    {
        // RFC 2131, 4.3.2: it took another server's offer.
        if (message.Server != 0 && message.Server != _plan.Server)
        {
            GiveBack(in message);
            return 0;
        }

        uint wanted = message.Wanted != 0 ? message.Wanted : message.Current;
        uint lent = wanted == 0 ? 0 : Lend(in message, port, _plan.LeaseTime, wanted);
        if (lent == wanted && lent != 0)
        {
            Acknowledged++;
            return Write(bytes, DhcpMessage.Acknowledge, lent, answer);
        }

        RefusedCount++;
        return Write(bytes, DhcpMessage.Refuse, 0, answer);
    }

    /// <summary>The address for a client: its own, the one it has, the one it wants if it is free, any free one; 0 if there is none.</summary>
    private uint Lend(in DhcpMessage message, int port, TimeSpan time, uint wanted)
    {
        if (_machines.TryGetValue(message.Client.Value, out var machine))
            return machine.Address;
        long now = _time.GetTimestamp(), until = now + (long)(time.TotalSeconds * _time.TimestampFrequency);
        if (!_byClient.TryGetValue(message.Client.Value, out int at))
        {
            at = OfPort(port, now) >= MostOfPort ? -1 : FreeOne(wanted, now);
            if (at < 0)
            {
                Exhausted++;
                return 0;
            }

            _byClient.Remove(_leases[at].Client);
            _byClient[message.Client.Value] = at;
        }

        ref var lease = ref _leases[at];
        // An offer does not shorten what is lent.
        lease = new Lease { Client = message.Client.Value, Until = Math.Max(lease.Client == message.Client.Value ? lease.Until : 0, until), Port = port };
        return _plan.FirstLease + (uint)at;
    }

    private int OfPort(int port, long now)
    {
        int count = 0;
        foreach (ref readonly var lease in _leases.AsSpan())
            count += lease.Port == port && lease.Client != 0 && lease.Until > now ? 1 : 0;
        return count;
    }

    private int FreeOne(uint wanted, long now)
    {
        if (wanted >= _plan.FirstLease && wanted - _plan.FirstLease < (uint)_leases.Length && IsFree((int)(wanted - _plan.FirstLease), now))
            return (int)(wanted - _plan.FirstLease);
        int oldest = -1;
        for (int i = 0; i < _leases.Length; i++)
        {
            // One that nobody had, else the one that was left the longest ago: who comes back finds its own.
            if (IsFree(i, now) && (oldest < 0 || _leases[i].Until < _leases[oldest].Until))
                oldest = i;
        }

        return oldest;
    }

    private bool IsFree(int at, long now) => (_leases[at].Until <= now || (_leases[at].Client == 0 && _leases[at].Until == 0)) && !_taken.Contains(_plan.FirstLease + (uint)at);

    private void GiveBack(in DhcpMessage message)
    {
        uint address = message.Type == DhcpMessage.Decline ? message.Wanted : message.Current;
        if (!_byClient.TryGetValue(message.Client.Value, out int at) || (message.Type != DhcpMessage.Request && address != _plan.FirstLease + (uint)at))
            return;
        _byClient.Remove(message.Client.Value);
        // Who declines found somebody else there.
        long until = message.Type == DhcpMessage.Decline ? _time.GetTimestamp() + (long)(s_declineTime.TotalSeconds * _time.TimestampFrequency) : 0;
        _leases[at] = new Lease { Until = until, Port = -1 };
    }

    private int Write(ReadOnlySpan<byte> question, byte type, uint address, Span<byte> answer)
    {
        answer[..MostBytes].Clear();
        question[..44].CopyTo(answer);
        (answer[0], answer[3]) = (2, 0);
        answer[8..10].Clear();
        // RFC 2131, table 3: the client's own address stays in answers to who has one.
        if (type == DhcpMessage.Refuse)
            answer[12..16].Clear();
        BinaryPrimitives.WriteUInt32BigEndian(answer[16..], address);
        answer[20..28].Clear();
        BinaryPrimitives.WriteUInt32BigEndian(answer[DhcpMessage.FixedBytes..], DhcpMessage.Cookie);
        var options = new OptionWriter(answer[DhcpMessage.OptionsAt..]);
        options.Add(DhcpMessage.Kind, [type]);
        options.Add(DhcpMessage.ServerId, _plan.Server);
        if (type != DhcpMessage.Refuse)
            WriteOptions(ref options, address, MacAddress.Read(question[DhcpMessage.HardwareAddressAt..]));
        options.Add(DhcpMessage.End);
        return Math.Max(LeastBytes, DhcpMessage.OptionsAt + options.Length);
    }

    private void WriteOptions(ref OptionWriter options, uint address, MacAddress client)
    {
        if (address != 0)
        {
            uint seconds = (uint)Math.Min(_plan.LeaseTime.TotalSeconds, int.MaxValue);
            options.Add(DhcpMessage.LeaseTime, seconds);
            options.Add(DhcpMessage.RenewalTime, seconds / 2);
            options.Add(DhcpMessage.RebindingTime, seconds / 8 * 7);
        }

        options.Add(DhcpMessage.Mask, _plan.Mask);
        options.Add(DhcpMessage.BroadcastAddress, _plan.Broadcast);
        options.Add(DhcpMessage.NameServer, _plan.Server);
        if (_plan.Gateway != 0)
            options.Add(DhcpMessage.Router, _plan.Gateway);
        if (_plan.Mtu != 0)
            options.Add(DhcpMessage.InterfaceMtu, [(byte)(_plan.Mtu >> 8), (byte)_plan.Mtu]);
        if (_domain.Length != 0)
            options.Add(DhcpMessage.DomainName, _domain);
        if (_machines.TryGetValue(client.Value, out var machine))
            options.Add(DhcpMessage.HostName, machine.Name);
    }

    private ref struct OptionWriter(Span<byte> to)
    {
        private readonly Span<byte> _to = to;

        public int Length { get; private set; }

        public void Add(byte option) => _to[Length++] = option;

        public void Add(byte option, uint value)
        {
            (_to[Length], _to[Length + 1]) = (option, 4);
            BinaryPrimitives.WriteUInt32BigEndian(_to[(Length + 2)..], value);
            Length += 6;
        }

        public void Add(byte option, scoped ReadOnlySpan<byte> value)
        {
            (_to[Length], _to[Length + 1]) = (option, (byte)value.Length);
            value.CopyTo(_to[(Length + 2)..]);
            Length += 2 + value.Length;
        }
    }

    private struct Lease
    {
        public ulong Client;
        public long Until;
        public int Port;
    }
}
