using Iced.Intel;
using Kvm.X86.Tests.Engine;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.X86.Tests.Translate;

public sealed class TranslationTableTests
{
    private const int Rounds = 1000;

    /// <summary>A loop of many rounds that calls a function every time.</summary>
    private static void Loop(Assembler a)
    {
        var again = a.CreateLabel();
        var function = a.CreateLabel();
        a.mov(ecx, Rounds);
        a.Label(ref again);
        a.call(function);
        a.add(rax, 5);
        a.dec(ecx);
        a.jnz(again);
        a.@out(SoftRig.EndPort, al);
        a.hlt();
        a.Label(ref function);
        a.rdpid(rdx);
        a.cmp(rdx, rax);
        a.ja(again);
        a.mov(__qword_ptr[EngineRig.Data], rax);
        a.ret();
    }

    private static SoftRig Run()
    {
        Skip.If(TestCodeMemory.Unavailable is not null, TestCodeMemory.Unavailable);
        var rig = new SoftRig(translateAfter: 64, keepTranslations: true);
        rig.Run(Loop);
        rig.Ended.Should().BeTrue();
        return rig;
    }

    [SkippableFact]
    public void A_loop_is_shown_with_its_instructions_ops_host_code_and_count()
    {
        using var rig = Run();
        var table = rig.Processor.ReadTranslations(100);
        table.Should().HaveCountGreaterThanOrEqualTo(3).And.BeInDescendingOrder(b => b.Executions);
        var tail = table.Single(b => b.Instructions[0].Guest.Span.SequenceEqual((byte[])[0x48, 0x05, 5, 0, 0, 0]));
        tail.Executions.Should().BeInRange(Rounds - 70, Rounds - 60);
        tail.Instructions.Select(i => i.Ops[0]).Should().Equal((string[])["add.64 reg-imm", "dec.32 register", "jump-if-ne", "helper-end out"]);
        tail.Instructions.Select(i => i.Rip).Should().BeInAscendingOrder();
        tail.Instructions.Should().OnlyContain(i => i.Ops.Count == 0 || i.Host.Length > 0);
        tail.Prologue.Length.Should().BePositive("it is counted there");
        tail.HostBytes.Should().BeGreaterThan(tail.Instructions.Sum(i => i.Host.Length));
        table.SelectMany(b => b.Instructions).SelectMany(i => i.Ops).Should().Contain("helper rdpid").And.Contain("ret").And.Contain(o => o.StartsWith("cmp.64"));
    }

    [SkippableFact]
    public void What_was_written_to_since_is_not_shown_and_the_number_of_blocks_is_bounded()
    {
        using var rig = Run();
        rig.Processor.ReadTranslations(1).Should().HaveCount(1);
        rig.Processor.ReadTranslations(0).Should().BeEmpty();
        rig.Machine.NotifyWritten(EngineRig.Code, 4096);
        rig.Processor.Kick();
        rig.Processor.Run();
        rig.Processor.ReadTranslations(100).Should().BeEmpty();
    }

    [Fact]
    public void Without_translation_there_is_nothing_to_show()
    {
        using var rig = new SoftRig();
        rig.Run(Loop);
        rig.Processor.ReadTranslations(100).Should().BeEmpty();
    }
}
