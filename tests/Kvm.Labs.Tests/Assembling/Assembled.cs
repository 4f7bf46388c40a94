using Iced.Intel;
using Kvm.Labs.Assembling;
using Assembler = Kvm.Labs.Assembling.Assembler;

namespace Kvm.Labs.Tests.Assembling;

/// <summary>Short ways to ask the assembler.</summary>
internal static class Assembled
{
    /// <summary>The program of a source without mistakes.</summary>
    public static AssembledProgram Program(string source)
    {
        var result = Assembler.Assemble(source);
        result.Errors.Should().BeEmpty();
        return result.Program!;
    }

    /// <summary>The bytes of a source, in hexadecimal.</summary>
    public static string Bytes(string source) => Convert.ToHexStringLower(Program(source).Image);

    /// <summary>The mistakes of a source, as text.</summary>
    public static string Errors(string source) => string.Join("\n", Assembler.Assemble(source).Errors);

    /// <summary>What a decoder makes of the first instruction.</summary>
    public static Instruction Decode(AssembledProgram program)
    {
        var decoder = Decoder.Create(program.Bits, program.Image);
        decoder.IP = program.Origin;
        return decoder.Decode();
    }
}
