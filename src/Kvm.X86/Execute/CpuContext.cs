// Invariants: the native blocks are allocated in the constructor and freed in Dispose, which the owner calls after the processor's
// thread has ended; no pointer to them is kept anywhere else.
using System.Runtime.InteropServices;
using Kvm.Devices.Bus;
using Kvm.Devices.Memory;
using Kvm.X86.Engine;
using Kvm.X86.Interrupts;
using Kvm.X86.Paging;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>Keeps decoded code and must hear of writes to its bytes.</summary>
internal interface ICodeKeeper
{
    /// <summary>Bytes of physical memory changed.</summary>
    void Written(ulong physical, uint length);

    /// <summary>Whether decoded code of the page is kept.</summary>
    bool HasCode(ulong physicalPage);
}

/// <summary>Fills a span with random bytes.</summary>
internal delegate void RandomFill(Span<byte> destination);

/// <summary>
/// What one processor owns and reaches: its native state, translation buffers, guest memory and buses. Handlers get here by
/// <see cref="From"/>, on slow paths only.
/// </summary>
internal sealed unsafe class CpuContext : IDisposable
{
    private GCHandle _self;
    private readonly nint _tlbs;

    public CpuContext(GuestMemory memory, IoBus pio, IoBus mmio)
    {
        Memory = memory;
        Physical = new PhysicalMemory(memory);
        Pio = pio;
        Mmio = mmio;
        Cpu = (Cpu*)NativeMemory.AlignedAlloc((nuint)sizeof(Cpu), 64);
        NativeMemory.Clear(Cpu, (nuint)sizeof(Cpu));
        Cpu->Extended = (nint)NativeMemory.AlignedAlloc(ArchitecturalState.ExtendedSize, 64);
        NativeMemory.Clear((void*)Cpu->Extended, ArchitecturalState.ExtendedSize);
        _tlbs = (nint)NativeMemory.AlignedAlloc(Tlb.Bytes * Tlb.Sets, 4096);
        new Span<byte>((void*)_tlbs, Tlb.Bytes * Tlb.Sets).Fill(0xff);
        Cpu->RedirectTlb = _tlbs + (Tlb.Bytes * Tlb.RedirectSet);
        Cpu->Scratch = (nint)NativeMemory.AlignedAlloc(Slow.ScratchSize, 64);
        NativeMemory.Clear((void*)Cpu->Scratch, Slow.ScratchSize);
        Cpu->Tlb = _tlbs;
        Cpu->PhysicalBits = 46;
        Cpu->LinearBits = 48;
        Cpu->FaultVector = -1;
        _self = GCHandle.Alloc(this);
        Cpu->Context = GCHandle.ToIntPtr(_self);
    }

    public GuestMemory Memory { get; }

    public PhysicalMemory Physical { get; }

    public IoBus Pio { get; }

    public IoBus Mmio { get; }

    /// <summary>Told of every access to a device; set before the processor runs.</summary>
    public IAccessObserver? Observer { get; set; }

    public Cpu* Cpu { get; }

    /// <summary>Where the components of extended state lie in the XSAVE area; set before the processor runs.</summary>
    public Fpu.XsaveLayout Xsave { get; set; } = Fpu.XsaveLayout.Default;

    /// <summary>The translation buffer of a privilege.</summary>
    public nint TlbOf(Privilege privilege) => _tlbs + ((int)privilege * Tlb.Bytes);

    /// <summary>The context of a processor.</summary>
    public static CpuContext From(Cpu* cpu) => (CpuContext)GCHandle.FromIntPtr(cpu->Context).Target!;

    /// <summary>Tag bits that keep a page off the fast path.</summary>
    public ulong SlowBits(ulong linearPage, ulong physicalPage)
    {
        // Data breakpoints: DR7's enable bits with a condition other than execution (SDM vol. 3, 17.2.4).
        ulong bits = 0;
        if ((Cpu->Dr7 & 0xff) != 0)
        {
            for (int i = 0; i < 4; i++)
            {
                if (((Cpu->Dr7 >> (2 * i)) & 3) != 0 && (Cpu->Dr[i] & ~0xfffUL) == linearPage)
                    bits |= Tlb.SlowWatch;
            }
        }

        if (Plan is { } plan && plan.HasData(linearPage))
            bits |= Tlb.SlowWatch;
        return IsWatched(physicalPage) ? bits | Tlb.SlowNotify : bits;
    }

