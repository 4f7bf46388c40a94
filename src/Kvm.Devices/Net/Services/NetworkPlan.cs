namespace Kvm.Devices.Net.Services;

/// <summary>Who has which address in a network whose DHCP, DNS and ARP are <see cref="NetworkServices"/>. IPv4; addresses are numbers, the first byte the highest. Immutable.</summary>
public sealed record NetworkPlan
{
    /// <summary>The most addresses given out by chance.</summary>
    public const int MostLeases = 4096;

    /// <summary>The network's first address.</summary>
    public required uint Network { get; init; }

    /// <summary>Bits all its addresses share, 8 to 30.</summary>
    public required int PrefixLength { get; init; }

    /// <summary>Where DHCP and DNS are.</summary>
    public required uint Server { get; init; }

    /// <summary>The card's address of all that the services answer for.</summary>
    public required MacAddress ServerMac { get; init; }

    /// <summary>The way out; 0 if there is none.</summary>
    public uint Gateway { get; init; }

    /// <summary>Where questions go that are not about this network; 0 if nowhere.</summary>
    public uint Nameserver { get; init; }

    /// <summary>The first address given out by chance; 0 if none are.</summary>
    public uint FirstLease { get; init; }

    /// <summary>The last.</summary>
    public uint LastLease { get; init; }

    /// <summary>How long an address is lent, 60 s at least.</summary>
    public TimeSpan LeaseTime { get; init; } = TimeSpan.FromHours(1);

    /// <summary>What the names of this network may end in.</summary>
    public string Domain { get; init; } = "";

    /// <summary>What guests are told of the longest packet; 0 is nothing.</summary>
    public int Mtu { get; init; }

    /// <summary>Who has an address of its own, by its card's.</summary>
    public IReadOnlyList<PlannedMachine> Machines { get; init; } = [];

    /// <summary>Names and what they stand for, those of <see cref="Machines"/> not among them; lower-case, without <see cref="Domain"/>.</summary>
    public IReadOnlyDictionary<string, uint> Names { get; init; } = new Dictionary<string, uint>();

    /// <summary>Addresses that stand for several machines.</summary>
    public IReadOnlyList<uint> ServiceAddresses { get; init; } = [];

    /// <summary>The mask of <see cref="PrefixLength"/>.</summary>
    public uint Mask => uint.MaxValue << 32 - PrefixLength;

    /// <summary>The address of everybody.</summary>
    public uint Broadcast => Network | ~Mask;

    /// <summary>True if an address is of this network.</summary>
    public bool Contains(uint address) => (address & Mask) == Network;
}

/// <summary>Somebody who always has the same address. Immutable.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Mac">Its card's address.</param>
/// <param name="Address">Its IPv4 address.</param>
public sealed record PlannedMachine(string Name, MacAddress Mac, uint Address);
