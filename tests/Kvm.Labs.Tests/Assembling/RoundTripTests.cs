using FsCheck;
using FsCheck.Fluent;
using Iced.Intel;
using Assembler = Kvm.Labs.Assembling.Assembler;

namespace Kvm.Labs.Tests.Assembling;

/// <summary>What a disassembler writes, the assembler reads, and it means the same again.</summary>
public sealed class RoundTripTests
{
    private static readonly HashSet<Mnemonic> _allowed =
    [
        Mnemonic.Mov, Mnemonic.Add, Mnemonic.Sub, Mnemonic.Adc, Mnemonic.Sbb, Mnemonic.And, Mnemonic.Or, Mnemonic.Xor, Mnemonic.Cmp, Mnemonic.Test, Mnemonic.Inc, Mnemonic.Dec,
        Mnemonic.Neg, Mnemonic.Not, Mnemonic.Mul, Mnemonic.Imul, Mnemonic.Div, Mnemonic.Idiv, Mnemonic.Shl, Mnemonic.Shr, Mnemonic.Sar, Mnemonic.Rol, Mnemonic.Ror, Mnemonic.Push,
        Mnemonic.Pop, Mnemonic.Lea, Mnemonic.Movzx, Mnemonic.Movsx, Mnemonic.Jmp, Mnemonic.Call, Mnemonic.Je, Mnemonic.Jne, Mnemonic.Jb, Mnemonic.Jg, Mnemonic.Loop,
        Mnemonic.Ret, Mnemonic.In, Mnemonic.Out, Mnemonic.Int, Mnemonic.Hlt, Mnemonic.Cli, Mnemonic.Sti, Mnemonic.Lgdt, Mnemonic.Lidt, Mnemonic.Movsb, Mnemonic.Stosd, Mnemonic.Lodsb,
        Mnemonic.Cmpxchg, Mnemonic.Xadd, Mnemonic.Bt, Mnemonic.Bts, Mnemonic.Bswap, Mnemonic.Cmove, Mnemonic.Setb, Mnemonic.Cpuid, Mnemonic.Rdmsr, Mnemonic.Wrmsr, Mnemonic.Invlpg,
        Mnemonic.Popcnt, Mnemonic.Movups, Mnemonic.Pxor, Mnemonic.Outsb, Mnemonic.Insb, Mnemonic.Iretq, Mnemonic.Ltr,
    ];

    /// <summary>Words for prefixes that the assembler chooses by itself or does not have.</summary>
    private static readonly HashSet<string> _unsaid =
        ["o16", "o32", "o64", "a16", "a32", "a64", "cs", "ds", "es", "ss", "fs", "gs", "bnd", "notrack", "xacquire", "xrelease"];

    [Theory]
    [InlineData(16)]
    [InlineData(32)]
    [InlineData(64)]
    public void A_decoded_instruction_is_written_assembled_and_decoded_to_the_same(int bits)
    {
        int seen = 0;
        Prop.ForAll(ArbMap.Default.ArbFor<int>(), seed =>
        {
            // One seed, many instructions: most random bytes are none of those allowed.
            var random = new Random(seed);
            var bytes = new byte[15];
            for (int i = 0; i < 400; i++)
            {
                random.NextBytes(bytes);
                if (Decode(bytes, bits) is not { } text)
                    continue;
                seen++;
                var result = Assembler.Assemble($"org 0x1000\nbits {bits}\n{text}");
                result.Errors.Should().BeEmpty("'{0}' is {1}", text, Convert.ToHexString(bytes));
                Decode(result.Program!.Image, bits).Should().Be(text);
            }
        }).QuickCheckThrowOnFailure();
        seen.Should().BeGreaterThan(1000);
    }

    private static string? Decode(byte[] bytes, int bits)
    {
        var decoder = Decoder.Create(bits, bytes);
        decoder.IP = 0x1000;
        var instruction = decoder.Decode();
        if (instruction.IsInvalid || !_allowed.Contains(instruction.Mnemonic) || instruction.Encoding != EncodingKind.Legacy || !IsSaid(instruction, bits))
            return null;
        var formatter = new NasmFormatter { Options = { ShowSymbolAddress = false, MemorySizeOptions = MemorySizeOptions.Always } };
        var output = new StringOutput();
        formatter.Format(instruction, output);
        string text = output.ToStringAndReset();
        return _unsaid.Contains(text.Split(' ')[0]) ? null : text;
    }

    /// <summary>Left out: prefixes that change nothing or have no word in the language, and sizes of addresses that the text does not tell.</summary>
    private static bool IsSaid(in Instruction instruction, int bits)
    {
        var info = instruction.Code.ToOpCode();
        if (info.AddressSize != 0 && info.AddressSize != bits)
            return false;
        bool prefixed = instruction.HasLockPrefix || instruction.HasRepPrefix || instruction.HasRepnePrefix || instruction.SegmentPrefix != Register.None;
        if (prefixed && !instruction.HasLockPrefix && !instruction.IsStringInstruction && instruction.SegmentPrefix == Register.None)
            return false;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            switch (instruction.GetOpKind(i))
            {
                case OpKind.MemorySegSI or OpKind.MemoryESDI or OpKind.MemorySegDI when bits != 16:
                case OpKind.MemorySegESI or OpKind.MemoryESEDI or OpKind.MemorySegEDI when bits != 32:
                case OpKind.MemorySegRSI or OpKind.MemoryESRDI or OpKind.MemorySegRDI when bits != 64:
                case OpKind.NearBranch16 when bits != 16:
                case OpKind.NearBranch32 when bits != 32:
                case OpKind.FarBranch16 when bits != 16:
                case OpKind.FarBranch32 when bits == 16:
                    return false;
                case OpKind.Memory when !IsPlain(instruction, bits):
                    return false;
            }
        }

        if (instruction.Mnemonic == Mnemonic.Imul && instruction.OpCount == 3)
            return false; // written with two operands where the first two are one
        bool implied = instruction.IsStringInstruction && instruction.SegmentPrefix != Register.None;
        bool far = instruction.MemorySize is MemorySize.SegPtr16 or MemorySize.SegPtr32 or MemorySize.SegPtr64;
        return !implied && !far && !(bits == 64 && instruction.Mnemonic == Mnemonic.Ret && instruction.Code is not (Code.Retnq or Code.Retnq_imm16))
            && !(instruction.Mnemonic == Mnemonic.Ret && bits != 64 && instruction.Code is Code.Retnw or Code.Retnd or Code.Retnw_imm16 or Code.Retnd_imm16 && info.OperandSize != bits)
            && !(instruction.Mnemonic is Mnemonic.Lgdt or Mnemonic.Lidt && bits != 64 && info.OperandSize != bits);
    }

    /// <summary>Addresses of the mode's size, in the order and with the length that the assembler itself would choose.</summary>
    private static bool IsPlain(in Instruction instruction, int bits)
    {
        var register = instruction.MemoryBase != Register.None ? instruction.MemoryBase : instruction.MemoryIndex;
        int width = register == Register.None ? instruction.MemoryDisplSize * 8 : register.GetSize() * 8;
        bool ripRelative = instruction.IsIPRelativeMemoryOperand;
        bool offsets = instruction.Code.ToString().Contains("moffs", StringComparison.Ordinal);
        bool lone = instruction.MemoryBase == Register.None && instruction.MemoryIndex != Register.None;
        bool segment = instruction.SegmentPrefix is Register.None || (bits == 64 ? instruction.SegmentPrefix is Register.FS or Register.GS : true);
        return width == bits && !ripRelative && !offsets && !lone && segment;
    }
}
