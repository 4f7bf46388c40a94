namespace Kvm.Interop;

/// <summary>
/// A virtual CPU. One method an ioctl. KVM serializes the calls on one vCPU, and a call from another thread waits until KVM_RUN returns:
/// kick first. Methods throw <see cref="KvmException"/> on failure unless they say they return -errno.
/// </summary>
public sealed unsafe class KvmVcpu : KvmFile
{
    private readonly MappingHandle _mapping;

    private KvmVcpu(FdHandle handle, uint id, MappingHandle mapping, int mmapSize, KvmDirtyRing? dirtyRing, int xsaveSize)
        : base(handle)
    {
        _mapping = mapping;
        Id = id;
        RunPage = new KvmRunPage(mapping.Address, mmapSize);
        DirtyRing = dirtyRing;
        XsaveSize = xsaveSize;
        int coalesced = KvmConst.KVM_COALESCED_MMIO_PAGE_OFFSET * Environment.SystemPageSize;
        CoalescedMmio = mmapSize >= coalesced + Environment.SystemPageSize ? new KvmCoalescedMmioRing(mapping.Address + coalesced) : null;
    }

    internal static KvmVcpu Create(FdHandle handle, uint id, int mmapSize, int dirtyRingBytes, int xsaveSize)
    {
        MappingHandle? mapping = null;
        KvmDirtyRing? ring = null;
        try
        {
            mapping = MappingHandle.Map((nuint)mmapSize, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_SHARED, handle.Fd, 0, "vCPU run page");
            ring = dirtyRingBytes > 0 ? new KvmDirtyRing(handle.Fd, dirtyRingBytes) : null;
            return new KvmVcpu(handle, id, mapping, mmapSize, ring, xsaveSize);
        }
        catch
        {
            ring?.Dispose();
            mapping?.Dispose();
            handle.Dispose();
            throw;
        }
    }

    /// <summary>The number given to <see cref="KvmVm.CreateVcpu"/>.</summary>
    public uint Id { get; }

    /// <summary>The page KVM_RUN talks through.</summary>
    public KvmRunPage RunPage { get; }

    /// <summary>The ring of dirtied pages, where KVM_CAP_DIRTY_LOG_RING was enabled before the vCPU was made; else <c>null</c>.</summary>
    public KvmDirtyRing? DirtyRing { get; }

    /// <summary>The ring of queued writes, or <c>null</c> where this KVM has none.</summary>
    public KvmCoalescedMmioRing? CoalescedMmio { get; }

    /// <summary>Bytes of <see cref="GetXsave"/> and <see cref="SetXsave"/>: at least 4096 (KVM_CAP_XSAVE2).</summary>
    public int XsaveSize { get; }

    /// <summary>
    /// KVM_RUN: enters the guest until something needs this program. 0: see <see cref="KvmRunPage.ExitReason"/>; -EINTR: a signal or
    /// <see cref="KvmRunPage.ImmediateExit"/>; other -errno: see api.rst (ENOEXEC, EFAULT, EAGAIN…). Allocates nothing, repeats nothing.
    /// Called by the vCPU's thread alone; blocks.
    /// </summary>
    public int Run()
    {
        int result = Libc.ioctl(Handle.Fd, KvmIoctl.KVM_RUN, 0);
        return result >= 0 ? 0 : -Errno.Last;
    }

    /// <summary>KVM_GET_REGS.</summary>
    public void GetRegs(out KvmRegs regs) => regs = Read<KvmRegs>(KvmIoctl.KVM_GET_REGS);

    /// <summary>KVM_SET_REGS.</summary>
    public void SetRegs(in KvmRegs regs) => Write(KvmIoctl.KVM_SET_REGS, in regs);

    /// <summary>KVM_GET_SREGS.</summary>
    public void GetSregs(out KvmSregs sregs) => sregs = Read<KvmSregs>(KvmIoctl.KVM_GET_SREGS);

    /// <summary>KVM_SET_SREGS. EINVAL where control registers contradict each other.</summary>
    public void SetSregs(in KvmSregs sregs) => Write(KvmIoctl.KVM_SET_SREGS, in sregs);

    /// <summary>KVM_SET_SREGS, returning 0 or -errno.</summary>
    public int TrySetSregs(in KvmSregs sregs)
    {
        fixed (KvmSregs* p = &sregs)
        {
            return TryIoctl(KvmIoctl.KVM_SET_SREGS, p);
        }
    }

