// Invariants: only distances inside the processor's block are computed here.
using Kvm.X86.State;

namespace Kvm.X86.Translate;

/// <summary>
/// Where translated code finds the fields of <see cref="Cpu"/>: relative to RBX, which points <see cref="Bias"/> bytes into the
/// block so that all hot fields are reached by a displacement of one byte.
/// </summary>
internal sealed unsafe class CpuField(Cpu* cpu)
{
    /// <summary>What RBX is above the block's first byte.</summary>
    public const int Bias = 128;

    public HostMemory FlagWord { get; } = At(cpu, &cpu->HostFlags);

    public HostMemory FlagKind { get; } = At(cpu, &cpu->FlagKind);

    public HostMemory Tlb { get; } = At(cpu, &cpu->Tlb);

    public HostMemory Left { get; } = At(cpu, &cpu->Left);

    public HostMemory Attention { get; } = At(cpu, &cpu->Attention);

    public HostMemory JumpCache { get; } = At(cpu, &cpu->JumpCache);

    public HostMemory JumpKey { get; } = At(cpu, &cpu->JumpKey);

    public HostMemory Rip { get; } = At(cpu, &cpu->Rip);

    public HostMemory HostValue { get; } = At(cpu, &cpu->HostValue);

    public HostMemory Extended { get; } = At(cpu, &cpu->Extended);

    public HostMemory Cr0 { get; } = At(cpu, &cpu->Cr0);

    public HostMemory Cr4 { get; } = At(cpu, &cpu->Cr4);

    private HostMemory FirstSegment { get; } = At(cpu, &cpu->Segments);

    /// <summary>The base of a segment.</summary>
    public HostMemory SegmentBase(int segment) => FirstSegment with { Displacement = FirstSegment.Displacement + (segment * sizeof(SegmentRegister)) };

    /// <summary>A general register or slot.</summary>
    public static HostMemory Slot(int slot) => new(Host.Rbx, (slot * 8) - Bias);

    /// <summary>A byte of the register file.</summary>
    public static HostMemory Byte(int offset) => new(Host.Rbx, offset - Bias);

    private static HostMemory At(Cpu* cpu, void* field) => new(Host.Rbx, (int)((byte*)field - (byte*)cpu) - Bias);
}
