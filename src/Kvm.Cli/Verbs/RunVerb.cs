using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Cli.Running;
using Kvm.Cli.Text;
using Kvm.Cli.Verbs.Machines;
using Kvm.Manager;
using Kvm.Manager.Networks;
using Kvm.Manager.Pools;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Debugging.Gdb;
using Kvm.Vmm.Host;
using Kvm.Vmm.Network;
using Kvm.Vmm.Snapshots.Templates;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Virtio;
using Kvm.Vmm.Virtio.Ports;
using Kvm.Vmm.Virtio.Sockets;

namespace Kvm.Cli.Verbs;

/// <summary><c>kvmsharp run</c>: one guest in the foreground.</summary>
internal class RunVerb : Verb
{
    private const string Guest = "Guest";
    private const string Processor = "Processor and memory";
    private const string Devices = "Disks and other devices";
    private const string Surroundings = "Console, end and report";

    private readonly WordArgument _kernel = new("KERNEL", "A bzImage (vmlinuz) or an ELF image (vmlinux), told apart by content.") { Kind = ValueKind.File };

    private readonly ValueOption _initrd = new("--initrd", "FILE", Guest, "The initial RAM file system.") { Kind = ValueKind.File };
    private readonly ValueOption _append = new("--append", "TEXT", Guest, "Adds to the kernel command line that is built from the devices.");
    private readonly ValueOption _cmdline = new("--cmdline", "TEXT", Guest, "Replaces the whole kernel command line.");
    private readonly SwitchOption _appendFast = new("--append-fast", Guest,
        "Adds options that only shorten a boot where KVM interprets kernels, and says what each costs (docs/boot.md).");
    private readonly ValueOption _protocol = new("--protocol", "NAME", Guest, "How a kernel that allows several ways in is entered. [default: auto]")
    { Kind = ValueKind.OneOf, Values = SettingNames.Protocols };
    private readonly ValueOption _config = new("--config", "FILE", Guest, "Takes the machine from a configuration file (Firecracker's members); options override it.")
    { Kind = ValueKind.File };
    private readonly ValueOption _name = new("--name", "NAME", Guest, "A name for people. [default: guest]");

    private readonly ValueOption _engine = new("--engine", "NAME", Processor,
        "What runs the guest's instructions; auto takes kvm where it runs kernel code natively and soft elsewhere. [default: auto]")
    { Kind = ValueKind.OneOf, Values = SettingNames.Engines };
    private readonly ValueOption _cpus = new("--cpus", "N", Processor, $"Number of vCPUs, 1 to {VmConfig.MaxCpus}. [default: 1]");
    private readonly ValueOption _memory = new("--memory", "SIZE", Processor,
        $"Guest memory in whole MiB, 2M to {VmConfig.MaxMemory >> 30}G. [default: 256M]");
    private readonly SwitchOption _sharedMemory = new("--shared-memory", Processor, "Backs guest memory by a memfd that other processes may be given.");
    private readonly SwitchOption _noHugePages = new("--no-huge-pages", Processor, "Does not ask the host for transparent huge pages.");
    private readonly SwitchOption _nested = new("--nested", Processor, "Lets the guest use VMX or SVM; refused where the host has neither.");
    private readonly SwitchOption _hyperV = new("--hyperv", Processor, "Shows the guest Hyper-V's CPUID leaves besides KVM's.");
    private readonly SwitchOption _noComplete = new("--no-complete", Processor, "Ends the guest at an instruction KVM gives up on, instead of completing it.");
    private readonly SwitchOption _noTranslate = new("--no-translate", Processor, "Has the software engine interpret everything, instead of translating what runs often.");

