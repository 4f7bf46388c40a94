using System.Buffers.Binary;
using System.Security.Cryptography;
using Kvm.Devices.Net.Policy;
using Kvm.Devices.Net.Switch;

namespace Kvm.Devices.Net.Services;

/// <summary>Somebody who serves what an address of several stands for. Immutable.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Mac">Its card's address.</param>
/// <param name="Address">Its IPv4 address.</param>
/// <param name="Weight">Its share beside the others', 1 to <see cref="ConsistentHash.MostWeight"/>.</param>
/// <param name="Vlan">Its VLAN.</param>
public sealed record ServiceBackend(string Name, MacAddress Mac, uint Address, int Weight = 1, int Vlan = 1);

/// <summary>An address and port that stand for several machines. Immutable.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Address">The address.</param>
/// <param name="Protocol">TCP or UDP.</param>
/// <param name="Port">The port.</param>
/// <param name="TargetPort">The port where machines serve it.</param>
/// <param name="Backends">Who serves it.</param>
public sealed record VirtualService(string Name, uint Address, byte Protocol, ushort Port, ushort TargetPort, IReadOnlyList<ServiceBackend> Backends);

/// <summary>
/// Spreads flows to addresses over the machines they stand for: what is sent to such an address is sent on to one of them, and its answers come from the address. A flow stays where it
/// is as long as it lives; new ones go to those that are healthy, by a consistent hash, so that one that leaves takes its own flows along and no other. Any thread; allocates nothing
/// for a frame.
/// </summary>
public sealed class VirtualServices : IFrameRewriter, IFlowAlias
{
    /// <summary>Flows that are remembered: what finds no place goes by the hash alone.</summary>
    public const int DefaultCapacity = 8192;

    private const int Ways = 8, Stripes = 32;
    private static readonly TimeSpan s_tcpLife = TimeSpan.FromSeconds(7440), s_udpLife = TimeSpan.FromMinutes(3), s_newLife = TimeSpan.FromSeconds(60);

    private readonly VirtualService[] _services;
    private readonly Dictionary<ulong, int> _byPort = [];
    private readonly Dictionary<ulong, int[]> _byBackend = [];
    private readonly HashSet<uint> _addresses = [];
    private readonly bool[][] _healthy;
    private readonly Lock _change = new();
    private readonly Entry[] _entries;
    private readonly Lock[] _locks = [.. Enumerable.Range(0, Stripes).Select(_ => new Lock())];
    private readonly ulong _seed = BitConverter.ToUInt64(RandomNumberGenerator.GetBytes(8));
    private readonly TimeProvider _time;
    private State _state;
    private long _unserved;
    private long _begun;

    /// <summary>Makes services nobody of which is healthy yet.</summary>
    /// <param name="services">The services; an address and port is of one.</param>
    /// <param name="time">The clock.</param>
    /// <param name="capacity">Flows that are remembered, a power of two of at least 8.</param>
    public VirtualServices(IReadOnlyList<VirtualService> services, TimeProvider time, int capacity = DefaultCapacity)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentNullException.ThrowIfNull(time);
        if (capacity < Ways || !int.IsPow2(capacity))
            throw new ArgumentOutOfRangeException(nameof(capacity), capacity, null);
        (_services, _time) = ([.. services], time);
        _entries = new Entry[_services.Length == 0 ? 0 : capacity];
        _healthy = [.. _services.Select(s => new bool[s.Backends.Count])];
        for (int i = 0; i < _services.Length; i++)
        {
            var service = _services[i];
            _byPort.Add(KeyOf(service.Address, service.Port, service.Protocol), i);
            _addresses.Add(service.Address);
            foreach (var backend in service.Backends)
            {
                ulong key = KeyOf(backend.Address, service.TargetPort, service.Protocol);
                _byBackend[key] = [.. _byBackend.GetValueOrDefault(key, []), i];
            }
        }

