using Kvm.Devices.Virtio;
using Kvm.Devices.Virtio.Balloon;
using Kvm.Devices.Virtio.Block;
using Kvm.Devices.Virtio.Rng;

namespace Kvm.Vmm.Virtio;

/// <summary>A device's counters by the names of the report.</summary>
internal static class VirtioCounters
{
    public static SortedDictionary<string, long> Of(VirtioDevice device)
    {
        var counters = new SortedDictionary<string, long>(StringComparer.Ordinal)
        {
            ["interrupts"] = device.InterruptsSent,
            ["notificationExits"] = device.Notifications,
            ["resetsNeeded"] = device.Breaks,
        };
        switch (device)
        {
            case BlockDevice block:
                var disk = block.Counters;
                (counters["reads"], counters["writes"], counters["flushes"]) = (disk.Reads, disk.Writes, disk.Flushes);
                counters["mostUnderWay"] = block.MostUnderWay;
                (counters["bytesRead"], counters["bytesWritten"], counters["errors"]) = (disk.BytesRead, disk.BytesWritten, disk.Errors);
                break;
            case EntropyDevice entropy:
                counters["bytesGiven"] = entropy.BytesGiven;
                break;
            case BalloonDevice balloon:
                (counters["inflatedBytes"], counters["deflatedBytes"]) = (balloon.InflatedBytes, balloon.DeflatedBytes);
                (counters["reportedBytes"], counters["refused"]) = (balloon.ReportedBytes, balloon.Refused);
                (counters["targetBytes"], counters["actualBytes"]) = ((long)balloon.TargetBytes, (long)balloon.ActualBytes);
                break;
        }

        return counters;
    }
}
