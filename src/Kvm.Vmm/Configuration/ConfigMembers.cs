namespace Kvm.Vmm.Configuration;

/// <summary>
/// The members of a configuration file. Names with a dash and all of <c>boot-source</c> and <c>machine-config</c> that is not
/// marked are Firecracker's (its API specification, "Full VM Configuration"); the others are ours and stand beside them.
/// </summary>
internal static class ConfigMembers
{
    public const string BootSource = "boot-source";
    public const string MachineConfig = "machine-config";

    // Ours: how the machine is run, which Firecracker leaves to its command line.
    public const string Run = "run";

    // Ours: what the guest is to its scheduler.
    public const string Scheduling = "scheduling";
    public const string Policy = "policy";
    public const string Priority = "priority";
    public const string Weight = "weight";
    public const string LengthMs = "length_ms";
    public const string Class = "class";
    public const string Cap = "cap";
    public const string Reservation = "reservation";
    public const string Gang = "gang";
    public const string Affinity = "affinity";
    public const string Admission = "admission";
    public const string OnLoss = "on_scheduler_loss";
    public const string SliceUs = "slice_us";
    public const string AgeingUs = "ageing_us";
    public const string LimitUs = "limit_us";
    public const string BoostUs = "boost_us";
    public const string PeriodUs = "period_us";
    public const string Capacity = "capacity";
    public const string Learn = "learn";

    public const string KernelImagePath = "kernel_image_path";
    public const string InitrdPath = "initrd_path";
    public const string BootArgs = "boot_args";
    public const string CommandLine = "command_line"; // ours
    public const string AppendFast = "append_fast"; // ours
    public const string Protocol = "protocol"; // ours

    public const string VcpuCount = "vcpu_count";
    public const string MemSizeMib = "mem_size_mib";
    public const string Smt = "smt";
    public const string CpuTemplate = "cpu_template";
    public const string TrackDirtyPages = "track_dirty_pages";
    public const string HugePages = "huge_pages";
    public const string Engine = "engine"; // ours
    public const string Complete = "complete"; // ours
    public const string Translate = "translate"; // ours
    public const string CpuModel = "cpu_model"; // ours
    public const string Paging = "paging"; // ours
    public const string Deterministic = "deterministic"; // ours
    public const string Seed = "seed"; // ours
    public const string Nested = "nested"; // ours
    public const string HyperV = "hyperv"; // ours
    public const string TestDevices = "test_devices"; // ours
    public const string Watchdog = "watchdog"; // ours
    public const string SharedMemory = "shared_memory"; // ours
    public const string TransparentHugePages = "transparent_huge_pages"; // ours

    public const string Drives = "drives";
    public const string DriveId = "drive_id";
    public const string PathOnHost = "path_on_host";
    public const string IsRootDevice = "is_root_device";
    public const string IsReadOnly = "is_read_only";
    public const string CacheType = "cache_type";
    public const string PartUuid = "partuuid";
    public const string IoEngine = "io_engine";
    public const string Format = "format";
    public const string Backing = "backing";
    public const string RateLimiter = "rate_limiter";
    public const string Bandwidth = "bandwidth";
    public const string Operations = "ops";
    public const string Size = "size";
    public const string OneTimeBurst = "one_time_burst";
    public const string RefillTime = "refill_time";
    public const string Socket = "socket";
    public const string Cache = "cache"; // ours
    public const string Queues = "queues"; // ours
    public const string Scheduler = "scheduler"; // ours
    public const string CacheMib = "cache_mib"; // ours
    public const string Volume = "volume"; // ours
    public const string VolumeBytes = "volume_bytes"; // ours

    public const string Entropy = "entropy";
    public const string Balloon = "balloon";
    public const string AmountMib = "amount_mib";
    public const string DeflateOnOom = "deflate_on_oom";
    public const string StatsPollingInterval = "stats_polling_interval_s";
    public const string FreePageHinting = "free_page_hinting";
    public const string FreePageReporting = "free_page_reporting";
    public const string Virtio = "virtio"; // ours

    public const string Serial = "serial";
    public const string SerialOutPath = "serial_out_path";