    private readonly ValueOption _cpu = new("--cpu", "MODEL", Processor,
        "The processor the software engine shows: x86-64-v2, or v3 with AVX2 and FMA. [default: v2]")
    { Kind = ValueKind.OneOf, Values = SettingNames.CpuModels };
    private readonly ValueOption _paging = new("--paging", "MODE", Processor,
        "How the software engine translates addresses: by the guest's page tables, or by shadow tables of its own. [default: tlb]")
    { Kind = ValueKind.OneOf, Values = SettingNames.PagingModes };
    private readonly SwitchOption _deterministic = new("--deterministic", Processor,
        "Makes every run of the guest the same: software engine, time from retired instructions, seeded random numbers, no console input.");
    private readonly ValueOption _seed = new("--seed", "N", Processor, "What RDRAND and RDSEED follow from in a deterministic run. [default: 0]");

    private readonly ValueOption _disk = new("--disk", "DISK", Devices,
        "A disk, as often as there are disks: FILE, or POOL/VOLUME of a storage pool, and, after commas, any of size=SIZE (a volume, made where it is not there), readonly, root, format=raw|qcow2, backing=allow, cache=MODE, aio=ENGINE, queues=N, id=TEXT, bps=SIZE, iops=N, bps-burst=SIZE, iops-burst=N, scheduler=NAME, weight=N, cache-size=SIZE; MODE is writeback, writethrough, none or unsafe, ENGINE threads or uring, NAME none, deadline or fair. "
        + "Without --initrd the first is the root.")
    { Kind = ValueKind.File, Repeats = true };
    private readonly SwitchOption _allowBacking = new("--allow-backing", Devices, "Lets every disk be based on other files that its own file names: backing=allow for all of them.");
    private readonly SwitchOption _rng = new("--rng", Devices, "Gives the guest random bytes of the host's.");
    private readonly SwitchOption _balloon = new("--balloon", Devices, "Lets the guest give back memory that it does not use.");
    private readonly ValueOption _balloonStats = new("--balloon-stats", "DURATION", Devices,
        "Asks the guest how its memory is used as often as this, in whole seconds, for the report; with a balloon, which this gives it too.");
    private readonly ValueOption _virtio = new("--virtio", "TRANSPORT", Devices, "How the guest finds these devices: pci, mmio, or transitional, which is pci for drivers from before virtio 1.0 too. [default: pci]")
    { Kind = ValueKind.OneOf, Values = SettingNames.Transports };

    private readonly ValueOption _port = new("--port", "PORT", Devices,
        "A channel between a program in the guest (/dev/virtio-ports/NAME) and a Unix socket, as often as there are ports: name=NAME,socket=PATH.")
    { Kind = ValueKind.File, Repeats = true };

    private readonly ValueOption _net = new("--net", "NET", Devices,
        "A network card, as often as there are cards: user (behind the host, without rights; what --net alone means), tap=NAME (made where there is none and this user may), switch=NAME (with other guests of this host), network=NAME (of the state folder), model=FILE (a machine of a network that the file describes), fd=N (of a TAP interface that was passed in) or none "
        + "and, after commas, any of mac=ADDRESS, fixed-mac, mtu=N, queues=N, allow-host=PORT[/udp] (a port of the host's loopback that the guest may reach at 10.0.2.2), via=passt or slirp, vlan=N, trunk=N+N, isolated[=GROUP], weight=N, label=TEXT, uplink=user or uplink=tap=NAME (of a switch), rx-bps=SIZE, rx-pps=N, rx-bps-burst=SIZE, rx-pps-burst=N (limits of what comes to the guest), the same with tx-.")
    { Kind = ValueKind.OneOf, Values = ["user", "tap=", "switch=", "network=", "model=", "fd=", "none"], Repeats = true, Alone = "user" };

    private readonly ValueOption _publish = new("--publish", "PORTS", Devices,
        "A port of the host that the guest serves, as often as there are ports: [ADDRESS:]HOST:GUEST[/udp]; without ADDRESS the host's loopback. Gives the guest a card with user as well.")
    { Repeats = true };

    private readonly ValueOption _vsock = new("--vsock", "VSOCK", Devices,
        "Sockets between guest and host: the guest's context, a number from 3 on, and, after a comma, path=PATH of the Unix socket. [default of PATH: vsock-CID in the runtime folder]");

