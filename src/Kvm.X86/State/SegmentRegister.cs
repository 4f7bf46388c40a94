namespace Kvm.X86.State;

/// <summary>
/// A segment register with its hidden part, in the form KVM's <c>kvm_segment</c> has it: the limit is in bytes
/// (granularity applied), the attributes are the descriptor's access bits (SDM vol. 3, 3.4.5).
/// </summary>
public struct SegmentRegister
{
    /// <summary>Linear base address.</summary>
    public ulong Base;

    /// <summary>Last valid offset, in bytes; granularity is already applied.</summary>
    public uint Limit;

    /// <summary>The visible selector.</summary>
    public ushort Selector;

    /// <summary>Bits 0–3 type, 4 S, 5–6 DPL, 7 P, 8 AVL, 9 L, 10 D/B, 11 G, 12 unusable.</summary>
    public ushort Attributes;

    /// <summary>Type field: bit 0 accessed, bit 1 writable/readable, bit 2 expand-down/conforming, bit 3 code.</summary>
    public readonly int Type => Attributes & 15;

    /// <summary>True for a code or data segment, false for a system segment.</summary>
    public readonly bool IsCodeOrData => (Attributes & 0x10) != 0;

    /// <summary>Descriptor privilege level, 0–3.</summary>
    public readonly int Dpl => (Attributes >> 5) & 3;

    /// <summary>The present bit.</summary>
    public readonly bool IsPresent => (Attributes & 0x80) != 0;

    /// <summary>The available-for-software bit.</summary>
    public readonly bool IsAvailable => (Attributes & 0x100) != 0;

    /// <summary>64-bit code segment.</summary>
    public readonly bool IsLong => (Attributes & 0x200) != 0;

    /// <summary>Default operation size 32 bits (code), 32-bit stack pointer (stack).</summary>
    public readonly bool IsBig => (Attributes & 0x400) != 0;

    /// <summary>The granularity bit as loaded; <see cref="Limit"/> has it applied.</summary>
    public readonly bool IsPageGranular => (Attributes & 0x800) != 0;

    /// <summary>Loaded with a null selector: an access through it faults outside 64-bit mode.</summary>
    public readonly bool IsUnusable => (Attributes & UnusableBit) != 0;

    /// <summary>Expand-down data segment.</summary>
    public readonly bool IsExpandDown => (Attributes & 0x1c) == 0x14;

    /// <summary>Code segment.</summary>
    public readonly bool IsCode => (Attributes & 0x18) == 0x18;

    /// <summary>Data may be written through it.</summary>
    public readonly bool IsWritable => (Attributes & 0x1a) == 0x12;

    /// <summary>Data may be read through it.</summary>
    public readonly bool IsReadable => (Attributes & 0x18) == 0x10 || (Attributes & 0x1a) == 0x1a;

    /// <summary>Bit of <see cref="Attributes"/>: the selector was null.</summary>
    public const ushort UnusableBit = 0x1000;

    /// <summary>Builds a register from the members of <c>kvm_segment</c>.</summary>
    public static SegmentRegister FromParts(ulong @base, uint limit, ushort selector, int type, bool present, int dpl,
        bool big, bool codeOrData, bool @long, bool granular, bool available, bool unusable) => new()
        {
            Base = @base,
            Limit = limit,
            Selector = selector,
            Attributes = (ushort)((type & 15) | (codeOrData ? 0x10 : 0) | ((dpl & 3) << 5) | (present ? 0x80 : 0) | (available ? 0x100 : 0)
                | (@long ? 0x200 : 0) | (big ? 0x400 : 0) | (granular ? 0x800 : 0) | (unusable ? UnusableBit : 0)),
        };
}

/// <summary>GDTR or IDTR.</summary>
public struct DescriptorTable
{
    /// <summary>Linear base address.</summary>
    public ulong Base;

    /// <summary>Last valid byte of the table.</summary>
    public ushort Limit;
}
