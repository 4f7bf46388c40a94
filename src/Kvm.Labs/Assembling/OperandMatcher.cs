using Iced.Intel;

namespace Kvm.Labs.Assembling;

/// <summary>Which encodings the operands of an instruction fit, by Iced's table of operand kinds.</summary>
internal sealed class OperandMatcher(INames names, InstructionStatement statement, int bits)
{
    private readonly IReadOnlyList<Operand> _operands = statement.Operands;

    /// <summary>True if the encoding exists in the mode.</summary>
    public static bool HasMode(OpCodeInfo info, int bits) => bits switch
    {
        16 => info.Mode16,
        32 => info.Mode32,
        _ => info.Mode64,
    };

    /// <summary>True if the operands are of the encoding's kinds.</summary>
    public bool Fits(Code code)
    {
        var info = code.ToOpCode();
        if (!HasMode(info, bits) || (info.AddressSize != 0 && info.AddressSize != bits))
            return false;
        if (_operands.Count == 0)
            return AreImplied(info);
        if (_operands.Count != info.OpCount)
            return false;
        for (int i = 0; i < info.OpCount; i++)
        {
            if (!Fits(info, info.GetOpKind(i), _operands[i]))
                return false;
        }

        return true;
    }

    /// <summary>True for a jump with a distance of one byte.</summary>
    public bool IsShortJump(Code code) => _operands.Count == 1 && code.ToOpCode().Op0Kind is OpCodeOperandKind.br16_1 or OpCodeOperandKind.br32_1 or OpCodeOperandKind.br64_1;

    /// <summary>Memory without a size, where encodings differ in it, is a mistake; jumps, calls and the stack have the size of the mode.</summary>
    public void CheckSize(List<Code> fitting)
    {
        if (!_operands.Any(operand => operand is MemoryOperand { Size: 0 }))
            return;
        if (statement.Name is "jmp" or "call" or "push" or "pop")
        {
            int selector = _operands[0].Far ? 2 : 0;
            fitting.RemoveAll(code => MemoryBytes(code.ToOpCode()) != bits / 8 + selector);
            return;
        }

        var sizes = fitting.Select(code => MemoryBytes(code.ToOpCode())).Where(size => size is 1 or 2 or 4 or 8).Distinct().Count();
        if (sizes > 1)
        {
            var memory = _operands.First(operand => operand is MemoryOperand);
            throw new SourceException(memory.Column, "how much memory is meant? byte, word, dword or qword is expected in front of [");
        }
    }

    /// <summary>Builds the instruction; <see cref="Fits(Code)"/> was true.</summary>
    public Instruction Make(Code code)
    {
        var info = code.ToOpCode();
        var instruction = new Instruction { Code = code };
        for (int i = 0; i < info.OpCount; i++)
        {
            var kind = info.GetOpKind(i);
            if (_operands.Count == 0)
                SetImplied(ref instruction, i, kind);
            else
                Set(ref instruction, i, kind, _operands[i]);
        }

        instruction.HasLockPrefix = statement.Prefixes.HasFlag(InstructionPrefixes.Lock);
        instruction.HasRepPrefix = statement.Prefixes.HasFlag(InstructionPrefixes.Repeat);
        instruction.HasRepnePrefix = statement.Prefixes.HasFlag(InstructionPrefixes.RepeatNotEqual);
        return instruction;
    }

    private static int MemoryBytes(OpCodeInfo info) => info.MemorySize.GetSize();

    private static bool AreImplied(OpCodeInfo info)
    {
        for (int i = 0; i < info.OpCount; i++)
        {
            if (!IsString(info.GetOpKind(i)) && OperandKinds.FixedRegister(info.GetOpKind(i)) is Register.None)
                return false;
        }

        // "push" alone is not "push cs": only string instructions have operands that nobody writes.
        return info.OpCount == 0 || Enumerable.Range(0, info.OpCount).Any(i => IsString(info.GetOpKind(i)));
    }

    private static bool IsString(OpCodeOperandKind kind) =>
        kind is OpCodeOperandKind.seg_rSI or OpCodeOperandKind.es_rDI or OpCodeOperandKind.seg_rDI or OpCodeOperandKind.seg_rBX_al;