    private readonly SwitchOption _agent = new("--agent", Devices,
        "Starts the guest's agent, for exec and cp: gives the guest sockets (vms/NAME.vsock in the runtime folder, unless --vsock is given) and kvmsharp.agent=1 on its command line.");

    private readonly ValueOption _capture = new("--capture", "FILE", Devices,
        "Writes the frames of all network cards to FILE as pcapng, for Wireshark; FILE,size=SIZE is its longest, 1G where nothing is said.")
    { Kind = ValueKind.File };

    private readonly ValueOption _metadata = new("--metadata", "FILE", Devices,
        "Answers a guest that asks for metadata at 169.254.169.254 with what this file of JSON says, as Firecracker does; after commas version=V1 or V2, address=ADDRESS.")
    { Kind = ValueKind.File };

    private readonly SwitchOption _watchdog = new("--watchdog", Devices,
        "Gives the guest a watchdog timer (Intel 6300ESB, driver i6300esb): once the guest has switched it on and does not set it back in time, it is ended; exit code 15.");

    private readonly SwitchOption _testDevices = new("--test-devices", Devices,
        "Gives the guest the devices that test guests of hypervisors expect: ports and registers that keep what is written, ports that drive interrupts.");

    private readonly ValueOption _console = new("--console", "WHERE", Surroundings,
        "Where the guest's console goes: stdio, file=FILE (64 MiB, then the older half is dropped) or none; "
        + "before it, with a comma, or alone, what it is for the guest: serial (ttyS0) or virtio (hvc0). [default: serial,stdio]")
    { Kind = ValueKind.OneOf, Values = ["stdio", "file=", "none", "virtio", "virtio,file=", "serial"] };
    private readonly ValueOption _timeout = new("--timeout", "DURATION", Surroundings, "Ends the guest after this time (500ms, 10s, 2m, 1h); exit code 13.");
    private readonly ValueOption _readyMatch = new("--ready-match", "TEXT", Surroundings,
        "Console output that says the guest is up; its time goes into the report. Does not end the run.");
    private readonly ValueOption _report = new("--report", "FILE", Surroundings, "Writes a JSON report at the end, however the guest ended.") { Kind = ValueKind.File };
    private readonly ValueOption _translations = new("--translations", "FILE", Surroundings,
        "Writes what the software engine made of the code it ran most at the end; kvmsharp translate show FILE reads it.")
    { Kind = ValueKind.File };
    private readonly ValueOption _gdb = new("--gdb", "WHERE", Surroundings,
        "Waits for gdb at WHERE, a port of 127.0.0.1 (0 for a free one), unix:PATH or a path with a slash, the guest standing at its first instruction; after commas nowait, to let it run meanwhile, and i386, for guests that stay in 32- or 16-bit mode.");
    private readonly SwitchOption _dryRun = new("--dry-run", Surroundings, "Prints the resolved machine as a configuration file and ends.");

    private readonly ValueOption _from = new("--from", "TEMPLATE", Guest,
        "Goes on from a template (template build) in the place of booting a KERNEL: at once, sharing memory with all that do, as a machine of its own. What it writes to disks is gone when it ends.");
    private readonly SwitchOption _detach = new("--detach", Surroundings,
        "Makes a machine of it, starts that and returns: create and start in one. See ps, logs, console, stop.", "-d");
    private readonly DetachedOptions _detached = new();

    private readonly SchedulingOptions _scheduling = new();
    private readonly bool _hasKernel = true;
    private Template? _template;

