using System.Globalization;
using Iced.Intel;
using Kvm.X86.Engine;
using Kvm.X86.Execute;
using Kvm.X86.State;
using Kvm.X86.Tests.Engine;
using Kvm.X86.Translate;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.X86.Tests.Translate;

/// <summary>Translated code as a whole: chaining, invalidation, its buffer, leaving it.</summary>
public sealed unsafe class TierTests
{
    private static TierRig Rig(int threshold = 1, int codeBytes = 4 << 20)
    {
        Skip.If(TestCodeMemory.Unavailable != null, TestCodeMemory.Unavailable);
        return new TierRig(threshold, codeBytes);
    }

    /// <summary>Assembles a program, ends it by UD2, runs it with RSP on the stack, and expects it to come to its end.</summary>
    private static void Run(TierRig rig, Action<Assembler> write, ulong address = EngineRig.Code)
    {
        Assembler a = new(64);
        write(a);
        a.ud2();
        MemoryStream stream = new();
        a.Assemble(new StreamCodeWriter(stream), address);
        rig.Put(address, stream.ToArray());
        RunAgain(rig, address);
    }

    private static void RunAgain(TierRig rig, ulong address = EngineRig.Code)
    {
        rig.Cpu->Rip = address;
        rig.Cpu->Gpr[4] = EngineRig.Stack;
        rig.Run().Should().Be(Vector.InvalidOpcode);
    }

    [SkippableFact]
    public void EveryHotHandlerIsInTheCatalog()
    {
        OpCatalog.Find(HotTable.Alu(AluKind.Adc, 8, AluForm.MemRegX)).Should().Be(new OpInfo(OpFamily.Alu, (byte)AluKind.Adc, 8, (byte)AluForm.MemRegX));
        OpCatalog.Find(HotTable.Condition(ConditionUse.Jump, 5, FlagProducer.Sub)).Should().Be(new OpInfo(OpFamily.Condition, (byte)ConditionUse.Jump, 0, 5));
        OpCatalog.Find(HotTable.Fused(true, 4, 14, true)).Should().Be(new OpInfo(OpFamily.Fused, 3, 4, 14));
        OpCatalog.Find(HotTable.Simple(SimpleKind.Ret)).Is(SimpleKind.Ret).Should().BeTrue();
        OpCatalog.Find(12345).Family.Should().Be(OpFamily.None);
        OpCatalog.Count.Should().BeGreaterThan(1200);
    }

    [SkippableFact]
    public void A_block_is_translated_when_it_has_run_as_often_as_the_threshold_says()
    {
        using var rig = Rig(threshold: 10);
        Run(rig, a =>
        {
            var top = a.CreateLabel();
            a.mov(ecx, 9);
            a.Label(ref top);
            a.dec(ecx);
            a.jne(top);
        });
        rig.Tier.Translations.Should().Be(0);
        Run(rig, a =>
        {
            var top = a.CreateLabel();
            a.mov(ecx, 11); // the first pass belongs to the block before
            a.Label(ref top);
            a.dec(ecx);
            a.jne(top);
        });
        rig.Tier.Translations.Should().Be(1);
    }

    [SkippableFact]
    public void A_translated_loop_retires_every_instruction_and_stays_in_translated_code()
    {
        using var rig = Rig();
        ulong before = rig.Retired;
        Run(rig, a =>
        {
            var top = a.CreateLabel();
            a.xor(eax, eax);
            a.mov(ecx, 100_000);
            a.Label(ref top);
            a.add(rax, rcx);
            a.dec(rcx);
            a.jne(top);
        });
        rig.Cpu->Gpr[0].Should().Be(100_000UL * 100_001 / 2);
        (rig.Retired - before).Should().Be(2 + 300_000);
    }

    [SkippableFact]
    public void Calls_and_returns_nest_within_a_page_and_across_pages()
    {
        using var rig = Rig();
        Run(rig, a =>
        {
            // fib(20), recursive, its halves four kilobytes apart.
            var fib = a.CreateLabel();
            var leaf = a.CreateLabel();
            var end = a.CreateLabel();
            a.mov(edi, 20);
            a.call(fib);
            a.jmp(end);
            a.nop(4096);
            a.Label(ref fib);
            a.mov(rax, rdi);
            a.cmp(rdi, 2);
            a.jb(leaf);
            a.push(rdi);
            a.dec(rdi);
            a.lea(r10, __[fib]);
            a.call(r10);
            a.pop(rdi);
            a.push(rax);
            a.sub(rdi, 2);
            a.call(fib);
            a.pop(rcx);
            a.add(rax, rcx);
            a.Label(ref leaf);
            a.ret();
            a.Label(ref end);
        });
        rig.Cpu->Gpr[0].Should().Be(6765);
        rig.Cpu->Gpr[4].Should().Be(EngineRig.Stack);
    }

    [SkippableFact]
    public void Code_that_changes_its_next_instruction_sees_the_change()
    {
        using var rig = Rig();
        Run(rig, a =>
        {
            var patched = a.CreateLabel();
            var top = a.CreateLabel();
            a.mov(ecx, 50);
            a.xor(ebx, ebx);
            a.Label(ref top);
            a.lea(rdi, __[patched]);
            a.mov(__byte_ptr[rdi + 1], cl); // the immediate of the next instruction
            a.Label(ref patched);
            a.mov(al, 0x55);
            a.movzx(eax, al);
            a.add(rbx, rax);
            a.dec(ecx);
            a.jne(top);
        });
        rig.Cpu->Gpr[3].Should().Be(50 * 51 / 2);
    }

