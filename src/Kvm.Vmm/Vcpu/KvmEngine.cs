using Kvm.Devices.Bus;
using Kvm.Devices.Interrupts;
using Kvm.Devices.Memory;
using Kvm.Interop;
using Kvm.Vmm.Completion;
using Kvm.Vmm.Cpu;
using Kvm.Vmm.Observation;
using Kvm.Vmm.Probing;
using Kvm.Vmm.Snapshots;

namespace Kvm.Vmm.Vcpu;

/// <summary>One KVM virtual machine: memory slots, in-kernel interrupt chips and timer, vCPUs.</summary>
internal sealed class KvmEngine : IEngine
{
    private readonly KvmSystem _system;
    private readonly KvmVm _vm;
    private readonly VmConfig _config;
    private readonly HostProfile _profile;
    private readonly GuestMemory _memory;
    private readonly IoBus _ports;
    private readonly IoBus _mmio;
    private readonly KvmCpuidEntry2[] _supportedCpuid;
    private readonly bool _tscDeadline;
    private readonly uint _tscKhz;
    private readonly KvmMsiSink _messages;
    private readonly KvmPlants _plants;
    private readonly List<KvmVcpu> _vcpus = [];
    private readonly List<IVcpuEngine> _engines = [];
    private readonly KvmGuestTime _guestTime;
    private DebugFacts? _debugFacts;
    private KvmDirtyLog? _dirtyLog;
    private KvmDoorbells? _doorbells;

    /// <summary>Makes the virtual machine and maps <paramref name="memory"/> into it.</summary>
    /// <exception cref="KvmException">KVM refused a step.</exception>
    public KvmEngine(KvmSystem system, VmConfig config, HostProfile profile, GuestMemory memory, IoBus ports, IoBus mmio, TimeProvider time)
    {
        Time = time;
        _plants = new KvmPlants(memory);
        (_system, _config, _profile, _memory, _ports, _mmio) = (system, config, profile, memory, ports, mmio);
        _vm = system.CreateVm();
        _messages = KvmMessages.Choose(_vm, config);
        _guestTime = new KvmGuestTime(system, _vm, _vcpus);
        try
        {
            _tscDeadline = system.CheckExtension(KvmCap.KVM_CAP_TSC_DEADLINE_TIMER) != 0;
            _tscKhz = TscKhz();
            // Before the chips: making them leaves work for an SRCU grace period of the VM that the filter would then wait for, 13 ms.
            InterceptMsrs();
            // Old Intel processors run real mode in a TSS and an identity map that they need a place for (api.rst 4.7, 4.31).
            _vm.SetTssAddr(MachineLayout.KvmTss);
            _vm.SetIdentityMapAddr(MachineLayout.KvmIdentityMap);
            MapMemory();
            _vm.CreateIrqChip();
            _vm.CreatePit2(speakerDummy: true);
            _supportedCpuid = CpuidPolicy.Supported(system, config.HyperV);
            CpuidPolicy.RequireNested(config.Nested, _supportedCpuid);
        }
        catch
        {
            _vm.Dispose();
            throw;
        }
    }

    public string Name => "kvm";

    public TimeProvider Time { get; }

    public IMsiSink Msi => _messages;

    public Virtio.IDoorbells? Doorbells => _doorbells ??= new KvmDoorbells(_vm);

    public IInterruptLine Line(uint gsi) => new KvmInterruptLine(_vm, gsi);

    public bool TryReadLapic(int index, Span<byte> page)
    {
        _vcpus[index].GetLapic(out var state);
        System.Runtime.InteropServices.MemoryMarshal.AsBytes(new ReadOnlySpan<KvmLapicState>(in state)).CopyTo(page);
        return true;
    }

