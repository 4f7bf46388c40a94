using Iced.Intel;
using Kvm.X86.State;
using Kvm.X86.Tests.Engine;

namespace Kvm.X86.Tests.Translate;

/// <summary>
/// Random short programs: integer instructions, branches and stack operations, in a loop that R15 counts, ended by UD2. No
/// instruction reads a flag that one before it left undefined.
/// </summary>
internal sealed class ProgramGenerator(Random random)
{
    private readonly IntegerForms _forms = new(random);
    private readonly List<Instruction> _program = [];
    private readonly List<(int Target, uint AtJump)> _joins = [];
    private uint _defined;

    /// <summary>Codes to choose from.</summary>
    public required IReadOnlyList<Code> Codes { get; init; }

    /// <summary>What is in the program last made, with its addresses.</summary>
    public IReadOnlyList<Instruction> Program => _program;

    /// <summary>The flags that are defined before each instruction, by its address.</summary>
    public Dictionary<ulong, uint> Defined { get; } = [];

    /// <summary>Makes a program that begins at an address; null if something cannot be encoded (then ask again).</summary>
    public byte[]? Make(ulong address, int length)
    {
        _program.Clear();
        _joins.Clear();
        Defined.Clear();
        List<uint> defined = [];
        _defined = Bits.StatusFlags & ~Bits.Cf; // the loop comes back behind DEC
        for (int n = 0; n < length; n++)
        {
            Join();
            uint before = _defined;
            Add();
            while (defined.Count < _program.Count)
                defined.Add(before);
        }

        foreach (var (_, atJump) in _joins)
            _defined &= atJump;
        defined.Add(_defined);
        defined.Add(_defined);
        _program.Add(Instruction.Create(Code.Dec_rm64, Register.R15));
        _program.Add(Instruction.CreateBranch(Code.Jne_rel32_64, 1));
        defined.Add(_defined);
        _program.Add(Instruction.Create(Code.Ud2));
        return Encode(address, defined);
    }

    /// <summary>Where a jump lands, only what both ways define is defined.</summary>
    private void Join()
    {
        foreach (var (target, atJump) in _joins)
        {
            if (target <= _program.Count + 1)
                _defined &= atJump;
        }

        _joins.RemoveAll(join => join.Target <= _program.Count + 1);
    }

    private byte[]? Encode(ulong address, List<uint> defined)
    {
        var instructions = _program.Select((instruction, n) =>
        {
            instruction.IP = (ulong)n + 1;
            if (instruction.Op0Kind == OpKind.NearBranch64)
                instruction.NearBranch64 = Math.Min(instruction.NearBranch64, (ulong)_program.Count - 2);
            return instruction;
        }).ToArray();
        MemoryStream stream = new();
        if (!BlockEncoder.TryEncode(64, new InstructionBlock(new StreamCodeWriter(stream), instructions, address), out _, out var result, BlockEncoderOptions.ReturnNewInstructionOffsets))
            return null;
        for (int n = 0; n < instructions.Length; n++)
            Defined[address + result.NewInstructionOffsets[n]] = defined[n];
        return stream.ToArray();
    }

    private void Add()
    {
        switch (random.Next(16))
        {
            case 0:
                AddJump();
                break;
            case 1:
                AddStack();
                break;
            default:
                AddInteger();
                break;
        }
    }

    private void AddJump()
    {
        int cc = random.Next(17);
        var code = cc == 16 ? Code.Jmp_rel32_64 : Code.Jo_rel32_64 + ((int)Code.Jno_rel32_64 - (int)Code.Jo_rel32_64) * cc;
        var jump = Instruction.CreateBranch(code, (ulong)(_program.Count + 2 + random.Next(4)));
        if (!Reads(jump))
            return;
        _joins.Add(((int)jump.NearBranch64, _defined));
        _program.Add(jump);
    }

