using System.Runtime.InteropServices;
using Iced.Intel;

namespace Kvm.X86.Decode;

/// <summary>
/// One decoded micro-operation, 32 bytes, in native memory, one behind the other in a block. Position-independent: nothing in
/// it depends on the linear address its page is mapped at (RIP-relative operands use the slot CodeBase as base).
/// </summary>
/// <remarks>
/// Two forms. <b>Hot</b>: <see cref="Fn"/> is specialised by operand kinds and size and ends with a tail call to the next op.
/// <b>Helper</b>: <see cref="Fn"/> is the common caller, <see cref="Imm"/> the address of a
/// <c>delegate*&lt;Cpu*, Op*, bool&gt;</c>; operands are described by the other fields as said at each.
/// </remarks>
[StructLayout(LayoutKind.Sequential)]
internal struct Op
{
    /// <summary>Address of the handler: <c>delegate*&lt;Cpu*, Op*, nint&gt;</c>.</summary>
    public nint Fn;

    /// <summary>Hot: immediate, sign-extended, or the link of a jump. Helper: address of the helper.</summary>
    public long Imm;

    /// <summary>Displacement of the memory operand. Hot ops without one may use it for a second immediate.</summary>
    public int Disp;

    /// <summary>
    /// The register operand of ModRM.reg: number 0–15 of a general, vector, MMX, x87, control, debug or segment register; for an
    /// 8-bit general register the byte offset into the register file (AH is 1, CL is 8, SPL is 32).
    /// </summary>
    public byte Reg;

    /// <summary>The operand of ModRM.rm if it is a register, numbered as <see cref="Reg"/>; <see cref="Memory"/> if it is memory.</summary>
    public byte Rm;

    /// <summary>Slot of the base of the memory operand (Slots.Zero if none).</summary>
    public byte Base;

    /// <summary>Slot of the index (Slots.Zero if none).</summary>
    public byte Index;

    /// <summary>
    /// Shift of the index, 0–3 (a 64-bit shift looks at six bits). Bit 6: the op is two fused instructions; bit 7: it is
    /// the first op of an instruction.
    /// </summary>
    public byte Scale;

    /// <summary>Helper: VEX.vvvv register number (or the by-memory count register). Hot: a second source, or the instruction count of a block end.</summary>
    public byte V;

    /// <summary>Bits 0–3: length of the instruction; bits 4–6: segment of the memory operand; bit 7: LOCK prefix.</summary>
    public byte LengthSegment;

    /// <summary>Helper: the 8-bit immediate (the register of is4 operands is its high nibble).</summary>
    public byte Imm8;

    /// <summary>Offset of the instruction in its page (RIP = CodeBase + Offset).</summary>
    public ushort Offset;

    /// <summary>Identity of the instruction: Iced's <see cref="Iced.Intel.Code"/> (fits: fewer than 5,000 values).</summary>
    public ushort CodeValue;

    /// <summary>Value of <see cref="Rm"/> that says the operand is memory.</summary>
    public const byte Memory = 0xff;

    /// <summary>Size of the structure in bytes.</summary>
    public const int Size = 32;

    /// <summary>Bits of <see cref="Scale"/>.</summary>
    public const byte FusedBit = 0x40, FirstBit = 0x80;

    /// <summary>Value of <see cref="CodeValue"/> for ops that are no instruction: block ends and stubs.</summary>
    public const ushort NoCode = 0xffff;

    public readonly bool IsFirst => (Scale & FirstBit) != 0;

    public readonly bool IsFused => (Scale & FusedBit) != 0;

    public readonly Code Code => (Code)CodeValue;

    public readonly int Length => LengthSegment & 15;

    public readonly int Segment => (LengthSegment >> 4) & 7;

    public readonly bool IsLocked => (LengthSegment & 0x80) != 0;

    public readonly bool HasMemory => Rm == Memory;
}