    /// <summary>Chooses the translation buffer after CPL, CR0, CR4 or AC changed.</summary>
    public void SelectTlb()
    {
        bool user = Cpu->Cpl == 3;
        int set = user
            ? ((Cpu->Rflags & Bits.Ac) != 0 && (Cpu->Cr0 & Bits.Cr0Am) != 0 ? Tlb.EmptySet : (int)Privilege.User)
            : (int)SupervisorPrivilege;
        Cpu->Tlb = _tlbs + (set * Tlb.Bytes);
    }

    /// <summary>The rights of an access the current instruction makes explicitly.</summary>
    public Privilege CurrentPrivilege => Cpu->Cpl == 3 ? Privilege.User : SupervisorPrivilege;

    /// <summary>The rights of an implicit access to a system structure: a supervisor's, and AC does not lift SMAP.</summary>
    private Privilege ImplicitPrivilege => (Cpu->Cr4 & Bits.Cr4Smap) != 0 ? Privilege.SupervisorSmap : Privilege.Supervisor;

    private Privilege SupervisorPrivilege =>
        (Cpu->Cr4 & Bits.Cr4Smap) != 0 && (Cpu->Rflags & Bits.Ac) == 0 ? Privilege.SupervisorSmap : Privilege.Supervisor;

    /// <summary>Forgets translations: all, or all that are not global.</summary>
    public void FlushTlb(bool global)
    {
        for (int set = 0; set < Tlb.EmptySet; set++)
            _filled[set].Flush(_tlbs + (set * Tlb.Bytes), global);
        if (global)
            Shadow?.DropAll();
        else
            Shadow?.LoadRoot(ref *Cpu);
        NewJumpGeneration(global || SupervisorCodeIsLocal);
    }

    /// <summary>Forgets the translations of one page in every buffer (INVLPG), global or not; of its large page if it was one.</summary>
    public void FlushPage(ulong linear)
    {
        for (int set = 0; set < Tlb.EmptySet; set++)
            _filled[set].FlushPage(_tlbs + (set * Tlb.Bytes), linear);
        Shadow?.InvalidatePage(ref *Cpu, linear);
        NewJumpGeneration((long)linear < 0 || SupervisorCodeIsLocal);
    }

    /// <summary>The buffer's list of filled entries.</summary>
    public TlbFillList FillsOf(nint tlb) => _filled[(tlb - _tlbs) / Tlb.Bytes];

    private readonly TlbFillList[] _filled = [new(), new(), new()];

    /// <summary>Bits a guest may set in CR4.</summary>
    public ulong Cr4Allowed { get; set; } = 0x3f_ffff & ~(1UL << 13) & ~(1UL << 14) & ~(1UL << 15) & ~(1UL << 19);

    /// <summary>Bits a guest may set in XCR0.</summary>
    public ulong Xcr0Allowed { get; set; } = 3;

    /// <summary>The interrupt chips; none where single instructions are completed for another engine.</summary>
    public IInterruptSource? Chips { get; set; }

    /// <summary>CPUID's answers; none where single instructions are completed for another engine.</summary>
    public CpuidTable? Cpuid { get; set; }

    /// <summary>This processor's APIC id, for CPUID.</summary>
    public uint ApicId { get; set; }

    /// <summary>What the host's processor does for us.</summary>
    public IHostCode? HostCode { get; set; }

    /// <summary>Where the time-stamp counter is read without chips.</summary>
    public Func<ulong>? TscSource { get; set; }

    /// <summary>An event of a restored state, to be delivered first.</summary>
    public PendingEvent Pending { get; set; }

    /// <summary>The page of the local APIC's registers, which lies over everything else.</summary>
    public ulong ApicPage => Chips?.ApicPage ?? ulong.MaxValue;

