using Kvm.Devices.Bus;
using Kvm.Interop;
using Kvm.Vmm.Boot;
using Kvm.Vmm.Console;
using Kvm.Vmm.Probing;
using Kvm.Vmm.Vcpu;
using Kvm.Vmm.Virtio;

namespace Kvm.Vmm;

/// <summary>What <see cref="VmBuilder"/> hands to the machine.</summary>
internal sealed record MachineParts
{
    public required IEngine Engine { get; init; }
    public required RamMapping Ram { get; init; }
    public required Snapshots.Lazy.PagedMemory? Paged { get; init; }
    public required PlatformDevices Devices { get; init; }
    public required VirtioSet Virtio { get; init; }
    public required ConsoleWatcher Console { get; init; }
    public required IReadOnlyList<IVcpuEngine> Vcpus { get; init; }
    public required string CommandLine { get; init; }
    public required string HostBackend { get; init; }
    public required Scheduling.GateSeats? Seats { get; init; }
    public required Func<MachineFault, string, bool>? Faulted { get; init; }
    public required TimeSpan? HangAfter { get; init; }
}

/// <summary>What a machine that does not boot begins with.</summary>
/// <param name="CommandLine">The kernel's command line, as it was.</param>
/// <param name="Memory">What is in memory.</param>
internal sealed record RestoredParts(string CommandLine, Snapshots.IMemoryImage Memory);

/// <summary>Builds a machine as a list of steps: the file to read first.</summary>
internal static class VmBuilder
{
    /// <summary>Builds a machine that boots.</summary>
    public static VirtualMachine Build(VmConfig config, VmHost host) => Build(config, host, null);

    /// <summary>Builds a machine that goes on from a state: no kernel is read, and the vCPUs have no registers yet.</summary>
    public static VirtualMachine Build(VmConfig config, VmHost host, RestoredParts? restored)
    {
        if (config.Validate() is { Count: > 0 } problems)
            throw new VmmException(HostErrors.BadConfiguration, string.Join("; ", problems));

        Scheduling.CpuAffinity.Check(config.Affinity);
        // What is built so far, to be given back in reverse order if a later step fails.
        var built = new Stack<IDisposable>();
        try
        {
            // Devices' time stands still while the machine is paused.
            host = host with { Time = new Lifecycle.MachineTime(host.Time) };
            var choice = EngineSelector.Choose(config, host);
            var layout = new MachineLayout(config.MemoryBytes);
            var ram = Keep(new RamMapping(layout, config, restored?.Memory as Snapshots.IMemorySource));
            string commandLine = restored?.CommandLine ?? CommandLine.Build(config, choice.Profile);
            var boot = restored is null ? KernelBoot.Load(config, layout, ram.Memory, commandLine) : null;
            var paged = Put(restored?.Memory, ram, config, host.Notice);
            if (paged is not null)
                Keep(paged);

            var ports = new IoBus();
            var mmio = new IoBus();
            var engine = Keep(choice.Create(config, ram.Memory, ports, mmio));
            var console = new ConsoleWatcher(config.ReadyMatch, host.ConsoleOutput);
            var devices = Keep(new PlatformDevices(ports, mmio, ram.Memory, engine, console, engine.Time, config.Keyboard));
            if (config.TestDevices)
                devices.AddTestDevices(engine);
            if (config.Watchdog)
                devices.AddWatchdog(engine.Time);
            var virtio = Keep(new VirtioSet(config, layout, ram, engine, devices.Pci, mmio, console, host.Notice));

            var vcpus = new List<IVcpuEngine>();
            for (int i = 0; i < config.Cpus; i++)
                vcpus.Add(Keep(engine.CreateVcpu(i)));
            if (boot is not null)
                vcpus[0].SetBootState(boot);
            for (int i = 0; i < vcpus.Count; i++)
                host.Trace?.Attach(vcpus[i], i, ram.Memory);

            if (host.Seats is { } seats)
                (seats.Served, seats.LeaveMemory, seats.Restrict) = (virtio.Served, virtio.LeaveMemory, virtio.Restrict);
            return new VirtualMachine(config, new MachineParts
            {
                Engine = engine,
                Ram = ram,
                Paged = paged,
                Devices = devices,
                Virtio = virtio,
                Console = console,
                Vcpus = vcpus,
                CommandLine = commandLine,
                HostBackend = choice.Profile.Backend,
                Seats = host.Seats,
                Faulted = host.Faulted,
                HangAfter = host.HangAfter,
            });
        }
        catch (Exception e)
        {
            while (built.TryPop(out var part))
                part.Dispose();
            if (e is KvmException)
                throw new VmmException(HostErrors.KvmRefused, e.Message, e);
            throw;
        }

        T Keep<T>(T part) where T : IDisposable
        {
            built.Push(part);
            return part;
        }
    }

    /// <summary>Puts a restored machine's memory there; what brings the rest, where not all of it is.</summary>
    private static Snapshots.Lazy.PagedMemory? Put(Snapshots.IMemoryImage? image, RamMapping ram, VmConfig config, Action<string>? notice)
    {
        if (image is Snapshots.IMemorySource source)
            return ram.Paged = source.Begin(ram, config, notice);
        image?.Fill(ram.Memory);
        return null;
    }
}
