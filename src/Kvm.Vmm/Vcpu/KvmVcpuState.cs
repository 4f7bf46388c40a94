using Kvm.Interop;
using Kvm.Vmm.Completion;
using Kvm.X86.State;

namespace Kvm.Vmm.Vcpu;

/// <summary>A KVM vCPU's whole state to and from the processor's neutral one: registers, extended state, MSRs, events, activity.</summary>
/// <remarks>On the vCPU's thread, outside the guest. The interrupt chips are the VM's, not part of it. MSRs a host does not have are left out.</remarks>
internal static class KvmVcpuState
{
    private readonly record struct Msr(uint Index, Func<MsrState, ulong> Get, Action<MsrState, ulong> Set);

    /// <summary>The MSRs of <see cref="MsrState"/> that SREGS does not carry (SDM vol. 4, table 2-2). The time stamp counter comes last: it runs.</summary>
    private static readonly Msr[] s_msrs =
    [
        new(0xc000_0081, m => m.Star, (m, v) => m.Star = v),
        new(0xc000_0082, m => m.Lstar, (m, v) => m.Lstar = v),
        new(0xc000_0083, m => m.Cstar, (m, v) => m.Cstar = v),
        new(0xc000_0084, m => m.Fmask, (m, v) => m.Fmask = v),
        new(0xc000_0102, m => m.KernelGsBase, (m, v) => m.KernelGsBase = v),
        new(0xc000_0103, m => m.TscAux, (m, v) => m.TscAux = v),
        new(0x174, m => m.SysenterCs, (m, v) => m.SysenterCs = v),
        new(0x175, m => m.SysenterEsp, (m, v) => m.SysenterEsp = v),
        new(0x176, m => m.SysenterEip, (m, v) => m.SysenterEip = v),
        new(0x277, m => m.Pat, (m, v) => m.Pat = v),
        new(0x1a0, m => m.MiscEnable, (m, v) => m.MiscEnable = v),
        new(0x2ff, m => m.MtrrDefType, (m, v) => m.MtrrDefType = v),
        new(0x10, m => m.Tsc, (m, v) => m.Tsc = v),
    ];

    /// <summary>Whether the state has an MSR.</summary>
    public static bool Has(uint index)
    {
        foreach (ref readonly var msr in s_msrs.AsSpan())
        {
            if (msr.Index == index)
                return true;
        }

        return false;
    }

    /// <summary>Takes the state out.</summary>
    /// <exception cref="KvmException">KVM refused a step.</exception>
    public static void Save(KvmVcpu vcpu, ArchitecturalState state)
    {
        vcpu.GetRegs(out var regs);
        vcpu.GetSregs(out var sregs);
        KvmArchitecturalState.Load(state, regs, sregs);
        foreach (ref readonly var msr in s_msrs.AsSpan())
        {
            if (vcpu.TryGetMsr(msr.Index, out ulong value))
                msr.Set(state.Msr, value);
        }

        SaveExtended(vcpu, state);
        SaveDebug(vcpu, state);
        SaveEvents(vcpu, state);
        state.Activity = vcpu.GetMpState() switch
        {
            KvmMpStateValue.Halted => ActivityState.Halted,
            KvmMpStateValue.Uninitialized or KvmMpStateValue.InitReceived => ActivityState.WaitForSipi,
            _ => ActivityState.Running,
        };
    }

    /// <summary>Puts the state in. Order: what others depend on first (api.rst, KVM_SET_SREGS; events last, as they name registers set before).</summary>
    /// <exception cref="KvmException">KVM refused a step.</exception>
    public static void Restore(KvmVcpu vcpu, ArchitecturalState state)
    {
        vcpu.GetSregs(out var sregs);
        if (KvmArchitecturalState.UpdateSregs(state, ref sregs) | sregs.Cr8 != state.Cr8)
        {
            sregs.Cr8 = state.Cr8;
            vcpu.SetSregs(sregs);
        }

        vcpu.SetRegs(KvmArchitecturalState.ToRegs(state));
        RestoreExtended(vcpu, state);
        foreach (ref readonly var msr in s_msrs.AsSpan())
        {
            ulong value = msr.Get(state.Msr);
            if (vcpu.TryGetMsr(msr.Index, out ulong now) && now != value)
                vcpu.TrySetMsr(msr.Index, value);
        }

        RestoreDebug(vcpu, state);
        RestoreEvents(vcpu, state);
        vcpu.SetMpState(state.Activity switch
        {
            ActivityState.Halted => KvmMpStateValue.Halted,
            ActivityState.WaitForSipi => KvmMpStateValue.InitReceived,
            _ => KvmMpStateValue.Runnable,
        });
    }

