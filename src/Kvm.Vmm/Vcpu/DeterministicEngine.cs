using Kvm.Devices.Bus;
using Kvm.Devices.Interrupts;
using Kvm.Devices.Memory;
using Kvm.Devices.Platform;
using Kvm.Devices.Snapshot;
using Kvm.Vmm.Console;
using Kvm.Vmm.Debugging.History;
using Kvm.Vmm.Host;
using Kvm.Vmm.Reporting;
using Kvm.X86.Deterministic;
using Kvm.X86.Engine;
using Kvm.X86.Interrupts;

namespace Kvm.Vmm.Vcpu;

/// <summary>
/// The software engine for runs that repeat exactly (docs/engine.md, "Deterministic runs"): the first vCPU's thread runs all vCPUs, time
/// is theirs, and devices get it too.
/// </summary>
internal sealed class DeterministicEngine : IEngine
{
    /// <summary>The guest's wall clock at guest time 0.</summary>
    public static readonly DateTimeOffset Epoch = new(2025, 1, 1, 0, 0, 0, TimeSpan.Zero);

    private readonly InstructionClock _clock = new();
    private readonly ChipSet _chips;
    private readonly SoftMachine _machine;
    private readonly List<SoftProcessor> _processors = [];
    private readonly SystemControlB _control;
    private readonly ulong _seed;
    private DeterministicRunner? _runner;

    /// <summary>Builds the chips, puts them on the buses, and composes the processor.</summary>
    public DeterministicEngine(VmConfig config, GuestMemory memory, IoBus ports, IoBus mmio)
    {
        _seed = config.Seed;
        _chips = new ChipSet(new ChipSetOptions { Clock = _clock, Memory = memory, Processors = config.Cpus, WallClock = new WallClock(_clock) });
        _chips.Register(ports, mmio);
        Time = new GuestTimeProvider(_chips.Timers, Epoch);
        _control = new SystemControlB("system-control-b", Time, _chips.Pit);
        ports.Add(MachineLayout.SystemControlB, SystemControlB.Size, _control);
        _machine = new SoftMachine(memory, ports, mmio, SoftEngine.MakeCpuid(_clock, config), HostCode.Instance)
        {
            KeepTranslations = config.KeepTranslations,
            ShadowPaging = config.Paging == PagingMode.Shadow,
            CodeMemory = config.Translate ? () => CodeBuffer.TryCreate() : null,
            Deterministic = _seed,
        };
    }

    public string Name => "soft";

    public TimeProvider Time { get; }

    public DeterminismReport? Determinism =>
        new(_seed, (long)(_runner?.Instructions ?? 0), TimeSpan.FromTicks((long)(_clock.Now / 100)));

    public bool OneThread => true;

    /// <summary>The machine's past, where it is kept.</summary>
    public MachineHistory? History { get; private set; }

    /// <inheritdoc/>
    public MachineHistory? KeepHistory(IReadOnlyList<IStateful> devices, ConsoleWatcher console, long budget) =>
        History ??= new MachineHistory(new HistoryParts(Runner, _processors, _machine, _clock, _chips, [.. devices, _control], console), budget);

    public PagingReport? Paging => PagingReport.Of(_processors);

    public IMsiSink Msi => _chips.Msi;

    public IInterruptLine Line(uint gsi) => _chips.Connect((int)gsi);

    public bool TryReadLapic(int index, Span<byte> page)
    {
        _chips.Processors[index].Apic.SaveKvmState(page);
        return true;
    }

    public IVcpuEngine CreateVcpu(int index)
    {
        var chips = _chips.Processors[index];
        var processor = _machine.AddProcessor(chips);
        chips.Target = processor;
        _processors.Add(processor);
        return index == 0 ? new DeterministicVcpuEngine(this, processor) : new PassiveVcpuEngine(processor);
    }

    /// <summary>All processors, when there are no more to come.</summary>
    internal IReadOnlyList<SoftProcessor> Processors => _processors;

    /// <summary>Who runs them; made when it is first asked for, on the first vCPU's thread.</summary>
    internal DeterministicRunner Runner => _runner ??= new DeterministicRunner(_processors, _chips.Timers);

    public void Dispose()
    {
    }

    /// <summary>Only tells the time: kvmclock's wall clock is wanted before there is a queue for timers.</summary>
    private sealed class WallClock(GuestClock clock) : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => Epoch.AddTicks((long)Math.Min(clock.Now / 100, long.MaxValue / 4));
    }
}