    public RunVerb()
        : this("run", "Boots one guest in the foreground with its console attached: Ctrl-A x ends it, Ctrl-A h helps.")
    {
        Add(_from);
        Add(_detach);
        Add(_detached.Restart);
        Add(_detached.Shared);
        Add(_detached.On);
        Add(_detached.Health);
        Examples =
        [
            ("kvmsharp run vmlinuz --initrd initrd.img", "boots a distribution's kernel"),
            ("kvmsharp run vmlinux --engine soft --cpus 2 --memory 1G", "two processors in software, no /dev/kvm needed"),
            ("kvmsharp run vmlinuz --disk root.img --disk data.img,readonly,id=data", "boots from the first of two disks"),
            ("kvmsharp run vmlinuz --publish 8080:80 --append ip=dhcp", "with a network, and the guest's port 80 at the host's 8080: curl localhost:8080"),
            ("kvmsharp run vmlinuz --net tap=tap0 --append ip=dhcp", "with a network card on the host's interface tap0"),
            ("kvmsharp run vmlinuz --ready-match login: --timeout 60s --report r.json </dev/null", "for scripts: when was it up, how did it end"),
            ("kvmsharp run vmlinuz --initrd initrd.img --agent --name web & kvmsharp exec web uname -r", "with an agent that runs programs in the guest"),
            ("kvmsharp run vmlinux --engine soft --gdb 1234", "waits for gdb vmlinux -ex 'target remote :1234'"),
            ("kvmsharp run vmlinuz --engine kvm --policy rap --weight 2 --pin 0-1", "under a policy, with twice the share of others"),
            ("kvmsharp run --from web --name web-1", "a guest that is ready at once, from a template of kvmsharp template build"),
            ("kvmsharp run vmlinuz --memory 512M --dry-run > vm.json; kvmsharp run --config vm.json", "the same machine, from a file"),
        ];
        Notes =
        [
            "Exit codes: 0 powered off, rebooted or ended by Ctrl-A x; 1 host failure; 2 usage; 3 bad input file; 4 this host cannot; "
            + "10 guest panic; 11 triple fault; 12 KVM could not go on; 13 timeout; 14 halted for ever; 15 the watchdog's time ran out; "
            + "20+n the guest wrote n to the debug-exit port 0xf4; 130 SIGINT; 143 SIGTERM.",
            "Without a terminal on standard input Ctrl-C ends the run; with one it belongs to the guest.",
        ];
    }

    /// <summary>A verb that runs a guest: with all of run's options.</summary>
    /// <param name="name">The verb.</param>
    /// <param name="description">What it does.</param>
    /// <param name="subject">The word it takes in the place of a kernel; null for a kernel.</param>
    protected RunVerb(string name, string description, WordArgument? subject = null)
        : base(name, description)
    {
        _hasKernel = subject is null;
        Add(subject ?? _kernel);
        foreach (Option option in (Option[])
            [_initrd, _append, _cmdline, _appendFast, _protocol, _config, _name,
             _engine, _cpus, _memory, _sharedMemory, _noHugePages, _nested, _hyperV, _noComplete, _noTranslate, _cpu, _paging, _deterministic, _seed,
             _disk, _allowBacking, _rng, _balloon, _balloonStats, _port, _net, _publish, _capture, _metadata, _vsock, _agent, _virtio, _watchdog, _testDevices,
             .. _scheduling.All,
             _console, _timeout, _readyMatch, _report, _translations, _gdb, _dryRun])
        {
            Add(option);
        }
    }

    public override int Execute(ParseResult result, GlobalOptions global)
    {
        using var template = _template = Template(result);
        var settings = Settings(result);
        if (_dryRun.IsGiven(result))
        {
            StandardStreams.Output(ConfigFile.Write(settings));
            return ExitCode.Success;
        }

        // Asked early: what the process has done until now was computing, and its CPU time tells when it began.
        _ = ProcessClock.SinceProcessStart();
        return Run(result, settings, global);
    }

