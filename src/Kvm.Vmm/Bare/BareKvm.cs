using System.Numerics;
using Kvm.Interop;
using Kvm.Vmm.Completion;
using Kvm.Vmm.Cpu;
using Kvm.Vmm.Vcpu;
using Kvm.X86.Engine;
using Kvm.X86.State;

namespace Kvm.Vmm.Bare;

/// <summary>A bare machine on KVM: one slot of memory, vCPUs, and interrupt chips where they are asked for.</summary>
internal sealed class BareKvm : IBareEngine
{
    private const ulong MessageAddress = 0xfee0_0000; // to APIC id 0, physical mode (SDM vol. 3, 11.11.1)

    private readonly KvmSystem _system;
    private readonly KvmVm _vm;
    private readonly BareOptions _options;
    private readonly BareKvmVcpu[] _vcpus;
    private readonly Lock _board = new();
    private readonly Lock _endLock = new();
    private readonly ulong _pages;
    private BareStop? _stop;

    /// <summary>Makes the machine.</summary>
    /// <exception cref="VmmException">There is no /dev/kvm for us.</exception>
    /// <exception cref="KvmException">KVM refused a step.</exception>
    public BareKvm(BareOptions options, IBareBoard board)
    {
        _options = options;
        var memory = options.Memory.Regions[0];
        _pages = memory.Size / 4096;
        _system = EngineSelector.OpenKvm();
        _vcpus = new BareKvmVcpu[options.Cpus];
        KvmVm? vm = null;
        try
        {
            _vm = vm = _system.CreateVm();
            KeepMsrs();
            _vm.SetTssAddr(MachineLayout.KvmTss);
            _vm.SetIdentityMapAddr(MachineLayout.KvmIdentityMap);
            _vm.SetUserMemoryRegion(0, memory.Start, memory.Size, memory.Host, options.TrackWrites ? KvmMemoryFlags.LogDirtyPages : KvmMemoryFlags.None);
            if (options.Chips)
            {
                _vm.CreateIrqChip();
                _vm.CreatePit2();
            }

            var supported = CpuidPolicy.Supported(_system, hyperV: false);
            for (int i = 0; i < _vcpus.Length; i++)
                _vcpus[i] = new BareKvmVcpu(this, MakeVcpu(i, supported), board, options);
            _vcpus[0].Enter(options.Entry);
        }
        catch
        {
            foreach (var vcpu in _vcpus)
                vcpu?.Dispose();
            vm?.Dispose();
            _system.Dispose();
            throw;
        }
    }

    public string Name => "kvm";

    public IReadOnlyDictionary<string, long> Completions
    {
        get
        {
            var counts = new Dictionary<string, long>();
            foreach (var vcpu in _vcpus)
                vcpu.AddCompletions(counts);
            return counts;
        }
    }

    /// <summary>The board is one: exits of several vCPUs come to it one after the other.</summary>
    internal Lock BoardLock => _board;

    /// <summary>Why the run ends, or null while it does not.</summary>
    internal BareStop? Stop
    {
        get
        {
            lock (_endLock)
                return _stop;
        }
    }

    public BareStop Run()
    {
        var others = new List<Thread>();
        foreach (var vcpu in _vcpus.Skip(1))
        {
            var thread = new Thread(() => vcpu.Run()) { IsBackground = true, Name = $"lab vcpu{vcpu.Index}" };
            others.Add(thread);
            thread.Start();
        }

        _vcpus[0].Run();
        foreach (var thread in others)
            thread.Join();
        return TakeStop();
    }

    public bool Waits(int vcpu) => _options.Chips && _vcpus[vcpu].Vcpu.GetMpState() is KvmMpStateValue.Uninitialized or KvmMpStateValue.InitReceived or KvmMpStateValue.Halted;

    public BareStop Step(int vcpu)
    {
        // The others do not run meanwhile: whether they wait for ever is seen from here.
        for (int i = 0; _options.Chips && i < _vcpus.Length; i++)
            _vcpus[i].LookAtHalt();
        var done = Stop is null ? _vcpus[vcpu].Step() : BareStop.Halted;
        return done == BareStop.Stepped ? done : TakeStop();
    }

    public void Kick() => End(BareStop.Kicked);