    private bool Fits(OpCodeInfo info, OpCodeOperandKind kind, Operand operand) => operand switch
    {
        RegisterOperand { Register: var register } => OperandKinds.Takes(kind, register),
        MemoryOperand memory => OperandKinds.IsMemory(kind) && (memory.Size == 0 || MemoryBytes(info) == memory.Size || MemoryBytes(info) == 0) && IsFar(info) == memory.Far,
        FarOperand => kind == (IsWide(operand) ? OpCodeOperandKind.farbr4_2 : OpCodeOperandKind.farbr2_2),
        ValueOperand value => FitsValue(kind, value),
        _ => false,
    };

    private static bool IsFar(OpCodeInfo info) =>
        info.Mnemonic is Mnemonic.Jmp or Mnemonic.Call && info.MemorySize is MemorySize.SegPtr16 or MemorySize.SegPtr32 or MemorySize.SegPtr64;

    /// <summary>A far target has the size of the mode unless another was said.</summary>
    private bool IsWide(Operand far) => far.Size == 4 || (far.Size == 0 && bits == 32);

    private bool FitsValue(OpCodeOperandKind kind, ValueOperand operand)
    {
        if (OperandKinds.IsBranch(kind, bits))
            return !operand.Short || OperandKinds.IsShortBranch(kind);
        if (OperandKinds.ImmediateBytes(kind) is not { } form)
            return false;
        bool address = operand.Value.IsAddress(names);
        if (operand.Size != 0 && operand.Size != form.Bytes && !(form.Extended && form.To == operand.Size))
            return false;
        // The length of what depends on addresses must not depend on their values.
        if (address && form is { Bytes: 1, Extended: true })
            return false;
        long value = operand.Value.Value(names);
        if (kind == OpCodeOperandKind.imm8_const_1)
            return !address && value == 1;
        return address || OperandKinds.Holds(form, value);
    }

    private void Set(ref Instruction instruction, int index, OpCodeOperandKind kind, Operand operand)
    {
        switch (operand)
        {
            case RegisterOperand { Register: var register }:
                instruction.SetOpKind(index, OpKind.Register);
                instruction.SetOpRegister(index, register);
                break;
            case MemoryOperand memory:
                instruction.SetOpKind(index, OpKind.Memory);
                SetMemory(ref instruction, memory);
                break;
            case FarOperand far:
                SetFar(ref instruction, index, kind, far);
                break;
            case ValueOperand { Value: var value } when OperandKinds.IsBranch(kind, bits):
                instruction.SetOpKind(index, bits switch { 16 => OpKind.NearBranch16, 32 => OpKind.NearBranch32, _ => OpKind.NearBranch64 });
                instruction.NearBranch64 = Trim(value.Value(names));
                break;
            case ValueOperand value:
                SetImmediate(ref instruction, index, kind, value);
                break;
        }
    }

    private ulong Trim(long address) => bits == 64 ? unchecked((ulong)address) : unchecked((ulong)address) & ((1UL << bits) - 1);

    private void SetFar(ref Instruction instruction, int index, OpCodeOperandKind kind, FarOperand far)
    {
        long selector = far.Selector.Value(names), offset = far.Offset.Value(names);
        if (selector is < 0 or > ushort.MaxValue)
            throw new SourceException(far.Selector.Column, $"a selector has 16 bits; {selector} has more");
        bool wide = kind == OpCodeOperandKind.farbr4_2;
        if (offset is < 0 or > uint.MaxValue || (!wide && offset > ushort.MaxValue))
            throw new SourceException(far.Offset.Column, $"the offset {offset:x} does not fit {(wide ? 32 : 16)} bits{(wide ? "" : "; far jumps with 32 bits are written jmp dword selector:offset")}");
        instruction.SetOpKind(index, wide ? OpKind.FarBranch32 : OpKind.FarBranch16);
        instruction.FarBranchSelector = (ushort)selector;
        instruction.FarBranch32 = (uint)offset;
    }

