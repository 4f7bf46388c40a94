using Iced.Intel;

namespace Kvm.X86.Tests.Programs;

/// <summary>How one part of a program leads on.</summary>
internal enum ItemKind
{
    /// <summary>An instruction.</summary>
    Plain,

    /// <summary>A conditional jump; the opcode's low bits are the condition.</summary>
    Jcc,

    /// <summary>LOOPNE, LOOPE, LOOP or JRCXZ.</summary>
    Loop,

    /// <summary>JMP to a displacement.</summary>
    Jump,

    /// <summary>CALL to a displacement.</summary>
    Call,

    /// <summary>MOV R10, target; JMP R10.</summary>
    JumpRegister,

    /// <summary>PUSH target; RET.</summary>
    PushReturn,
}

/// <summary>One part of a program.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Instruction">The instruction, if it is a plain one.</param>
/// <param name="Raw">Its bytes as they were found, where they may stay.</param>
/// <param name="Choice">Condition of a branch, and whether it is a long one.</param>
/// <param name="Target">Number of the item it leads to.</param>
internal sealed record Item(ItemKind Kind, Instruction Instruction, byte[]? Raw, int Choice, int Target)
{
    /// <summary>The bytes at an address.</summary>
    public byte[] Encode(ulong at, ulong target)
    {
        switch (Kind)
        {
            case ItemKind.Plain when Raw != null:
                return Raw;
            case ItemKind.Plain:
                MemoryStream stream = new();
                Encoder.Create(64, new StreamCodeWriter(stream)).Encode(Instruction, at);
                return stream.ToArray();
            case ItemKind.Jcc when (Choice & 16) == 0:
                return [(byte)(0x70 + (Choice & 15)), (byte)(target - at - 2)];
            case ItemKind.Jcc:
                return [0x0f, (byte)(0x80 + (Choice & 15)), .. BitConverter.GetBytes((int)(target - at - 6))];
            case ItemKind.Loop:
                return [(byte)(0xe0 + (Choice & 3)), (byte)(target - at - 2)];
            case ItemKind.Jump:
                return [0xe9, .. BitConverter.GetBytes((int)(target - at - 5))];
            case ItemKind.Call:
                return [0xe8, .. BitConverter.GetBytes((int)(target - at - 5))];
            case ItemKind.JumpRegister:
                return [0x49, 0xc7, 0xc2, .. BitConverter.GetBytes((int)target), 0x41, 0xff, 0xe2];
            default:
                return [0x68, .. BitConverter.GetBytes((int)target), 0xc3];
        }
    }
}

/// <summary>Makes programs of random instructions: random bytes that decode to an allowed one, with operands led into the scratch pages.</summary>
internal sealed class ProgramGenerator(Random random)
{
    /// <summary>Registers that hold addresses in the scratch pages, and those that hold small numbers; by number.</summary>
    public static readonly int[] Pointers = [3, 5, 6, 7, 12, 13], Small = [1, 9];

    private readonly int[] _counts = new int[4096];
    private int _total;

    /// <summary>How many different mnemonics have been made.</summary>
    public int Mnemonics => _counts.Count(count => count != 0);

    public List<Item> Next()
    {
        int length = random.Next(4) == 0 ? 1 : random.Next(1, 8);
        bool branches = random.Next(3) == 0;
        List<Item> items = [];
        for (int n = 0; n < length; n++)
            items.Add(branches && random.Next(3) == 0 ? Branch(n, length) : Plain());
        return items;
    }

    private Item Branch(int n, int length)
    {
        var kind = (ItemKind)random.Next((int)ItemKind.Jcc, (int)ItemKind.PushReturn + 1);
        if (random.Next(2) == 0)
            kind = ItemKind.Jcc;
        int target = kind is ItemKind.Jcc or ItemKind.Loop && random.Next(3) == 0 ? random.Next(n + 1) : random.Next(n + 1, length + 1);
        return new Item(kind, default, null, random.Next(32), target);
    }

    private Item Plain()
    {
        byte[] bytes = new byte[15];
        while (true)
        {
            random.NextBytes(bytes);
            Shape(bytes);
            var decoder = Decoder.Create(64, new ByteArrayCodeReader(bytes));
            decoder.IP = NativeProgram.Code;
            decoder.Decode(out var instruction);
            if (!AllowedInstructions.Contains(instruction) || !IsWanted(instruction.Mnemonic))
                continue;
            var item = Settle(instruction, bytes);
            if (item != null)
                return item;
        }
    }

