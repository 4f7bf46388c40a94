using Iced.Intel;
using Kvm.X86.Engine;
using Kvm.X86.Tests.Translate;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.X86.Tests.Engine;

/// <summary>Two processors on two threads: locked operations are atomic, and code written by one is seen by the other.</summary>
public abstract class SmpTests : IDisposable
{
    private const int Rounds = 20_000, Changes = 3_000;
    private readonly EngineRig _memory = new();
    private readonly SoftMachine _machine;
    private readonly SoftProcessor[] _processors;

    protected SmpTests(bool translated, bool shadow = false)
    {
        _machine = new SoftMachine(_memory.Memory, _memory.Pio, _memory.Mmio, CpuidTable.CreateDefault(2))
        {
            CodeMemory = translated && TestCodeMemory.Unavailable == null ? () => TestCodeMemory.Create() : null,
            TranslateAfter = 2,
            ShadowPaging = shadow,
        };
        _processors = [_machine.AddProcessor(null), _machine.AddProcessor(null)];
    }

    /// <summary>Runs a program on each processor, both ending with HLT (interrupts are off).</summary>
    private void Run(Action<Assembler> first, Action<Assembler> second)
    {
        Action<Assembler>[] programs = [first, second];
        var threads = new Thread[2];
        for (int n = 0; n < 2; n++)
        {
            ulong at = EngineRig.Code + ((ulong)n * 0x10000);
            var a = new Assembler(64);
            programs[n](a);
            a.hlt();
            var stream = new MemoryStream();
            a.Assemble(new StreamCodeWriter(stream), at);
            _memory.Memory.TryWrite(at, stream.ToArray()).Should().BeTrue();
            var state = EngineRig.LongMode();
            state.Rip = at;
            state.Gpr[4] = EngineRig.Stack + ((ulong)n * 0x10000);
            state.Rflags = 2;
            _processors[n].SetState(state);
            var processor = _processors[n];
            threads[n] = new Thread(() =>
            {
                while (processor.Run(1_000_000) == SoftExit.Limit)
                {
                }
            });
        }

        foreach (var thread in threads)
            thread.Start();
        foreach (var thread in threads)
            thread.Join(TimeSpan.FromSeconds(60)).Should().BeTrue("both programs come to their end");
    }

    [Fact]
    public void LockedArithmeticLosesNothing()
    {
        static void Program(Assembler a)
        {
            var top = a.CreateLabel();
            a.mov(rsi, EngineRig.Data);
            a.mov(ecx, Rounds);
            a.Label(ref top);
            a.@lock.add(__dword_ptr[rsi], 1);
            a.@lock.inc(__qword_ptr[rsi + 8]);
            a.mov(eax, 3);
            a.@lock.xadd(__word_ptr[rsi + 16], ax);
            a.@lock.btc(__dword_ptr[rsi + 24], 5);
            a.dec(ecx);
            a.jne(top);
        }

        Run(Program, Program);
        _memory.Read64(EngineRig.Data).Should().Be(2 * Rounds);
        _memory.Read64(EngineRig.Data + 8).Should().Be(2 * Rounds);
        ((ushort)_memory.Read64(EngineRig.Data + 16)).Should().Be(unchecked((ushort)(6 * Rounds)));
        _memory.Read64(EngineRig.Data + 24).Should().Be(0);
    }

    [Fact]
    public void CompareExchangeMakesASpinLock()
    {
        static void Program(Assembler a)
        {
            var top = a.CreateLabel();
            var spin = a.CreateLabel();
            a.mov(rsi, EngineRig.Data);
            a.mov(ecx, Rounds / 10);
            a.Label(ref top);
            a.nop();
            a.Label(ref spin);
            a.pause();
            a.xor(eax, eax);
            a.mov(edx, 1);
            a.@lock.cmpxchg(__dword_ptr[rsi], edx);
            a.jne(spin);
            a.inc(__qword_ptr[rsi + 64]); // plain, under the lock
            a.mov(__dword_ptr[rsi], 0);
            a.dec(ecx);
            a.jne(top);
        }

        Run(Program, Program);
        _memory.Read64(EngineRig.Data + 64).Should().Be(2 * (Rounds / 10));
    }