    /// <summary>KVM_GET_SREGS2 (KVM_CAP_SREGS2).</summary>
    public void GetSregs2(out KvmSregs2 sregs) => sregs = Read<KvmSregs2>(KvmIoctl.KVM_GET_SREGS2);

    /// <summary>KVM_SET_SREGS2 (KVM_CAP_SREGS2).</summary>
    public void SetSregs2(in KvmSregs2 sregs) => Write(KvmIoctl.KVM_SET_SREGS2, in sregs);

    /// <summary>KVM_GET_FPU.</summary>
    public void GetFpu(out KvmFpu fpu) => fpu = Read<KvmFpu>(KvmIoctl.KVM_GET_FPU);

    /// <summary>KVM_SET_FPU.</summary>
    public void SetFpu(in KvmFpu fpu) => Write(KvmIoctl.KVM_SET_FPU, in fpu);

    /// <summary>KVM_GET_XSAVE2, or KVM_GET_XSAVE where the state fits 4096 bytes: the XSAVE area, in the host's standard format.</summary>
    /// <param name="area">At least <see cref="XsaveSize"/> bytes.</param>
    public void GetXsave(Span<byte> area)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(area.Length, XsaveSize, nameof(area));
        fixed (byte* p = area)
        {
            if (XsaveSize > 4096)
            {
                Ioctl(KvmIoctl.KVM_GET_XSAVE2, p);
            }
            else
            {
                Ioctl(KvmIoctl.KVM_GET_XSAVE, p);
            }
        }
    }

    /// <summary>KVM_SET_XSAVE: at least <see cref="XsaveSize"/> bytes as <see cref="GetXsave"/> gave them.</summary>
    public void SetXsave(ReadOnlySpan<byte> area)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(area.Length, XsaveSize, nameof(area));
        fixed (byte* p = area)
        {
            Ioctl(KvmIoctl.KVM_SET_XSAVE, p);
        }
    }

    /// <summary>KVM_GET_XCRS.</summary>
    public void GetXcrs(out KvmXcrs xcrs) => xcrs = Read<KvmXcrs>(KvmIoctl.KVM_GET_XCRS);

    /// <summary>KVM_SET_XCRS.</summary>
    public void SetXcrs(in KvmXcrs xcrs) => Write(KvmIoctl.KVM_SET_XCRS, in xcrs);

    /// <summary>KVM_GET_VCPU_EVENTS.</summary>
    public void GetVcpuEvents(out KvmVcpuEvents events) => events = Read<KvmVcpuEvents>(KvmIoctl.KVM_GET_VCPU_EVENTS);

    /// <summary>KVM_SET_VCPU_EVENTS.</summary>
    public void SetVcpuEvents(in KvmVcpuEvents events) => Write(KvmIoctl.KVM_SET_VCPU_EVENTS, in events);

    /// <summary>KVM_GET_MP_STATE.</summary>
    public KvmMpStateValue GetMpState() => Read<KvmMpState>(KvmIoctl.KVM_GET_MP_STATE).MpState;

    /// <summary>KVM_SET_MP_STATE.</summary>
    public void SetMpState(KvmMpStateValue state) => Write(KvmIoctl.KVM_SET_MP_STATE, new KvmMpState { MpState = state });

    /// <summary>KVM_GET_DEBUGREGS.</summary>
    public void GetDebugRegs(out KvmDebugregs registers) => registers = Read<KvmDebugregs>(KvmIoctl.KVM_GET_DEBUGREGS);

    /// <summary>KVM_SET_DEBUGREGS.</summary>
    public void SetDebugRegs(in KvmDebugregs registers) => Write(KvmIoctl.KVM_SET_DEBUGREGS, in registers);

    /// <summary>KVM_GET_LAPIC (in-kernel interrupt chip).</summary>
    public void GetLapic(out KvmLapicState state) => state = Read<KvmLapicState>(KvmIoctl.KVM_GET_LAPIC);

    /// <summary>KVM_SET_LAPIC (in-kernel interrupt chip).</summary>
    public void SetLapic(in KvmLapicState state) => Write(KvmIoctl.KVM_SET_LAPIC, in state);

    /// <summary>KVM_GET_MSRS: fills in the values. Returns how many were read before the first the kernel refused; a guest's list may hold such.</summary>
    public int GetMsrs(Span<KvmMsrEntry> entries) => ReadMsrs(entries);

    /// <summary>KVM_SET_MSRS. Returns how many were set before the first the kernel refused: <c>entries[result]</c> is the one, if any.</summary>
    public int SetMsrs(ReadOnlySpan<KvmMsrEntry> entries)
    {
        using VariableStruct buffer = new(sizeof(KvmMsrs), sizeof(KvmMsrEntry), entries.Length);
        KvmMsrs* header = (KvmMsrs*)buffer.Pointer;
        header->Nmsrs = (uint)entries.Length;
        entries.CopyTo(new Span<KvmMsrEntry>(header + 1, entries.Length));
        return Ioctl(KvmIoctl.KVM_SET_MSRS, header);
    }

    /// <summary>Reads one MSR; false where KVM refuses it.</summary>
    public bool TryGetMsr(uint index, out ulong value)
    {
        Span<KvmMsrEntry> one = [new KvmMsrEntry(index)];
        bool read = GetMsrs(one) == 1;
        value = one[0].Data;
        return read;
    }

    /// <summary>Sets one MSR; false where KVM refuses it.</summary>
    public bool TrySetMsr(uint index, ulong value) => SetMsrs([new KvmMsrEntry(index, value)]) == 1;

    /// <summary>KVM_SET_CPUID2: what CPUID tells the guest; before the first run. Read it back: a KVM may add bits.</summary>
    public void SetCpuid2(ReadOnlySpan<KvmCpuidEntry2> leaves)
    {
        using VariableStruct buffer = new(sizeof(KvmCpuid2), sizeof(KvmCpuidEntry2), leaves.Length);
        KvmCpuid2* header = (KvmCpuid2*)buffer.Pointer;
        header->Nent = (uint)leaves.Length;
        leaves.CopyTo(new Span<KvmCpuidEntry2>(header + 1, leaves.Length));
        Ioctl(KvmIoctl.KVM_SET_CPUID2, header);
    }

    /// <summary>KVM_GET_CPUID2: what CPUID tells the guest.</summary>
    public KvmCpuidEntry2[] GetCpuid2() => ReadCpuid(KvmIoctl.KVM_GET_CPUID2);

    /// <summary>KVM_TRANSLATE: walks the guest's page tables as they are now. <see cref="KvmTranslation.Valid"/> is 0 where nothing is mapped.</summary>
    public KvmTranslation Translate(ulong linearAddress)
    {
        KvmTranslation translation = new() { LinearAddress = linearAddress };
        Ioctl(KvmIoctl.KVM_TRANSLATE, &translation);
        return translation;
    }

    /// <summary>KVM_INTERRUPT: queues an external interrupt (VM without in-kernel chip; when <see cref="KvmRunPage.ReadyForInterruptInjection"/>). Returns 0 or -errno (EEXIST: one is queued).</summary>
    public int Interrupt(byte vector)
    {
        KvmInterrupt request = new() { Irq = vector };
        return TryIoctl(KvmIoctl.KVM_INTERRUPT, &request);
    }

    /// <summary>KVM_NMI.</summary>
    public void Nmi() => Ioctl(KvmIoctl.KVM_NMI, 0);

    /// <summary>KVM_SMI (KVM_CAP_X86_SMM).</summary>
    public void Smi() => Ioctl(KvmIoctl.KVM_SMI, 0);

    /// <summary>KVM_SET_GUEST_DEBUG.</summary>
    public void SetGuestDebug(in KvmGuestDebug debug) => Write(KvmIoctl.KVM_SET_GUEST_DEBUG, in debug);

    /// <summary>
    /// KVM_SET_SIGNAL_MASK: the signals blocked while in KVM_RUN, instead of the thread's own mask. The kernel's set has 64 bits: bit
    /// <c>n − 1</c> for signal <c>n</c>.
    /// </summary>
    public void SetSignalMask(ulong blocked)
    {
        KvmSignalMask mask = new() { Len = sizeof(ulong), Sigset = blocked };
        Ioctl(KvmIoctl.KVM_SET_SIGNAL_MASK, &mask);
    }

    /// <summary>KVM_SET_SIGNAL_MASK with none: KVM_RUN uses the thread's own mask again.</summary>
    public void ClearSignalMask() => Ioctl(KvmIoctl.KVM_SET_SIGNAL_MASK, 0);

    /// <summary>KVM_GET_TSC_KHZ: the guest's TSC frequency in kHz.</summary>
    public int GetTscKhz() => Ioctl(KvmIoctl.KVM_GET_TSC_KHZ, 0);

    /// <summary>KVM_SET_TSC_KHZ (KVM_CAP_TSC_CONTROL, else only the host's own frequency). Returns 0 or -errno.</summary>
    public int SetTscKhz(uint kilohertz) => TryIoctl(KvmIoctl.KVM_SET_TSC_KHZ, kilohertz);

    /// <summary>KVM_KVMCLOCK_CTRL: tells the guest it was paused. Returns 0 or -errno (EINVAL: the guest does not use kvmclock).</summary>
    public int KvmclockCtrl() => TryIoctl(KvmIoctl.KVM_KVMCLOCK_CTRL, 0);

    /// <summary>KVM_ENABLE_CAP on the vCPU, with up to four arguments.</summary>
    public void EnableCap(KvmCap cap, params ReadOnlySpan<ulong> args) => EnableCapability(cap, args);

    /// <summary>Whether the TSC offset is an attribute of the vCPU.</summary>
    public bool HasTscOffset => HasAttribute(KvmConst.KVM_VCPU_TSC_CTRL, KvmConst.KVM_VCPU_TSC_OFFSET);

    /// <summary>KVM_VCPU_TSC_OFFSET: guest TSC minus host TSC, modulo 2⁶⁴.</summary>
    public ulong GetTscOffset() => GetAttribute<ulong>(KvmConst.KVM_VCPU_TSC_CTRL, KvmConst.KVM_VCPU_TSC_OFFSET);

    /// <summary>Sets KVM_VCPU_TSC_OFFSET.</summary>
    public void SetTscOffset(ulong offset) => SetAttribute(KvmConst.KVM_VCPU_TSC_CTRL, KvmConst.KVM_VCPU_TSC_OFFSET, offset);

    /// <summary>KVM_X86_SETUP_MCE: gives the vCPU machine-check banks, of what <see cref="KvmSystem.GetMceCapSupported"/> allows.</summary>
    public void SetupMce(ulong mcgCap) => Ioctl(KvmIoctl.KVM_X86_SETUP_MCE, &mcgCap);

    /// <summary>KVM_X86_SET_MCE: injects a machine-check event.</summary>
    public void SetMce(in KvmX86Mce mce) => Write(KvmIoctl.KVM_X86_SET_MCE, in mce);

    /// <summary>KVM_TPR_ACCESS_REPORTING (KVM_CAP_VAPIC).</summary>
    public void TprAccessReporting(bool enabled)
    {
        KvmTprAccessCtl request = new() { Enabled = enabled ? 1u : 0u };
        Ioctl(KvmIoctl.KVM_TPR_ACCESS_REPORTING, &request);
    }

    /// <summary>KVM_SET_VAPIC_ADDR (KVM_CAP_VAPIC).</summary>
    public void SetVapicAddr(ulong address) => Ioctl(KvmIoctl.KVM_SET_VAPIC_ADDR, &address);

    /// <summary>KVM_GET_NESTED_STATE (KVM_CAP_NESTED_STATE, which gives the largest size). Returns the bytes used.</summary>
    public int GetNestedState(Span<byte> state)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(state.Length, 128, nameof(state));
        fixed (byte* p = state)
        {
            KvmNestedStateHeader* header = (KvmNestedStateHeader*)p;
            header->Size = (uint)state.Length;
            Ioctl(KvmIoctl.KVM_GET_NESTED_STATE, p);
            return (int)Math.Min(header->Size, (uint)state.Length);
        }
    }

    /// <summary>KVM_SET_NESTED_STATE: as <see cref="GetNestedState"/> gave it.</summary>
    public void SetNestedState(ReadOnlySpan<byte> state)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(state.Length, 128, nameof(state));
        fixed (byte* p = state)
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThan(((KvmNestedStateHeader*)p)->Size, (uint)state.Length, nameof(state));
            Ioctl(KvmIoctl.KVM_SET_NESTED_STATE, p);
        }
    }

    /// <summary>KVM_GET_STATS_FD: KVM's counters of this vCPU (KVM_CAP_BINARY_STATS_FD).</summary>
    public KvmStats OpenStats() => new(new FdHandle(Ioctl(KvmIoctl.KVM_GET_STATS_FD, 0)));

    /// <summary>Unmaps the run page and closes the vCPU. Only after its thread has left <see cref="Run"/> for good.</summary>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            DirtyRing?.Dispose();
            _mapping.Dispose();
        }

        base.Dispose(disposing);
    }
}