    private void AddStack()
    {
        Register register = Register.RAX + random.Next(15);
        switch (random.Next(5))
        {
            case 0:
                _program.Add(Instruction.Create(Code.Push_r64, register));
                break;
            case 1:
                _program.Add(Instruction.Create(Code.Pop_r64, register == Register.RSP ? Register.RAX : register));
                break;
            case 2:
                _program.Add(Instruction.Create(Code.Pushq_imm32, random.Next(int.MinValue, int.MaxValue)));
                break;
            case 3:
                // call next; lea rsp, [rsp + 8]
                _program.Add(Instruction.CreateBranch(Code.Call_rel32_64, (ulong)_program.Count + 2));
                _program.Add(Instruction.Create(Code.Lea_r64_m, Register.RSP, new MemoryOperand(Register.RSP, 8)));
                break;
            default:
                _program.Add(Instruction.Create(Code.Push_rm64, new MemoryOperand(Register.RBX)));
                break;
        }
    }

    private void AddInteger()
    {
        if (!_forms.TryBuild(Codes[random.Next(Codes.Count)], random.Next(2) == 0, out var instruction) || !Reads(instruction))
            return;
        if (instruction.Op0Kind == OpKind.Memory || (instruction.OpCount > 1 && instruction.Op1Kind == OpKind.Memory))
            ChangeAddress(ref instruction);
        if (instruction.Mnemonic is Mnemonic.Shld or Mnemonic.Shrd && instruction.Op0Size() == 2 && (instruction.Op2Kind == OpKind.Register || (instruction.Immediate8 & 31) > 16))
            return; // the result is undefined
        _program.Add(instruction);
        _defined = After(instruction);
    }

    private bool Reads(in Instruction instruction) => (Status(instruction.RflagsRead) & ~_defined) == 0;

    private void ChangeAddress(ref Instruction instruction)
    {
        if (instruction.Mnemonic is Mnemonic.Cmpxchg16b)
            return;
        switch (random.Next(8))
        {
            case 0:
                instruction.MemoryBase = Register.RSP;
                break;
            case 1:
                instruction.MemoryBase = Register.R9;
                break;
            case 2:
                instruction.MemoryIndex = Register.R15;
                instruction.MemoryIndexScale = 1 << random.Next(4);
                break;
            case 3:
                instruction.MemoryIndex = instruction.MemoryBase;
                instruction.MemoryIndexScale = 1;
                instruction.MemoryBase = Register.R15;
                break;
            case 4:
                instruction.SegmentPrefix = Register.FS;
                instruction.MemoryBase = Register.R15;
                break;
            default:
                break;
        }
    }

    /// <summary>Flags defined behind an instruction: those it defines, and those it leaves alone.</summary>
    private uint After(in Instruction instruction)
    {
        bool byCl = instruction.Mnemonic is Mnemonic.Shl or Mnemonic.Sal or Mnemonic.Shr or Mnemonic.Sar or Mnemonic.Shld or Mnemonic.Shrd or Mnemonic.Rol
            or Mnemonic.Ror or Mnemonic.Rcl or Mnemonic.Rcr && instruction.GetOpKind(instruction.OpCount - 1) == OpKind.Register;
        uint clear = byCl ? UndefinedFlags.Defined(instruction, 7) & UndefinedFlags.Defined(instruction, 0x1f) : UndefinedFlags.Defined(instruction, 0);
        uint written = Status(instruction.RflagsWritten | instruction.RflagsCleared | instruction.RflagsSet | instruction.RflagsUndefined);
        if (byCl)
            return _defined & clear; // a count of zero leaves everything
        return (_defined & ~written) | (written & clear) | (_defined & clear);
    }

    private static uint Status(RflagsBits bits) =>
        ((bits & RflagsBits.OF) != 0 ? Bits.Of : 0) | ((bits & RflagsBits.SF) != 0 ? Bits.Sf : 0) | ((bits & RflagsBits.ZF) != 0 ? Bits.Zf : 0)
        | ((bits & RflagsBits.AF) != 0 ? Bits.Af : 0) | ((bits & RflagsBits.CF) != 0 ? Bits.Cf : 0) | ((bits & RflagsBits.PF) != 0 ? Bits.Pf : 0);
}