        _state = Work();
    }

    /// <summary>The services.</summary>
    public IReadOnlyList<VirtualService> Services => _services;

    /// <summary>Flows that were given to somebody.</summary>
    public long Begun => Volatile.Read(ref _begun);

    /// <summary>Frames to a service that nobody serves.</summary>
    public long Unserved => Volatile.Read(ref _unserved);

    /// <summary>Says whether a machine serves what it is there for.</summary>
    /// <param name="machine">Its name.</param>
    /// <param name="healthy">It does.</param>
    public void SetHealth(string machine, bool healthy)
    {
        SetHealth(machine, PacketHeaders.Tcp, 0, healthy);
        SetHealth(machine, PacketHeaders.Udp, 0, healthy);
    }

    /// <summary>Says whether a machine serves one port.</summary>
    /// <param name="machine">Its name.</param>
    /// <param name="protocol">TCP or UDP.</param>
    /// <param name="port">A <see cref="VirtualService.TargetPort"/>; 0 for all.</param>
    /// <param name="healthy">It does.</param>
    internal void SetHealth(string machine, byte protocol, ushort port, bool healthy)
    {
        lock (_change)
        {
            bool changed = false;
            for (int i = 0; i < _services.Length; i++)
            {
                if (_services[i].Protocol != protocol || (port != 0 && _services[i].TargetPort != port))
                    continue;
                for (int b = 0; b < _healthy[i].Length; b++)
                {
                    if (_services[i].Backends[b].Name != machine || _healthy[i][b] == healthy)
                        continue;
                    _healthy[i][b] = healthy;
                    changed = true;
                }
            }

            if (changed)
                Volatile.Write(ref _state, Work());
        }
    }

    /// <summary>True if a machine was last said to serve something it is there for.</summary>
    public bool IsHealthy(string machine)
    {
        lock (_change)
            return _services.Where((service, i) => service.Backends.Where((backend, b) => backend.Name == machine && _healthy[i][b]).Any()).Any();
    }

    /// <inheritdoc/>
    /// <remarks>Frames to and from a service.</remarks>
    public void Rewrite(int fromPort, in NetHeader header, Span<byte> frame)
    {
        if (_services.Length == 0 || PacketHeaders.Parse(frame, out var packet) != PacketKind.Flow
            || packet.Key is not { Version: 4, Protocol: PacketHeaders.Tcp or PacketHeaders.Udp } key)
            return;
        bool unfinished = (header.Flags & NetHeader.NeedsChecksum) != 0 && header.ChecksumStart == packet.TransportOffset;
        if (_byPort.TryGetValue(KeyOf((uint)key.Destination, key.DestinationPort, key.Protocol), out int service))
        {
            if (BackendFor(in key, service, packet.TcpFlags) is not { } backend)
                return;
            backend.Mac.Write(frame);
            Replace(frame, packet.NetworkOffset, packet.TransportOffset, source: false, backend.Address, _services[service].TargetPort, unfinished);
        }
        else if (_byBackend.TryGetValue(KeyOf((uint)key.Source, key.SourcePort, key.Protocol), out int[]? services))
        {
            foreach (int candidate in services)
            {
                var to = _services[candidate];
                if (!IsAnswer(new FlowKey(key.Destination, to.Address, key.DestinationPort, to.Port, key.Protocol, 4), candidate, (uint)key.Source))
                    continue;
                Replace(frame, packet.NetworkOffset, packet.TransportOffset, source: true, to.Address, to.Port, unfinished);
                return;
            }
        }
    }

    /// <inheritdoc/>
    public void Restore(ref FlowKey key)
    {
        if (key.Version != 4 || !_addresses.Contains((uint)key.Source) || !_byPort.TryGetValue(KeyOf((uint)key.Source, key.SourcePort, key.Protocol), out int service))
            return;
        var question = key.Reversed;
        int bucket = BucketOf(in question);
        lock (_locks[bucket % Stripes])
        {
            int at = Find(bucket, in question, _time.GetTimestamp());
            if (at >= 0)
                key = key with { Source = _services[service].Backends[_entries[at].Backend].Address, SourcePort = _services[service].TargetPort };
        }
    }

    private static ulong KeyOf(uint address, ushort port, byte protocol) => (ulong)address << 32 | (ulong)port << 8 | protocol;

    private ServiceBackend? BackendFor(in FlowKey key, int service, byte tcpFlags)
    {
        var state = Volatile.Read(ref _state);
        var backends = _services[service].Backends;
        long now = _time.GetTimestamp();
        int bucket = BucketOf(in key);
        bool begins = key.Protocol == PacketHeaders.Udp || (tcpFlags & (PacketHeaders.Syn | PacketHeaders.Acknowledge)) == PacketHeaders.Syn;
        lock (_locks[bucket % Stripes])
        {
            int at = Find(bucket, in key, now);
            // What begins, or needs nothing of what was before, need not go to the dead.
            if (at >= 0 && !(begins && !state.IsHealthy(service, _entries[at].Backend)))
            {
                _entries[at].LastSeen = now;
                return backends[_entries[at].Backend];
            }

            int pick = state.Pick(service, key.Hash(0), (uint)key.Source, backends);
            if (pick == ConsistentHash.None)
            {
                Interlocked.Increment(ref _unserved);
                return null;
            }

            Interlocked.Increment(ref _begun);
            _entries[at >= 0 ? at : Place(bucket, now)] = new Entry { Key = key, LastSeen = now, Backend = (short)pick, IsUsed = true };
            return backends[pick];
        }
    }

    private bool IsAnswer(in FlowKey question, int service, uint backend)
    {
        int bucket = BucketOf(in question);
        long now = _time.GetTimestamp();
        lock (_locks[bucket % Stripes])
        {
            int at = Find(bucket, in question, now);
            if (at < 0 || _services[service].Backends[_entries[at].Backend].Address != backend)
                return false;
            (_entries[at].LastSeen, _entries[at].IsAnswered) = (now, true);
            return true;
        }
    }

    private int BucketOf(in FlowKey key) => (int)(key.Hash(_seed) & (uint)(_entries.Length / Ways - 1));

    private int Find(int bucket, in FlowKey key, long now)
    {
        for (int i = bucket * Ways; i < (bucket + 1) * Ways; i++)
        {
            if (_entries[i].Key == key && IsLive(in _entries[i], now))
                return i;
        }

        return -1;
    }

    /// <summary>A free place, else that of the flow that was unused for longest, one that was never answered first: where it lived the hash brings it back.</summary>
    private int Place(int bucket, long now)
    {
        int victim = bucket * Ways;
        for (int i = victim; i < (bucket + 1) * Ways; i++)
        {
            ref readonly var entry = ref _entries[i];
            if (!IsLive(in entry, now))
                return i;
            ref readonly var worst = ref _entries[victim];
            if (entry.IsAnswered != worst.IsAnswered ? worst.IsAnswered : entry.LastSeen < worst.LastSeen)
                victim = i;
        }

        return victim;
    }

    private bool IsLive(in Entry entry, long now) => entry.IsUsed
        && _time.GetElapsedTime(entry.LastSeen, now) <= (!entry.IsAnswered ? s_newLife : entry.Key.Protocol == PacketHeaders.Tcp ? s_tcpLife : s_udpLife);

    private State Work() => new(
        [.. _services.Select((s, i) => new ConsistentHash([.. s.Backends.Select((b, j) => (ConsistentHash.IdOf(b.Name), _healthy[i][j] ? b.Weight : 0))]))],
        [.. _healthy.Select(healthy => (bool[])healthy.Clone())]);

    /// <summary>Puts an address and port in the place of another, and makes the checksums right that cover it.</summary>
    private static void Replace(Span<byte> frame, int network, int transport, bool source, uint address, ushort port, bool unfinished)
    {
        var addressField = frame[(network + (source ? 12 : 16))..];
        var portField = frame[(transport + (source ? 0 : 2))..];
        var headerSum = frame[(network + 10)..];
        bool udp = frame[network + 9] == PacketHeaders.Udp;
        var sumField = frame[(transport + (udp ? 6 : 16))..];
        uint oldAddress = BinaryPrimitives.ReadUInt32BigEndian(addressField);
        ushort oldPort = BinaryPrimitives.ReadUInt16BigEndian(portField), sum = BinaryPrimitives.ReadUInt16BigEndian(sumField);
        BinaryPrimitives.WriteUInt32BigEndian(addressField, address);
        BinaryPrimitives.WriteUInt16BigEndian(portField, port);
        BinaryPrimitives.WriteUInt16BigEndian(headerSum, InternetChecksum.Update(BinaryPrimitives.ReadUInt16BigEndian(headerSum), oldAddress, address));
        if (unfinished)
            sum = InternetChecksum.UpdateSum(sum, oldAddress, address); // the ports are summed by who finishes it
        else if (!udp || sum != 0) // RFC 768: zero is none
            sum = InternetChecksum.Update(InternetChecksum.Update(sum, oldAddress, address), oldPort, port) is var updated && udp && updated == 0 ? ushort.MaxValue : updated;
        BinaryPrimitives.WriteUInt16BigEndian(sumField, sum);
    }

    /// <summary>Who is healthy, and the tables that follow from it: all that changes together.</summary>
    private sealed class State(ConsistentHash[] hashes, bool[][] healthy)
    {
        private const int Tries = 4;

        public bool IsHealthy(int service, int backend) => healthy[service][backend];

        /// <summary>Whoever serves itself asks another of those that are healthy: a switch sends nothing back where it came from.</summary>
        public int Pick(int service, uint hash, uint client, IReadOnlyList<ServiceBackend> backends)
        {
            for (int i = 0; i < Tries; i++)
            {
                int pick = hashes[service].Pick(hash + (uint)i * 0x6487_ed51);
                if (pick == ConsistentHash.None || backends[pick].Address != client)
                    return pick;
            }

            for (int i = 0; i < backends.Count; i++)
            {
                if (healthy[service][i] && backends[i].Address != client)
                    return i;
            }

            return ConsistentHash.None;
        }
    }

    private struct Entry
    {
        public FlowKey Key;
        public long LastSeen;
        public short Backend;
        public bool IsUsed;
        public bool IsAnswered;
    }
}
