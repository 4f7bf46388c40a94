using Kvm.Devices.Virtio.Vsock;
using Kvm.Vmm.Agent;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Network;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Virtio;
using Kvm.Vmm.Virtio.Ports;
using Kvm.Vmm.Virtio.Sockets;

namespace Kvm.Vmm;

/// <summary>What runs the guest's instructions.</summary>
public enum EngineChoice
{
    /// <summary>KVM where its probe finds kernel code running natively, the software engine elsewhere.</summary>
    Auto,

    /// <summary>Linux KVM.</summary>
    Kvm,

    /// <summary>The processor in software.</summary>
    Soft,
}

/// <summary>How a kernel image that allows several ways in is entered.</summary>
public enum BootProtocol
{
    /// <summary>By what the image says.</summary>
    Auto,

    /// <summary>The 64-bit Linux boot protocol (Documentation/arch/x86/boot.rst).</summary>
    Linux64,

    /// <summary>PVH: 32-bit entry named by an ELF note.</summary>
    Pvh,

    /// <summary>The 32-bit Linux boot protocol.</summary>
    Linux32,

    /// <summary>Multiboot 1.</summary>
    Multiboot,
}

/// <summary>A whole machine, as the user asked for it: immutable, validated once by <see cref="Validate"/>.</summary>
public sealed record VmConfig
{
    /// <summary>The board of the machine this one goes on from; null for one that boots.</summary>
    internal Snapshots.BoardState? Restored { get; init; }

    /// <summary>Whether it goes on as another machine than the one it is of: its cards have addresses of their own.</summary>
    internal bool IsClone { get; init; }

    /// <summary>Path of the kernel image: a bzImage or an ELF file, told apart by content.</summary>
    public required string KernelPath { get; init; }

    /// <summary>Path of the initial RAM file system, or null.</summary>
    public string? InitrdPath { get; init; }

    /// <summary>Added to the command line that the machine builds for itself.</summary>
    public string Append { get; init; } = "";

    /// <summary>Replaces the whole command line when not null.</summary>
    public string? CommandLine { get; init; }

    /// <summary>Adds options that only shorten a boot where KVM interprets kernels (docs/boot.md says what each costs).</summary>
    public bool AppendFast { get; init; }

    /// <summary>Number of vCPUs, 1 to <see cref="MaxCpus"/>.</summary>
    public int Cpus { get; init; } = 1;

    /// <summary>Guest memory in bytes, a multiple of 1 MiB; 2 MiB to <see cref="MaxMemory"/>.</summary>
    public ulong MemoryBytes { get; init; } = 256UL << 20;

    /// <summary>Backs guest memory by a sealed memfd that other processes may be given, instead of anonymous memory.</summary>
    public bool SharedMemory { get; init; }

    /// <summary>Asks the kernel for transparent huge pages behind guest memory.</summary>
    public bool HugePages { get; init; } = true;

    /// <summary>Which engine runs the guest.</summary>
    public EngineChoice Engine { get; init; } = EngineChoice.Auto;

    /// <summary>How the kernel is entered.</summary>
    public BootProtocol Protocol { get; init; } = BootProtocol.Auto;

    /// <summary>Completes instructions that KVM gives up on (KVM_EXIT_INTERNAL_ERROR, emulation failure).</summary>
    public bool Complete { get; init; } = true;

    /// <summary>Lets the software engine translate code that runs often to host code; without it everything is interpreted.</summary>
    public bool Translate { get; init; } = true;

    /// <summary>How the software engine translates addresses; KVM has no choice here and is refused with <see cref="PagingMode.Shadow"/>.</summary>
    public PagingMode Paging { get; init; }

    /// <summary>The processor the software engine shows; KVM shows the host's and is refused with anything else.</summary>
    public CpuModel Cpu { get; init; }

    /// <summary>Has the software engine count how often translated code runs, for <see cref="VirtualMachine.WriteTranslations"/>.</summary>
    public bool KeepTranslations { get; init; }

    /// <summary>
    /// Runs the guest so that two runs are the same run: on the software engine, with time from retired instructions, seeded random
    /// numbers, all vCPUs on one thread and no console input (docs/engine.md, "Deterministic runs").
    /// </summary>
    public bool Deterministic { get; init; }

