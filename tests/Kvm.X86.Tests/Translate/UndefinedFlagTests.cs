using Iced.Intel;
using Kvm.X86.Deterministic;
using Kvm.X86.Engine;
using Kvm.X86.Interrupts;
using Kvm.X86.State;
using Kvm.X86.Tests.Engine;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.X86.Tests.Translate;

/// <summary>Flags the manual calls undefined: in runs that repeat they are the same translated and interpreted.</summary>
public sealed class UndefinedFlagTests
{
    private const ulong Results = EngineRig.Data;

    public static TheoryData<string> Instructions => [.. Forms.Keys];

    private static readonly Dictionary<string, Action<Assembler>> Forms = new()
    {
        ["shl by 3"] = a => a.shl(rax, 3),
        ["shr by 1"] = a => a.shr(eax, 1),
        ["sar by CL"] = a => a.sar(rax, cl),
        ["shl byte by 12"] = a => a.shl(al, 12),
        ["rol by 5"] = a => a.rol(rax, 5),
        ["ror by CL"] = a => a.ror(ax, cl),
        ["shld"] = a => a.shld(rax, rdx, 7),
        ["imul"] = a => a.imul(rax, rdx),
        ["imul by immediate"] = a => a.imul(eax, edx, 77),
        ["mul"] = a => a.mul(rdx),
        ["bt"] = a => a.bt(rax, rdx),
        ["bts"] = a => a.bts(eax, 9),
        ["bsf"] = a => a.bsf(rax, rdx),
        ["bsr"] = a => a.bsr(eax, edx),
        ["and"] = a => a.and(rax, rdx),
        ["xor"] = a => a.xor(eax, edx),
        ["test"] = a => a.test(rax, rdx),
    };

    [SkippableTheory]
    [MemberData(nameof(Instructions))]
    public void Translated_and_interpreted_agree_on_every_flag(string instruction)
    {
        Skip.If(TestCodeMemory.Unavailable is not null, TestCodeMemory.Unavailable);
        Run(Forms[instruction], true).Should().Equal(Run(Forms[instruction], false));
    }

    /// <summary>Many operands, each with AF, ZF and the others in another state before; the flags behind, of each.</summary>
    private static ulong[] Run(Action<Assembler> instruction, bool translate)
    {
        const int rounds = 400;
        using var memory = new EngineRig();
        var clock = new InstructionClock();
        var machine = new SoftMachine(memory.Memory, memory.Pio, memory.Mmio, CpuidTable.CreateDefault(1))
        {
            Deterministic = 0,
            CodeMemory = translate ? () => TestCodeMemory.Create() : null,
            TranslateAfter = 1,
        };
        using var processor = machine.AddProcessor(null);
        var state = EngineRig.LongMode();
        processor.SetState(state);
        var a = new Assembler(64);
        var again = a.CreateLabel();
        a.mov(rsi, 0x9e3779b97f4a7c15);
        a.xor(edi, edi);
        a.Label(ref again);
        a.imul(r8, rsi, 0x5851f42d);
        a.add(rsi, r8);
        a.mov(rax, rsi);
        a.mov(rdx, rsi);
        a.ror(rdx, 23);
        a.mov(ecx, edx);
        a.cmp(al, dl);
        instruction(a);
        a.pushfq();
        a.pop(__qword_ptr[rdi * 8 + (long)Results]);
        a.inc(rdi);
        a.cmp(edi, rounds);
        a.jne(again);
        a.hlt();
        var stream = new MemoryStream();
        a.Assemble(new StreamCodeWriter(stream), state.Rip);
        memory.Memory.TryWrite(state.Rip, stream.ToArray()).Should().BeTrue();
        new DeterministicRunner([processor], new TimerQueue(clock)).Run(out _).Should().Be(SoftExit.Halted);
        if (translate)
            processor.Translations.Should().BePositive();
        return [.. Enumerable.Range(0, rounds).Select(n => memory.Read64(Results + ((ulong)n * 8)))];
    }
}