    public void LookAtHalts()
    {
        foreach (var vcpu in _vcpus)
            vcpu.Kick();
    }

    public void Save(int vcpu, ArchitecturalState state) => KvmVcpuState.Save(_vcpus[vcpu].Vcpu, state);

    public void Restore(int vcpu, ArchitecturalState state) => KvmVcpuState.Restore(_vcpus[vcpu].Vcpu, state);

    public void Interrupt(byte vector) => _vm.SignalMsi(MessageAddress, vector);

    public IReadOnlyList<int> TakeWrittenPages()
    {
        var bitmap = new ulong[(_pages + 63) / 64];
        _vm.GetDirtyLog(0, bitmap);
        var pages = new List<int>();
        for (int word = 0; word < bitmap.Length; word++)
        {
            for (ulong bits = bitmap[word]; bits != 0; bits &= bits - 1)
                pages.Add((word * 64) + BitOperations.TrailingZeroCount(bits));
        }

        return pages;
    }

    public void Dispose()
    {
        foreach (var vcpu in _vcpus)
            vcpu.Dispose();
        _vm.Dispose();
        _system.Dispose();
    }

    /// <summary>Ends the run for all vCPUs; the first reason counts.</summary>
    internal void End(BareStop why)
    {
        lock (_endLock)
            _stop ??= why;
        foreach (var vcpu in _vcpus)
            vcpu.Kick();
    }

    /// <summary>A vCPU halted for ever; the run ends when all have.</summary>
    internal void EndIfAllAreStuck()
    {
        if (_vcpus.All(vcpu => vcpu.IsStuck))
            End(BareStop.Halted);
    }

    /// <summary>Takes the reason of the end. A kick is used up by it and may have come before the run; what else ends a run ends the next one as well.</summary>
    private BareStop TakeStop()
    {
        lock (_endLock)
        {
            var stop = _stop!.Value;
            if (stop == BareStop.Kicked)
                _stop = null;
            return stop;
        }
    }

    private KvmVcpu MakeVcpu(int index, KvmCpuidEntry2[] supported)
    {
        var vcpu = _vm.CreateVcpu((uint)index);
        bool deadline = _system.CheckExtension(KvmCap.KVM_CAP_TSC_DEADLINE_TIMER) != 0;
        var leaves = CpuidPolicy.ForVcpu(supported, index, new CpuidPolicy.Facts(_options.Cpus, 0, deadline, false, false)).ToList();
        foreach (var change in _options.Cpuid)
            Change(leaves, change);
        vcpu.SetCpuid2([.. leaves]);
        MsrSetup.Apply(vcpu);
        return vcpu;
    }

    private static void Change(List<KvmCpuidEntry2> leaves, CpuidChange change)
    {
        int at = leaves.FindIndex(leaf => leaf.Function == change.Leaf && leaf.Index == change.Subleaf);
        if (at < 0)
        {
            leaves.Add(new KvmCpuidEntry2 { Function = change.Leaf, Index = change.Subleaf });
            at = leaves.Count - 1;
        }

        var entry = leaves[at];
        var now = change.Of(new CpuidResult(entry.Eax, entry.Ebx, entry.Ecx, entry.Edx));
        leaves[at] = entry with { Eax = now.Eax, Ebx = now.Ebx, Ecx = now.Ecx, Edx = now.Edx };
    }

    /// <summary>Has KVM hand us the registers that the board keeps (api.rst, KVM_X86_SET_MSR_FILTER).</summary>
    private void KeepMsrs()
    {
        if (_options.MsrWindow.Count == 0)
            return;
        _vm.EnableCap(KvmCap.KVM_CAP_X86_USER_SPACE_MSR, KvmConst.KVM_MSR_EXIT_REASON_FILTER | KvmConst.KVM_MSR_EXIT_REASON_UNKNOWN | KvmConst.KVM_MSR_EXIT_REASON_INVAL);
        _vm.SetMsrFilter(defaultAllow: true, new KvmMsrFilterRange(_options.MsrWindow.First, _options.MsrWindow.Count, KvmConst.KVM_MSR_FILTER_READ | KvmConst.KVM_MSR_FILTER_WRITE));
    }
}
