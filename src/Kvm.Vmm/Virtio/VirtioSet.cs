using Kvm.Devices.Block;
using Kvm.Devices.Block.Cache;
using Kvm.Devices.Block.Scheduling;
using Kvm.Devices.Bus;
using Kvm.Devices.Interrupts;
using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Metadata;
using Kvm.Devices.Pci;
using Kvm.Devices.Snapshot;
using Kvm.Devices.Virtio;
using Kvm.Devices.Virtio.Balloon;
using Kvm.Devices.Virtio.Block;
using Kvm.Devices.Virtio.Console;
using Kvm.Devices.Virtio.Net;
using Kvm.Devices.Virtio.Rng;
using Kvm.Devices.Virtio.Transport;
using Kvm.Devices.Virtio.Vsock;
using Kvm.Vmm.Agent;
using Kvm.Vmm.Console;
using Kvm.Vmm.Host;
using Kvm.Vmm.Network;
using Kvm.Vmm.Network.Model;
using Kvm.Vmm.Network.Switching;
using Kvm.Vmm.Scheduling;
using Kvm.Vmm.Snapshots.Disks;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Vcpu;
using Kvm.Vmm.Virtio.Ports;
using Kvm.Vmm.Virtio.Sockets;

namespace Kvm.Vmm.Virtio;

/// <summary>The virtio devices of a machine: made, put behind a transport, and given somebody who runs their queues.</summary>
internal sealed class VirtioSet : IDisposable
{
    /// <summary>No scheduler takes a guest below this: with less a kernel only looks for memory.</summary>
    private const ulong LeastMemory = 32 << 20;

    /// <summary>The first device number of PCI bus 0 that is not the host bridge's.</summary>
    private const int FirstPciDevice = 1;

    /// <summary>The most devices: what PCI bus 0 has besides the host bridge.</summary>
    public const int MaxPciDevices = 31;

    private readonly VmConfig _config;
    private readonly IEngine _engine;
    private readonly GuestMemory _memory;
    private readonly PciBus _pci;
    private readonly IoBus _mmio;
    private readonly SharedLine[] _wires = new SharedLine[MachineLayout.PciIntxGsis];
    private readonly List<IDiskImage> _images = [];
    private readonly List<MachineDisk> _disks = [];
    private readonly BlockCache? _cache;
    private readonly List<INetworkBackend> _backends = [];
    private readonly List<RunningNetwork> _networks = [];
    private readonly List<MetadataBackend> _answering = [];
    private readonly List<VirtioDevice> _devices = [];
    private readonly List<IStateful> _parts = [];
    private readonly List<DeviceThread> _threads = [];
    private readonly Action<string>? _notice;
    private readonly MetadataService? _metadata;
    private PcapngWriter? _capture;
    private PortServer? _ports;
    private VsockServer? _sockets;
    private StatisticsPoll? _poll;
    private volatile Action<string>? _failed;