    private void SetImmediate(ref Instruction instruction, int index, OpCodeOperandKind kind, ValueOperand operand)
    {
        var form = OperandKinds.ImmediateBytes(kind)!.Value;
        long value = operand.Value.Value(names);
        if (!OperandKinds.Holds(form, value))
            throw new SourceException(operand.Column, $"the value {(value < 0 ? "-" : "")}{(value < 0 ? unchecked((ulong)-value) : (ulong)value):#,0} does not fit {form.Bytes * 8} bits");
        instruction.SetOpKind(index, form.Kind);
        instruction.SetImmediate(index, unchecked((ulong)value));
    }

    private void SetMemory(ref Instruction instruction, MemoryOperand memory)
    {
        var (first, second) = Ordered(memory);
        instruction.SegmentPrefix = memory.Segment;
        instruction.MemoryIndexScale = memory.Scale;
        long displacement = memory.Displacement?.Value(names) ?? 0;
        int size = first.GetSize() is > 0 and var width ? width : second.GetSize() is > 0 and var indexed ? indexed : bits / 8;
        bool zero = memory.Displacement is null || (displacement == 0 && !memory.Displacement.IsAddress(names));
        if (memory.Relative && bits == 64)
            (first, zero) = (Register.RIP, false);
        CheckReach(memory, displacement, size);
        instruction.MemoryBase = first;
        instruction.MemoryIndex = second;
        bool lone = first == Register.None && second == Register.None;
        bool tight = !lone && first != Register.RIP && second == Register.None | first != Register.None && memory.Displacement?.IsAddress(names) != true && displacement is >= sbyte.MinValue and <= sbyte.MaxValue;
        instruction.MemoryDisplSize = zero && !lone ? 0 : tight ? 1 : size;
        instruction.MemoryDisplacement64 = unchecked((ulong)displacement);
    }

    private static void CheckReach(MemoryOperand memory, long displacement, int size)
    {
        bool fits = size switch
        {
            2 => displacement is >= short.MinValue and <= ushort.MaxValue,
            4 => displacement is >= int.MinValue and <= uint.MaxValue,
            _ => displacement is >= int.MinValue and <= int.MaxValue,
        };
        if (!fits)
            throw new SourceException(memory.Column, $"the address {displacement:x} does not fit {(size == 2 ? 16 : 32)} bits; a register can hold it");
    }

    /// <summary>ESP and RSP cannot be multiplied, so of two plain registers they are the base; 16-bit addresses begin with BX or BP.</summary>
    private static (Register Base, Register Index) Ordered(MemoryOperand memory) =>
        (memory.Scale == 1 && memory.Index is Register.ESP or Register.RSP) || (memory.Index is Register.BX or Register.BP && memory.Base is Register.SI or Register.DI)
            ? (memory.Index, memory.Base)
            : (memory.Base, memory.Index);

    private void SetImplied(ref Instruction instruction, int index, OpCodeOperandKind kind)
    {
        if (OperandKinds.FixedRegister(kind) is var register && register != Register.None)
        {
            instruction.SetOpKind(index, OpKind.Register);
            instruction.SetOpRegister(index, register);
            return;
        }

        if (kind == OpCodeOperandKind.seg_rBX_al)
        {
            instruction.SetOpKind(index, OpKind.Memory);
            instruction.MemoryBase = bits switch { 16 => Register.BX, 32 => Register.EBX, _ => Register.RBX };
            instruction.MemoryIndex = Register.AL;
            return;
        }

        instruction.SetOpKind(index, (kind, bits) switch
        {
            (OpCodeOperandKind.seg_rSI, 16) => OpKind.MemorySegSI,
            (OpCodeOperandKind.seg_rSI, 32) => OpKind.MemorySegESI,
            (OpCodeOperandKind.seg_rSI, _) => OpKind.MemorySegRSI,
            (OpCodeOperandKind.es_rDI, 16) => OpKind.MemoryESDI,
            (OpCodeOperandKind.es_rDI, 32) => OpKind.MemoryESEDI,
            (OpCodeOperandKind.es_rDI, _) => OpKind.MemoryESRDI,
            (_, 16) => OpKind.MemorySegDI,
            (_, 32) => OpKind.MemorySegEDI,
            _ => OpKind.MemorySegRDI,
        });
    }
}
