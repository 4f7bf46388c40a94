using System.Text.Json;
using Kvm.Devices.Limits;
using Kvm.Devices.Virtio.Block;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Network;
using Kvm.Vmm.Storage;

namespace Kvm.Api.Firecracker;

/// <summary>Says what a microVM is, in Firecracker's members. Thread-safe: pure functions.</summary>
internal static class SettingsJson
{
    /// <summary><c>/machine-config</c>.</summary>
    public static void WriteMachineConfig(Utf8JsonWriter json, MicroVmSettings vm)
    {
        json.WriteStartObject();
        json.WriteNumber("vcpu_count", vm.Machine.Cpus);
        json.WriteNumber("mem_size_mib", vm.Machine.MemoryBytes >> 20);
        json.WriteBoolean("smt", false);
        json.WriteBoolean("track_dirty_pages", vm.TracksDirtyPages);
        json.WriteString("huge_pages", vm.HugePages);
        json.WriteEndObject();
    }

    /// <summary><c>/balloon</c>.</summary>
    public static void WriteBalloon(Utf8JsonWriter json, MicroVmSettings vm)
    {
        var balloon = vm.Machine.Balloon!;
        json.WriteStartObject();
        json.WriteNumber("amount_mib", balloon.TargetBytes >> 20);
        json.WriteBoolean("deflate_on_oom", balloon.DeflateOnOom);
        json.WriteNumber("stats_polling_interval_s", balloon.StatisticsSeconds);
        json.WriteBoolean("free_page_hinting", false);
        json.WriteBoolean("free_page_reporting", vm.ReportsFreePages);
        json.WriteEndObject();
    }

    /// <summary><c>/vm/config</c>: all of it, with null for what is not there.</summary>
    public static void Write(Utf8JsonWriter json, MicroVmSettings vm)
    {
        json.WriteStartObject();
        Write(json, "balloon", vm.Machine.Balloon is not null, () => WriteBalloon(json, vm));
        json.WriteStartArray("drives");
        foreach (var disk in vm.Machine.Disks)
            WriteDrive(json, disk);
        json.WriteEndArray();
        WriteBootSource(json, vm);
        json.WriteNull("cpu-config");
        WriteLogger(json, vm.Logger);
        json.WritePropertyName("machine-config");
        WriteMachineConfig(json, vm);
        Write(json, "metrics", vm.Metrics is not null, () => JsonSerializer.Serialize(json, vm.Metrics!, FirecrackerJson.Default.MetricsBody));
        json.WriteNull("memory-hotplug");
        WriteMetadataConfig(json, vm);
        json.WriteStartArray("network-interfaces");
        foreach (var card in vm.Machine.Networks)
            WriteCard(json, card);
        json.WriteEndArray();
        json.WriteStartArray("pmem");
        json.WriteEndArray();
        WriteVsock(json, vm);
        Write(json, "entropy", vm.Machine.Entropy, () =>
        {
            json.WriteStartObject();
            json.WriteNull("rate_limiter");
            json.WriteEndObject();
        });
        json.WriteEndObject();
    }

    private static void Write(Utf8JsonWriter json, string name, bool isThere, Action write)
    {
        json.WritePropertyName(name);
        if (isThere)
            write();
        else
            json.WriteNullValue();
    }

    private static void WriteBootSource(Utf8JsonWriter json, MicroVmSettings vm)
    {
        json.WriteStartObject("boot-source");
        json.WriteString("kernel_image_path", vm.Machine.KernelPath);
        json.WriteString("initrd_path", vm.Machine.InitrdPath);
        json.WriteString("boot_args", vm.HasBootArgs ? vm.Machine.Append : null);
        json.WriteEndObject();
    }

    private static void WriteDrive(Utf8JsonWriter json, DiskConfig disk)
    {
        json.WriteStartObject();
        json.WriteString("drive_id", disk.Id);
        json.WriteString("partuuid", disk.PartUuid);
        json.WriteBoolean("is_root_device", disk.IsRoot);
        json.WriteString("cache_type", disk.Cache == DiskCache.Unsafe ? "Unsafe" : "Writeback");
        json.WriteBoolean("is_read_only", disk.ReadOnly);
        json.WriteString("path_on_host", disk.Path);
        WriteLimits(json, "rate_limiter", disk.Limits);
        json.WriteString("io_engine", disk.Aio == DiskAio.Uring ? "Async" : "Sync");
        json.WriteNull("socket");
        json.WriteEndObject();
    }

    private static void WriteCard(Utf8JsonWriter json, NetConfig card)
    {
        json.WriteStartObject();
        json.WriteString("iface_id", card.Id);
        if (card.Kind == NetKind.Tap)
            json.WriteString("host_dev_name", card.Name);
        else
            json.WriteString("backend", card.BackendText);
        json.WriteString("guest_mac", card.Mac?.ToString());
        if (card.Mtu > 0)
            json.WriteNumber("mtu", card.Mtu);
        else
            json.WriteNull("mtu");
        WriteLimits(json, "rx_rate_limiter", card.ReceiveLimits);
        WriteLimits(json, "tx_rate_limiter", card.SendLimits);
        json.WriteEndObject();
    }

    private static void WriteLogger(Utf8JsonWriter json, LoggerBody? logger) =>
        Write(json, "logger", logger is not null, () => JsonSerializer.Serialize(json, logger!, FirecrackerJson.Default.LoggerBody));

    private static void WriteMetadataConfig(Utf8JsonWriter json, MicroVmSettings vm) => Write(json, "mmds-config", vm.ServesMetadata, () =>
    {
        var metadata = vm.Machine.Metadata!;
        json.WriteStartObject();
        json.WriteString("version", SettingNames.MetadataVersions[(int)metadata.Version]);
        json.WriteStartArray("network_interfaces");
        foreach (string card in metadata.Cards)
            json.WriteStringValue(card);
        json.WriteEndArray();
        json.WriteString("ipv4_address", metadata.AddressText);
        json.WriteBoolean("imds_compat", metadata.PlainOnly);
        json.WriteEndObject();
    });

    private static void WriteVsock(Utf8JsonWriter json, MicroVmSettings vm) => Write(json, "vsock", vm.Machine.Vsock is not null, () =>
    {
        json.WriteStartObject();
        json.WriteNumber("guest_cid", vm.Machine.Vsock!.Cid);
        json.WriteString("uds_path", vm.Machine.Vsock.SocketPath);
        json.WriteEndObject();
    });

    private static void WriteLimits(Utf8JsonWriter json, string name, IoLimits limits) => Write(json, name, limits != IoLimits.None, () =>
    {
        json.WriteStartObject();
        WriteBucket(json, "bandwidth", limits.Bandwidth);
        WriteBucket(json, "ops", limits.Operations);
        json.WriteEndObject();
    });

    private static void WriteBucket(Utf8JsonWriter json, string name, RateLimit? limit) => Write(json, name, limit is not null, () =>
    {
        var bucket = limit!.Value;
        json.WriteStartObject();
        json.WriteNumber("size", bucket.Size);
        if (bucket.OneTimeBurst > 0)
            json.WriteNumber("one_time_burst", bucket.OneTimeBurst);
        else
            json.WriteNull("one_time_burst");
        json.WriteNumber("refill_time", bucket.RefillNanoseconds / 1_000_000);
        json.WriteEndObject();
    });
}
