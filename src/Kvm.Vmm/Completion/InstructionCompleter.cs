using Iced.Intel;
using Kvm.Devices.Bus;
using Kvm.Devices.Memory;
using Kvm.Interop;
using Kvm.Vmm.Cpu;
using Kvm.Vmm.Host;
using Kvm.Vmm.Vcpu;
using Kvm.X86.Engine;
using Kvm.X86.State;

namespace Kvm.Vmm.Completion;

/// <summary>
/// Does for one vCPU what KVM gave up on (KVM_EXIT_INTERNAL_ERROR, emulation failure): takes its state, lets the software
/// processor execute the instruction at RIP, puts the state back. The semantics are Kvm.X86's, the same the software engine
/// runs on; here is only what comes from KVM and goes back to it.
/// </summary>
/// <remarks>Used by the vCPU's thread only. Nothing is made before the first completion; after it nothing is allocated.</remarks>
internal sealed class InstructionCompleter(KvmVcpu vcpu, GuestMemory memory, IoBus ports, IoBus mmio, Func<ExtendedStateLayout> layout) : IDisposable
{
    private const int DebugException = 1;
    private const uint TimeStampCounter = 0x10;

    /// <summary>CR0, CR2 and segments come with SREGS; these are MSRs that a completed instruction may read or write.</summary>
    private static readonly uint[] s_msrs = [0xc000_0081, 0xc000_0082, 0xc000_0083, 0xc000_0084, 0xc000_0102, 0xc000_0103, 0x174, 0x175, 0x176];

    /// <summary>More than there are mnemonics.</summary>
    private const int Mnemonics = 4096;

    private long[]? _counts;
    private Worker? _worker;

    /// <summary>Completes the instruction KVM failed on, and counts it by mnemonic.</summary>
    /// <returns>False if the software processor does not know it either: the guest cannot go on.</returns>
    public bool TryComplete()
    {
        _worker ??= new Worker(vcpu, memory, ports, mmio, layout());
        if (!_worker.TryComplete(vcpu.RunPage.FailedInstruction))
            return false;
        _counts ??= new long[Mnemonics];
        _counts[(int)_worker.Mnemonic % Mnemonics]++;
        return true;
    }

    /// <summary>Adds how many instructions were completed, by mnemonic in lower case. Any thread.</summary>
    public void AddCounts(IDictionary<string, long> table)
    {
        for (int i = 0; i < (Volatile.Read(ref _counts)?.Length ?? 0); i++)
        {
            if (_counts![i] is not (> 0 and var count))
                continue;
            string name = ((Mnemonic)i).ToString().ToLowerInvariant();
            table[name] = table.TryGetValue(name, out long before) ? before + count : count;
        }
    }

    public void Dispose() => _worker?.Dispose();

    /// <summary>What is made at the first completion: most hosts never need it.</summary>
    private sealed class Worker : IDisposable
    {
        private readonly KvmVcpu _vcpu;
        private readonly InstructionStepper _stepper;
        private readonly ArchitecturalState _state = new();
        private readonly KvmMsrEntry[] _msrs = new KvmMsrEntry[s_msrs.Length];
        private readonly byte[] _xsave;
        private KvmSregs _sregs;

        public Worker(KvmVcpu vcpu, GuestMemory memory, IoBus ports, IoBus mmio, ExtendedStateLayout layout)
        {
            _vcpu = vcpu;
            _stepper = new InstructionStepper(memory, ports, mmio, HostCode.Instance, layout.Components, ReadTsc) { PhysicalAddressBits = layout.PhysicalAddressBits };
            _xsave = new byte[Math.Max(vcpu.XsaveSize, ArchitecturalState.ExtendedSize)];
        }

        public Mnemonic Mnemonic => _stepper.Instruction.Mnemonic;

