using Kvm.Devices.Limits;
using Kvm.Devices.Net;

namespace Kvm.Devices.Virtio.Net;

/// <summary>Feature bits of network cards (virtio 1.2, 5.1.3; USO: 1.3).</summary>
internal static class NetFeature
{
    public const ulong Checksum = 1UL << 0, GuestChecksum = 1UL << 1, GuestOffloads = 1UL << 2, Mtu = 1UL << 3, Mac = 1UL << 5,
        GuestTso4 = 1UL << 7, GuestTso6 = 1UL << 8, GuestEcn = 1UL << 9, GuestUfo = 1UL << 10,
        HostTso4 = 1UL << 11, HostTso6 = 1UL << 12, HostEcn = 1UL << 13, HostUfo = 1UL << 14,
        MergeableBuffers = 1UL << 15, Status = 1UL << 16, ControlQueue = 1UL << 17, ControlReceive = 1UL << 18, ControlVlan = 1UL << 19,
        ControlReceiveExtra = 1UL << 20, GuestAnnounce = 1UL << 21, MultiQueue = 1UL << 22, ControlMac = 1UL << 23,
        GuestUso4 = 1UL << 54, GuestUso6 = 1UL << 55, HostUso = 1UL << 56;

    private const ulong AnyGuestOffload = GuestChecksum | GuestTso4 | GuestTso6 | GuestEcn | GuestUfo | GuestUso4 | GuestUso6;

    private static readonly (NetOffloads Offload, ulong Guest, ulong Host)[] s_offloads =
    [
        (NetOffloads.Checksum, GuestChecksum, Checksum), (NetOffloads.Tso4, GuestTso4, HostTso4), (NetOffloads.Tso6, GuestTso6, HostTso6),
        (NetOffloads.Ecn, GuestEcn, HostEcn), (NetOffloads.Ufo, GuestUfo, HostUfo), (NetOffloads.Uso4, GuestUso4, HostUso), (NetOffloads.Uso6, GuestUso6, HostUso),
    ];

    /// <summary>What a backend's abilities let a card offer.</summary>
    public static ulong Offer(NetOffloads send, NetOffloads receive)
    {
        ulong features = 0;
        foreach (var (offload, guest, host) in s_offloads)
            features |= ((send & offload) != 0 ? host : 0) | ((receive & offload) != 0 ? guest : 0);
        return features;
    }

    /// <summary>What the device may leave to the driver.</summary>
    public static NetOffloads ToGuest(ulong features)
    {
        var offloads = NetOffloads.None;
        foreach (var (offload, guest, _) in s_offloads)
            offloads |= (features & guest) != 0 ? offload : 0;
        return offloads;
    }

    /// <summary>What the driver may leave to the device.</summary>
    public static NetOffloads ToHost(ulong features)
    {
        var offloads = NetOffloads.None;
        foreach (var (offload, _, host) in s_offloads)
            offloads |= (features & host) != 0 ? offload : 0;
        return offloads;
    }

    /// <summary>The bits of <see cref="GuestOffloads"/>'s command (5.1.6.5.6).</summary>
    public static ulong OfGuestOffloads(ulong features) => features & AnyGuestOffload;

    /// <summary>5.1.3.1: which features need which others.</summary>
    public static bool FitTogether(ulong features)
    {
        bool Needs(ulong feature, ulong any) => (features & feature) == 0 || (features & any) != 0;
        return Needs(GuestTso4 | GuestTso6 | GuestUfo | GuestUso4 | GuestUso6, GuestChecksum)
            && Needs(GuestEcn, GuestTso4 | GuestTso6)
            && Needs(HostTso4 | HostTso6 | HostUfo | HostUso, Checksum)
            && Needs(HostEcn, HostTso4 | HostTso6)
            && Needs(ControlReceive | ControlReceiveExtra | ControlVlan | GuestAnnounce | MultiQueue | ControlMac | GuestOffloads, ControlQueue);
    }
}

/// <summary>What a network card is besides its cable.</summary>
public sealed record NetOptions
{
    /// <summary>The smallest and the largest MTU a card can have (virtio 1.2, 5.1.4.1).</summary>
    public const int MinMtu = 68, MaxMtu = 65_535;

    /// <summary>Its address.</summary>
    public required MacAddress Mac { get; init; }

    /// <summary>The card goes on as another one, whose address is <see cref="Mac"/>: it shows that, and its driver's frames have the one it knew until it looks again or sets it.</summary>
    public bool IsClone { get; init; }

    /// <summary>The driver may not change the address, and frames it sends from another one are dropped.</summary>
    public bool FixedMac { get; init; }

    /// <summary>The longest packet in an Ethernet frame, <see cref="MinMtu"/> to <see cref="MaxMtu"/>; 0 says nothing of it.</summary>
    public int Mtu { get; init; }

    /// <summary>Pairs of queues, 1 to <see cref="MaxPairs"/> and no more than the backend has.</summary>
    public int Pairs { get; init; } = 1;

    /// <summary>The most entries of a queue, a power of two from 4 to 1024.</summary>
    public int QueueSize { get; init; } = 256;

    /// <summary>How fast frames may come to the driver, all pairs together; what comes faster waits at the backend.</summary>
    public IoLimits ReceiveLimits { get; init; } = IoLimits.None;

    /// <summary>How fast the driver's frames may go, all pairs together; what comes faster waits in its rings.</summary>
    public IoLimits SendLimits { get; init; } = IoLimits.None;

    /// <summary><see cref="NetDevice.Limit"/> is allowed.</summary>
    public bool LimitsMayChange { get; init; }

    /// <summary>The clock of the limits.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>The most <see cref="Pairs"/>: they and the control queue are what a device may have.</summary>
    public const int MaxPairs = 16;
}

/// <summary>Counters of a network card. Frames are counted as they are passed on: one that is yet to be cut is one.</summary>
/// <param name="FramesSent">Frames the guest sent.</param>
/// <param name="BytesSent">Their bytes.</param>
/// <param name="FramesReceived">Frames the guest got.</param>
/// <param name="BytesReceived">Their bytes.</param>
/// <param name="Malformed">Frames of the guest that cannot be: too short, too long, with a header that does not fit.</param>
/// <param name="Spoofed">Frames of the guest from an address that is not its own.</param>
/// <param name="SendDropped">Frames of the guest that the backend could not take.</param>
/// <param name="Filtered">Frames that the guest does not want.</param>
/// <param name="ReceiveDropped">Frames that did not fit into the guest's buffers, or that it cannot take.</param>
/// <param name="ReceiveStalls">How often frames waited for buffers of the guest.</param>
/// <param name="ControlRefused">Commands of the driver that were refused.</param>
/// <param name="SendHeld">Frames of the guest that a limit held back for a time.</param>
/// <param name="ReceiveHeld">Frames for the guest that a limit held back for a time.</param>
public readonly record struct NetCounters(long FramesSent, long BytesSent, long FramesReceived, long BytesReceived, long Malformed, long Spoofed,
    long SendDropped, long Filtered, long ReceiveDropped, long ReceiveStalls, long ControlRefused, long SendHeld, long ReceiveHeld);
