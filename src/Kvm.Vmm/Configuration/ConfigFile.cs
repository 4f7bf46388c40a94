using System.Buffers;
using System.Text;
using System.Text.Json;
using Kvm.Devices.Limits;
using Kvm.Vmm.Network;
using Kvm.Vmm.Storage;

namespace Kvm.Vmm.Configuration;

/// <summary>
/// Configuration files: JSON with Firecracker's members where Firecracker has the thing (docs/cli.md, "Configuration file").
/// The file is not trusted: at most 1 MiB, 16 levels, every member known and there once. Thread-safe: pure functions.
/// </summary>
public static class ConfigFile
{
    /// <summary>The largest file that is read, in bytes.</summary>
    public const int MaxBytes = 1 << 20;

    internal const int MaxDepth = 16;

    /// <summary>Reads a configuration file.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="VmmException">The file cannot be read or is not a configuration; tells where and what.</exception>
    public static RunSettings Load(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        return Parse(ReadBounded(path), path);
    }

    /// <summary>Understands the text of a configuration file.</summary>
    /// <param name="utf8">The text in UTF-8.</param>
    /// <param name="fileName">The file's name, for messages.</param>
    /// <exception cref="VmmException">The text is not a configuration; tells where and what.</exception>
    public static RunSettings Parse(ReadOnlySpan<byte> utf8, string fileName)
    {
        if (utf8.Length > MaxBytes)
            throw TooLarge(fileName);
        return new ConfigParser(utf8, fileName).Parse();
    }

    /// <summary>Understands the value of one of the file's members, such as Firecracker's programs send it; of <c>drives</c> and <c>network-interfaces</c> one element.</summary>
    /// <param name="member">The member's name.</param>
    /// <param name="utf8">The value in UTF-8.</param>
    /// <param name="name">What the text is called in messages.</param>
    /// <param name="basis">What it changes. An element replaces the one of the same id.</param>
    /// <returns>The settings with it, which need not be a whole machine.</returns>
    /// <exception cref="VmmException">The text is no such value; tells where and what.</exception>
    public static RunSettings ParseMember(string member, ReadOnlySpan<byte> utf8, string name, RunSettings basis)
    {
        ArgumentNullException.ThrowIfNull(basis);
        if (utf8.Length > MaxBytes)
            throw TooLarge(name);
        return new ConfigParser(utf8, name, basis).ParseMember(member);
    }

