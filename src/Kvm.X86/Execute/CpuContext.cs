// Invariants: the native blocks are allocated in the constructor and freed in Dispose, which the owner calls after the processor's
// thread has ended; no pointer to them is kept anywhere else.
using System.Runtime.InteropServices;
using Kvm.Devices.Bus;
using Kvm.Devices.Memory;
using Kvm.X86.Paging;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

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

        return bits;
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

    private Privilege SupervisorPrivilege =>
        (Cpu->Cr4 & Bits.Cr4Smap) != 0 && (Cpu->Rflags & Bits.Ac) == 0 ? Privilege.SupervisorSmap : Privilege.Supervisor;

    /// <summary>Forgets every translation.</summary>
    public void FlushTlb() => new Span<byte>((void*)_tlbs, Tlb.Bytes * Tlb.EmptySet).Fill(0xff);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!_self.IsAllocated)
            return;
        NativeMemory.AlignedFree((void*)Cpu->Extended);
        NativeMemory.AlignedFree((void*)_tlbs);
        NativeMemory.AlignedFree(Cpu);
        _self.Free();
    }
}
