using Kvm.Labs.Assembling;
using Kvm.Labs.Catalog;

namespace Kvm.Labs.Tests.Assembling;

public sealed class ExternalAssemblerTests
{
    private const string GasSource = """
        # org 0x8000
        .intel_syntax noprefix
        .code32
        start:  mov edx, 0x3f8
                mov al, 'H'
                out dx, al
                mov eax, [answer]
                out 0xf4, al
        answer: .long 42
        """;

    [SkippableTheory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(7)]
    [InlineData(8)]
    [InlineData(10)]
    [InlineData(11)]
    [InlineData(14)]
    public void Nasm_reads_sources_of_our_language_and_the_checks_hold(int number)
    {
        Require("nasm");
        var lab = LabCatalog.Find($"{number}");
        var report = lab.Check(lab.Solution, new LabOptions { Engine = "soft", Assembler = ExternalAssembler.Nasm, Timeout = TimeSpan.FromSeconds(60) });
        report.Lines.Where(line => line.Problem is not null).Should().BeEmpty();
    }

    [SkippableFact]
    public void Mistakes_nasm_finds_have_the_lines_of_the_source()
    {
        Require("nasm");
        ExternalAssembler.Nasm("nop\nmvo ax, 1\n").Errors.Should().ContainSingle().Which.Line.Should().Be(2);
    }

    [SkippableFact]
    public void Gas_makes_a_program_at_the_address_of_its_comment_with_symbols()
    {
        Require("as");
        var program = ExternalAssembler.Gas(GasSource).Program!;
        (program.Origin, program.Bits).Should().Be((0x8000u, 32));
        program.Symbols["answer"].Should().BeGreaterThan(0x8000);
        var run = LabCatalog.Find("1").Run(GasSource, new LabOptions { Engine = "soft", Assembler = ExternalAssembler.Gas }).Runs.Single();
        (run.Console, run.End).Should().Be(("H", "ended with 42"));
    }

    [SkippableFact]
    public void Mistakes_gas_finds_have_their_lines()
    {
        Require("as");
        ExternalAssembler.Gas("nop\nmvo %ax\n").Errors[0].Line.Should().Be(2);
    }

    private static void Require(string program) => Skip.IfNot(
        Environment.GetEnvironmentVariable("PATH")!.Split(':').Any(folder => File.Exists(Path.Combine(folder, program))), $"{program} is not installed");
}
