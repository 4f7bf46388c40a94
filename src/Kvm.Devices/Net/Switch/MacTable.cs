namespace Kvm.Devices.Net.Switch;

/// <summary>What became of a source address.</summary>
internal enum Learned
{
    /// <summary>It was known there.</summary>
    Known,

    /// <summary>It is known from now on, there and nowhere else.</summary>
    New,

    /// <summary>It is known there from now on, and was known at another port.</summary>
    Moved,

    /// <summary>There is no room for it; its frames go on all the same.</summary>
    NoRoom,

    /// <summary>It belongs to another port.</summary>
    Foreign,
}

/// <summary>
/// Which port an address of a VLAN was last seen at: a hash table of a fixed size, whose order a guest cannot know. Each port has a share of it, so that one that makes up
/// addresses takes none from others. Allocates nothing after construction. Not thread-safe.
/// </summary>
internal sealed class MacTable
{
    private const int None = -1;

    // Nanoseconds between two looks for what is too old.
    private const long SweepPause = 1_000_000_000;

    // Ports with an address of their own have it in every VLAN, forever.
    private const long Forever = long.MaxValue;

    private struct Entry
    {
        public ulong Key;
        public long Seen;
        public int Port;
        public int Next;
    }

    private readonly Entry[] _entries;
    private readonly int[] _chains;
    private readonly int[] _ofPort;
    private readonly long _age;
    private readonly ulong _seed;
    private int _free;
    private long _swept = -SweepPause;

    /// <summary>Makes an empty table.</summary>
    /// <param name="capacity">Addresses at most.</param>
    /// <param name="ports">Ports are 0 to this less 1.</param>
    /// <param name="age">Nanoseconds after which an address that was not seen is forgotten.</param>
    /// <param name="seed">By chance.</param>
    public MacTable(int capacity, int ports, long age, ulong seed)
    {
        _entries = new Entry[capacity];
        _chains = new int[(int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)Math.Max(2, 2 * capacity))];
        _ofPort = new int[ports];
        (_age, _seed) = (age, seed | 1);
        Array.Fill(_chains, None);
        for (int i = 0; i < capacity; i++)
            _entries[i].Next = i + 1 < capacity ? i + 1 : None;
    }

    /// <summary>Addresses that are known, of which some may be too old.</summary>
    public int Count { get; private set; }

    /// <summary>The port an address was last seen at, or −1.</summary>
    public int Find(int vlan, MacAddress address, long now)
    {
        ulong key = KeyOf(vlan, address);
        for (int i = _chains[ChainOf(key)]; i != None; i = _entries[i].Next)
        {
            ref var entry = ref _entries[i];
            if (entry.Key == key)
                return IsOld(in entry, now) ? None : entry.Port;
        }

        return None;
    }

    /// <summary>An address sent something.</summary>
    /// <param name="vlan">The VLAN.</param>
    /// <param name="address">The source.</param>
    /// <param name="port">Where.</param>
    /// <param name="most">Addresses that port may have.</param>
    /// <param name="now">Nanoseconds, which do not go back.</param>
    public Learned Learn(int vlan, MacAddress address, int port, int most, long now)
    {
        ulong key = KeyOf(vlan, address);
        for (int i = _chains[ChainOf(key)]; i != None; i = _entries[i].Next)
        {
            ref var entry = ref _entries[i];
            if (entry.Key != key)
                continue;
            if (entry.Seen == Forever)
                return entry.Port == port ? Learned.Known : Learned.Foreign;
            bool stays = entry.Port == port;
            if (!stays && _ofPort[port] >= most)
                return Learned.NoRoom;
            entry.Seen = now;
            if (stays)
                return Learned.Known;
            _ofPort[entry.Port]--;
            _ofPort[port]++;
            entry.Port = port;
            return Learned.Moved;
        }

        if ((_ofPort[port] >= most || _free == None) && !Sweep(now, port, most))
            return Learned.NoRoom;
        Insert(key, port, now);
        return Learned.New;
    }

    /// <summary>Makes an address a port's own in a VLAN; false if it is another's or there is no room.</summary>
    public bool Own(int vlan, MacAddress address, int port, long now)
    {
        switch (Learn(vlan, address, port, int.MaxValue, now))
        {
            case Learned.Foreign or Learned.NoRoom:
                return false;
            default:
                ulong key = KeyOf(vlan, address);
                for (int i = _chains[ChainOf(key)]; i != None; i = _entries[i].Next)
                {
                    if (_entries[i].Key == key)
                        _entries[i].Seen = Forever;
                }

                return true;
        }
    }

    /// <summary>Forgets all addresses of a port.</summary>
    public void Forget(int port) => Remove(port, long.MaxValue);

    /// <summary>Forgets what is too old, at most once a second; true if there is room for the port afterwards.</summary>
    private bool Sweep(long now, int port, int most)
    {
        if (now - _swept < SweepPause)
            return false;
        _swept = now;
        Remove(None, now);
        return _free != None && _ofPort[port] < most;
    }

    private void Remove(int port, long now)
    {
        for (int chain = 0; chain < _chains.Length; chain++)
        {
            ref int link = ref _chains[chain];
            while (link != None)
            {
                int at = link;
                ref var entry = ref _entries[at];
                if (port == None ? !IsOld(in entry, now) : entry.Port != port)
                {
                    link = ref entry.Next;
                    continue;
                }

                link = entry.Next;
                entry.Next = _free;
                _free = at;
                _ofPort[entry.Port]--;
                Count--;
            }
        }
    }

    private void Insert(ulong key, int port, long now)
    {
        int at = _free;
        ref var entry = ref _entries[at];
        _free = entry.Next;
        ref int chain = ref _chains[ChainOf(key)];
        entry = new Entry { Key = key, Seen = now, Port = port, Next = chain };
        chain = at;
        _ofPort[port]++;
        Count++;
    }

    private bool IsOld(in Entry entry, long now) => entry.Seen != Forever && now - entry.Seen >= _age;

    private static ulong KeyOf(int vlan, MacAddress address) => (ulong)vlan << 48 | address.Value;

    // Multiplied by an odd number by chance, of which the highest bits depend on all of the key's; folded before, so that keys that differ above do too.
    private int ChainOf(ulong key)
    {
        unchecked
        {
            ulong mixed = (key ^ key >> 29 ^ _seed) * _seed;
            return (int)((mixed ^ mixed >> 32) * 0x9e37_79b9_7f4a_7c15 >> 32) & _chains.Length - 1;
        }
    }
}