    /// <summary>What RDRAND and RDSEED follow from in a deterministic run.</summary>
    public ulong Seed { get; init; }

    /// <summary>Passes VMX or SVM to the guest, or refuses to start where the host has neither.</summary>
    public bool Nested { get; init; }

    /// <summary>Shows the guest Hyper-V's CPUID leaves besides KVM's.</summary>
    public bool HyperV { get; init; }

    /// <summary>Gives the guest the devices that test guests of hypervisors expect (<see cref="MachineLayout.TestPorts"/> and what follows it).</summary>
    public bool TestDevices { get; init; }

    /// <summary>Gives the guest a watchdog timer (Intel's 6300ESB), which it has to set back once it has switched it on; else <see cref="MachineFault.Watchdog"/>.</summary>
    public bool Watchdog { get; init; }

    /// <summary>Disks, the first of which the guest calls <c>/dev/vda</c>.</summary>
    public IReadOnlyList<DiskConfig> Disks { get; init; } = [];

    /// <summary>Gives the guest random bytes of the host's (virtio-rng).</summary>
    public bool Entropy { get; init; }

    /// <summary>A memory balloon, or null.</summary>
    public BalloonConfig? Balloon { get; init; }

    /// <summary>What the guest's console is for it.</summary>
    public GuestConsole Console { get; init; }

    /// <summary>Named channels between programs of the guest and Unix sockets.</summary>
    public IReadOnlyList<PortConfig> Ports { get; init; } = [];

    /// <summary>Network cards, the first of which the guest calls <c>eth0</c> or by its place.</summary>
    public IReadOnlyList<NetConfig> Networks { get; init; } = [];

    /// <summary>Sockets between programs of the guest and of the host, or null.</summary>
    public VsockConfig? Vsock { get; init; }

    /// <summary>The guest is told to start its agent (<c>kvmsharp.agent=1</c>), which is asked by <see cref="Vsock"/>.</summary>
    public bool Agent { get; init; }

    /// <summary>Where the frames of all network cards are written to, or null.</summary>
    public CaptureConfig? Capture { get; init; }

    /// <summary>What the guest may ask of itself at its network cards, or null.</summary>
    public MetadataConfig? Metadata { get; init; }

    /// <summary>How the guest finds its virtio devices.</summary>
    public VirtioTransport Virtio { get; init; } = VirtioTransport.Pci;

    /// <summary>
    /// Runs queues on the thread that is notified (true) or on threads of their devices (false); null is what was measured to be
    /// better on the engine. For measuring.
    /// </summary>
    public bool? InlineQueues { get; init; }

    /// <summary>Sends KVM the messages of virtio devices by irqfds instead of calls. For measuring; the software engine has neither.</summary>
    public bool Irqfds { get; init; }

    /// <summary>The guest has a keyboard, on which <see cref="VirtualMachine.PressCtrlAltDel"/> types; a driver then spends a while on finding it.</summary>
    public bool Keyboard { get; init; }

    /// <summary>Limits of disks and network cards may be changed while the machine runs, also of those that have none, which then costs a look at the clock for each request.</summary>
    public bool LimitsMayChange { get; init; }

    /// <summary>The guest is ended after this much real time; null is never.</summary>
    public TimeSpan? Timeout { get; init; }

    /// <summary>Console output that says the guest is up; its time goes into the report. Null: not looked for.</summary>
    public string? ReadyMatch { get; init; }

    /// <summary>The host's CPUs that vCPU threads may run on, ascending; empty for those of the process.</summary>
    public IReadOnlyList<int> Affinity { get; init; } = [];

    /// <summary>A name for people, used for threads and reports.</summary>
    public string Name { get; init; } = DefaultName;

    /// <summary>The name of a machine that nobody named.</summary>
    public const string DefaultName = "guest";

    /// <summary>Largest number of vCPUs of a machine: xAPIC identifiers are 8 bits wide and 255 is broadcast.</summary>
    public const int MaxCpus = 254;