    [Fact]
    public void CodeWrittenByOneProcessorIsExecutedByTheOther()
    {
        const ulong Shared = EngineRig.Code + 0x40000;
        var f = new Assembler(64);
        f.mov(eax, 0);
        f.ret();
        var stream = new MemoryStream();
        f.Assemble(new StreamCodeWriter(stream), Shared);
        _memory.Memory.TryWrite(Shared, stream.ToArray()).Should().BeTrue();
        Run(
            a =>
            {
                // Writes the function's immediate, then says so; waits until it was seen.
                var top = a.CreateLabel();
                var wait = a.CreateLabel();
                a.mov(rsi, EngineRig.Data);
                a.mov(rdi, Shared + 1);
                a.xor(ecx, ecx);
                a.Label(ref top);
                a.inc(ecx);
                a.mov(__dword_ptr[rdi], ecx);
                a.mov(__dword_ptr[rsi], ecx);
                a.Label(ref wait);
                a.pause();
                a.cmp(__dword_ptr[rsi + 64], ecx);
                a.jne(wait);
                a.cmp(ecx, 500);
                a.jb(top);
            },
            a =>
            {
                var top = a.CreateLabel();
                var wait = a.CreateLabel();
                var wrong = a.CreateLabel();
                a.mov(rsi, EngineRig.Data);
                a.mov(rdi, Shared);
                a.xor(r8d, r8d);
                a.Label(ref top);
                a.inc(r8d);
                a.Label(ref wait);
                a.pause();
                a.cmp(__dword_ptr[rsi], r8d);
                a.jb(wait);
                a.xor(eax, eax);
                a.cpuid(); // serialises, as the manual asks of cross-modified code
                a.call(rdi);
                a.cmp(eax, r8d);
                a.jne(wrong);
                a.mov(__dword_ptr[rsi + 64], r8d);
                a.cmp(r8d, 500);
                a.jb(top);
                a.Label(ref wrong);
                a.mov(__dword_ptr[rsi + 64], 500);
                a.mov(__dword_ptr[rsi + 128], r8d);
            });
        ((uint)_memory.Read64(EngineRig.Data + 128)).Should().Be(500);
    }

    [Fact]
    public void SoakOfCodeAndDataChangedUnderEachOther()
    {
        // Both count under a lock on a page that also holds code; one rewrites a function all the while, the other runs it from two
        // places and must never see an older version after a newer one.
        const ulong Shared = EngineRig.Code + 0x50000;
        var f = new Assembler(64);
        f.nop();
        f.nop();
        f.nop();
        f.mov(eax, 0); // the immediate is aligned, so a store of it is atomic
        f.ret();
        var stream = new MemoryStream();
        f.Assemble(new StreamCodeWriter(stream), Shared);
        _memory.Memory.TryWrite(Shared, stream.ToArray()).Should().BeTrue();
        Run(
            a =>
            {
                var top = a.CreateLabel();
                a.mov(rsi, Shared + 0x800);
                a.mov(rdi, Shared + 4);
                a.xor(ecx, ecx);
                a.Label(ref top);
                a.inc(ecx);
                a.mov(__dword_ptr[rdi], ecx);
                a.@lock.inc(__dword_ptr[rsi]);
                a.cmp(ecx, Changes);
                a.jb(top);
                a.mov(__dword_ptr[rsi + 64], 1);
            },
            a =>
            {
                var top = a.CreateLabel();
                var wrong = a.CreateLabel();
                var end = a.CreateLabel();
                a.mov(rsi, Shared + 0x800);
                a.mov(rdi, Shared);
                a.xor(r8d, r8d);
                a.Label(ref top);
                a.@lock.inc(__dword_ptr[rsi]);
                a.inc(r9d);
                a.call(rdi);
                a.cmp(eax, r8d);
                a.jb(wrong);
                a.mov(r8d, eax);
                a.call(Shared);
                a.cmp(eax, r8d);
                a.jb(wrong);
                a.mov(r8d, eax);
                a.cmp(__dword_ptr[rsi + 64], 0);
                a.je(top);
                a.xor(eax, eax);
                a.cpuid();
                a.call(rdi);
                a.mov(__dword_ptr[rsi + 128], eax);
                a.mov(__dword_ptr[rsi + 132], r9d);
                a.jmp(end);
                a.Label(ref wrong);
                a.mov(__dword_ptr[rsi + 128], -1);
                a.Label(ref end);
                a.nop();
            });
        ulong seen = _memory.Read64(Shared + 0x880);
        ((uint)seen).Should().Be(Changes);
        _memory.Read64(Shared + 0x800).Should().Be((seen >> 32) + Changes);
    }