    /// <summary>Runs the machine.</summary>
    /// <returns>The exit code.</returns>
    protected virtual int Run(ParseResult result, RunSettings settings, GlobalOptions global)
    {
        if (_template is { } template)
            return CloneRun.Run(template, settings, _name.Text(result), global);
        if (_detach.IsGiven(result))
            return DetachedOptions.RunDetached(settings, _detached.Read(result), global);
        _detached.Refuse(result);
        if (VolumeDisks.AreIn(settings) || NamedNetworks.AreIn(settings))
            return RunOnNamed(settings, global, (config, host) => VirtualMachine.Build(config, host));
        using var session = new RunSession(settings, global);
        return session.Run();
    }

    /// <summary>The same with cards at networks of the state folder, and disks that are volumes: made where they are not there, found, and looked up again when the machine has them open.</summary>
    protected static int RunOnNamed(RunSettings settings, GlobalOptions global, Func<VmConfig, VmHost, VirtualMachine> build)
    {
        var options = ManagerOptions.OfThisUser();
        settings = NamedNetworks.Locate(VolumeDisks.Locate(VolumeDisks.Name(settings, options), options), options);
        using var session = new RunSession(settings, global, build: (config, host) =>
        {
            var machine = build(config, host);
            try
            {
                VolumeDisks.Check(settings, options);
                return machine;
            }
            catch
            {
                machine.Dispose();
                throw;
            }
        });
        return session.Run();
    }

    /// <summary>What the options change: the configuration file, or nothing yet.</summary>
    protected virtual RunSettings Given(ParseResult result) => _template is { } template ? VirtualMachine.ConfigOf(template) :
        _config.Text(result) is { } file ? ConfigFile.Load(file) : new RunSettings { Machine = new VmConfig { KernelPath = "" } };

    private Template? Template(ParseResult result)
    {
        if (_from.Text(result) is not { } name)
            return null;
        foreach (var (given, what) in (ReadOnlySpan<(bool, string)>)[(_kernel.Text(result) is not null, "a KERNEL"), (_config.Text(result) is not null, "--config"), (_detach.IsGiven(result), "--detach")])
        {
            if (given)
                throw new VmmException(UsageErrors.Conflict, $"--from goes on from a template, which leaves nothing for {what}");
        }

        return CloneRun.Open(name);
    }

    /// <summary>Whether the command line says where the console goes.</summary>
    protected bool NamesConsole(ParseResult result) => _console.Text(result) is not null;

    /// <summary>The machine: the configuration file, overridden by the options.</summary>
    private RunSettings Settings(ParseResult result)
    {
        if (_cmdline.Text(result) is not null && (_append.Text(result) is not null || _appendFast.IsGiven(result)))
            throw new VmmException(UsageErrors.Conflict, "--cmdline replaces the whole command line, so --append and --append-fast add nothing");
        var settings = Given(result);
        settings = settings with { Machine = Machine(result, settings.Machine), ReportPath = FullPath(_report.Text(result)) ?? settings.ReportPath };
        settings = settings with { TranslationsPath = FullPath(_translations.Text(result)) ?? settings.TranslationsPath };
        if (_gdb.Text(result) is { } gdb)
        {
            settings = GdbEndpoint.Parse(gdb, out var endpoint) is { } wrong
                ? throw Quantities.Bad("--gdb", gdb, wrong) : settings with { Gdb = endpoint with { Path = FullPath(endpoint.Path) } };
        }

        if (settings.TranslationsPath is not null && !settings.Machine.Translate)
            throw new VmmException(UsageErrors.Conflict, "--no-translate leaves nothing that --translations could show");
        if (_console.Text(result) is { } console)
        {
            settings = settings.WithConsole(console)
                ?? throw Quantities.Bad("--console", console, "is not one of stdio, none, file=FILE, serial, virtio, or one of the latter before one of the former with a comma");
            settings = settings with { ConsolePath = FullPath(settings.ConsolePath) };
        }

        settings = settings with { Scheduling = _scheduling.Read(result, settings.Scheduling) };
        if (settings.Scheduling.Policy is { } policy && settings.Machine is { Engine: EngineChoice.Soft } or { Deterministic: true } or { Paging: PagingMode.Shadow } or { Cpu: not CpuModel.V2 })
            throw new VmmException(UsageErrors.Conflict, $"--policy {policy} needs KVM, and another option the software engine");
        if (settings.Gdb is not null && settings.Scheduling.Policy is not null)
            throw new VmmException(UsageErrors.Conflict, "a guest that --gdb stops would keep the turn that --policy gives it");
        if (_agent.IsGiven(result) || settings.Machine.Agent)
            settings = settings with { Machine = settings.Machine.WithAgent(Folders.Runtime) };
        if (settings.Machine.KernelPath.Length == 0)
            throw new VmmException(UsageErrors.NoKernel, "run needs a KERNEL, or a configuration file with boot-source.kernel_image_path");
        return settings.Machine.Validate() is [var problem, ..] ? throw new VmmException(UsageErrors.InvalidMachine, problem) : settings;
    }