    /// <summary>Makes the jump cache, which only a running engine needs.</summary>
    public void MakeJumpCache()
    {
        nuint bytes = (nuint)(Branch.JumpCacheEntries * sizeof(JumpCacheEntry));
        Cpu->JumpCache = (nint)NativeMemory.AlignedAlloc(bytes, 64);
        new Span<byte>((void*)Cpu->JumpCache, (int)bytes).Fill(0xff);
    }

    /// <summary>Puts x87, SSE and AVX into their initial configuration.</summary>
    public void InitializeExtended()
    {
        new Span<byte>((void*)Cpu->Extended, ArchitecturalState.ExtendedSize).Clear();
        Fpu.LegacyArea.InitializeX87(Cpu);
        Cpu->Mxcsr = 0x1f80;
        Cpu->PassThroughState = 0;
    }

    /// <summary>Takes from CPUID what decoding and control registers depend on.</summary>
    public void TakeFeatures(CpuidTable cpuid)
    {
        var basic = cpuid.Query(1, 0);
        var structured = cpuid.Query(7, 0);
        var extended = cpuid.Query(0x8000_0001, 0);
        Cpu->Features = ((structured.Ebx & (1u << 3)) != 0 ? CpuFeatures.Bmi1 : 0) | ((extended.Ecx & (1u << 5)) != 0 ? CpuFeatures.Lzcnt : 0)
            | ((basic.Ecx & (1u << 22)) != 0 ? CpuFeatures.Movbe : 0);
        // Leaf 7 is Intel's way to say that IA32_SPEC_CTRL and IA32_PRED_CMD are there, 0x80000008 AMD's (IBPB, IBRS, STIBP, SSBD).
        HasSpeculationControl = (structured.Edx & (1u << 26)) != 0 || (cpuid.Query(0x8000_0008, 0).Ebx & 0x0100_d000) != 0;
        Cpu->PhysicalBits = Math.Clamp((int)(cpuid.Query(0x8000_0008, 0).Eax & 0xff), 36, 52);
        var components = cpuid.Query(0xd, 0);
        Xcr0Allowed = components.Eax | ((ulong)components.Edx << 32) | 1;
        Cr4Allowed = Bits.Cr4Tsd | Bits.Cr4De | Bits.Cr4Pse | Bits.Cr4Pae | Bits.Cr4Mce | Bits.Cr4Pge | Bits.Cr4Pce | Bits.Cr4OsFxsr | Bits.Cr4OsXmmExcpt
            | ((structured.Ecx & (1u << 2)) != 0 ? Bits.Cr4Umip : 0)
            | ((structured.Ecx & (1u << 16)) != 0 ? Bits.Cr4La57 : 0)
            | ((structured.Ebx & (1u << 0)) != 0 ? Bits.Cr4FsGsBase : 0)
            | ((basic.Ecx & (1u << 17)) != 0 ? Bits.Cr4Pcide : 0)
            | ((basic.Ecx & (1u << 26)) != 0 ? Bits.Cr4OsXsave : 0)
            | ((structured.Ebx & (1u << 7)) != 0 ? Bits.Cr4Smep : 0)
            | ((structured.Ebx & (1u << 20)) != 0 ? Bits.Cr4Smap : 0);
    }

    /// <summary>
    /// Takes writes to a physical page off the fast path because it holds code now. True if this processor could write it on
    /// the fast path until now.
    /// </summary>
    public bool ProtectPage(ulong physicalPage)
    {
        bool could = false;
        for (int set = 0; set < Tlb.EmptySet; set++)
            could |= _filled[set].Protect(_tlbs + (set * Tlb.Bytes), physicalPage);
        return could;
    }

    /// <summary>After a write to a page of code: back to the fast path if no code is left.</summary>
    public void Unprotect(TlbEntry* entry)
    {
        if (!IsWatched(entry->Info & ~0xfffUL))
            entry->WriteTag &= ~Tlb.SlowNotify;
    }

    /// <summary>Whether CPUID shows IA32_SPEC_CTRL and IA32_PRED_CMD.</summary>
    public bool HasSpeculationControl { get; private set; }

