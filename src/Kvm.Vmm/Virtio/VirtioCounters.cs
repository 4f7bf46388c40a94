using Kvm.Devices.Block.Cache;
using Kvm.Devices.Virtio;
using Kvm.Devices.Virtio.Balloon;
using Kvm.Devices.Virtio.Block;
using Kvm.Devices.Virtio.Console;
using Kvm.Devices.Virtio.Net;
using Kvm.Devices.Virtio.Rng;
using Kvm.Devices.Virtio.Vsock;
using Kvm.Vmm.Virtio.Ports;

namespace Kvm.Vmm.Virtio;

/// <summary>A device's counters by the names of the report.</summary>
internal static class VirtioCounters
{
    /// <summary>The disks' cache.</summary>
    public static SortedDictionary<string, long> Of(in BlockCacheCounters cache) => new(StringComparer.Ordinal)
    {
        ["bytes"] = cache.Bytes,
        ["evictions"] = cache.Evictions,
        ["hits"] = cache.Hits,
        ["misses"] = cache.Misses,
        ["readAhead"] = cache.ReadAhead,
    };

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
                (counters["mostUnderWay"], counters["held"]) = (block.MostUnderWay, block.Held);
                foreach (var (name, value) in block.ImageCounters)
                    counters[name] = value;
                (counters["bytesRead"], counters["bytesWritten"], counters["errors"]) = (disk.BytesRead, disk.BytesWritten, disk.Errors);
                break;
            case NetDevice card:
                var net = card.Counters;
                (counters["framesSent"], counters["bytesSent"]) = (net.FramesSent, net.BytesSent);
                (counters["framesReceived"], counters["bytesReceived"]) = (net.FramesReceived, net.BytesReceived);
                (counters["malformed"], counters["spoofed"], counters["sendDropped"]) = (net.Malformed, net.Spoofed, net.SendDropped);
                (counters["filtered"], counters["receiveDropped"], counters["receiveStalls"]) = (net.Filtered, net.ReceiveDropped, net.ReceiveStalls);
                (counters["controlRefused"], counters["sendHeld"], counters["receiveHeld"]) = (net.ControlRefused, net.SendHeld, net.ReceiveHeld);
                break;
            case VsockDevice vsock:
                var sockets = vsock.Counters;
                (counters["connections"], counters["refused"], counters["dropped"]) = (sockets.Connections, sockets.Refused, sockets.Dropped);
                (counters["bytesFromGuest"], counters["bytesToGuest"]) = (sockets.BytesFromGuest, sockets.BytesToGuest);
                break;
            case EntropyDevice entropy:
                counters["bytesGiven"] = entropy.BytesGiven;
                break;
            case BalloonDevice balloon:
                (counters["inflatedBytes"], counters["deflatedBytes"]) = (balloon.InflatedBytes, balloon.DeflatedBytes);
                (counters["reportedBytes"], counters["refused"]) = (balloon.ReportedBytes, balloon.Refused);
                (counters["targetBytes"], counters["actualBytes"]) = ((long)balloon.TargetBytes, (long)balloon.ActualBytes);
                counters["statistics"] = balloon.StatisticsReceived;
                Add(counters, balloon.Statistics ?? new BalloonStatistics());
                break;
        }

        return counters;
    }

    /// <summary>What a guest said of its memory last; nothing of what it did not say. It may say anything: what no counter holds is the most one does.</summary>
    private static void Add(SortedDictionary<string, long> counters, BalloonStatistics said)
    {
        Span<(string Name, ulong? Value)> all =
        [
            ("guestTotalBytes", said.Total), ("guestFreeBytes", said.Free), ("guestAvailableBytes", said.Available), ("guestCachesBytes", said.Caches),
            ("guestSwapInBytes", said.SwapIn), ("guestSwapOutBytes", said.SwapOut), ("guestMajorFaults", said.MajorFaults),
            ("guestMinorFaults", said.MinorFaults), ("guestHugePagesAllocated", said.HugePagesAllocated), ("guestHugePageFailures", said.HugePageFailures),
        ];
        foreach (var (name, value) in all)
        {
            if (value is { } number)
                counters[name] = (long)Math.Min(number, long.MaxValue);
        }
    }

    /// <summary>A console device's: what went through its ports, and what became of their clients.</summary>
    public static SortedDictionary<string, long> Of(ConsoleDevice device, PortServer? ports)
    {
        var counters = Of(device);
        (counters["bytesFromGuest"], counters["bytesToGuest"]) = (0, 0);
        for (int port = 0; port < device.PortCount; port++)
        {
            var (sent, received) = device.Traffic(port);
            counters["bytesFromGuest"] += sent;
            counters["bytesToGuest"] += received;
        }

        (counters["clients"], counters["clientsRefused"], counters["bytesForNobody"]) = (0, 0, 0);
        foreach (var port in ports?.Ports ?? [])
        {
            var (clients, refused, dropped) = port.Counters;
            counters["clients"] += clients;
            counters["clientsRefused"] += refused;
            counters["bytesForNobody"] += dropped;
        }

        return counters;
    }
}
