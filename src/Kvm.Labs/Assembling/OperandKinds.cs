using Iced.Intel;

namespace Kvm.Labs.Assembling;

/// <summary>An immediate value in an encoding.</summary>
/// <param name="Kind">Iced's name for it.</param>
/// <param name="Bytes">Bytes encoded.</param>
/// <param name="To">Bytes it is used as.</param>
/// <param name="Extended">True if its sign is extended.</param>
internal readonly record struct ImmediateForm(OpKind Kind, int Bytes, int To, bool Extended);

/// <summary>What Iced's kinds of operands take.</summary>
internal static class OperandKinds
{
    /// <summary>The register an encoding has without naming it, or none.</summary>
    public static Register FixedRegister(OpCodeOperandKind kind) => kind switch
    {
        OpCodeOperandKind.es => Register.ES,
        OpCodeOperandKind.cs => Register.CS,
        OpCodeOperandKind.ss => Register.SS,
        OpCodeOperandKind.ds => Register.DS,
        OpCodeOperandKind.fs => Register.FS,
        OpCodeOperandKind.gs => Register.GS,
        OpCodeOperandKind.al => Register.AL,
        OpCodeOperandKind.cl => Register.CL,
        OpCodeOperandKind.ax => Register.AX,
        OpCodeOperandKind.dx => Register.DX,
        OpCodeOperandKind.eax => Register.EAX,
        OpCodeOperandKind.rax => Register.RAX,
        OpCodeOperandKind.st0 => Register.ST0,
        _ => Register.None,
    };

    /// <summary>True if the register can be the operand.</summary>
    public static bool Takes(OpCodeOperandKind kind, Register register) => kind switch
    {
        OpCodeOperandKind.r8_or_mem or OpCodeOperandKind.r8_reg or OpCodeOperandKind.r8_opcode => register.IsGPR8(),
        OpCodeOperandKind.r16_or_mem or OpCodeOperandKind.r16_reg or OpCodeOperandKind.r16_reg_mem or OpCodeOperandKind.r16_rm or OpCodeOperandKind.r16_opcode => register.IsGPR16(),
        OpCodeOperandKind.r32_or_mem or OpCodeOperandKind.r32_or_mem_mpx or OpCodeOperandKind.r32_reg or OpCodeOperandKind.r32_reg_mem or OpCodeOperandKind.r32_rm
            or OpCodeOperandKind.r32_opcode => register.IsGPR32(),
        OpCodeOperandKind.r64_or_mem or OpCodeOperandKind.r64_or_mem_mpx or OpCodeOperandKind.r64_reg or OpCodeOperandKind.r64_reg_mem or OpCodeOperandKind.r64_rm
            or OpCodeOperandKind.r64_opcode => register.IsGPR64(),
        OpCodeOperandKind.seg_reg => register.IsSegmentRegister(),
        OpCodeOperandKind.cr_reg => register.IsCR(),
        OpCodeOperandKind.dr_reg => register.IsDR(),
        OpCodeOperandKind.mm_or_mem or OpCodeOperandKind.mm_reg or OpCodeOperandKind.mm_rm => register.IsMM(),
        OpCodeOperandKind.xmm_or_mem or OpCodeOperandKind.xmm_reg or OpCodeOperandKind.xmm_rm => register.IsXMM(),
        OpCodeOperandKind.sti_opcode => register.IsST(),
        _ => FixedRegister(kind) is var only && only != Register.None && only == register,
    };

    /// <summary>True if the operand can be memory with a ModRM byte.</summary>
    public static bool IsMemory(OpCodeOperandKind kind) => kind is OpCodeOperandKind.mem or OpCodeOperandKind.mem_mpx
        or OpCodeOperandKind.r8_or_mem or OpCodeOperandKind.r16_or_mem or OpCodeOperandKind.r32_or_mem or OpCodeOperandKind.r32_or_mem_mpx
        or OpCodeOperandKind.r64_or_mem or OpCodeOperandKind.r64_or_mem_mpx or OpCodeOperandKind.mm_or_mem or OpCodeOperandKind.xmm_or_mem;

    /// <summary>True for the target of a jump of the mode's size.</summary>
    public static bool IsBranch(OpCodeOperandKind kind, int bits) => bits switch
    {
        16 => kind is OpCodeOperandKind.br16_1 or OpCodeOperandKind.br16_2,
        32 => kind is OpCodeOperandKind.br32_1 or OpCodeOperandKind.br32_4,
        _ => kind is OpCodeOperandKind.br64_1 or OpCodeOperandKind.br64_4,
    };

    /// <summary>True for a distance of one byte.</summary>
    public static bool IsShortBranch(OpCodeOperandKind kind) => kind is OpCodeOperandKind.br16_1 or OpCodeOperandKind.br32_1 or OpCodeOperandKind.br64_1;

    /// <summary>How the kind encodes a number, or null if it does not.</summary>
    public static ImmediateForm? ImmediateBytes(OpCodeOperandKind kind) => kind switch
    {
        OpCodeOperandKind.imm8 or OpCodeOperandKind.imm8_const_1 => new(OpKind.Immediate8, 1, 1, false),
        OpCodeOperandKind.imm8sex16 => new(OpKind.Immediate8to16, 1, 2, true),
        OpCodeOperandKind.imm8sex32 => new(OpKind.Immediate8to32, 1, 4, true),
        OpCodeOperandKind.imm8sex64 => new(OpKind.Immediate8to64, 1, 8, true),
        OpCodeOperandKind.imm16 => new(OpKind.Immediate16, 2, 2, false),
        OpCodeOperandKind.imm32 => new(OpKind.Immediate32, 4, 4, false),
        OpCodeOperandKind.imm32sex64 => new(OpKind.Immediate32to64, 4, 8, true),
        OpCodeOperandKind.imm64 => new(OpKind.Immediate64, 8, 8, false),
        _ => null,
    };

    /// <summary>True if the number can be encoded so: as signed or unsigned, or, where its sign is extended, as signed alone.</summary>
    public static bool Holds(ImmediateForm form, long value)
    {
        if (form.Bytes == 8)
            return true;
        int bits = form.Bytes * 8;
        long least = -1L << (bits - 1), most = form.Extended ? ~least : (1L << bits) - 1;
        return value >= least && value <= most;
    }
}