    /// <summary>CR8 where there are no chips.</summary>
    public byte TaskPriority { get; set; }

    /// <summary>Answers CPUID for this processor in its present state.</summary>
    public CpuidResult QueryCpuid(uint leaf, uint subleaf)
    {
        if (Cpuid == null)
            return default;
        var result = Cpuid.Query(leaf, subleaf);
        switch (leaf)
        {
            case 1:
                uint osxsave = (Cpu->Cr4 & Bits.Cr4OsXsave) != 0 ? 1u << 27 : 0;
                return result with { Ebx = (result.Ebx & 0xff_ffff) | (ApicId << 24), Ecx = (result.Ecx & ~(1u << 27)) | osxsave, Edx = result.Edx & ~HiddenApic };
            case 0x8000_0001:
                return result with { Edx = result.Edx & ~HiddenApic };
            case 0xb:
                return result with { Ecx = (result.Ecx & ~0xffu) | (byte)subleaf, Edx = ApicId };
            case 0xd when subleaf <= 1:
                return result with { Ebx = 576 + ((Cpu->Xcr0 & 4) != 0 ? 256u : 0) };
            default:
                return result;
        }
    }

    /// <summary>The flag of the local APIC in EDX, which goes while IA32_APIC_BASE disables it (SDM vol. 3, 11.4.3).</summary>
    private uint HiddenApic
    {
        get
        {
            const uint apicBase = 0x1b, enable = 1 << 11, flag = 1 << 9;
            return Chips != null && Chips.TryReadMsr(apicBase, out ulong value) && (value & enable) == 0 ? flag : 0;
        }
    }

    /// <summary>Fills with random bytes: the host's, or a seeded sequence where runs are to repeat.</summary>
    public void FillRandom(Span<byte> destination)
    {
        if (RandomSource != null)
            RandomSource(destination);
        else
            System.Security.Cryptography.RandomNumberGenerator.Fill(destination);
    }

    /// <summary>Time comes from retired instructions: devices see their exact number (Mem.BeginDevice).</summary>
    public bool Exact { get; set; }

    /// <summary>Replaces the host's random numbers.</summary>
    public RandomFill? RandomSource { get; set; }

    /// <summary>Memory-type range registers.</summary>
    public MtrrFile Mtrr { get; } = new();

    /// <summary>The time-stamp counter.</summary>
    public ulong ReadTsc() => Chips?.ReadTsc() ?? TscSource?.Invoke() ?? (ulong)System.Diagnostics.Stopwatch.GetTimestamp();

    private const ulong LastGeneration = 2046;

    private ulong _userGeneration, _supervisorGeneration;

    /// <summary>Code was found below CPL 3 on pages that are not global: a change of address space must forget it too.</summary>
    public bool SupervisorCodeIsLocal { get; set; }

    /// <summary>Makes jump-cache entries stale: those of user code, and of supervisor code if asked for.</summary>
    public void NewJumpGeneration(bool supervisor)
    {
        _userGeneration++;
        if (supervisor)
        {
            _supervisorGeneration++;
            SupervisorCodeIsLocal = false;
        }

        if (Math.Max(_userGeneration, _supervisorGeneration) > LastGeneration)
        {
            _userGeneration = _supervisorGeneration = 0;
            if (Cpu->JumpCache != 0)
                new Span<byte>((void*)Cpu->JumpCache, Branch.JumpCacheEntries * sizeof(JumpCacheEntry)).Fill(0xff);
        }

        UpdateJumpKey();
    }

    /// <summary>Recomputes the key: eleven bits of generation, one of privilege, four of mode.</summary>
    public void UpdateJumpKey() =>
        Cpu->JumpKey = ((Cpu->Cpl == 3 ? (_userGeneration << 5) | 16 : _supervisorGeneration << 5) | Cpu->Mode) << 48;

    /// <summary>Something waits at the interrupt pins: have the run loop look.</summary>
    public void LookForEvents()
    {
        if (Chips != null && Chips.Pending != InterruptEvents.None)
            Cpu->Attention = -1;
    }