    private VmConfig Machine(ParseResult result, VmConfig machine) => machine with
    {
        KernelPath = (_hasKernel ? FullPath(_kernel.Text(result)) : null) ?? machine.KernelPath,
        InitrdPath = FullPath(_initrd.Text(result)) ?? machine.InitrdPath,
        Append = _append.Text(result) ?? machine.Append,
        CommandLine = _cmdline.Text(result) ?? machine.CommandLine,
        AppendFast = _appendFast.IsGiven(result) || machine.AppendFast,
        Protocol = _protocol.Text(result) is { } protocol ? (BootProtocol)Quantities.OneOf("--protocol", protocol, SettingNames.Protocols) : machine.Protocol,
        Name = _name.Text(result) ?? machine.Name,
        Engine = _engine.Text(result) is { } engine ? (EngineChoice)Quantities.OneOf("--engine", engine, SettingNames.Engines) : machine.Engine,
        Cpus = _cpus.Text(result) is { } cpus ? Quantities.Count("--cpus", cpus) : machine.Cpus,
        MemoryBytes = _memory.Text(result) is { } memory ? Quantities.Size("--memory", memory) : machine.MemoryBytes,
        SharedMemory = _sharedMemory.IsGiven(result) || machine.SharedMemory,
        HugePages = !_noHugePages.IsGiven(result) && machine.HugePages,
        Nested = _nested.IsGiven(result) || machine.Nested,
        HyperV = _hyperV.IsGiven(result) || machine.HyperV,
        Complete = !_noComplete.IsGiven(result) && machine.Complete,
        Translate = !_noTranslate.IsGiven(result) && machine.Translate,
        Cpu = _cpu.Text(result) is { } cpu ? (CpuModel)Quantities.OneOf("--cpu", cpu, SettingNames.CpuModels) : machine.Cpu,
        Paging = _paging.Text(result) is { } paging ? (PagingMode)Quantities.OneOf("--paging", paging, SettingNames.PagingModes) : machine.Paging,
        Deterministic = _deterministic.IsGiven(result) || machine.Deterministic,
        Seed = _seed.Text(result) is { } seed ? Quantities.Seed("--seed", seed) : machine.Seed,
        Disks = Disks(result, machine.Disks),
        Entropy = _rng.IsGiven(result) || machine.Entropy,
        Balloon = Balloon(result, machine.Balloon),
        Ports = _port.Texts(result) is { } ports ? [.. ports.Select(Port)] : machine.Ports,
        Vsock = _vsock.Text(result) is { } vsock ? Vsock(vsock) : machine.Vsock,
        Networks = Networks(result, machine.Networks),
        Capture = _capture.Text(result) is { } capture ? Captured(capture) : machine.Capture,
        Metadata = _metadata.Text(result) is { } metadata ? Metadata(metadata, machine.Metadata) : machine.Metadata,
        Virtio = _virtio.Text(result) is { } virtio ? (VirtioTransport)Quantities.OneOf("--virtio", virtio, SettingNames.Transports) : machine.Virtio,
        TestDevices = _testDevices.IsGiven(result) || machine.TestDevices,
        Watchdog = _watchdog.IsGiven(result) || machine.Watchdog,
        Affinity = _scheduling.Affinity(result, machine.Affinity),
        Timeout = _timeout.Text(result) is { } timeout ? Quantities.Duration("--timeout", timeout) : machine.Timeout,
        ReadyMatch = _readyMatch.Text(result) ?? machine.ReadyMatch,
    };