    /// <summary>Queues an exception for the next entry (api.rst, KVM_SET_VCPU_EVENTS).</summary>
    public static void Inject(KvmVcpu vcpu, byte vector, uint? errorCode)
    {
        vcpu.GetVcpuEvents(out var events);
        SetException(ref events, vector, errorCode);
        vcpu.SetVcpuEvents(events);
    }

    /// <summary>Sets XCR0, where KVM has it and it differs.</summary>
    public static void SetXcr0(KvmVcpu vcpu, ulong value)
    {
        vcpu.GetXcrs(out var xcrs);
        if (xcrs.NrXcrs == 0 || xcrs.Xcrs[0].Value == value)
            return;
        xcrs.Xcrs[0].Value = value;
        vcpu.SetXcrs(xcrs);
    }

    private static void SaveExtended(KvmVcpu vcpu, ArchitecturalState state)
    {
        byte[] area = new byte[Math.Max(vcpu.XsaveSize, ArchitecturalState.ExtendedSize)];
        vcpu.GetXsave(area);
        area.AsSpan(0, ArchitecturalState.ExtendedSize).CopyTo(state.Extended);
        vcpu.GetXcrs(out var xcrs);
        state.Xcr0 = xcrs.NrXcrs > 0 ? xcrs.Xcrs[0].Value : 1;
    }

    private static void RestoreExtended(KvmVcpu vcpu, ArchitecturalState state)
    {
        SetXcr0(vcpu, state.Xcr0);
        byte[] area = new byte[Math.Max(vcpu.XsaveSize, ArchitecturalState.ExtendedSize)];
        vcpu.GetXsave(area); // what lies beyond the neutral state stays
        state.Extended.CopyTo(area, 0);
        vcpu.SetXsave(area);
    }

    private static void SaveDebug(KvmVcpu vcpu, ArchitecturalState state)
    {
        vcpu.GetDebugRegs(out var registers);
        for (int i = 0; i < state.Dr.Length; i++)
            state.Dr[i] = registers.Db[i];
        (state.Dr6, state.Dr7) = (registers.Dr6, registers.Dr7);
    }

    private static void RestoreDebug(KvmVcpu vcpu, ArchitecturalState state)
    {
        vcpu.GetDebugRegs(out var registers);
        for (int i = 0; i < state.Dr.Length; i++)
            registers.Db[i] = state.Dr[i];
        (registers.Dr6, registers.Dr7) = (state.Dr6, state.Dr7);
        vcpu.SetDebugRegs(registers);
    }

    private static void SaveEvents(KvmVcpu vcpu, ArchitecturalState state)
    {
        vcpu.GetVcpuEvents(out var events);
        bool exception = (events.Exception.Injected | events.Exception.Pending) != 0, interrupt = events.Interrupt.Injected != 0;
        state.PendingVector = exception ? events.Exception.Nr : interrupt ? events.Interrupt.Nr : -1;
        state.PendingHasErrorCode = exception && events.Exception.HasErrorCode != 0;
        state.PendingErrorCode = state.PendingHasErrorCode ? events.Exception.ErrorCode : 0;
        state.InterruptShadow = events.Interrupt.Shadow != 0;
        state.NmiPending = (events.Nmi.Pending | events.Nmi.Injected) != 0;
        state.NmiMasked = events.Nmi.Masked != 0;
    }

    private static void RestoreEvents(KvmVcpu vcpu, ArchitecturalState state)
    {
        vcpu.GetVcpuEvents(out var events);
        events.Exception = default;
        events.Interrupt = default;
        events.Nmi = default;
        if (state.PendingVector is >= 0 and < 32)
            SetException(ref events, (byte)state.PendingVector, state.PendingHasErrorCode ? state.PendingErrorCode : null);
        else if (state.PendingVector >= 32)
            (events.Interrupt.Injected, events.Interrupt.Nr) = (1, (byte)state.PendingVector);
        events.Interrupt.Shadow = state.InterruptShadow ? (byte)KvmConst.KVM_X86_SHADOW_INT_STI : (byte)0;
        events.Nmi.Pending = state.NmiPending ? (byte)1 : (byte)0;
        events.Nmi.Masked = state.NmiMasked ? (byte)1 : (byte)0;
        events.Flags |= KvmConst.KVM_VCPUEVENT_VALID_NMI_PENDING | KvmConst.KVM_VCPUEVENT_VALID_SHADOW;
        vcpu.SetVcpuEvents(events);
    }

    private static void SetException(ref KvmVcpuEvents events, byte vector, uint? errorCode)
    {
        events.Exception.Injected = 1;
        events.Exception.Nr = vector;
        events.Exception.HasErrorCode = errorCode is null ? (byte)0 : (byte)1;
        events.Exception.ErrorCode = errorCode ?? 0;
    }
}
