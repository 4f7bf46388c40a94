using System.Buffers.Binary;
using Kvm.Devices.Limits;
using Kvm.Devices.Memory;
using Kvm.Devices.Net;

namespace Kvm.Devices.Virtio.Net;

/// <summary>
/// A virtio network card (virtio 1.2, 5.1). What a backend can do decides what is offered; frames that leave a checksum or the cutting of a large segment to it
/// go through as they are.
/// </summary>
public sealed partial class NetDevice : VirtioDevice, INetworkListener, IDisposable
{
    // struct virtio_net_config (5.1.4).
    private const int StatusOffset = 6, PairsOffset = 8, MtuOffset = 10, ConfigLength = 12;
    private const ushort LinkUp = 1, Announce = 2;

    private readonly INetworkBackend _backend;
    private readonly NetOptions _options;
    private readonly PerPair[] _pairs;
    private readonly RateLimiter? _receiveLimiter, _sendLimiter;
    private readonly Lock _linkLock = new();
    private volatile NetFilter _filter = NetFilter.Open;
    private ulong _mac;
    private ulong _guestOffloads;
    private int _activePairs = 1;
    private bool _linkUp = true;
    private bool _mustAnnounce;
    private volatile bool _announceOnRun;

    /// <summary>Makes a device and connects it with its backend, which stays the caller's to dispose of.</summary>
    /// <param name="name">The state's name, such as <c>net0</c>.</param>
    /// <param name="memory">Guest memory.</param>
    /// <param name="backend">The other end of the cable.</param>
    /// <param name="options">The rest.</param>
    /// <exception cref="ArgumentException">An option is out of its range.</exception>
    public NetDevice(string name, GuestMemory memory, INetworkBackend backend, NetOptions options)
        : base(name, VirtioDeviceType.Net, memory, OfferedBy(backend, options), SizesOf(options), ConfigLength)
    {
        (_backend, _options, _mac) = (backend, options, options.Mac.Value);
        _pairs = new PerPair[options.Pairs];
        _receiveLimiter = LimiterOf(options.ReceiveLimits);
        _sendLimiter = LimiterOf(options.SendLimits);
        for (int i = 0; i < _pairs.Length; i++)
            _pairs[i] = new PerPair(memory, options.QueueSize, Toll.Of(_receiveLimiter, options.Time, WakerOf(ReceiveQueue(i))), Toll.Of(_sendLimiter, options.Time, WakerOf(ReceiveQueue(i) + 1)));
        FillConfig();
        backend.Connect(this);
    }

    /// <summary>The card's address now.</summary>
    public MacAddress Mac => new(Volatile.Read(ref _mac));

    /// <summary>The other end of the cable.</summary>
    public INetworkBackend Backend => _backend;

    /// <summary>Queue pairs the driver uses now.</summary>
    public int ActivePairs => Volatile.Read(ref _activePairs);

    /// <summary>What was done so far, summed over the pairs.</summary>
    public NetCounters Counters
    {
        get
        {
            long framesSent = 0, bytesSent = 0, framesReceived = 0, bytesReceived = 0, malformed = 0, spoofed = 0, sendDropped = 0, filtered = 0, dropped = 0, stalls = 0;
            foreach (var pair in _pairs)
            {
                (framesSent, bytesSent) = (framesSent + Volatile.Read(ref pair.FramesSent), bytesSent + Volatile.Read(ref pair.BytesSent));
                (framesReceived, bytesReceived) = (framesReceived + Volatile.Read(ref pair.FramesReceived), bytesReceived + Volatile.Read(ref pair.BytesReceived));
                (malformed, spoofed) = (malformed + Volatile.Read(ref pair.Malformed), spoofed + Volatile.Read(ref pair.Spoofed));
                (sendDropped, filtered) = (sendDropped + Volatile.Read(ref pair.SendDropped), filtered + Volatile.Read(ref pair.Filtered));
                (dropped, stalls) = (dropped + Volatile.Read(ref pair.ReceiveDropped), stalls + Volatile.Read(ref pair.ReceiveStalls));
            }

            return new NetCounters(framesSent, bytesSent, framesReceived, bytesReceived, malformed, spoofed, sendDropped, filtered, dropped, stalls,
                Volatile.Read(ref _controlRefused), _pairs.Sum(p => p.SendToll?.Held ?? 0), _pairs.Sum(p => p.ReceiveToll?.Held ?? 0));
        }
    }

