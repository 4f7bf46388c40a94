using Kvm.Devices.Bus;
using Kvm.Devices.Interrupts;
using Kvm.Devices.Memory;
using Kvm.Devices.Platform;
using Kvm.Vmm.Host;
using Kvm.Vmm.Snapshots;
using Kvm.X86.Engine;
using Kvm.X86.Interrupts;

namespace Kvm.Vmm.Vcpu;

/// <summary>The machine's processors and interrupt chips in software: for hosts without KVM, or whose KVM only interprets kernels.</summary>
internal sealed class SoftEngine : IEngine
{
    private readonly HostGuestClock _clock;
    private readonly CpuidTable _cpuid;
    private readonly SystemControlB _control;
    private readonly ChipSet _chips;
    private readonly SoftMachine _machine;
    private readonly PreciseWait _wait = new();
    private readonly TimerThread _timers;
    private readonly List<SoftProcessor> _processors = [];
    private readonly Lock _time = new();
    private bool _started;
    private bool _held;

    /// <summary>Builds the chips, puts them on the buses, and composes the processor.</summary>
    public SoftEngine(VmConfig config, GuestMemory memory, IoBus ports, IoBus mmio, TimeProvider time)
    {
        Time = time;
        _clock = new HostGuestClock(FrequencyOf(config));
        _cpuid = MakeCpuid(_clock, config);
        _chips = new ChipSet(new ChipSetOptions { Clock = _clock, Memory = memory, Processors = config.Cpus, WallClock = time });
        _chips.Register(ports, mmio);
        _control = new SystemControlB("system-control-b", time, _chips.Pit);
        ports.Add(MachineLayout.SystemControlB, SystemControlB.Size, _control);
        _machine = new SoftMachine(memory, ports, mmio, _cpuid, HostCode.Instance)
        {
            KeepTranslations = config.KeepTranslations,
            ShadowPaging = config.Paging == PagingMode.Shadow,
            CodeMemory = config.Translate ? () => CodeBuffer.TryCreate() : null,
        };
        _timers = new TimerThread(_chips.Timers, _wait);
    }

    public string Name => "soft";

    public TimeProvider Time { get; }

    public Reporting.PagingReport? Paging => Reporting.PagingReport.Of(_processors);

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
        return new SoftVcpuEngine(processor, StartTime);
    }

    public void Dispose()
    {
        _timers.Dispose();
        _wait.Dispose();
    }

    /// <inheritdoc/>
    public X86.Paging.DirtyPages? Dirty => _machine.Dirty;

    /// <inheritdoc/>
    public bool TrackDirty(bool tracks)
    {
        if (tracks)
            _machine.TrackWrites();
        else
            _machine.StopTrackingWrites();
        return true;
    }

    /// <inheritdoc/>
    public void HarvestDirty() => _machine.TrackWritesAnew();

    /// <inheritdoc/>
    public BoardState SaveBoard()
    {
        var board = new BoardState();
        Board.Save(board);
        return board;
    }

    /// <inheritdoc/>
    public void RestoreBoard(BoardState board, RestoreReport report) => Board.Restore(board, report);

    private SoftBoard Board => new(_chips, _clock, _cpuid, _processors, _control);

    /// <summary>A guest that was saved has its counter's frequency from its first boot on.</summary>
    private static ulong FrequencyOf(VmConfig config) =>
        config.Restored is { TscFrequency: >= GuestClock.MinimumTscFrequency and <= GuestClock.MaximumTscFrequency } board ? board.TscFrequency : GuestClock.DefaultTscFrequency;

    /// <inheritdoc/>
    public void Hold(bool held, bool runs)
    {
        lock (_time)
        {
            _held = held;
            if (!_started)
                return;
            if (held)
                _clock.Stop();
            else
                _clock.Start();
            _timers.Hold(held);
        }
    }

    /// <inheritdoc/>
    /// <remarks>The clock stands still already; afterwards no timer is under way either.</remarks>
    public void StopTime() => _timers.Stop();

    /// <inheritdoc/>
    public void Silence() => _timers.Stop();

    /// <inheritdoc/>
    public void ResumeTime()
    {
        lock (_time)
        {
            if (!_started)
                return;
            _chips.NotifyResumed();
            _timers.Start();
        }
    }

    /// <summary>Lets the machine's time run, when the first processor does, unless the machine is to stand still.</summary>
    private void StartTime()
    {
        lock (_time)
        {
            if (_started)
                return;
            _started = true;
            if (_held)
            {
                _timers.Hold(true);
                return;
            }

            _clock.Start();
            _timers.Start();
        }
    }

    /// <summary>The default processor with the leaves that KVM guests know, so that kernels use kvmclock and do not measure the TSC.</summary>
    internal static CpuidTable MakeCpuid(GuestClock clock, VmConfig config)
    {
        var table = config.Cpu == CpuModel.V3 ? CpuidTable.CreateWithVectors(config.Cpus) : CpuidTable.CreateDefault(config.Cpus);
        ReadOnlySpan<uint> leaves = [0x15, 0x16, KvmLeaves.Signature, KvmLeaves.Features, KvmLeaves.Timing];
        foreach (uint leaf in leaves)
        {
            if (KvmLeaves.TryRead(clock, leaf, out uint eax, out uint ebx, out uint ecx, out uint edx))
                table.Set(leaf, 0, new CpuidResult(eax, ebx, ecx, edx));
        }

        return table;
    }
}
