using Iced.Intel;

namespace Kvm.X86.Tests.Native;

/// <summary>Concrete instructions for a <see cref="Code"/>: register and memory operands, aliased registers, immediates.</summary>
internal static class InstructionForms
{
    /// <summary>Register that holds the address of the memory operand.</summary>
    public const Register Pointer = Register.RBX;

    public static IEnumerable<Instruction> Of(Code code, Random random)
    {
        OpCodeInfo info = code.ToOpCode();
        bool hasImmediate = Enumerable.Range(0, info.OpCount).Any(i => info.GetOpKind(i) == OpCodeOperandKind.imm8);
        int rounds = hasImmediate ? 10 : 1;
        for (int round = 0; round < rounds; round++)
        {
            byte immediate = round switch { 0 => 0, 1 => 0xFF, _ => (byte)random.Next(256) };
            foreach (bool memory in new[] { false, true })
            {
                foreach (bool alias in new[] { false, true })
                {
                    if (TryBuild(code, info, memory, alias, immediate, out Instruction instruction))
                        yield return instruction;
                }
            }
        }
    }

    /// <summary>The bytes of an instruction, and the same instruction with its length set.</summary>
    public static byte[] Encode(ref Instruction instruction)
    {
        Collector collector = new();
        Encoder encoder = Encoder.Create(64, collector);
        uint length = encoder.Encode(instruction, 0x1000);
        instruction.Length = (int)length;
        return [.. collector.Bytes];
    }

    private static bool TryBuild(Code code, OpCodeInfo info, bool memory, bool alias, byte immediate, out Instruction instruction)
    {
        instruction = default;
        instruction.Code = code;
        bool placedMemory = false;
        for (int i = 0; i < info.OpCount; i++)
        {
            OpCodeOperandKind kind = info.GetOpKind(i);
            Register register = RegisterFor(kind, alias);
            if (kind == OpCodeOperandKind.imm8)
            {
                SetKind(ref instruction, i, OpKind.Immediate8);
                instruction.Immediate8 = immediate;
            }
            else if (kind == OpCodeOperandKind.seg_rDI)
            {
                SetKind(ref instruction, i, OpKind.MemorySegRDI);
            }
            else if (kind >= OpCodeOperandKind.mem_vsib32x && kind <= OpCodeOperandKind.mem_vsib64z)
            {
                SetKind(ref instruction, i, OpKind.Memory);
                instruction.MemoryBase = Pointer;
                instruction.MemoryIndex = kind is OpCodeOperandKind.mem_vsib32x or OpCodeOperandKind.mem_vsib64x ? Register.XMM2 : Register.YMM2;
                instruction.MemoryIndexScale = alias ? 4 : 1;
                alias = false;
                placedMemory = true;
            }
            else if (kind == OpCodeOperandKind.mem || (memory && IsEither(kind)))
            {
                SetKind(ref instruction, i, OpKind.Memory);
                instruction.MemoryBase = Pointer;
                placedMemory = true;
            }
            else if (register != Register.None)
            {
                SetKind(ref instruction, i, OpKind.Register);
                SetRegister(ref instruction, i, register);
            }
            else
            {
                return false;
            }
        }
        // Memory was asked for but the form has none (or the other way round): already covered by the other variant.
        return placedMemory == memory || (!memory && placedMemory && !HasEither(info));
    }

    private static bool HasEither(OpCodeInfo info) => Enumerable.Range(0, info.OpCount).Any(i => IsEither(info.GetOpKind(i)));

    private static bool IsEither(OpCodeOperandKind kind) => kind is OpCodeOperandKind.xmm_or_mem or OpCodeOperandKind.ymm_or_mem
        or OpCodeOperandKind.mm_or_mem or OpCodeOperandKind.r32_or_mem or OpCodeOperandKind.r64_or_mem or OpCodeOperandKind.r8_or_mem or OpCodeOperandKind.r16_or_mem;

    private static Register RegisterFor(OpCodeOperandKind kind, bool alias) => kind switch
    {
        OpCodeOperandKind.xmm_reg => Register.XMM9,
        OpCodeOperandKind.xmm_or_mem or OpCodeOperandKind.xmm_rm => alias ? Register.XMM9 : Register.XMM2,
        OpCodeOperandKind.xmm_vvvv => alias ? Register.XMM9 : Register.XMM14,
        OpCodeOperandKind.xmm_is4 => alias ? Register.XMM9 : Register.XMM5,
        OpCodeOperandKind.ymm_reg => Register.YMM9,
        OpCodeOperandKind.ymm_or_mem or OpCodeOperandKind.ymm_rm => alias ? Register.YMM9 : Register.YMM2,
        OpCodeOperandKind.ymm_vvvv => alias ? Register.YMM9 : Register.YMM14,
        OpCodeOperandKind.ymm_is4 => alias ? Register.YMM9 : Register.YMM5,
        OpCodeOperandKind.mm_reg => Register.MM3,
        OpCodeOperandKind.mm_or_mem or OpCodeOperandKind.mm_rm => alias ? Register.MM3 : Register.MM6,
        OpCodeOperandKind.r8_or_mem => Register.CL,
        OpCodeOperandKind.r16_or_mem => Register.CX,
        OpCodeOperandKind.r32_reg => Register.ESI,
        OpCodeOperandKind.r32_or_mem => Register.ECX,
        OpCodeOperandKind.r64_reg => Register.RSI,
        OpCodeOperandKind.r64_or_mem => Register.RCX,
        OpCodeOperandKind.st0 => Register.ST0,
        OpCodeOperandKind.sti_opcode => alias ? Register.ST0 : Register.ST3,
        _ => Register.None,
    };

    private static void SetKind(ref Instruction instruction, int operand, OpKind kind)
    {
        switch (operand)
        {
            case 0: instruction.Op0Kind = kind; break;
            case 1: instruction.Op1Kind = kind; break;
            case 2: instruction.Op2Kind = kind; break;
            case 3: instruction.Op3Kind = kind; break;
            default: instruction.Op4Kind = kind; break;
        }
    }

    private static void SetRegister(ref Instruction instruction, int operand, Register register)
    {
        switch (operand)
        {
            case 0: instruction.Op0Register = register; break;
            case 1: instruction.Op1Register = register; break;
            case 2: instruction.Op2Register = register; break;
            case 3: instruction.Op3Register = register; break;
            default: instruction.Op4Register = register; break;
        }
    }

    private sealed class Collector : CodeWriter
    {
        public List<byte> Bytes { get; } = [];

        public override void WriteByte(byte value) => Bytes.Add(value);
    }
}