    /// <summary>Guest code wrote physical memory off the fast path: decoded code there is stale, and what shadows page tables.</summary>
    public void Written(ulong physical, uint length)
    {
        Code?.Written(physical, length);
        TablesWritten?.Invoke(physical, length);
    }

    /// <summary>Shadow page tables; none where translations come from the guest's tables directly.</summary>
    public ShadowPager? Shadow { get; set; }

    /// <summary>The machine's page tables that are shadowed.</summary>
    public CodePages? Tables { get; set; }

    /// <summary>Told writes where page tables are shadowed.</summary>
    public Action<ulong, uint>? TablesWritten { get; set; }

    /// <summary>Translations the buffers did not have.</summary>
    public long Walks { get; private set; }

    /// <summary>Translates by the shadow tables or by the guest's.</summary>
    public bool TryWalk(ulong linear, AccessKind access, Privilege privilege, out PageMapping mapping, out uint error)
    {
        Walks++;
        return Shadow != null
            ? Shadow.TryTranslate(ref *Cpu, linear, access, privilege, out mapping, out error)
            : PageWalker.TryWalk(ref *Cpu, Physical, linear, access, privilege, out mapping, out error);
    }

    /// <summary>Writes to a physical page must be heard of: it holds code, or a shadowed page table.</summary>
    private bool IsWatched(ulong physicalPage) =>
        (Code != null && Code.HasCode(physicalPage)) || (Tables != null && Tables.Owners(physicalPage) != 0);

    /// <summary>The second tier; none where everything is interpreted.</summary>
    public Translate.Tier? Tier { get; set; }

    /// <summary>Who keeps decoded code; none where single instructions are completed for another engine.</summary>
    public ICodeKeeper? Code { get; set; }

    /// <summary>A debugger's points; null where nobody debugs.</summary>
    public DebugPlan? Plan { get; set; }

    /// <summary>The first of them that the instruction in hand hit by an access.</summary>
    public DebugPoint? WatchHit { get; set; }

    /// <summary>Translations that are kept learn which pages are watched: they are not dropped, as the guest could tell.</summary>
    public void RefreshWatches()
    {
        for (int set = 0; set < Tlb.EmptySet; set++)
            _filled[set].Refresh(this, _tlbs + (set * Tlb.Bytes));
    }

    /// <summary>An access, also one the processor makes by itself, touched a page a debugger watches: if it hits, the run ends behind the instruction.</summary>
    public void WatchForDebugger(ulong linear, uint length, bool write, bool reads)
    {
        if (Plan is { } plan && WatchHit == null && plan.TryHit(linear, length, reads, write, out var hit))
        {
            WatchHit = hit;
            Cpu->LeaveBlock = 1;
            Cpu->Attention = -1;
        }
    }

    /// <summary>An access touched a page with a data breakpoint (SDM vol. 3, 17.2.4): if it hits, #DB follows the instruction.</summary>
    public void Watch(ulong linear, uint length, bool write, bool reads)
    {
        WatchForDebugger(linear, length, write, reads);
        for (int i = 0; i < 4; i++)
        {
            int enable = (int)(Cpu->Dr7 >> (2 * i)) & 3, kind = (int)(Cpu->Dr7 >> (16 + (4 * i))) & 3;
            if (enable == 0 || !(kind == 3 || (kind == 1 && write)))
                continue;
            uint size = ((Cpu->Dr7 >> (18 + (4 * i))) & 3) switch { 0 => 1u, 1 => 2, 2 => 8, _ => 4 };
            ulong start = Cpu->Dr[i] & ~(ulong)(size - 1);
            if (linear - start < size || start - linear < length)
            {
                Cpu->PendingDebug |= 1UL << i;
                Cpu->LeaveBlock = 1;
                Cpu->Attention = -1;
            }
        }
    }

    /// <summary>The state, for safe code.</summary>
    public ref Cpu State => ref *Cpu;

    /// <summary>Reads a system structure (descriptor, TSS): supervisor rights whatever the CPL. False with a fault recorded.</summary>
    public bool TryReadSystem(ulong linear, Span<byte> destination) => TryReadAs(linear, destination, ImplicitPrivilege);