    /// <summary>Writes settings as a configuration file that <see cref="Parse"/> understands as the same settings.</summary>
    /// <param name="settings">What to write; the defaults are written as well.</param>
    public static string Write(RunSettings settings)
    {
        ArgumentNullException.ThrowIfNull(settings);
        var machine = settings.Machine;
        var buffer = new ArrayBufferWriter<byte>(1024);
        // Not HTML: only what JSON itself needs is escaped.
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions
        {
            Indented = true,
            Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        }))
        {
            json.WriteStartObject();
            WriteBootSource(json, machine);
            WriteMachineConfig(json, machine);
            WriteDevices(json, machine);
            WriteNetworks(json, machine);
            WriteScheduling(json, settings);
            WriteRun(json, settings);
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.WrittenSpan) + "\n";
    }

    private static void WriteBootSource(Utf8JsonWriter json, VmConfig machine)
    {
        json.WriteStartObject(ConfigMembers.BootSource);
        json.WriteString(ConfigMembers.KernelImagePath, machine.KernelPath);
        json.WriteString(ConfigMembers.InitrdPath, machine.InitrdPath);
        json.WriteString(ConfigMembers.BootArgs, machine.Append);
        json.WriteString(ConfigMembers.CommandLine, machine.CommandLine);
        json.WriteBoolean(ConfigMembers.AppendFast, machine.AppendFast);
        json.WriteString(ConfigMembers.Protocol, SettingNames.Of(machine.Protocol));
        json.WriteEndObject();
    }

    private static void WriteMachineConfig(Utf8JsonWriter json, VmConfig machine)
    {
        json.WriteStartObject(ConfigMembers.MachineConfig);
        json.WriteNumber(ConfigMembers.VcpuCount, machine.Cpus);
        json.WriteNumber(ConfigMembers.MemSizeMib, machine.MemoryBytes >> 20);
        json.WriteString(ConfigMembers.Engine, SettingNames.Of(machine.Engine));
        json.WriteBoolean(ConfigMembers.Complete, machine.Complete);
        json.WriteBoolean(ConfigMembers.Translate, machine.Translate);
        json.WriteString(ConfigMembers.CpuModel, SettingNames.Of(machine.Cpu));
        json.WriteString(ConfigMembers.Paging, SettingNames.Of(machine.Paging));
        json.WriteBoolean(ConfigMembers.Deterministic, machine.Deterministic);
        json.WriteNumber(ConfigMembers.Seed, machine.Seed);
        json.WriteBoolean(ConfigMembers.Nested, machine.Nested);
        json.WriteBoolean(ConfigMembers.HyperV, machine.HyperV);
        json.WriteBoolean(ConfigMembers.SharedMemory, machine.SharedMemory);
        json.WriteBoolean(ConfigMembers.TransparentHugePages, machine.HugePages);
        json.WriteString(ConfigMembers.Virtio, SettingNames.Of(machine.Virtio));
        json.WriteBoolean(ConfigMembers.TestDevices, machine.TestDevices);
        if (machine.Watchdog)
            json.WriteBoolean(ConfigMembers.Watchdog, true);
        json.WriteEndObject();
    }

    private static void WriteDevices(Utf8JsonWriter json, VmConfig machine)
    {
        json.WriteStartArray(ConfigMembers.Drives);
        foreach (var disk in machine.Disks)
        {
            json.WriteStartObject();
            json.WriteString(ConfigMembers.DriveId, disk.Id);
            json.WriteString(ConfigMembers.PathOnHost, disk.Path);
            if (disk.Volume is { } volume)
                json.WriteString(ConfigMembers.Volume, volume);
            if (disk.VolumeBytes is { } bytes)
                json.WriteNumber(ConfigMembers.VolumeBytes, bytes);
            json.WriteBoolean(ConfigMembers.IsRootDevice, disk.IsRoot);
            json.WriteString(ConfigMembers.PartUuid, disk.PartUuid);
            json.WriteBoolean(ConfigMembers.IsReadOnly, disk.ReadOnly);
            json.WriteString(ConfigMembers.Cache, SettingNames.Of(disk.Cache));
            json.WriteNumber(ConfigMembers.Queues, disk.Queues);
            json.WriteString(ConfigMembers.IoEngine, disk.Aio == DiskAio.Uring ? "Async" : "Sync");
            json.WriteString(ConfigMembers.Format, SettingNames.DiskFormats[(int)disk.Format]);
            if (disk.AllowBacking)
                json.WriteString(ConfigMembers.Backing, SettingNames.Backing);
            json.WriteString(ConfigMembers.Scheduler, SettingNames.Of(disk.Scheduler));
            json.WriteNumber(ConfigMembers.Weight, disk.Weight);
            json.WriteNumber(ConfigMembers.CacheMib, disk.CacheBytes >> 20);
            WriteRateLimiter(json, ConfigMembers.RateLimiter, disk.Limits);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        if (machine.Entropy)
        {
            json.WriteStartObject(ConfigMembers.Entropy);
            json.WriteEndObject();
        }

        json.WriteStartArray(ConfigMembers.Ports);
        foreach (var port in machine.Ports)
        {
            json.WriteStartObject();
            json.WriteString(ConfigMembers.Name, port.Name);
            json.WriteString(ConfigMembers.Socket, port.SocketPath);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        if (machine.Vsock is { } vsock)
        {
            json.WriteStartObject(ConfigMembers.Vsock);
            json.WriteNumber(ConfigMembers.GuestCid, vsock.Cid);
            json.WriteString(ConfigMembers.UdsPath, vsock.SocketPath);
            json.WriteEndObject();
        }

        if (machine.Balloon is { } balloon)
        {
            json.WriteStartObject(ConfigMembers.Balloon);
            json.WriteNumber(ConfigMembers.AmountMib, balloon.TargetBytes >> 20);
            json.WriteBoolean(ConfigMembers.DeflateOnOom, balloon.DeflateOnOom);
            json.WriteNumber(ConfigMembers.StatsPollingInterval, balloon.StatisticsSeconds);
            json.WriteEndObject();
        }
    }

    private static void WriteRateLimiter(Utf8JsonWriter json, string name, IoLimits limits)
    {
        json.WriteStartObject(name);
        WriteTokenBucket(json, ConfigMembers.Bandwidth, limits.Bandwidth);
        WriteTokenBucket(json, ConfigMembers.Operations, limits.Operations);
        json.WriteEndObject();
    }

    private static void WriteTokenBucket(Utf8JsonWriter json, string name, RateLimit? limit)
    {
        if (limit is not { } bucket)
        {
            json.WriteNull(name);
            return;
        }

        json.WriteStartObject(name);
        json.WriteNumber(ConfigMembers.Size, bucket.Size);
        json.WriteNumber(ConfigMembers.OneTimeBurst, bucket.OneTimeBurst);
        json.WriteNumber(ConfigMembers.RefillTime, bucket.RefillNanoseconds / 1_000_000m);
        json.WriteEndObject();
    }

    private static void WriteNetworks(Utf8JsonWriter json, VmConfig machine)
    {
        json.WriteStartArray(ConfigMembers.NetworkInterfaces);
        for (int i = 0; i < machine.Networks.Count; i++)
        {
            var card = machine.Networks[i];
            json.WriteStartObject();
            json.WriteString(ConfigMembers.IfaceId, card.Id);
            json.WriteString(ConfigMembers.Backend, card.BackendText);
            json.WriteString(ConfigMembers.GuestMac, card.Mac?.ToString());
            json.WriteBoolean(ConfigMembers.FixedMac, card.FixedMac);
            json.WriteNumber(ConfigMembers.Mtu, card.Mtu);
            json.WriteNumber(ConfigMembers.Queues, card.Queues);
            json.WriteString(ConfigMembers.Via, SettingNames.UserStacks[(int)card.Via]);
            WriteTexts(json, ConfigMembers.AllowHost, card.AllowHost);
            WriteTexts(json, ConfigMembers.Publish, card.Publish);
            json.WriteNumber(ConfigMembers.Vlan, card.Port.Vlan);
            json.WriteString(ConfigMembers.Trunk, card.Port.Trunk?.ToString());
            json.WriteBoolean(ConfigMembers.Isolated, card.Port.Isolated);
            json.WriteString(ConfigMembers.IsolationGroup, card.Port.IsolationGroup);
            json.WriteNumber(ConfigMembers.Weight, card.Port.Weight);
            json.WriteString(ConfigMembers.Label, card.Port.Label);
            json.WriteString(ConfigMembers.Uplink, card.Port.Uplink?.ToString());
            WriteRateLimiter(json, ConfigMembers.RxRateLimiter, card.ReceiveLimits);
            WriteRateLimiter(json, ConfigMembers.TxRateLimiter, card.SendLimits);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        if (machine.Metadata is { } metadata)
            WriteMetadata(json, metadata);
    }

    private static void WriteMetadata(Utf8JsonWriter json, MetadataConfig metadata)
    {
        json.WriteStartObject(ConfigMembers.MmdsConfig);
        json.WriteString(ConfigMembers.Version, SettingNames.MetadataVersions[(int)metadata.Version]);
        WriteTexts(json, ConfigMembers.Interfaces, metadata.Cards);
        json.WriteString(ConfigMembers.Ipv4Address, metadata.AddressText);
        json.WriteBoolean(ConfigMembers.ImdsCompat, metadata.PlainOnly);
        json.WriteEndObject();
        if (metadata.Json is not { } text)
            return;
        json.WritePropertyName(ConfigMembers.Mmds);
        json.WriteRawValue(text);
    }

    private static void WriteTexts(Utf8JsonWriter json, string member, IEnumerable<object> values)
    {
        json.WriteStartArray(member);
        foreach (object value in values)
            json.WriteStringValue(value.ToString());
        json.WriteEndArray();
    }

    private static void WriteRun(Utf8JsonWriter json, RunSettings settings)
    {
        json.WriteStartObject(ConfigMembers.Run);
        json.WriteString(ConfigMembers.Name, settings.Machine.Name);
        if (settings.Machine.Timeout is { } timeout)
            json.WriteNumber(ConfigMembers.TimeoutMs, (long)timeout.TotalMilliseconds);
        else
            json.WriteNull(ConfigMembers.TimeoutMs);
        json.WriteString(ConfigMembers.ReadyMatch, settings.Machine.ReadyMatch);
        json.WriteString(ConfigMembers.Console, settings.ConsoleText);
        json.WriteString(ConfigMembers.Report, settings.ReportPath);
        json.WriteString(ConfigMembers.Translations, settings.TranslationsPath);
        json.WriteString(ConfigMembers.Capture, settings.Machine.Capture?.ToString());
        json.WriteString(ConfigMembers.Metadata, settings.Machine.Metadata?.Path);
        json.WriteBoolean(ConfigMembers.Agent, settings.Machine.Agent);
        json.WriteEndObject();
    }

    private static void WriteScheduling(Utf8JsonWriter json, RunSettings settings)
    {
        var scheduling = settings.Scheduling;
        json.WriteStartObject(ConfigMembers.Scheduling);
        json.WriteString(ConfigMembers.Policy, scheduling.Policy);
        json.WriteNumber(ConfigMembers.Priority, scheduling.Priority);
        json.WriteNumber(ConfigMembers.Weight, scheduling.Weight);
        json.WriteNumber(ConfigMembers.LengthMs, scheduling.Length / 1_000_000);
        json.WriteString(ConfigMembers.Class, scheduling.Class);
        json.WriteNumber(ConfigMembers.Cap, scheduling.Cap);
        json.WriteNumber(ConfigMembers.Reservation, scheduling.Reservation);
        json.WriteBoolean(ConfigMembers.Gang, scheduling.Gang);
        json.WriteString(ConfigMembers.Affinity, settings.Machine.Affinity.Count == 0 ? null : Scheduling.CpuList.Format(settings.Machine.Affinity));
        json.WriteString(ConfigMembers.Admission, SchedulingSettings.Admissions[scheduling.MayWait ? 1 : 0]);
        json.WriteString(ConfigMembers.OnLoss, SchedulingSettings.Losses[scheduling.StopOnLoss ? 1 : 0]);
        var rules = scheduling.Rules;
        foreach (var (member, ns) in ((string, long)[])
            [(ConfigMembers.SliceUs, rules.Slice), (ConfigMembers.AgeingUs, rules.Ageing), (ConfigMembers.LimitUs, rules.Limit),
             (ConfigMembers.BoostUs, rules.Boost), (ConfigMembers.PeriodUs, rules.Period)])
        {
            if (ns > 0)
                json.WriteNumber(member, ns / 1000);
            else
                json.WriteNull(member);
        }

        json.WriteString(ConfigMembers.Capacity, SchedulerRules.CapacityText(rules.Capacity));
        json.WriteBoolean(ConfigMembers.Learn, rules.Learn);
        json.WriteEndObject();
    }

    private static byte[] ReadBounded(string path)
    {
        try
        {
            using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);
            var text = new byte[MaxBytes + 1];
            var length = file.ReadAtLeast(text, text.Length, throwOnEndOfStream: false);
            if (length > MaxBytes)
                throw TooLarge(path);
            return text[..length];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new VmmException(UsageErrors.ConfigUnreadable, $"{VisibleText.Quote(path)}: {HostFailureText.Of(e)}", e);
        }
    }

    private static VmmException TooLarge(string path) =>
        new(UsageErrors.ConfigTooLarge, $"{VisibleText.Quote(path)} has more than {MaxBytes} bytes");
}