    /// <summary>Makes prefixes and the opcode maps as likely as one-byte opcodes.</summary>
    private void Shape(byte[] bytes)
    {
        int at = 0;
        if (random.Next(4) == 0)
            bytes[at++] = random.Next(5) switch { 0 or 1 => 0x66, 2 => 0xf2, 3 => 0xf3, _ => 0x67 };
        if (random.Next(24) == 0)
            bytes[at++] = 0xf0;
        switch (random.Next(8))
        {
            case 0 or 1:
                bytes[at++] = (byte)(0xc4 + random.Next(2));
                if (bytes[at - 1] == 0xc4)
                    bytes[at] = (byte)((bytes[at] & 0xe0) | random.Next(1, 4));
                return;
            case int other:
                if (random.Next(2) == 0)
                    bytes[at++] = (byte)(0x40 + random.Next(16));
                if (other > 3)
                    bytes[at++] = 0x0f;
                if (other > 5)
                    bytes[at] = (byte)(random.Next(2) == 0 ? 0x38 : 0x3a);
                return;
        }
    }

    /// <summary>What has come often already is seldom taken again.</summary>
    private bool IsWanted(Mnemonic mnemonic)
    {
        if (_counts[(int)mnemonic] > 10 + (_total / 200) && random.Next(16) != 0)
            return false;
        _counts[(int)mnemonic]++;
        _total++;
        return true;
    }

    private Item? Settle(Instruction instruction, byte[] bytes)
    {
        bool override_ = instruction.SegmentPrefix is Register.FS or Register.GS;
        bool memory = false;
        for (int n = 0; n < instruction.OpCount; n++)
            memory |= instruction.GetOpKind(n) == OpKind.Memory;
        if (!memory && !override_)
            return new Item(ItemKind.Plain, instruction, bytes[..instruction.Length], 0, 0);
        if (override_)
            instruction.SegmentPrefix = Register.None;
        if (memory && (instruction.Mnemonic != Mnemonic.Lea || instruction.IsIPRelativeMemoryOperand) && !Address(ref instruction))
            return null;
        try
        {
            MemoryStream stream = new();
            Encoder.Create(64, new StreamCodeWriter(stream)).Encode(instruction, NativeProgram.Code);
            return new Item(ItemKind.Plain, instruction, instruction.IsIPRelativeMemoryOperand ? null : stream.ToArray(), 0, 0);
        }
        catch (EncoderException)
        {
            return null;
        }
    }

    private bool Address(ref Instruction i)
    {
        bool narrow = i.MemoryBase.IsGPR32() || i.MemoryIndex.IsGPR32() || i.MemoryBase == Register.EIP;
        var first = narrow ? Register.EAX : Register.RAX;
        long displacement = random.Next(3) switch { 0 => 0, 1 => random.Next(-4, 5) * 32, _ => random.Next(-130, 131) };
        var code = i.OpCode;
        bool isOffset = Enumerable.Range(0, code.OpCount).Any(n => code.GetOpKind(n) == OpCodeOperandKind.mem_offs);
        ulong absolute = NativeProgram.Scratch + (ulong)random.Next(32, NativeProgram.ScratchSize - 64);
        i.MemoryIndex = Register.None;
        i.MemoryIndexScale = 1;
        if (isOffset || (random.Next(8) == 0 && !narrow))
        {
            i.MemoryBase = isOffset || random.Next(2) == 0 ? Register.None : Register.RIP;
            i.MemoryDisplacement64 = absolute;
            i.MemoryDisplSize = isOffset && narrow ? 4 : 8;
            return true;
        }

        i.MemoryBase = first + Pointers[random.Next(Pointers.Length)];
        if (random.Next(3) == 0)
        {
            i.MemoryIndex = first + Small[random.Next(Small.Length)];
            i.MemoryIndexScale = 1 << random.Next(4);
        }

        i.MemoryDisplacement64 = narrow ? (uint)displacement : (ulong)displacement;
        i.MemoryDisplSize = displacement == 0 ? 0 : narrow ? 4 : 8;
        return true;
    }
}