    public IVcpuEngine CreateVcpu(int index)
    {
        var vcpu = _vm.CreateVcpu((uint)index);
        _vcpus.Add(vcpu);
        try
        {
            var facts = new CpuidPolicy.Facts(_config.Cpus, _tscKhz, _tscDeadline, _profile.GivesUpOnInstructions, _config.Nested);
            vcpu.SetCpuid2(CpuidPolicy.ForVcpu(_supportedCpuid, index, facts));
            MsrSetup.Apply(vcpu);
            var completer = _config.Complete ? new InstructionCompleter(vcpu, _memory, _ports, _mmio, ExtendedStateLayout.OfHost) : null;
            var observatory = new ExitObservatory(index);
            var debug = new KvmVcpuDebug(vcpu, index == 0, _memory, DebugFacts, _plants);
            var repair = _profile.SyscallBroken ? new SyscallRepair(vcpu, _memory, completer, observatory.Counts, debug) : null;
            var ticks = SpacesTicks ? new TickSpacing(vcpu, _tscKhz) : null;
            var engine = new KvmVcpuEngine(vcpu, _ports, _mmio, completer, repair, ticks, new Scheduling.StealTime(vcpu, _memory), observatory, debug, index, _config.KernelPath);
            _engines.Add(engine);
            return engine;
        }
        catch
        {
            vcpu.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    /// <remarks>Guest time is KVM's and goes on.</remarks>
    public void Hold(bool held, bool runs)
    {
        if (held)
            _plants.Lift();
        else if (runs)
            _plants.Plant();
    }

    /// <inheritdoc/>
    public X86.Paging.DirtyPages? Dirty => _dirtyLog?.Pages;

    /// <inheritdoc/>
    public bool TrackDirty(bool tracks)
    {
        _dirtyLog?.Dispose();
        _dirtyLog = tracks ? new KvmDirtyLog(_vm, _memory) : null;
        return true;
    }

    /// <inheritdoc/>
    public void HarvestDirty() => _dirtyLog?.Harvest();

    /// <inheritdoc/>
    public BoardState SaveBoard()
    {
        var board = new BoardState();
        Board.Save(board);
        return board;
    }

    /// <inheritdoc/>
    public void RestoreBoard(BoardState board, RestoreReport report) => Board.Restore(board, report);

    private KvmBoard Board => new(_system, _vm, _vcpus, _engines, _guestTime, _tscKhz);

    /// <inheritdoc/>
    public bool TimeStops => _guestTime.Stops;

    /// <inheritdoc/>
    public void StopTime() => _guestTime.Stop();

    /// <inheritdoc/>
    public void ResumeTime() => _guestTime.Resume();

    public void Dispose()
    {
        _messages.Dispose();
        _vm.Dispose();
        _system.Dispose();
    }

    /// <summary>Probed when somebody debugs.</summary>
    private DebugFacts DebugFacts() => _debugFacts ??= DebugProber.Probe(_system);

    private bool SpacesTicks => _profile.KernelInterpreted && _tscKhz != 0 && _tscDeadline;

    /// <summary>
    /// On a KVM with defects, has it leave the guest's writes of the MSRs concerned to us (api.rst, KVM_X86_SET_MSR_FILTER).
    /// On any other nothing is asked for.
    /// </summary>
    private void InterceptMsrs()
    {
        List<KvmMsrFilterRange> writes = [];
        if (_profile.SyscallBroken)
            writes.Add(new(SyscallRepair.MsrLstar, 1, KvmConst.KVM_MSR_FILTER_WRITE));
        if (SpacesTicks)
            writes.Add(new(TickSpacing.Msr, 1, KvmConst.KVM_MSR_FILTER_WRITE));
        if (writes.Count == 0)
            return;
        _vm.EnableCap(KvmCap.KVM_CAP_X86_USER_SPACE_MSR, KvmConst.KVM_MSR_EXIT_REASON_FILTER);
        _vm.SetMsrFilter(defaultAllow: true, [.. writes]);
    }

    private void MapMemory()
    {
        for (int slot = 0; slot < _memory.Regions.Length; slot++)
        {
            ref readonly var region = ref _memory.Regions[slot];
            KvmDirtyLog.Map(_vm, slot, region, region.ReadOnly ? KvmMemoryFlags.ReadOnly : KvmMemoryFlags.None);
        }
    }

    private uint TscKhz()
    {
        if (_system.CheckExtension(KvmCap.KVM_CAP_GET_TSC_KHZ) == 0)
            return 0;
        return (uint)Math.Max(0, TryTscKhz());

        int TryTscKhz()
        {
            try
            {
                return _vm.GetTscKhz();
            }
            catch (KvmException)
            {
                // Before KVM_CAP_VM_TSC_CONTROL only a vCPU could be asked; the leaves are then left out.
                return 0;
            }
        }
    }
}

/// <summary>A pin of KVM's in-kernel interrupt chips.</summary>
internal sealed class KvmInterruptLine(KvmVm vm, uint gsi) : IInterruptLine
{
    /// <inheritdoc/>
    public void Set(bool asserted) => vm.IrqLine(gsi, asserted);
}