    [SkippableFact]
    public void A_jump_chained_to_code_that_is_rewritten_reaches_the_new_code()
    {
        using var rig = Rig();
        for (int round = 0; round < 4; round++)
        {
            int value = 100 + round;
            rig.Cpu->Gpr[0] = 0;
            Run(rig, a =>
            {
                var top = a.CreateLabel();
                var other = a.CreateLabel();
                var back = a.CreateLabel();
                var end = a.CreateLabel();
                a.mov(ecx, 1000);
                a.Label(ref top);
                a.test(ecx, 1);
                a.jne(other);
                a.Label(ref back);
                a.dec(ecx);
                a.jne(top);
                a.jmp(end);
                a.Label(ref other);
                a.add(eax, value);
                a.jmp(back);
                a.Label(ref end);
            });
            rig.Cpu->Gpr[0].Should().Be((ulong)value * 500);
        }
    }

    [SkippableFact]
    public void Flushing_a_full_buffer_keeps_programs_right()
    {
        using var rig = Rig(codeBytes: 1 << 20);
        ulong expected = 0;
        for (uint round = 0; round < 1200; round++)
        {
            // A new page of code each time, rotating: more code than the buffer holds.
            ulong address = EngineRig.Code + ((round % 64) * 0x2000);
            uint add = round;
            Run(rig, a =>
            {
                for (int n = 0; n < 60; n++)
                {
                    a.add(rax, (int)add);
                    a.mov(__qword_ptr[EngineRig.Data + (ulong)(n * 8)], rax);
                }
            }, address);
            expected += 60UL * add;
        }

        rig.Cpu->Gpr[0].Should().Be(expected);
        rig.Tier.Flushes.Should().BePositive();
        rig.Tier.CodeBytes.Should().BeLessThanOrEqualTo(1 << 20);
    }

    [SkippableFact]
    public void Running_and_translating_allocate_nothing_in_steady_state()
    {
        using var rig = Rig();
        void Program(Assembler a)
        {
            var top = a.CreateLabel();
            a.mov(ecx, 20_000);
            a.Label(ref top);
            a.mov(__qword_ptr[EngineRig.Data], rcx);
            a.cpuid();
            a.mov(rcx, __qword_ptr[EngineRig.Data]);
            a.dec(ecx);
            a.jne(top);
        }

        Run(rig, Program);
        RunAgain(rig);
        ulong translations = rig.Tier.Translations;
        int vector = -1;
        void TranslateAndRun()
        {
            rig.Cache.Drop(EngineRig.Code, ulong.MaxValue);
            rig.Cpu->LeaveBlock = 0;
            rig.Cpu->Rip = EngineRig.Code;
            vector = rig.Run();
        }

        Allocation.Of(_ => TranslateAndRun(), 1).Should().Be(0);
        vector.Should().Be(Vector.InvalidOpcode);
        rig.Tier.Translations.Should().BeGreaterThan(translations);
    }

    [SkippableFact]
    public void No_page_of_this_process_is_writable_and_holds_translated_code()
    {
        using var rig = Rig();
        Run(rig, a => a.nop());
        rig.Tier.Translations.Should().BePositive();
        Rights(rig.CodeMemory.Writable).Should().Be("rw-s");
        Rights(rig.CodeMemory.Executable).Should().Be("r-xs");
    }

    [SkippableFact]
    public void A_kick_ends_a_translated_loop_that_never_ends()
    {
        Skip.If(TestCodeMemory.Unavailable != null, TestCodeMemory.Unavailable);
        using EngineRig memory = new();
        SoftMachine machine = new(memory.Memory, memory.Pio, memory.Mmio, CpuidTable.CreateDefault(1)) { CodeMemory = () => TestCodeMemory.Create() };
        using var processor = machine.AddProcessor(null);
        memory.Assemble(a =>
        {
            var here = a.CreateLabel();
            a.Label(ref here);
            a.inc(rax);
            a.jmp(here);
        });
        processor.SetState(EngineRig.LongMode());
        using ManualResetEventSlim started = new();
        SoftExit exit = default;
        Thread thread = new(() =>
        {
            started.Set();
            exit = processor.Run();
        });
        thread.Start();
        started.Wait();
        SpinWait.SpinUntil(() => processor.Translations > 0, 10_000).Should().BeTrue();
        processor.Kick();
        thread.Join(TimeSpan.FromSeconds(10)).Should().BeTrue();
        exit.Should().Be(SoftExit.Kicked);
        ArchitecturalState state = new();
        processor.GetState(state);
        state.Gpr[0].Should().BeGreaterThan(64);
    }

    [SkippableFact]
    public void A_translated_block_is_listed_with_its_address_and_code()
    {
        using var rig = Rig();
        Run(rig, a =>
        {
            a.add(rax, 5);
            a.mov(__qword_ptr[EngineRig.Data], rax);
        });
        var block = rig.Tier.Blocks[0];
        block.Rip.Should().Be(EngineRig.Code);
        block.Code.Should().BeInRange(rig.CodeMemory.Executable, rig.CodeMemory.Executable + rig.CodeMemory.Length);
        block.CodeLength.Should().BeInRange(20, 2000);
        block.Ops.Should().Be(3);
    }

    private static string Rights(nint address) => File.ReadAllLines("/proc/self/maps").Select(line => line.Split(' ')).Single(parts =>
    {
        string[] range = parts[0].Split('-');
        return (ulong)address >= ulong.Parse(range[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture)
            && (ulong)address < ulong.Parse(range[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
    })[1];
}