    public const string NetworkInterfaces = "network-interfaces";
    public const string IfaceId = "iface_id";
    public const string HostDevName = "host_dev_name";
    public const string GuestMac = "guest_mac";
    public const string RxRateLimiter = "rx_rate_limiter";
    public const string TxRateLimiter = "tx_rate_limiter";
    public const string Backend = "backend"; // ours
    public const string FixedMac = "fixed_mac"; // ours
    public const string Mtu = "mtu"; // ours
    public const string Via = "via"; // ours
    public const string AllowHost = "allow_host"; // ours
    public const string Publish = "publish"; // ours
    public const string Vlan = "vlan"; // ours
    public const string Trunk = "trunk"; // ours
    public const string Isolated = "isolated"; // ours
    public const string IsolationGroup = "isolation_group"; // ours
    public const string Label = "label"; // ours
    public const string Uplink = "uplink"; // ours

    // Ours: Firecracker has no virtio console.
    public const string Ports = "ports";
    public const string Vsock = "vsock";
    public const string GuestCid = "guest_cid";
    public const string UdsPath = "uds_path";
    public const string VsockId = "vsock_id";

    public const string Name = "name";
    public const string TimeoutMs = "timeout_ms";
    public const string ReadyMatch = "ready_match";
    public const string Console = "console";
    public const string Report = "report";
    public const string Translations = "translations";
    public const string Capture = "capture";
    public const string Agent = "agent";
    public const string Metadata = "metadata";

    public const string MmdsConfig = "mmds-config";
    public const string Version = "version";
    public const string Interfaces = "network_interfaces";
    public const string Ipv4Address = "ipv4_address";
    public const string ImdsCompat = "imds_compat";
    public const string Mmds = "mmds"; // ours

    /// <summary>Members of the whole file; those after <see cref="Scheduling"/> are Firecracker's that this version lacks.</summary>
    public static readonly string[] Top =
    [
        BootSource, MachineConfig, Run, Drives, Entropy, Balloon, Serial, Ports, Vsock, NetworkInterfaces, Scheduling, MmdsConfig, Mmds,
        "cpu-config", "logger", "metrics",
        "pmem", "memory-hotplug",
    ];

    public static readonly string[] OfBootSource =
        [KernelImagePath, InitrdPath, BootArgs, CommandLine, AppendFast, Protocol];

    public static readonly string[] OfMachineConfig =
    [
        VcpuCount, MemSizeMib, Smt, CpuTemplate, TrackDirtyPages, HugePages,
        Engine, Complete, Translate, CpuModel, Paging, Deterministic, Seed, Nested, HyperV, SharedMemory, TransparentHugePages, Virtio, TestDevices, Watchdog,
    ];

    public static readonly string[] OfRun = [Name, TimeoutMs, ReadyMatch, Console, Report, Translations, Capture, Metadata, Agent];

    public static readonly string[] OfScheduling =
        [Policy, Priority, Weight, LengthMs, Class, Cap, Reservation, Gang, Affinity, Admission, OnLoss, SliceUs, AgeingUs, LimitUs, BoostUs, PeriodUs, Capacity, Learn];

    public static readonly string[] OfDrive =
        [DriveId, PathOnHost, IsRootDevice, IsReadOnly, CacheType, Cache, Queues, PartUuid, IoEngine, RateLimiter, Socket, Format, Backing, Scheduler, Weight, CacheMib, Volume, VolumeBytes];

    public static readonly string[] OfRateLimiter = [Bandwidth, Operations];

    public static readonly string[] OfTokenBucket = [Size, OneTimeBurst, RefillTime];

    public static readonly string[] OfEntropy = [RateLimiter];

    public static readonly string[] OfSerial = [SerialOutPath, RateLimiter];

    public static readonly string[] OfNetworkInterface =
        [IfaceId, HostDevName, GuestMac, RxRateLimiter, TxRateLimiter, Backend, FixedMac, Mtu, Queues, AllowHost, Publish, Via, Vlan, Trunk, Isolated, IsolationGroup, Weight, Label, Uplink];

    public static readonly string[] OfMmdsConfig = [Version, Interfaces, Ipv4Address, ImdsCompat];

    public static readonly string[] OfPort = [Name, Socket];

    public static readonly string[] OfVsock = [GuestCid, UdsPath, VsockId];

    public static readonly string[] OfBalloon = [AmountMib, DeflateOnOom, StatsPollingInterval, FreePageHinting, FreePageReporting];
}
