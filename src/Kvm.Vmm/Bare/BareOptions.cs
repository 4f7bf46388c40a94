using Kvm.Devices.Memory;
using Kvm.Vmm.Boot;
using Kvm.X86.Engine;

namespace Kvm.Vmm.Bare;

/// <summary>A leaf of CPUID, changed: what is kept of it and what is added.</summary>
/// <param name="Leaf">EAX.</param>
/// <param name="Subleaf">ECX.</param>
/// <param name="Keep">Bits that stay.</param>
/// <param name="Add">Bits that are set.</param>
internal readonly record struct CpuidChange(uint Leaf, uint Subleaf, CpuidResult Keep, CpuidResult Add)
{
    /// <summary>The leaf after the change.</summary>
    public CpuidResult Of(CpuidResult before) =>
        new(before.Eax & Keep.Eax | Add.Eax, before.Ebx & Keep.Ebx | Add.Ebx, before.Ecx & Keep.Ecx | Add.Ecx, before.Edx & Keep.Edx | Add.Edx);
}

/// <summary>What a bare machine is made of.</summary>
internal sealed record BareOptions
{
    /// <summary>Its memory: one range of whole pages from address 0.</summary>
    public required GuestMemory Memory { get; init; }

    /// <summary>The registers of the first vCPU; others wait for INIT and SIPI.</summary>
    public required BootState Entry { get; init; }

    /// <summary>Number of vCPUs; more than one need <see cref="Chips"/>.</summary>
    public int Cpus { get; init; } = 1;

    /// <summary>Local APICs, I/O APIC, 8259s and 8254. Without them HLT is an exit, and there are no interrupts.</summary>
    public bool Chips { get; init; }

    /// <summary>Changes of what CPUID shows.</summary>
    public IReadOnlyList<CpuidChange> Cpuid { get; init; } = [];

    /// <summary>First model-specific register that the board keeps, and how many; 0 for none.</summary>
    public (uint First, uint Count) MsrWindow { get; init; }

    /// <summary>Keeps account of written pages.</summary>
    public bool TrackWrites { get; init; }

    /// <summary>Completes instructions that KVM gives up on.</summary>
    public bool Complete { get; init; } = true;

    /// <summary>The software engine translates code that runs often to host code.</summary>
    public bool Translate { get; init; }

    /// <summary>The software engine translates addresses by shadow page tables.</summary>
    public bool Shadow { get; init; }
}
