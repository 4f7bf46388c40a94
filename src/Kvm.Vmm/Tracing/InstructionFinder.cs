using Iced.Intel;
using Kvm.Interop;

namespace Kvm.Vmm.Tracing;

/// <summary>
/// Which instruction an exit belongs to. An engine may have finished it, so that RIP is behind it: then the instruction that ends there,
/// makes an access of this kind and, for memory, to this place in its page is the one. Used by one thread.
/// </summary>
internal sealed class InstructionFinder
{
    private const ulong InPage = 0xfff;
    private readonly byte[] _code = new byte[TracedCode.Length];
    private readonly NasmFormatter _formatter = new();
    private readonly StringOutput _text = new();

    /// <summary>The instruction's address and its text; null where no code was taken down or it is none.</summary>
    public (ulong Rip, string Text)? Find(in ExitSample sample)
    {
        ReadOnlySpan<byte> code = sample.Code;
        code.CopyTo(_code);
        if (sample.CodeLength == 0)
            return null;
        if (TryDecode(in sample, 0, out var here) && Fits(in sample, in here))
            return Of(in here, sample.Rip);
        for (int before = 1; before <= sample.CodeBefore; before++)
        {
            if (TryDecode(in sample, before, out var ended) && ended.Length == before && Fits(in sample, in ended))
                return Of(in ended, sample.Rip - (ulong)before);
        }

        return here.IsInvalid ? null : Of(in here, sample.Rip);
    }

    private (ulong, string) Of(in Instruction instruction, ulong rip)
    {
        _formatter.Format(instruction, _text);
        return (rip, _text.ToStringAndReset());
    }

    private bool TryDecode(in ExitSample sample, int before, out Instruction instruction)
    {
        int start = sample.CodeBefore - before;
        var decoder = Decoder.Create(sample.Bitness, new ByteArrayCodeReader(_code, start, sample.CodeLength - start), sample.Rip - (ulong)before);
        decoder.Decode(out instruction);
        return !instruction.IsInvalid;
    }

    /// <summary>The instruction can have made the exit's access.</summary>
    private static bool Fits(in ExitSample sample, in Instruction instruction) => sample.Reason switch
    {
        KvmExit.Io => FitsPort(in sample, in instruction),
        KvmExit.Mmio => FitsMemory(in sample, in instruction),
        KvmExit.X86Wrmsr => instruction.Mnemonic is Mnemonic.Wrmsr or Mnemonic.Wrmsrns,
        KvmExit.X86Rdmsr => instruction.Mnemonic == Mnemonic.Rdmsr,
        KvmExit.Hlt => instruction.Mnemonic == Mnemonic.Hlt,
        _ => true,
    };

    private static bool FitsPort(in ExitSample sample, in Instruction instruction)
    {
        bool writes = instruction.Mnemonic is Mnemonic.Out or Mnemonic.Outsb or Mnemonic.Outsw or Mnemonic.Outsd;
        bool reads = instruction.Mnemonic is Mnemonic.In or Mnemonic.Insb or Mnemonic.Insw or Mnemonic.Insd;
        int size = instruction.Code switch
        {
            Code.In_AL_imm8 or Code.In_AL_DX or Code.Out_imm8_AL or Code.Out_DX_AL or Code.Insb_m8_DX or Code.Outsb_DX_m8 => 1,
            Code.In_AX_imm8 or Code.In_AX_DX or Code.Out_imm8_AX or Code.Out_DX_AX or Code.Insw_m16_DX or Code.Outsw_DX_m16 => 2,
            _ => 4,
        };
        return (sample.IsWrite ? writes : reads) && size == sample.Size;
    }

    private static bool FitsMemory(in ExitSample sample, in Instruction instruction)
    {
        var registers = sample.Registers;
        for (int operand = 0; operand < instruction.OpCount; operand++)
        {
            if (instruction.GetOpKind(operand) is not (OpKind.Memory or OpKind.MemoryESRDI or OpKind.MemoryESEDI or OpKind.MemorySegRSI or OpKind.MemorySegESI)
                || instruction.Mnemonic == Mnemonic.Lea)
            {
                continue;
            }

            ulong at = instruction.GetVirtualAddress(operand, 0, (register, _, _) => ValueOf(in registers, register));
            // A large operand comes in pieces of eight bytes.
            if ((sample.Address & InPage) - (at & InPage) < 64)
                return true;
        }

        return false;
    }

    /// <summary>A register's value; segments are flat but FS and GS, whose accesses are hardly to devices.</summary>
    private static ulong ValueOf(in TracedRegisters registers, Register register)
    {
        if (register.IsSegmentRegister() || !register.IsGPR())
            return 0;
        ulong value = registers[register.GetFullRegister() - Register.RAX];
        return register.GetSize() switch { 2 => (ushort)value, 4 => (uint)value, _ => value };
    }
}