    [Fact]
    public void AMappingChangedByOneProcessorIsSeenByTheOtherAfterItsCr3Load()
    {
        // The first changes a page's frame 300 times; the second loads CR3 and must read from the frame it was told.
        const ulong Window = 0x800000, Small = EngineRig.Tables + 0x5000, Frames = 0x400000;
        _memory.Write64(EngineRig.Tables + 0x2000 + (4 * 8), Small | 7);
        for (ulong n = 0; n < 512; n++)
            _memory.Write64(Frames + (n << 12), n);
        _memory.Write64(Small, Frames | 7);
        Run(
            a =>
            {
                var top = a.CreateLabel();
                var wait = a.CreateLabel();
                a.mov(rsi, EngineRig.Data);
                a.mov(rdi, Small);
                a.mov(rbx, Frames + 7);
                a.xor(ecx, ecx);
                a.Label(ref top);
                a.inc(ecx);
                a.add(rbx, 4096);
                a.mov(__qword_ptr[rdi], rbx);
                a.mov(__dword_ptr[rsi], ecx);
                a.Label(ref wait);
                a.pause();
                a.cmp(__dword_ptr[rsi + 64], ecx);
                a.jb(wait);
                a.cmp(ecx, 300);
                a.jb(top);
            },
            a =>
            {
                var top = a.CreateLabel();
                var wait = a.CreateLabel();
                var wrong = a.CreateLabel();
                a.mov(rsi, EngineRig.Data);
                a.mov(rdi, Window);
                a.xor(r8d, r8d);
                a.mov(rdx, __qword_ptr[rdi]);
                a.Label(ref top);
                a.inc(r8d);
                a.Label(ref wait);
                a.pause();
                a.cmp(__dword_ptr[rsi], r8d);
                a.jb(wait);
                a.mov(rax, cr3);
                a.mov(cr3, rax);
                a.mov(rdx, __qword_ptr[rdi]);
                a.cmp(edx, r8d);
                a.jne(wrong);
                a.mov(__dword_ptr[rsi + 64], r8d);
                a.cmp(r8d, 300);
                a.jb(top);
                a.Label(ref wrong);
                a.mov(__dword_ptr[rsi + 128], r8d);
                a.mov(__dword_ptr[rsi + 64], 300);
            });
        ((uint)_memory.Read64(EngineRig.Data + 128)).Should().Be(300);
        ((uint)_memory.Read64(EngineRig.Data)).Should().Be(300);
    }

    public void Dispose()
    {
        GC.SuppressFinalize(this);
        foreach (var processor in _processors)
            processor.Dispose();
        _memory.Dispose();
    }
}

/// <summary>With the interpreter alone.</summary>
public sealed class InterpretedSmpTests() : SmpTests(false);

/// <summary>With shadow page tables.</summary>
public sealed class ShadowedSmpTests() : SmpTests(true, true);

/// <summary>With translation at the second execution; as above on hosts it does not run on.</summary>
public sealed class TranslatedSmpTests() : SmpTests(true);
