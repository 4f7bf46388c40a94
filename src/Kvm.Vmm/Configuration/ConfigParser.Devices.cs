using System.Text.Json;
using Kvm.Devices.Block.Scheduling;
using Kvm.Devices.Virtio.Block;
using Kvm.Devices.Virtio.Vsock;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Virtio;
using Kvm.Vmm.Virtio.Ports;
using Kvm.Vmm.Virtio.Sockets;

namespace Kvm.Vmm.Configuration;

/// <summary>The members that describe devices.</summary>
internal ref partial struct ConfigParser
{
    private void ReadDrives()
    {
        if (IsNull())
            return;
        if (_json.TokenType != JsonTokenType.StartArray)
            throw BadValue(ConfigMembers.Drives, "is not a list");
        var disks = new List<DiskConfig>();
        while (_json.Read() && _json.TokenType != JsonTokenType.EndArray)
        {
            if (disks.Count == VirtioSet.MaxPciDevices)
                throw BadValue(ConfigMembers.Drives, $"has more than {VirtioSet.MaxPciDevices} elements");
            disks.Add(ReadDrive());
        }

        if (disks.Count > 0)
            _machine = _machine with { Disks = disks };
    }

    private DiskConfig ReadDrive()
    {
        ExpectObject(ConfigMembers.Drives);
        var disk = new DiskConfig { Path = "" };
        DiskFormat? format = null;
        var seen = 0u;
        while (NextMember(ConfigMembers.OfDrive, ConfigMembers.Drives, ref seen) is { } member)
        {
            if (member == ConfigMembers.Format)
            {
                format = (DiskFormat)OneOf(member, SettingNames.DiskFormats);
                continue;
            }

            disk = member switch
            {
                ConfigMembers.DriveId => disk with { Id = TextOrNull(member) },
                ConfigMembers.PathOnHost => disk with { Path = Text(member) },
                ConfigMembers.IsRootDevice => disk with { IsRoot = Flag(member) },
                ConfigMembers.PartUuid => disk with { PartUuid = TextOrNull(member) },
                ConfigMembers.IsReadOnly => disk with { ReadOnly = !IsNull() && Flag(member) },
                ConfigMembers.CacheType => disk with { Cache = CacheType(member) },
                ConfigMembers.Cache => disk with { Cache = (DiskCache)OneOf(member, SettingNames.Caches) },
                ConfigMembers.Queues => disk with { Queues = (int)Number(member, 1, DiskConfig.MaxQueues) },
                ConfigMembers.IoEngine => disk with { Aio = IoEngine(member) },
                ConfigMembers.Backing => disk with { AllowBacking = OneOf(member, [SettingNames.Backing]) == 0 },
                ConfigMembers.Scheduler => disk with { Scheduler = (IoDiscipline)OneOf(member, SettingNames.Disciplines) },
                ConfigMembers.CacheMib => disk with { CacheBytes = Number(member, 0, DiskConfig.MostCacheBytes >> 20) << 20 },
                ConfigMembers.Volume => disk with { Volume = TextOrNull(member) },
                ConfigMembers.VolumeBytes => disk with { VolumeBytes = (ulong)Number(member, 1, 1L << 60) },
                ConfigMembers.Weight => disk with { Weight = (int)Number(member, 1, ScheduledImage.MaxWeight) },
                ConfigMembers.RateLimiter => disk with { Limits = ReadRateLimiter(member) },
                _ => IsNull() ? disk : throw Unsupported($"{ConfigMembers.Drives}.{member}"),
            };
        }

        disk = disk with { Format = format ?? DiskConfig.FormatByName(disk.Path) };
        return disk.Problem() is { } problem ? throw BadValue(ConfigMembers.Drives, problem) : disk;
    }

    // Firecracker's Unsafe does not tell the guest of flushes at all; what matters is the same: nothing is made durable.
    private readonly DiskCache CacheType(string member) => Text(member) switch
    {
        "Unsafe" => DiskCache.Unsafe,
        "Writeback" => DiskCache.WriteBack,
        _ => throw BadValue(member, "is neither Unsafe nor Writeback"),
    };

    private readonly DiskAio IoEngine(string member) => IsNull() ? DiskAio.Threads : Text(member) switch
    {
        "Sync" => DiskAio.Threads,
        "Async" => DiskAio.Uring,
        _ => throw BadValue(member, "is neither Sync nor Async"),
    };

    private void ReadEntropy()
    {
        if (IsNull())
            return;
        ExpectObject(ConfigMembers.Entropy);
        var seen = 0u;
        while (NextMember(ConfigMembers.OfEntropy, ConfigMembers.Entropy, ref seen) is { } member)
        {
            if (!IsNull())
                throw Unsupported($"{ConfigMembers.Entropy}.{member}");
        }

        _machine = _machine with { Entropy = true };
    }

    private void ReadBalloon()
    {
        if (IsNull())
            return;
        ExpectObject(ConfigMembers.Balloon);
        // Firecracker's default: a guest keeps what it gave.
        var balloon = new BalloonConfig { DeflateOnOom = false };
        var seen = 0u;
        while (NextMember(ConfigMembers.OfBalloon, ConfigMembers.Balloon, ref seen) is { } member)
        {
            switch (member)
            {
                case ConfigMembers.AmountMib:
                    balloon = balloon with { TargetBytes = (ulong)Number(member, 0, (long)(VmConfig.MaxMemory >> 20)) << 20 };
                    break;
                case ConfigMembers.DeflateOnOom:
                    balloon = balloon with { DeflateOnOom = Flag(member) };
                    break;
                case ConfigMembers.FreePageReporting:
                    // Every balloon takes what a guest reports; a driver that is not told to reports nothing.
                    _ = !IsNull() && Flag(member);
                    break;
                case ConfigMembers.FreePageHinting:
                    if (!IsNull() && Flag(member))
                        throw Unsupported($"{ConfigMembers.Balloon}.{member}");
                    break;
                default:
                    if (!IsNull())
                        balloon = balloon with { StatisticsSeconds = (ushort)Number(member, 0, ushort.MaxValue) };
                    break;
            }
        }

        _machine = _machine with { Balloon = balloon };
    }

    /// <summary>Where Firecracker has the serial port's output go: a file, or a pipe; nothing is read then.</summary>
    private void ReadSerial()
    {
        if (IsNull())
            return;
        ExpectObject(ConfigMembers.Serial);
        var seen = 0u;
        while (NextMember(ConfigMembers.OfSerial, ConfigMembers.Serial, ref seen) is { } member)
        {
            if (member == ConfigMembers.SerialOutPath && TextOrNull(member) is { Length: > 0 } path)
                _settings = _settings with { Console = ConsoleKind.File, ConsolePath = path };
            else if (!IsNull())
                throw Unsupported($"{ConfigMembers.Serial}.{member}");
        }
    }

    private void ReadVsock()
    {
        if (IsNull())
            return;
        ExpectObject(ConfigMembers.Vsock);
        var vsock = new VsockConfig { Cid = 0, SocketPath = "" };
        var seen = 0u;
        while (NextMember(ConfigMembers.OfVsock, ConfigMembers.Vsock, ref seen) is { } member)
        {
            switch (member)
            {
                case ConfigMembers.GuestCid:
                    vsock = vsock with { Cid = (uint)Number(member, VsockDevice.FirstGuestCid, VsockDevice.LastGuestCid) };
                    break;
                case ConfigMembers.UdsPath:
                    vsock = vsock with { SocketPath = Text(member) };
                    break;
                default:
                    TextOrNull(member); // a name that Firecracker does not use any more
                    break;
            }
        }

        if (vsock.Problem() is { } problem)
            throw BadValue(ConfigMembers.Vsock, problem);
        _machine = _machine with { Vsock = vsock };
    }

    private void ReadPorts()
    {
        if (IsNull())
            return;
        if (_json.TokenType != JsonTokenType.StartArray)
            throw BadValue(ConfigMembers.Ports, "is not a list");
        var ports = new List<PortConfig>();
        while (_json.Read() && _json.TokenType != JsonTokenType.EndArray)
        {
            if (ports.Count == PortConfig.MaxPorts)
                throw BadValue(ConfigMembers.Ports, $"has more than {PortConfig.MaxPorts} elements");
            ExpectObject(ConfigMembers.Ports);
            var port = new PortConfig { Name = "", SocketPath = "" };
            var seen = 0u;
            while (NextMember(ConfigMembers.OfPort, ConfigMembers.Ports, ref seen) is { } member)
                port = member == ConfigMembers.Name ? port with { Name = Text(member) } : port with { SocketPath = Text(member) };
            if (port.Problem() is { } problem)
                throw BadValue(ConfigMembers.Ports, problem);
            ports.Add(port);
        }

        if (ports.Count > 0)
            _machine = _machine with { Ports = ports };
    }
}