    /// <summary>The driver has the guest say where it is (VIRTIO_NET_F_GUEST_ANNOUNCE), as after a move to another host. Any thread.</summary>
    public void AnnounceLink()
    {
        lock (_linkLock)
            _mustAnnounce = Has(NetFeature.GuestAnnounce);
        SetLinkConfig();
        SignalConfig();
    }

    /// <inheritdoc/>
    public void FramesWaiting(int pair) => WakeQueue(ReceiveQueue(pair));

    /// <inheritdoc/>
    public void RoomAgain(int pair) => WakeQueue(ReceiveQueue(pair) + 1);

    /// <inheritdoc/>
    public void LinkChanged(bool up)
    {
        lock (_linkLock)
        {
            if (_linkUp == up)
                return;
            _linkUp = up;
        }

        SetLinkConfig();
        SignalConfig();
    }

    /// <summary>Has so many thousandths of its limits of bytes hold from now on, where it has any. Any thread.</summary>
    /// <param name="bandwidth">1 to 1,000.</param>
    public void Restrict(int bandwidth)
    {
        _receiveLimiter?.Restrict(bandwidth, 1000);
        _sendLimiter?.Restrict(bandwidth, 1000);
        AskAgain();
    }

    /// <summary>Has other limits hold from now on, where they may change. Any thread.</summary>
    /// <param name="receive">Of what comes to the guest.</param>
    /// <param name="send">Of what comes from it.</param>
    public void Limit(IoLimits receive, IoLimits send)
    {
        if (!_options.LimitsMayChange)
            return;
        _receiveLimiter!.Change(receive);
        _sendLimiter!.Change(send);
        AskAgain();
    }

    private void AskAgain()
    {
        foreach (var pair in _pairs)
        {
            pair.ReceiveToll?.AskAgain();
            pair.SendToll?.AskAgain();
        }
    }

    /// <summary>Ends the timers of its limits: from then on nothing of it runs unless somebody else runs it.</summary>
    public void EndLimits()
    {
        foreach (var pair in _pairs)
        {
            pair.ReceiveToll?.Dispose();
            pair.SendToll?.Dispose();
        }
    }

    /// <summary>Ends its timers and gives the device's own buffers back; no queue runs any more.</summary>
    public void Dispose()
    {
        EndLimits();
        foreach (var pair in _pairs)
            pair.Dispose();
    }

    private RateLimiter? LimiterOf(IoLimits limits) => limits == IoLimits.None && !_options.LimitsMayChange ? null : new RateLimiter(limits, _options.Time);

    private Action WakerOf(int queue) => () => WakeQueue(queue);

    private static ulong OfferedBy(INetworkBackend backend, NetOptions options)
    {
        ArgumentNullException.ThrowIfNull(backend);
        ArgumentNullException.ThrowIfNull(options);
        if (!options.Mac.IsUsable)
            throw new ArgumentException($"{options.Mac} is no card's address", nameof(options));
        if (options.Mtu != 0 && options.Mtu is < NetOptions.MinMtu or > NetOptions.MaxMtu)
            throw new ArgumentException($"an MTU of {options.Mtu} bytes; {NetOptions.MinMtu} to {NetOptions.MaxMtu} are possible", nameof(options));
        if (options.Pairs < 1 || options.Pairs > Math.Min(NetOptions.MaxPairs, backend.MaxPairs))
            throw new ArgumentException($"{options.Pairs} queue pairs; the backend has {backend.MaxPairs}, a card {NetOptions.MaxPairs}", nameof(options));
        ulong features = NetFeature.Mac | NetFeature.Status | NetFeature.MergeableBuffers | NetFeature.ControlQueue | NetFeature.ControlReceive
            | NetFeature.ControlReceiveExtra | NetFeature.ControlVlan | NetFeature.GuestAnnounce
            | NetFeature.Offer(backend.SendOffloads, backend.ReceiveOffloads);
        if (backend.ReceiveOffloads != NetOffloads.None)
            features |= NetFeature.GuestOffloads;
        if (!options.FixedMac)
            features |= NetFeature.ControlMac;
        if (options.Mtu != 0)
            features |= NetFeature.Mtu;
        return features | (options.Pairs > 1 ? NetFeature.MultiQueue : 0);
    }

