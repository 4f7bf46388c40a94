using Kvm.Devices.Net;
using Kvm.Devices.Snapshot;

namespace Kvm.Devices.Virtio.Net;

/// <summary>Save and restore: what the driver has said of frames it wants. Afterwards the link announces itself, as the guest may be elsewhere now.</summary>
public sealed partial class NetDevice
{
    /// <inheritdoc/>
    protected override void SaveDevice(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.U64(_mac);
        writer.U64(_guestOffloads);
        writer.U16((ushort)_activePairs);
        _filter.Save(writer);
    }

    /// <inheritdoc/>
    protected override bool TryRestoreDevice(ref StateReader reader, ushort version, ulong features)
    {
        var mac = new MacAddress(reader.U64());
        ulong guestOffloads = reader.U64();
        int pairs = reader.U16();
        var filter = NetFilter.Restore(ref reader);
        if (filter is null || !reader.Complete || !mac.IsUsable || mac.Value > MacAddress.Broadcast.Value || (_options.FixedMac && !_options.IsClone && mac != _options.Mac)
            || (guestOffloads & ~NetFeature.OfGuestOffloads(features)) != 0
            || pairs < 1 || pairs > ((features & NetFeature.MultiQueue) != 0 ? _options.Pairs : 1))
            return false;
        (_filter, _announceOnRun) = (filter, true);
        Volatile.Write(ref _guestOffloads, guestOffloads);
        Volatile.Write(ref _activePairs, pairs);
        lock (_linkLock)
            _mustAnnounce = (features & NetFeature.GuestAnnounce) != 0;
        SetMac(mac);
        if (_options.IsClone)
            ShowMac(_options.Mac);
        SetLinkConfig();
        _backend.Configure(NetFeature.ToGuest(guestOffloads), pairs);
        return true;
    }
}