    /// <summary>Reads with the rights given; all pages are checked first.</summary>
    public bool TryReadAs(ulong linear, Span<byte> destination, Privilege privilege)
    {
        if (!ProbeAs(linear, destination.Length, AccessKind.Read, privilege))
            return false;
        for (int done = 0; done < destination.Length;)
        {
            ulong at = linear + (ulong)done;
            int part = (int)Math.Min((uint)(destination.Length - done), 4096 - (at & 0xfff));
            var entry = Mem.Translate(this, null, at, AccessKind.Read, privilege);
            if (entry == null)
                return false;
            Mem.CopyFrom(this, entry, at, destination.Slice(done, part));
            done += part;
        }

        return true;
    }

    /// <summary>Writes with the rights given; all pages are checked first.</summary>
    public bool TryWriteAs(ulong linear, ReadOnlySpan<byte> source, Privilege privilege)
    {
        if (!ProbeAs(linear, source.Length, AccessKind.Write, privilege))
            return false;
        for (int done = 0; done < source.Length;)
        {
            ulong at = linear + (ulong)done;
            int part = (int)Math.Min((uint)(source.Length - done), 4096 - (at & 0xfff));
            var entry = Mem.Translate(this, null, at, AccessKind.Write, privilege);
            if (entry == null)
                return false;
            Mem.CopyTo(this, entry, at, source.Slice(done, part));
            done += part;
        }

        return true;
    }

    private bool ProbeAs(ulong linear, int length, AccessKind access, Privilege privilege) =>
        Mem.Translate(this, null, linear, access, privilege) != null
        && ((linear & 0xfff) + (uint)length <= 4096 || Mem.Translate(this, null, (linear & ~0xfffUL) + 4096, access, privilege) != null);

    private void TellWritten(TlbEntry* entry, ulong linear)
    {
        if ((entry->WriteTag & Tlb.SlowNotify) != 0)
            Written((entry->Info & ~0xfffUL) | (linear & 0xfff), 1);
    }

    /// <summary>Sets bits of a byte of a system structure atomically (accessed and busy bits of descriptors).</summary>
    public bool TrySetSystemBits(ulong linear, byte bits)
    {
        var entry = Mem.Translate(this, null, linear, AccessKind.Write, ImplicitPrivilege);
        if (entry == null)
            return false;
        if ((entry->Info & (Tlb.InfoIo | Tlb.InfoReadOnly)) == 0)
        {
            nint host = (nint)Mem.HostOf(entry, linear);
            ref uint word = ref *(uint*)(host & ~3);
            Interlocked.Or(ref word, (uint)bits << (int)((host & 3) * 8));
            TellWritten(entry, linear);
        }

        return true;
    }

    /// <summary>Clears bits as <see cref="TrySetSystemBits"/> sets them.</summary>
    public bool TryClearSystemBits(ulong linear, byte bits)
    {
        var entry = Mem.Translate(this, null, linear, AccessKind.Write, ImplicitPrivilege);
        if (entry == null)
            return false;
        if ((entry->Info & (Tlb.InfoIo | Tlb.InfoReadOnly)) == 0)
        {
            nint host = (nint)Mem.HostOf(entry, linear);
            ref uint word = ref *(uint*)(host & ~3);
            Interlocked.And(ref word, ~((uint)bits << (int)((host & 3) * 8)));
            TellWritten(entry, linear);
        }

        return true;
    }

    /// <summary>Locked accesses across pages exclude each other by this; always true.</summary>
    public bool EnterSplitLock()
    {
        Monitor.Enter(Memory);
        return true;
    }

    public void ExitSplitLock() => Monitor.Exit(Memory);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!_self.IsAllocated)
            return;
        NativeMemory.AlignedFree((void*)Cpu->Extended);
        NativeMemory.AlignedFree((void*)Cpu->Scratch);
        NativeMemory.AlignedFree((void*)Cpu->JumpCache);
        NativeMemory.AlignedFree((void*)_tlbs);
        NativeMemory.AlignedFree(Cpu);
        _self.Free();
    }
}