    private static int[] SizesOf(NetOptions options)
    {
        if (options.QueueSize is < 4 or > 1024)
            throw new ArgumentException($"a queue of {options.QueueSize} entries; 4 to 1024 are possible", nameof(options));
        var sizes = new int[2 * options.Pairs + 1];
        Array.Fill(sizes, options.QueueSize);
        sizes[^1] = 64;
        return sizes;
    }

    private void FillConfig()
    {
        Span<byte> config = stackalloc byte[ConfigLength];
        config.Clear();
        Mac.Write(config);
        BinaryPrimitives.WriteUInt16LittleEndian(config[StatusOffset..], LinkUp);
        BinaryPrimitives.WriteUInt16LittleEndian(config[PairsOffset..], (ushort)_options.Pairs);
        BinaryPrimitives.WriteUInt16LittleEndian(config[MtuOffset..], (ushort)_options.Mtu);
        SetConfig(0, config);
    }

    private void SetMac(MacAddress mac)
    {
        Volatile.Write(ref _mac, mac.Value);
        ShowMac(mac);
    }

    private void ShowMac(MacAddress mac)
    {
        Span<byte> bytes = stackalloc byte[MacAddress.Size];
        mac.Write(bytes);
        SetConfig(0, bytes);
    }

    private void SetLinkConfig()
    {
        Span<byte> status = stackalloc byte[2];
        lock (_linkLock)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(status, (ushort)((_linkUp ? LinkUp : 0) | (_mustAnnounce ? Announce : 0)));
            SetConfig(StatusOffset, status);
        }
    }

    /// <inheritdoc/>
    protected override bool CanAccept(ulong features) => base.CanAccept(features) && NetFeature.FitTogether(features);

    /// <inheritdoc/>
    protected override void OnActivate()
    {
        // 5.1.6.5.3: a driver that may choose VLANs gets none until it has.
        _filter = Has(NetFeature.ControlVlan) ? NetFilter.Open with { VlanBits = new ulong[NetFilter.Vlans / 64] } : NetFilter.Open;
        _guestOffloads = NetFeature.OfGuestOffloads(Features);
        Volatile.Write(ref _activePairs, 1);
        _backend.Configure(NetFeature.ToGuest(_guestOffloads), 1);
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        foreach (var pair in _pairs)
            pair.Receiver.Forget();
        (_filter, _guestOffloads, _announceOnRun) = (NetFilter.Open, 0, false);
        Volatile.Write(ref _activePairs, 1);
        lock (_linkLock)
            _mustAnnounce = false;
        SetMac(_options.Mac);
        SetLinkConfig();
        _backend.Configure(NetOffloads.None, 1);
    }

    /// <inheritdoc/>
    protected override void OnConfigWrite(int offset, ReadOnlySpan<byte> data)
    {
        // 5.1.4.3: only legacy drivers set the address here, a byte at a time or all at once.
        if (Has(VirtioFeature.Version1) || _options.FixedMac || offset > MacAddress.Size - data.Length)
            return;
        Span<byte> mac = stackalloc byte[MacAddress.Size];
        lock (_linkLock)
        {
            GetConfig(0, mac);
            data.CopyTo(mac[offset..]);
            SetMac(MacAddress.Read(mac));
        }
    }
}
