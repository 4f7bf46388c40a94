using Iced.Intel;
using Kvm.X86.Engine;
using Kvm.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.X86.Tests.Engine;

/// <summary>The whole engine: blocks, chaining, invalidation, events.</summary>
public sealed class SoftProcessorTests : IDisposable
{
    private readonly SoftRig _rig = new();

    private SoftExit Run(Action<Assembler> program)
    {
        var exit = _rig.Run(a =>
        {
            program(a);
            a.@out((byte)SoftRig.EndPort, al);
        });
        _rig.Ended.Should().BeTrue();
        return exit;
    }

    [Fact]
    public void LoopRunsItsCountAndEveryInstructionIsRetired()
    {
        ulong before = _rig.Processor.Instructions;
        Run(a =>
        {
            var top = a.CreateLabel();
            a.xor(eax, eax);
            a.mov(ecx, 100_000);
            a.Label(ref top);
            a.add(rax, rcx);
            a.dec(rcx);
            a.jne(top);
        });
        _rig.State.Gpr[0].Should().Be(100_000UL * 100_001 / 2);
        (_rig.Processor.Instructions - before).Should().Be(2 + 300_000 + 1);
    }

    [Fact]
    public void CallsAndReturnsNest()
    {
        Run(a =>
        {
            // fib(20), recursive.
            var fib = a.CreateLabel();
            var leaf = a.CreateLabel();
            var end = a.CreateLabel();
            a.mov(edi, 20);
            a.call(fib);
            a.jmp(end);
            a.Label(ref fib);
            a.mov(rax, rdi);
            a.cmp(rdi, 2);
            a.jb(leaf);
            a.push(rdi);
            a.dec(rdi);
            a.call(fib);
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
        _rig.State.Gpr[0].Should().Be(6765);
        _rig.State.Gpr[4].Should().Be(EngineRig.Stack);
    }

    [Fact]
    public void CodeThatChangesItsNextInstructionSeesTheChange()
    {
        Run(a =>
        {
            var patched = a.CreateLabel();
            var top = a.CreateLabel();
            a.mov(ecx, 3);
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
        _rig.State.Gpr[3].Should().Be(3 + 2 + 1);
    }

    [Fact]
    public void CodeWrittenByADeviceIsDecodedAnew()
    {
        _rig.Run(a =>
        {
            a.mov(eax, 1);
            a.@out((byte)SoftRig.EndPort, al);
        });
        _rig.State.Gpr[0].Should().Be(1);
        _rig.Memory.Poke(EngineRig.Code + 1, 2); // behind the engine's back …
        _rig.Machine.NotifyWritten(EngineRig.Code + 1, 1); // … and then told
        _rig.State.Rip = EngineRig.Code;
        _rig.Run();
        _rig.State.Gpr[0].Should().Be(2);
    }

    [Fact]
    public void CodeWrittenThroughGuestMemoryIsDecodedAnewWithoutBeingTold()
    {
        _rig.Run(a =>
        {
            a.mov(eax, 1);
            a.@out((byte)SoftRig.EndPort, al);
        });
        _rig.State.Gpr[0].Should().Be(1);
        _rig.Memory.Memory.TryWrite(EngineRig.Code + 1, (byte)2).Should().BeTrue();
        _rig.State.Rip = EngineRig.Code;
        _rig.Run();
        _rig.State.Gpr[0].Should().Be(2);
    }

    [Fact]
    public void StepExecutesOneInstruction()
    {
        _rig.Put(Assembled(a =>
        {
            a.mov(eax, 1);
            a.inc(eax);
            a.inc(eax);
        }), EngineRig.Code);
        _rig.Processor.SetState(_rig.State);
        _rig.Processor.Step().Should().Be(SoftExit.Limit);
        _rig.Processor.Step().Should().Be(SoftExit.Limit);
        _rig.Processor.GetState(_rig.State);
        (_rig.State.Gpr[0], _rig.State.Rip).Should().Be((2UL, EngineRig.Code + 7));
    }

    private static Assembler Assembled(Action<Assembler> write)
    {
        var a = new Assembler(64);
        write(a);
        return a;
    }

    [Fact]
    public void InstructionAcrossPagesFollowsAChangeOfItsSecondPage()
    {
        ulong start = EngineRig.Code + 0xffb;
        _rig.State.Rip = start;
        Run(a =>
        {
            // mov eax, imm32 at …ffb lies inside; the next begins at 0xffffff and spans.
            var spanning = a.CreateLabel();
            var again = a.CreateLabel();
            a.Label(ref again);
            a.mov(ebx, 7); // …ffb to …fff
            a.Label(ref spanning);
            a.mov(eax, 0x11223344);
            a.cmp(eax, 0x11223344);
            a.mov(__dword_ptr[EngineRig.Code + 0x1001], 0x55667788);
            a.je(again);
        });
        _rig.State.Gpr[0].Should().Be(0x55667788);
    }

    [Fact]
    public void PageFaultIsDeliveredWithErrorCodeAndCr2()
    {
        Run(a =>
        {
            a.mov(rbx, 0x4000_0010UL);
            a.mov(__byte_ptr[rbx], 1);
        });
        _rig.Seen.Should().Be((14UL, 2UL, EngineRig.Code + 10, 0x4000_0010UL));
    }

    [Fact]
    public void DivideErrorIsAFaultAtTheInstruction()
    {
        Run(a =>
        {
            a.xor(ecx, ecx);
            a.div(ecx);
        });
        (_rig.Seen.Vector, _rig.Seen.Rip).Should().Be((0UL, EngineRig.Code + 2));
    }

    [Fact]
    public void Int3IsATrapBehindTheInstruction()
    {
        Run(a => a.int3());
        (_rig.Seen.Vector, _rig.Seen.Rip).Should().Be((3UL, EngineRig.Code + 1));
    }

    [Fact]
    public void HandlerMayUseAnInterruptStack()
    {
        const ulong Ist = 0x350000;
        _rig.Memory.Write64(EngineRig.Tss + 28 + (8 * 2), Ist);
        var a = new Assembler(64);
        a.mov(rax, rsp);
        a.@out((byte)SoftRig.EndPort, al);
        _rig.Put(a, 0x190000);
        _rig.SetGate(6, 0x190000, ist: 2);
        Run(code => code.ud2());
        _rig.State.Gpr[0].Should().Be(Ist - 40);
    }

    [Fact]
    public void MissingGateMakesADoubleFaultAndAMissingDoubleFaultGateShutsDown()
    {
        _rig.Memory.Write64(EngineRig.Idt + (13 * 16), 0);
        _rig.Memory.Write64(EngineRig.Idt + (14 * 16), 0);
        // #PF whose gate is not present: #NP is contributory after a page fault.
        Run(a => a.mov(al, __byte_ptr[0x4000_0000]));
        _rig.Seen.Vector.Should().Be(8);

        _rig.Memory.Write64(EngineRig.Idt + (8 * 16), 0);
        _rig.State.Rip = EngineRig.Code;
        _rig.State.Gpr[4] = EngineRig.Stack;
        _rig.Run().Should().Be(SoftExit.Shutdown);
        _rig.State.Activity.Should().Be(ActivityState.Shutdown);
    }

    [Fact]
    public void TrapFlagTrapsAfterEachInstruction()
    {
        Run(a =>
        {
            a.pushfq();
            a.or(__dword_ptr[rsp], 0x100);
            a.popfq();
            a.nop();
            a.nop();
        });
        _rig.Seen.Vector.Should().Be(1);
        _rig.Seen.Rip.Should().Be(EngineRig.Code + 1 + 7 + 1 + 1);
        (_rig.State.Dr6 & 0x4000).Should().NotBe(0);
    }

    [Fact]
    public void DataBreakpointTrapsBehindTheAccess()
    {
        _rig.State.Dr[1] = EngineRig.Data + 8;
        _rig.State.Dr7 = 0x400 | (1 << 2) | (0x9UL << 20); // write, 8 bytes
        Run(a =>
        {
            a.mov(rbx, EngineRig.Data);
            a.mov(__qword_ptr[rbx], rax);
            a.mov(__byte_ptr[rbx + 15], al);
            a.nop();
        });
        _rig.Seen.Vector.Should().Be(1);
        (_rig.State.Dr6 & 15).Should().Be(2);
        _rig.Seen.Rip.Should().Be(EngineRig.Code + 10 + 3 + 3);
    }

    [Fact]
    public void InstructionBreakpointFaultsBeforeTheInstruction()
    {
        _rig.State.Dr[0] = EngineRig.Code + 1;
        _rig.State.Dr7 = 0x402;
        Run(a =>
        {
            a.nop();
            a.nop();
        });
        (_rig.Seen.Vector, _rig.Seen.Rip).Should().Be((1UL, EngineRig.Code + 1));
    }

    [Fact]
    public void RunningAllocatesNothingInSteadyState()
    {
        var a = new Assembler(64);
        var top = a.CreateLabel();
        a.mov(ecx, 100_000);
        a.Label(ref top);
        a.mov(__qword_ptr[EngineRig.Data], rcx);
        a.dec(ecx);
        a.jne(top);
        a.@out((byte)SoftRig.EndPort, al);
        _rig.Put(a, EngineRig.Code);
        Allocation.Of(
            _ =>
            {
                _rig.Processor.SetState(_rig.State);
                _rig.Processor.Run();
            },
            1).Should().Be(0);
    }

    public void Dispose() => _rig.Dispose();
}