    /// <summary>Largest guest memory: 1 TiB less what the 39-bit layout reserves is far above what hosts give; 512 GiB.</summary>
    public const ulong MaxMemory = 512UL << 30;

    /// <summary>The same machine with every number that is else given by chance when it is built, so that the guest finds the same ones at each boot.</summary>
    public VmConfig WithFixedNumbers() => this with { Networks = [.. Networks.Select(card => card with { Mac = card.Mac ?? NetworkBackends.AnyMac() })] };

    /// <summary>The same machine with an agent in its guest, and sockets where it has none: at <c>vms/NAME.vsock</c> below the runtime folder.</summary>
    /// <param name="runtimeFolder">The runtime folder (<see cref="Host.Folders.Runtime"/>).</param>
    /// <exception cref="VmmException">The machine's name is no file's.</exception>
    public VmConfig WithAgent(string runtimeFolder) => this with
    {
        Agent = true,
        Vsock = Vsock ?? new VsockConfig
        {
            Cid = VsockDevice.FirstGuestCid,
            SocketPath = AgentClient.PathOf(runtimeFolder, Name)
                ?? throw new VmmException(UsageErrors.InvalidMachine, $"an agent's socket is named after the machine, and {VisibleText.Quote(Name, 80)} is no name that a file could have"),
        },
    };

    /// <summary>Lists everything wrong with the configuration, in the order a person would mend it; empty if it can be built.</summary>
    public IReadOnlyList<string> Validate()
    {
        var problems = new List<string>();
        if (KernelPath.Length == 0)
            problems.Add("no kernel image was named");
        if (Cpus is < 1 or > MaxCpus)
            problems.Add($"{Cpus} vCPUs were asked for; a machine has 1 to {MaxCpus}");
        if (MemoryBytes < 2UL << 20)
            problems.Add($"{MemoryBytes} bytes of memory were asked for; the least is 2M");
        else if (MemoryBytes > MaxMemory)
            problems.Add($"{MemoryBytes >> 30} GiB of memory were asked for; the most is {MaxMemory >> 30}G");
        else if (MemoryBytes % (1UL << 20) != 0)
            problems.Add($"{MemoryBytes} bytes of memory were asked for; it must be a multiple of 1M");
        if (Timeout is { } t && t <= TimeSpan.Zero)
            problems.Add("the timeout must be longer than zero");
        if (ReadyMatch is { Length: 0 or > 1024 })
            problems.Add("the text to wait for must be 1 to 1,024 characters");
        for (int i = 0; i < Disks.Count; i++)
        {
            if (Disks[i].Problem() is { } problem)
                problems.Add($"disk {i} {problem}");
        }

        if (PortConfig.Problem(Ports) is { } port)
            problems.Add(port);
        if (Deterministic && Ports.Count > 0)
            problems.Add("a deterministic run has no ports: what comes from outside would not repeat");
        if (NetConfig.Problem(Networks) is { } network)
            problems.Add(network);
        if (Capture is not null && Networks.Count == 0)
            problems.Add("a capture was asked for, and no network card whose frames it could hold");
        if (Metadata?.Problem(Networks) is { } metadata)
            problems.Add(metadata);
        if (Deterministic && Networks.Count > 0)
            problems.Add("a deterministic run has no network: what comes from outside would not repeat");
        if (Vsock?.Problem() is { } vsock)
            problems.Add($"vsock {vsock}");
        if (Agent && Vsock is null)
            problems.Add("an agent is asked by sockets between guest and host, and there are none");
        if (Deterministic && Vsock is not null)
            problems.Add("a deterministic run has no sockets: what comes from outside would not repeat");
        int most = Virtio == VirtioTransport.Mmio ? MachineLayout.VirtioMmioSlots : VirtioSet.MaxPciDevices - (Watchdog ? 1 : 0);
        if (VirtioSet.CountOf(this) > most)
            problems.Add($"{VirtioSet.CountOf(this)} disks and other devices were asked for; there is room for {most}");
        if (Balloon is { } balloon && balloon.TargetBytes >= MemoryBytes)
            problems.Add("the balloon is to take all of the memory");
        return problems;
    }
}
