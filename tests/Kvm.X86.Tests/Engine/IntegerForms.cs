using Iced.Intel;
using Kvm.X86.Tests.Native;

namespace Kvm.X86.Tests.Engine;

/// <summary>Concrete instructions for a <see cref="Code"/> of the integer set, with random registers, immediates and addressing.</summary>
internal sealed class IntegerForms(Random random)
{
    // RBX and RDI hold the operand's address; RSP and R15 belong to the runner.
    private static readonly int[] Usable = [0, 1, 2, 5, 6, 8, 9, 10, 11, 12, 13, 14];

    /// <summary>Builds one; false if the code has an operand this does not know.</summary>
    public bool TryBuild(Code code, bool memory, out Instruction instruction)
    {
        OpCodeInfo info = code.ToOpCode();
        instruction = default;
        instruction.Code = code;
        bool placed = false, high = false;
        for (int i = 0; i < info.OpCount; i++)
        {
            var kind = info.GetOpKind(i);
            if (memory && IsEither(kind))
            {
                instruction.SetOpKind(i, OpKind.Memory);
                Address(ref instruction);
                placed = true;
            }
            else if (TryRegister(kind, out var register))
            {
                instruction.SetOpKind(i, OpKind.Register);
                instruction.SetOpRegister(i, register);
                high |= register is >= Register.AH and <= Register.BH;
            }
            else if (!TryImmediate(ref instruction, i, kind))
                return false;
        }

        if (high && NeedsRex(instruction))
            return false;
        instruction.HasLockPrefix = placed && info.CanUseLockPrefix && random.Next(2) == 0;
        return placed == memory;
    }

    private static bool NeedsRex(in Instruction instruction)
    {
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) != OpKind.Register)
                continue;
            var r = instruction.GetOpRegister(i);
            if (r is >= Register.SPL and <= Register.R15L || r.IsGPR64() || (r.IsGPR() && r.GetFullRegister() >= Register.R8))
                return true;
        }

        return false;
    }

    private void Address(ref Instruction instruction)
    {
        if (instruction.Mnemonic == Mnemonic.Lea)
        {
            // No memory is touched: any registers will do.
            instruction.MemoryBase = Register.RAX + Usable[random.Next(Usable.Length)];
            instruction.MemoryIndex = random.Next(2) == 0 ? Register.None : Register.RAX + Usable[random.Next(Usable.Length)];
            instruction.MemoryIndexScale = 1 << random.Next(4);
        }
        else
            instruction.MemoryBase = random.Next(2) == 0 ? Register.RBX : Register.RDI;
        if (random.Next(3) == 0 && instruction.Mnemonic != Mnemonic.Cmpxchg16b)
        {
            instruction.MemoryDisplacement64 = (ulong)random.Next(-24, 40);
            instruction.MemoryDisplSize = 8;
        }
    }

    private static bool IsEither(OpCodeOperandKind kind) => kind is OpCodeOperandKind.r8_or_mem or OpCodeOperandKind.r16_or_mem
        or OpCodeOperandKind.r32_or_mem or OpCodeOperandKind.r64_or_mem or OpCodeOperandKind.mem;

    private bool TryRegister(OpCodeOperandKind kind, out Register register)
    {
        int n = Usable[random.Next(Usable.Length)];
        register = kind switch
        {
            OpCodeOperandKind.r8_reg or OpCodeOperandKind.r8_or_mem or OpCodeOperandKind.r8_opcode => Byte(n),
            OpCodeOperandKind.r16_reg or OpCodeOperandKind.r16_or_mem or OpCodeOperandKind.r16_opcode or OpCodeOperandKind.r16_rm => Register.AX + n,
            OpCodeOperandKind.r32_reg or OpCodeOperandKind.r32_or_mem or OpCodeOperandKind.r32_opcode or OpCodeOperandKind.r32_vvvv or OpCodeOperandKind.r32_rm => Register.EAX + n,
            OpCodeOperandKind.r64_reg or OpCodeOperandKind.r64_or_mem or OpCodeOperandKind.r64_opcode or OpCodeOperandKind.r64_vvvv or OpCodeOperandKind.r64_rm => Register.RAX + n,
            OpCodeOperandKind.al => Register.AL,
            OpCodeOperandKind.cl => Register.CL,
            OpCodeOperandKind.ax => Register.AX,
            OpCodeOperandKind.eax => Register.EAX,
            OpCodeOperandKind.rax => Register.RAX,
            _ => Register.None,
        };
        return register != Register.None;
    }

    private Register Byte(int n)
    {
        if (n < 3 && random.Next(3) == 0)
            return Register.AH + n;
        return n < 4 ? Register.AL + n : Register.SPL + (n - 4);
    }

    private bool TryImmediate(ref Instruction instruction, int operand, OpCodeOperandKind kind)
    {
        long value = random.Next(3) switch { 0 => random.Next(-3, 4), 1 => random.NextInt64(), _ => random.Next(256) };
        switch (kind)
        {
            case OpCodeOperandKind.imm8:
                instruction.SetOpKind(operand, OpKind.Immediate8);
                instruction.Immediate8 = (byte)value;
                return true;
            case OpCodeOperandKind.imm8_const_1:
                instruction.SetOpKind(operand, OpKind.Immediate8);
                instruction.Immediate8 = 1;
                return true;
            case OpCodeOperandKind.imm8sex16:
                instruction.SetOpKind(operand, OpKind.Immediate8to16);
                instruction.Immediate8to16 = (sbyte)value;
                return true;
            case OpCodeOperandKind.imm8sex32:
                instruction.SetOpKind(operand, OpKind.Immediate8to32);
                instruction.Immediate8to32 = (sbyte)value;
                return true;
            case OpCodeOperandKind.imm8sex64:
                instruction.SetOpKind(operand, OpKind.Immediate8to64);
                instruction.Immediate8to64 = (sbyte)value;
                return true;
            case OpCodeOperandKind.imm16:
                instruction.SetOpKind(operand, OpKind.Immediate16);
                instruction.Immediate16 = (ushort)value;
                return true;
            case OpCodeOperandKind.imm32:
                instruction.SetOpKind(operand, OpKind.Immediate32);
                instruction.Immediate32 = (uint)value;
                return true;
            case OpCodeOperandKind.imm32sex64:
                instruction.SetOpKind(operand, OpKind.Immediate32to64);
                instruction.Immediate32to64 = (int)value;
                return true;
            case OpCodeOperandKind.imm64:
                instruction.SetOpKind(operand, OpKind.Immediate64);
                instruction.Immediate64 = (ulong)value;
                return true;
            default:
                return false;
        }
    }
}
