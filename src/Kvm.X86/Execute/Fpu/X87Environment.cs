// Invariants: as in X87.cs; buffers are on the stack and do not outlive the call.
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Fpu;

/// <summary>FLDENV, FNSTENV, FRSTOR, FNSAVE in their 16- and 32-bit, real and protected mode layouts (SDM vol. 1, figures 8-9 to 8-12).</summary>
internal static unsafe class X87Environment
{
    private const int RegistersSize = 80;

    public static bool Store16(Cpu* cpu, Op* op) => Store(cpu, op, 14, registers: false);

    public static bool Store32(Cpu* cpu, Op* op) => Store(cpu, op, 28, registers: false);

    public static bool Save16(Cpu* cpu, Op* op) => Store(cpu, op, 14, registers: true);

    public static bool Save32(Cpu* cpu, Op* op) => Store(cpu, op, 28, registers: true);

    public static bool Load16(Cpu* cpu, Op* op) => Load(cpu, op, 14, registers: false);

    public static bool Load32(Cpu* cpu, Op* op) => Load(cpu, op, 28, registers: false);

    public static bool Restore16(Cpu* cpu, Op* op) => Load(cpu, op, 14, registers: true);

    public static bool Restore32(Cpu* cpu, Op* op) => Load(cpu, op, 28, registers: true);

    private static bool Store(Cpu* cpu, Op* op, int size, bool registers)
    {
        byte* image = stackalloc byte[28 + RegistersSize];
        if (!X87.Available(cpu))
            return false;
        if (size == 14)
            Write16(cpu, (ushort*)image);
        else
            Write32(cpu, (uint*)image);
        if (registers)
            WriteRegisters(cpu, image + size);
        if (!Mem.TryWriteBytes(cpu, op, Ea.Of(cpu, op), image, registers ? size + RegistersSize : size))
            return false;
        if (registers)
        {
            X87.Initialize(cpu);
        }
        else
        {
            cpu->X87Control |= 0x3F;
            X87.UpdateSummary(cpu);
        }
        return true;
    }

    private static bool Load(Cpu* cpu, Op* op, int size, bool registers)
    {
        byte* image = stackalloc byte[28 + RegistersSize];
        if (!X87.Ready(cpu) || !Mem.TryReadBytes(cpu, op, Ea.Of(cpu, op), image, registers ? size + RegistersSize : size))
            return false;
        if (size == 14)
            Read16(cpu, (ushort*)image);
        else
            Read32(cpu, (uint*)image);
        if (registers)
            ReadRegisters(cpu, image + size);
        return true;
    }

    /// <summary>Real-address and virtual-8086 mode keep linear addresses and the opcode, protected mode selectors and offsets.</summary>
    private static bool IsReal(Cpu* cpu) => (cpu->Cr0 & Bits.Cr0Pe) == 0 || (cpu->Rflags & Bits.Vm) != 0;

    /// <summary>What the instruction pointer in an image is above the offset we keep: images of real mode have linear addresses.</summary>
    private static ulong CodeOrigin(Cpu* cpu) => IsReal(cpu) ? cpu->Segments[Seg.Cs].Base : 0;

    private static void Write16(Cpu* cpu, ushort* image)
    {
        ulong instruction = cpu->X87InstructionPointer + CodeOrigin(cpu);
        image[0] = cpu->X87Control;
        image[1] = X87.StatusWord(cpu);
        image[2] = X87.TagWord(cpu);
        image[3] = (ushort)instruction;
        image[5] = (ushort)cpu->X87DataPointer;
        bool real = IsReal(cpu);
        image[4] = real ? (ushort)((((instruction >> 16) & 15) << 12) | (cpu->X87Opcode & 0x7FFu)) : (ushort)0;
        image[6] = real ? (ushort)(((cpu->X87DataPointer >> 16) & 15) << 12) : (ushort)0;
    }

    private static void Read16(Cpu* cpu, ushort* image)
    {
        ulong instruction = image[3], data = image[5];
        if (IsReal(cpu))
        {
            instruction |= (ulong)(image[4] >> 12) << 16;
            data |= (ulong)(image[6] >> 12) << 16;
            cpu->X87Opcode = (ushort)(image[4] & 0x7FF);
        }
        Set(cpu, image[0], image[1], image[2], instruction, data);
    }

    private static void Write32(Cpu* cpu, uint* image)
    {
        const uint reserved = 0xFFFF_0000;
        image[0] = reserved | cpu->X87Control;
        image[1] = reserved | X87.StatusWord(cpu);
        image[2] = reserved | X87.TagWord(cpu);
        uint instruction = (uint)(cpu->X87InstructionPointer + CodeOrigin(cpu)), data = (uint)cpu->X87DataPointer;
        if (IsReal(cpu))
        {
            image[3] = reserved | (instruction & 0xFFFF);
            image[4] = ((instruction >> 16) << 12) | (cpu->X87Opcode & 0x7FFu);
            image[5] = reserved | (data & 0xFFFF);
            image[6] = (data >> 16) << 12;
        }
        else
        {
            image[3] = instruction;
            image[4] = (uint)cpu->X87Opcode << 16;
            image[5] = data;
            image[6] = reserved;
        }
    }

    private static void Read32(Cpu* cpu, uint* image)
    {
        bool real = IsReal(cpu);
        ulong instruction = real ? (image[3] & 0xFFFF) | ((image[4] >> 12) << 16) : image[3];
        ulong data = real ? (image[5] & 0xFFFF) | ((image[6] >> 12) << 16) : image[5];
        cpu->X87Opcode = (ushort)((real ? image[4] : image[4] >> 16) & 0x7FF);
        Set(cpu, (ushort)image[0], (ushort)image[1], (ushort)image[2], instruction, data);
    }

    private static void Set(Cpu* cpu, ushort control, ushort status, ushort tags, ulong instruction, ulong data)
    {
        X87.SetControlWord(cpu, control);
        X87.SetStatusWord(cpu, status);
        X87.SetTagWord(cpu, tags);
        cpu->X87InstructionPointer = (instruction - CodeOrigin(cpu)) & uint.MaxValue;
        cpu->X87DataPointer = data;
    }

    private static void WriteRegisters(Cpu* cpu, byte* image)
    {
        for (int i = 0; i < 8; i++)
        {
            X87Register register = cpu->X87[X87.Physical(cpu, i)];
            *(ulong*)(image + (10 * i)) = register.Significand;
            *(ushort*)(image + (10 * i) + 8) = register.SignExponent;
        }
    }

    private static void ReadRegisters(Cpu* cpu, byte* image)
    {
        for (int i = 0; i < 8; i++)
        {
            ref X87Register register = ref cpu->X87[X87.Physical(cpu, i)];
            register.Significand = *(ulong*)(image + (10 * i));
            register.SignExponent = *(ushort*)(image + (10 * i) + 8);
        }
    }
}