    /// <summary>Makes the devices <paramref name="config"/> asks for.</summary>
    /// <exception cref="VmmException">A disk cannot be opened, or a port's socket not be made.</exception>
    public VirtioSet(VmConfig config, MachineLayout layout, RamMapping ram, IEngine engine, PciBus pci, IoBus mmio, ConsoleWatcher console, Action<string>? notice)
    {
        (_config, _engine, _memory, _pci, _mmio, _notice) = (config, engine, ram.Memory, pci, mmio, notice);
        try
        {
            for (int pin = 0; pin < _wires.Length; pin++)
                _wires[pin] = new SharedLine(engine.Line(MachineLayout.PciIntxGsi + (uint)pin));
            if (config.Disks.Sum(d => d.CacheBytes) is > 0 and var cacheBytes)
                _cache = new BlockCache(cacheBytes);
            for (int i = 0; i < config.Disks.Count; i++)
                AddDisk(i, config.Disks[i], ram.Paged);
            if (config.Entropy)
                Add(new EntropyDevice("rng0", _memory, config.Deterministic ? new SeededEntropy(config.Seed) : new HostEntropy()));
            if (config.Balloon is { } balloon)
                AddBalloon(balloon, ram);
            if (config.Console == GuestConsole.Virtio)
                AddConsole(console);
            if (config.Ports.Count > 0)
                AddPorts();
            if (config.Metadata is { } metadata)
                _metadata = new MetadataService(metadata.Version, metadata.PlainOnly, new HostEntropy(), engine.Time) { Tree = metadata.Read() };
            _capture = NetworkBackends.OpenCapture(config.Capture, config.Networks.Count);
            for (int i = 0; i < config.Networks.Count; i++)
                AddNet(i, config.Networks[i]);
            if (config.Vsock is { } vsock)
                AddSockets(vsock);
            pci.AssignResources(new PciResources(
                (MachineLayout.PciIo.Start, MachineLayout.PciIo.Size),
                (MachineLayout.PciMmio32.Start, MachineLayout.PciMmio32.Size),
                (layout.PciMmio64.Start, layout.PciMmio64.Size),
                (device, pin) => (byte)MachineLayout.PciGsi(device, pin)));
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Number of devices a configuration asks for.</summary>
    public static int CountOf(VmConfig config) =>
        config.Disks.Count + (config.Entropy ? 1 : 0) + (config.Balloon is null ? 0 : 1) + (config.Console == GuestConsole.Virtio ? 1 : 0) + (config.Ports.Count > 0 ? 1 : 0) + config.Networks.Count
        + (config.Vsock is null ? 0 : 1);

    /// <summary>The devices, in the order of their slots.</summary>
    public IReadOnlyList<VirtioDevice> Devices => _devices;

    /// <summary>Each device and its transport, in the order to restore in.</summary>
    public IReadOnlyList<IStateful> Parts => _parts;

    /// <summary>The disks.</summary>
    public IReadOnlyList<MachineDisk> Disks => _disks;

    /// <summary>The device that is the guest's console, or null where that is the serial port.</summary>
    public ConsoleDevice? Console { get; private set; }

    /// <summary>Says whom to tell of a fault on a device's thread.</summary>
    public void Connect(Action<string> failed) => _failed = failed;

    /// <summary>What all disks and cards did so far. Any thread.</summary>
    public DeviceService Served()
    {
        long bytes = 0, operations = 0, network = 0;
        foreach (var device in _devices)
        {
            if (device is BlockDevice disk)
            {
                var counters = disk.Counters;
                bytes += counters.BytesRead + counters.BytesWritten;
                operations += counters.Reads + counters.Writes + counters.Flushes;
            }
            else if (device is NetDevice card)
            {
                var counters = card.Counters;
                network += counters.BytesSent + counters.BytesReceived;
            }
        }

        return new DeviceService(bytes, operations, network);
    }

    /// <summary>Lets so many thousandths of the limits of its disks and cards go: 0 is all, as is what lies outside 1 to 999. Any thread.</summary>
    public void Restrict(DeviceParts parts)
    {
        static int Of(int part) => part is > 0 and < 1000 ? part : 1000;
        foreach (var device in _devices)
        {
            (device as BlockDevice)?.Restrict(Of(parts.DiskBytes), Of(parts.DiskOperations));
            (device as NetDevice)?.Restrict(Of(parts.Network));
        }
    }

    /// <summary>Has the guest's balloon leave it so much memory, at least what it was configured to take away. Nothing without a balloon. Any thread.</summary>
    /// <param name="bytes">What the guest is to have; 0 for all it was given.</param>
    public void LeaveMemory(ulong bytes)
    {
        ulong all = _config.MemoryBytes, left = bytes == 0 ? all : Math.Clamp(bytes, Math.Min(all, LeastMemory), all);
        foreach (var device in _devices)
            (device as BalloonDevice)?.SetTarget(Math.Max(_config.Balloon?.TargetBytes ?? 0, all - left));
    }

    /// <summary>A disk by its place, or null.</summary>
    public BlockDevice? Disk(int index) => _devices.OfType<BlockDevice>().ElementAtOrDefault(index);

    /// <summary>A card by its place, or null.</summary>
    public NetDevice? Card(int index) => _devices.OfType<NetDevice>().ElementAtOrDefault(index);

    /// <summary>As <see cref="VirtualMachine.SetBalloonTarget"/>.</summary>
    public void SetBalloonTarget(ulong bytes)
    {
        foreach (var device in _devices)
            (device as BalloonDevice)?.SetTarget(bytes);
    }

    /// <summary>As <see cref="VirtualMachine.SetStatisticsInterval"/>.</summary>
    public void SetStatisticsInterval(ushort seconds) => _poll?.Every(TimeSpan.FromSeconds(seconds));

    /// <summary>As <see cref="VirtualMachine.SetMetadata"/>.</summary>
    public bool SetMetadata(MetadataTree tree)
    {
        if (_metadata is null)
            return false;
        _metadata.Tree = tree;
        return true;
    }

    /// <summary>Adds each device's counters to the report's.</summary>
    public void AddCounters(IDictionary<string, IReadOnlyDictionary<string, long>> report)
    {
        if (_cache is not null)
            report["diskCache"] = VirtioCounters.Of(_cache.Counters);
        foreach (var device in _devices)
            report[device.StateName] = CountersOf(device);
    }

    private SortedDictionary<string, long> CountersOf(VirtioDevice device)
    {
        if (device is ConsoleDevice console)
            return VirtioCounters.Of(console, console == Console ? null : _ports);
        var counters = VirtioCounters.Of(device);
        if (device is NetDevice card && card.Backend is ICountedBackend backend)
        {
            foreach (var (name, value) in backend.Counters)
                counters[name] = value;
        }

        return counters;
    }

    public void Dispose()
    {
        _poll?.Dispose();
        _poll = null;
        _ports?.Dispose();
        _ports = null;
        _sockets?.Dispose();
        _sockets = null;
        // Timers first, as they wake threads; what threads may use last.
        foreach (var card in _devices.OfType<NetDevice>())
            card.EndLimits();
        foreach (var answering in _answering)
            answering.Dispose();
        foreach (var device in _devices.Where(d => d is not NetDevice))
            (device as IDisposable)?.Dispose();
        // Other guests of this process go on, and may have something for a card at any moment.
        foreach (var backend in _backends)
            (backend as SwitchBackend)?.Silence();
        foreach (var thread in _threads)
            thread.Dispose();
        foreach (var backend in _backends)
            backend.Dispose();
        foreach (var network in _networks)
            network.Dispose();
        foreach (var card in _devices.OfType<NetDevice>())
            card.Dispose();
        _capture?.Dispose();
        foreach (var image in _images)
            image.Dispose();
        _threads.Clear();
        _backends.Clear();
        _networks.Clear();
        _answering.Clear();
        _images.Clear();
        _cache?.Dispose();
    }

    private void AddDisk(int index, DiskConfig disk, Snapshots.Lazy.PagedMemory? pages)
    {
        bool asks = disk.Aio == DiskAio.Uring, asynchronous = asks && !_config.Deterministic;
        disk = disk with { Aio = asynchronous ? DiskAio.Uring : DiskAio.Threads };
        var (opened, file) = DiskOpener.Open(disk, _cache);
        file.Pages = pages;
        var watched = new WatchedImage(opened);
        _disks.Add(new MachineDisk(MachineDisk.NameOf(index), disk, watched, file, _cache));
        var scheduled = disk.Scheduler == IoDiscipline.None ? null : new ScheduledImage(watched, disk.Scheduler, HostDisks.Of(file.Identity), disk.Weight, _engine.Time);
        IDiskImage image = scheduled is null ? watched : scheduled;
        _images.Add(image);
        var device = new BlockDevice(MachineDisk.NameOf(index), _memory, image,
            new BlockOptions
            {
                Cache = DiskOpener.CacheOf(disk),
                ReadOnly = disk.ReadOnly,
                Queues = disk.Queues,
                Id = disk.Id ?? $"disk{index}",
                Limits = disk.Limits,
                LimitsMayChange = _config.LimitsMayChange,
                Time = _engine.Time,
            });
        if (asks && !device.IsAsynchronous)
        {
            string why = disk.Format == DiskFormat.Qcow2 ? "its image is qcow2" : asynchronous ? file.QueueProblem ?? "several queues of a disk with blocks of more than 512 bytes" : "a run that is to repeat";
            _notice?.Invoke($"{device.StateName} does without io_uring{(disk.Scheduler == IoDiscipline.None ? "" : " and a scheduler")}, with pread and pwrite: {why}");
        }

        if (Add(device) is { } thread)
        {
            file.SignalBy(thread.BellOf);
            scheduled?.WakeBy(queue => () => thread.BellOf(queue).Signal());
        }
    }

    private void AddBalloon(BalloonConfig config, RamMapping ram)
    {
        var balloon = new BalloonDevice("balloon0", _memory, ram, config.DeflateOnOom);
        balloon.SetTarget(config.TargetBytes);
        Add(balloon);
        if (config.StatisticsSeconds > 0)
            _poll = new StatisticsPoll(balloon, _engine.Time, TimeSpan.FromSeconds(config.StatisticsSeconds));
    }

    /// <summary>The console: a device of its own, without control messages, so that it is there when the guest's first program opens it.</summary>
    private void AddConsole(ConsoleWatcher console)
    {
        var device = new ConsoleDevice("console0", _memory, [new ConsolePort("", IsConsole: true, new LoginConsole(console))], multiport: false);
        Add(device);
        // The terminal is there for as long as the machine is.
        device.SetHostOpen(0, true);
        Console = device;
    }

    private void AddPorts()
    {
        _ports = new PortServer(_config.Ports, message => _failed?.Invoke(message));
        var device = new ConsoleDevice("ports0", _memory, [.. _ports.Ports.Select(p => new ConsolePort(p.Name, IsConsole: false, p))]);
        Add(device);
        _ports.Start(device);
    }

    private void AddNet(int index, NetConfig config)
    {
        config = config with { Port = config.Port.CalledAlso(_config.Name) };
        if (config.Model is { } file)
        {
            var network = RunningNetwork.Enter(NetworkModel.Load(file), message => _failed?.Invoke(message), _notice);
            _networks.Add(network);
            config = network.Model.Settle(config);
        }

        config = config with { Mac = config.Mac ?? NetworkBackends.AnyMac() };
        var backend = NetworkBackends.Open(config, message => _failed?.Invoke(message), _notice);
        _backends.Add(backend);
        var answering = AnswerMetadata(backend, config.NameAt(index));
        var end = _capture is { } capture
            ? new CapturingBackend(answering, capture, index, () => _notice?.Invoke($"the capture is full: frames are left away ({_config.Capture})"))
            : answering;
        var device = new NetDevice($"net{index}", _memory, end,
            new NetOptions
            {
                Mac = config.Mac.Value,
                FixedMac = config.FixedMac,
                IsClone = _config.IsClone,
                Mtu = config.Mtu,
                Pairs = config.Queues,
                ReceiveLimits = config.ReceiveLimits,
                SendLimits = config.SendLimits,
                LimitsMayChange = _config.LimitsMayChange,
                Time = _engine.Time
            });
        var thread = Add(device);
        if (thread is null || backend is not IWatchedBackend watched)
            return;
        for (int pair = 0; pair < config.Queues; pair++)
            watched.WatchBy(pair, thread.WaitOf(2 * pair));
    }

    /// <summary>Puts the metadata service before a card's backend, where it is to answer there.</summary>
    private INetworkBackend AnswerMetadata(INetworkBackend backend, string card)
    {
        if (_metadata is null || !_config.Metadata!.IsAt(card))
            return backend;
        var answering = new MetadataBackend(backend, _metadata, _config.Metadata.Address, new HostEntropy(), _engine.Time);
        _answering.Add(answering);
        return answering;
    }

    private void AddSockets(VsockConfig config)
    {
        // Gone after a reboot of the host, which a machine of the state folder outlives.
        if (_config.Agent && config.SocketPath == AgentClient.PathOf(Folders.Runtime, _config.Name))
            Directory.CreateDirectory(Path.GetDirectoryName(config.SocketPath)!, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        _sockets = new VsockServer(config, message => _failed?.Invoke(message));
        var device = new VsockDevice("vsock0", _memory, config.Cid, _sockets);
        Add(device);
        _sockets.Start(device);
    }

    /// <summary>Adds a device; gives the thread that runs its queues, if it has one.</summary>
    private DeviceThread? Add(VirtioDevice device)
    {
        int index = _devices.Count;
        _devices.Add(device);
        _parts.Add(device);
        var scheduler = QueuePlacement.Place(device, _config, _engine, message => _failed?.Invoke(message));
        device.Schedule(scheduler);
        var thread = scheduler as DeviceThread;
        if (thread is not null)
            _threads.Add(thread);
        if (_config.Virtio == VirtioTransport.Mmio)
            AddMmio(index, device, thread);
        else
            AddPci(FirstPciDevice + index, device, thread);
        return thread;
    }

    private void AddPci(int slot, VirtioDevice device, DeviceThread? thread)
    {
        var function = new VirtioPci(device, _engine.Msi, _wires[MachineLayout.PciGsi(slot, 0) - MachineLayout.PciIntxGsi].Join(),
            _config.Virtio == VirtioTransport.Transitional && VirtioPci.HasLegacy(device.Type));
        if (thread is not null && _engine.Doorbells is { } doorbells)
            function.RegistersMoved += new QueueBells(device, thread, doorbells).Move;
        _pci.Add(slot << 3, function);
        _parts.Add(function);
    }

    private void AddMmio(int index, VirtioDevice device, DeviceThread? thread)
    {
        ulong address = MachineLayout.VirtioMmioAddress(index);
        var registers = new VirtioMmio(device, _engine.Line(MachineLayout.VirtioMmioGsis[index]));
        _mmio.Add(address, VirtioMmio.Size, registers);
        _parts.Add(registers);
        if (thread is null || _engine.Doorbells is not { } doorbells)
            return;
        for (int queue = 0; queue < device.QueueCount; queue++)
            doorbells.TryAttach(thread.BellOf(queue), address + VirtioMmio.QueueNotifyOffset, (uint)queue);
    }

    /// <summary>Hangs a PCI device's doorbells where the guest puts its registers. Called under the PCI bus's lock.</summary>
    private sealed class QueueBells(VirtioDevice device, DeviceThread thread, IDoorbells doorbells)
    {
        private readonly ulong?[] _hung = new ulong?[device.QueueCount];

        public void Move(ulong? registers)
        {
            for (int queue = 0; queue < _hung.Length; queue++)
            {
                var bell = thread.BellOf(queue);
                if (_hung[queue] is { } old)
                    doorbells.Detach(bell, old, null);
                _hung[queue] = null;
                if (registers is not { } start)
                    continue;
                ulong address = start + (ulong)(VirtioPci.NotifyOffset + queue * VirtioPci.NotifyStride);
                if (doorbells.TryAttach(bell, address, null))
                    _hung[queue] = address;
            }
        }
    }
}
