using Kvm.Devices.Limits;
using Kvm.Devices.Net.Metadata;

namespace Kvm.Vmm;

/// <summary>What may be changed of a machine's devices while it runs.</summary>
public sealed partial class VirtualMachine
{
    /// <summary>What the devices did so far, by their names and those of <c>docs/cli.md</c>, "Report". While the machine is there.</summary>
    public SortedDictionary<string, IReadOnlyDictionary<string, long>> DeviceCounters()
    {
        var counters = _devices.Counters();
        _virtio.AddCounters(counters);
        return counters;
    }

    /// <summary>Asks the guest's balloon to take so much memory. Nothing without a balloon.</summary>
    /// <param name="bytes">In bytes; what is asked for beyond the guest's memory is its memory.</param>
    public void SetBalloonTarget(ulong bytes) => _virtio.SetBalloonTarget(Math.Min(bytes, _config.MemoryBytes));

    /// <summary>Changes how often the balloon is asked how memory is used, where it is asked at all (<see cref="Virtio.BalloonConfig.StatisticsSeconds"/>).</summary>
    /// <param name="seconds">At least 1.</param>
    public void SetStatisticsInterval(ushort seconds) => _virtio.SetStatisticsInterval(seconds);

    /// <summary>Changes the limits of a disk of a machine with <see cref="VmConfig.LimitsMayChange"/>, from full buckets on.</summary>
    /// <param name="disk">Its place in <see cref="VmConfig.Disks"/>.</param>
    /// <param name="limits">What holds from now on.</param>
    public void SetDiskLimits(int disk, IoLimits limits) => _virtio.Disk(disk)?.Limit(limits);

    /// <summary>Changes the limits of a network card of a machine with <see cref="VmConfig.LimitsMayChange"/>, from full buckets on.</summary>
    /// <param name="card">Its place in <see cref="VmConfig.Networks"/>.</param>
    /// <param name="receive">What holds for what comes to the guest.</param>
    /// <param name="send">What holds for what comes from it.</param>
    public void SetCardLimits(int card, IoLimits receive, IoLimits send) => _virtio.Card(card)?.Limit(receive, send);

    /// <summary>Changes what the guest may ask of itself.</summary>
    /// <param name="metadata">What is answered from now on.</param>
    /// <returns>False if the machine has no metadata service (<see cref="VmConfig.Metadata"/>).</returns>
    public bool SetMetadata(MetadataTree metadata)
    {
        ArgumentNullException.ThrowIfNull(metadata);
        return _virtio.SetMetadata(metadata);
    }
}
