using System.Runtime.CompilerServices;
using Kvm.Interop;

namespace Kvm.Vmm.Tracing;

/// <summary>The registers of a sample by their place: general registers as encoded, flags, control registers.</summary>
[InlineArray(Length)]
internal struct TracedRegisters
{
    /// <summary>How many there are.</summary>
    public const int Length = 21;

    /// <summary>The place of RFLAGS; CR0, CR2, CR3 and CR4 follow.</summary>
    public const int Rflags = 16;

    private ulong _first;

    /// <summary>Their names.</summary>
    public static ReadOnlySpan<string> Names => (string[])
        ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rflags", "cr0", "cr2", "cr3", "cr4"];
}

/// <summary>Bytes of code around RIP.</summary>
[InlineArray(Length)]
internal struct TracedCode
{
    /// <summary>Bytes before RIP at most: an engine that has finished an instruction points behind it.</summary>
    public const int MostBefore = 15;

    /// <summary>The longest instruction on either side.</summary>
    public const int Length = MostBefore + 15;

    private byte _first;
}

/// <summary>One exit as it was seen: what a trace is made of.</summary>
internal struct ExitSample
{
    /// <summary>Exits of the machine up to and with this one, from 1.</summary>
    public long Number;

    /// <summary>When it came, in ns since the trace began.</summary>
    public long Time;

    /// <summary>How long the VMM took, in ns.</summary>
    public long Cost;

    /// <summary>The port, address or MSR; meaningful where <see cref="Size"/> is not 0.</summary>
    public ulong Address;

    /// <summary>What was written or read; the first bytes of string forms.</summary>
    public ulong Value;

    /// <summary>RIP as the engine has it.</summary>
    public ulong Rip;

    /// <summary>The registers.</summary>
    public TracedRegisters Registers;

    /// <summary>Which of them differ from the last recorded exit of the vCPU.</summary>
    public uint Changed;

    /// <summary>How many accesses of <see cref="Size"/> bytes: more than 1 of string forms.</summary>
    public uint Count;

    /// <summary>KVM's exit reason, or what an access of the software processor would be.</summary>
    public KvmExit Reason;

    /// <summary>Which vCPU.</summary>
    public ushort Vcpu;

    /// <summary>Bytes of one access; 0 where the exit has none.</summary>
    public byte Size;

    /// <summary>16, 32 or 64.</summary>
    public byte Bitness;

    /// <summary>Bytes of <see cref="Code"/> that lie before RIP.</summary>
    public byte CodeBefore;

    /// <summary>Bytes of <see cref="Code"/>.</summary>
    public byte CodeLength;

    /// <summary>The guest wrote.</summary>
    public bool IsWrite;

    /// <summary>The vCPU goes on.</summary>
    public bool GoesOn;

    /// <summary>Code around RIP.</summary>
    public TracedCode Code;
}
