namespace Kvm.Vmm.Cpu;

/// <summary>Bits of RFLAGS (SDM vol. 1, 3.4.3) that the VMM looks at.</summary>
internal static class X86Flags
{
    /// <summary>Bit 1, always set.</summary>
    public const ulong Fixed = 1UL << 1;

    /// <summary>IF: maskable interrupts are taken.</summary>
    public const ulong Interrupt = 1UL << 9;

    /// <summary>RF: the next instruction takes no instruction breakpoint.</summary>
    public const ulong Resume = 1UL << 16;

    /// <summary>TF: #DB after each instruction.</summary>
    public const ulong Trap = 1UL << 8;
}