    private BalloonConfig? Balloon(ParseResult result, BalloonConfig? balloon)
    {
        if (_balloon.IsGiven(result))
            balloon ??= new BalloonConfig();
        if (_balloonStats.Text(result) is not { } text)
            return balloon;
        double seconds = Quantities.Duration("--balloon-stats", text).TotalSeconds;
        return seconds is >= 1 and <= ushort.MaxValue && double.IsInteger(seconds)
            ? (balloon ?? new BalloonConfig()) with { StatisticsSeconds = (ushort)seconds }
            : throw Quantities.Bad("--balloon-stats", text, $"is not 1 to {ushort.MaxValue} whole seconds");
    }

    private IReadOnlyList<DiskConfig> Disks(ParseResult result, IReadOnlyList<DiskConfig> configured)
    {
        IReadOnlyList<DiskConfig> disks = _disk.Texts(result) is { } texts ? [.. texts.Select(Disk)] : configured;
        return _allowBacking.IsGiven(result) ? [.. disks.Select(disk => disk with { AllowBacking = true })] : disks;
    }

    private static DiskConfig Disk(string text) =>
        DiskConfig.Parse(text, out var disk) is { } problem ? throw Quantities.Bad("--disk", text, problem) : VolumeDisks.MayBe(disk) ? disk : disk with { Path = FullPath(disk.Path)! };

    private static PortConfig Port(string text) =>
        PortConfig.Parse(text, out var port) is { } problem ? throw Quantities.Bad("--port", text, problem) : port with { SocketPath = FullPath(port.SocketPath)! };

    /// <summary>The cards; published ports are the first one's that is a user network, which there is then.</summary>
    private List<NetConfig> Networks(ParseResult result, IReadOnlyList<NetConfig> configured)
    {
        List<NetConfig> cards = [.. _net.Texts(result) is { } texts ? texts.Select(Net) : configured];
        if (_publish.Texts(result) is not { } ports)
            return cards;
        int user = cards.FindIndex(c => c.Kind == NetKind.User);
        if (user < 0)
        {
            user = cards.Count;
            cards.Add(new NetConfig { Kind = NetKind.User });
        }

        cards[user] = cards[user] with { Publish = [.. ports.Select(Published)] };
        return cards;
    }

    private static CaptureConfig Captured(string text) =>
        CaptureConfig.Parse(text, out var capture) is { } problem ? throw Quantities.Bad("--capture", text, problem) : capture with { Path = FullPath(capture.Path)! };

    private static MetadataConfig Metadata(string text, MetadataConfig? configured) =>
        MetadataConfig.Parse(text, configured, out var metadata) is { } problem ? throw Quantities.Bad("--metadata", text, problem) : metadata with { Path = FullPath(metadata.Path) };

    private static PublishedPort Published(string text) =>
        PublishedPort.Parse(text, out var port) is { } problem ? throw Quantities.Bad("--publish", text, problem) : port;

    private static VsockConfig Vsock(string text) =>
        VsockConfig.Parse(text, out var vsock) is { } problem ? throw Quantities.Bad("--vsock", text, problem) : vsock with { SocketPath = FullPath(vsock.SocketPath)! };

    private static NetConfig Net(string text) => NetConfig.Parse(text, out var net) is { } problem ? throw Quantities.Bad("--net", text, problem) : net with { Model = FullPath(net.Model) };

    // Absolute, so that the configuration a dry run prints means the same file from every folder.
    private static string? FullPath(string? path) => path is null or "" ? path : Path.GetFullPath(path);
}