        public bool TryComplete(ReadOnlySpan<byte> code)
        {
            bool extended = InstructionBytes.MayUseExtendedState(code);
            bool msrs = InstructionBytes.MayUseMsrs(code);
            Load(extended, msrs);
            ulong rflags = _state.Rflags;
            var result = _stepper.Step(_state);
            if (result.Kind == StepKind.Unsupported)
                return false;
            if (result is { Kind: StepKind.Exception, Vector: 14, IsSoftware: false })
                _state.Cr2 = result.Address;
            Store(extended, msrs);
            if (result.Kind == StepKind.Exception)
                Inject(result);
            else if ((rflags & X86Flags.Trap) != 0)
                InjectSingleStep();
            return true;
        }

        public void Dispose() => _stepper.Dispose();

        private void Load(bool extended, bool msrs)
        {
            _vcpu.GetRegs(out var regs);
            _vcpu.GetSregs(out _sregs);
            KvmArchitecturalState.Load(_state, regs, _sregs);
            if (msrs)
            {
                for (int i = 0; i < _msrs.Length; i++)
                    _msrs[i] = new KvmMsrEntry(s_msrs[i]);
                _vcpu.GetMsrs(_msrs);
                (_state.Msr.Star, _state.Msr.Lstar, _state.Msr.Cstar, _state.Msr.Fmask) = (_msrs[0].Data, _msrs[1].Data, _msrs[2].Data, _msrs[3].Data);
                (_state.Msr.KernelGsBase, _state.Msr.TscAux) = (_msrs[4].Data, _msrs[5].Data);
                (_state.Msr.SysenterCs, _state.Msr.SysenterEsp, _state.Msr.SysenterEip) = (_msrs[6].Data, _msrs[7].Data, _msrs[8].Data);
            }

            if (!extended)
                return;
            _vcpu.GetXcrs(out var xcrs);
            _state.Xcr0 = xcrs.NrXcrs > 0 ? xcrs.Xcrs[0].Value : 1;
            _vcpu.GetXsave(_xsave);
            _xsave.AsSpan(0, ArchitecturalState.ExtendedSize).CopyTo(_state.Extended);
        }

        private void Store(bool extended, bool msrs)
        {
            if (KvmArchitecturalState.UpdateSregs(_state, ref _sregs))
                _vcpu.SetSregs(_sregs);
            _vcpu.SetRegs(KvmArchitecturalState.ToRegs(_state));
            if (msrs && _state.Msr.KernelGsBase != _msrs[4].Data)
                _vcpu.TrySetMsr(s_msrs[4], _state.Msr.KernelGsBase);
            if (!extended)
                return;
            KvmVcpuState.SetXcr0(_vcpu, _state.Xcr0);
            if (_state.Extended.AsSpan().SequenceEqual(_xsave.AsSpan(0, ArchitecturalState.ExtendedSize)))
                return;
            _state.Extended.CopyTo(_xsave, 0);
            _vcpu.SetXsave(_xsave);
        }

        private ulong ReadTsc() => _vcpu.TryGetMsr(TimeStampCounter, out ulong value) ? value : 0;

        /// <summary>Queues the exception for delivery at the next entry (api.rst, KVM_SET_VCPU_EVENTS).</summary>
        private void Inject(in StepResult result)
        {
            // INT n with a vector that is no exception's is delivered like an interrupt; KVM takes exceptions 0–31 only.
            if (!result.IsSoftware || result.Vector <= 31)
            {
                KvmVcpuState.Inject(_vcpu, (byte)result.Vector, result.HasErrorCode ? result.ErrorCode : null);
                return;
            }

            _vcpu.GetVcpuEvents(out var events);
            events.Interrupt.Injected = 1;
            events.Interrupt.Nr = (byte)result.Vector;
            events.Interrupt.Soft = 0;
            _vcpu.SetVcpuEvents(events);
        }

        /// <summary>The guest steps itself by RFLAGS.TF: the instruction is followed by #DB with DR6.BS (SDM vol. 3, 17.3.1.4).</summary>
        private void InjectSingleStep()
        {
            const ulong singleStep = 1UL << 14;
            _vcpu.GetDebugRegs(out var registers);
            registers.Dr6 |= singleStep;
            _vcpu.SetDebugRegs(registers);
            Inject(new StepResult(StepKind.Exception, DebugException, false, 0, 0, false));
        }
    }
}
