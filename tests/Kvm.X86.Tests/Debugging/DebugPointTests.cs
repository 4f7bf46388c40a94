using Iced.Intel;
using Kvm.X86.Engine;
using Kvm.X86.State;
using Kvm.X86.Tests.Engine;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.X86.Tests.Debugging;

/// <summary>Breakpoints, watchpoints and steps of a debugger, exact in the interpreter and in translated code.</summary>
public sealed class DebugPointTests : IDisposable
{
    private const ulong Data = EngineRig.Data;
    private SoftRig _rig = new();

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void A_breakpoint_in_a_loop_stops_before_its_instruction_each_time_round(int translateAfter)
    {
        Use(translateAfter);
        ulong inside = 0;
        Put(a =>
        {
            var top = a.CreateLabel();
            a.xor(eax, eax);
            a.mov(ecx, 5);
            a.Label(ref top);
            a.inc(eax); // at +7
            a.dec(ecx);
            a.jne(top);
            a.@out(SoftRig.EndPort, al);
        });
        inside = EngineRig.Code + 7;
        _rig.Processor.SetDebugPoints([new DebugPoint(DebugPointKind.Execute, inside)]);
        for (ulong round = 0; round < 5; round++)
        {
            _rig.Processor.Run().Should().Be(SoftExit.Debug);
            _rig.Processor.Hit.Should().Be(new DebugHit(DebugCause.Breakpoint, new DebugPoint(DebugPointKind.Execute, inside)));
            State().Rip.Should().Be(inside);
            State().Gpr[0].Should().Be(round);
            _rig.Processor.Run().Should().Be(SoftExit.Debug, "a run that begins at a breakpoint ends there");
            State().Gpr[0].Should().Be(round);
            _rig.Processor.DebugStep(wait: false).Should().Be(SoftExit.Debug);
            _rig.Processor.Hit.Cause.Should().Be(DebugCause.Step);
        }

        _rig.Processor.Run().Should().Be(SoftExit.Kicked);
        _rig.Ended.Should().BeTrue();
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void A_breakpoint_set_when_its_code_was_translated_long_ago_is_hit(int translateAfter)
    {
        Use(translateAfter);
        // Two pages that call one another, so that the breakpoint's page is entered from blocks that are linked and translated.
        const ulong far = EngineRig.Code + 0x2000;
        var other = new Assembler(64);
        other.inc(ebx);
        other.ret();
        _rig.Put(other, far);
        Put(a =>
        {
            var top = a.CreateLabel();
            a.xor(ebx, ebx);
            a.mov(ecx, 1_000_000);
            a.Label(ref top);
            a.call(far);
            a.dec(ecx);
            a.jne(top);
            a.@out(SoftRig.EndPort, al);
        });
        _rig.Processor.Run(500_000).Should().Be(SoftExit.Limit);
        _rig.Processor.SetDebugPoints([new DebugPoint(DebugPointKind.Execute, far)]);
        _rig.Processor.Run().Should().Be(SoftExit.Debug);
        var before = State();
        before.Rip.Should().Be(far);
        ulong count = before.Gpr[3];
        _rig.Processor.DebugStep(wait: false);
        _rig.Processor.Run().Should().Be(SoftExit.Debug);
        State().Gpr[3].Should().Be(count + 1);
        _rig.Processor.SetDebugPoints([]);
        _rig.Processor.Run().Should().Be(SoftExit.Kicked);
        State().Gpr[3].Should().Be(1_000_000);
    }

    [Theory]
    [InlineData(0, DebugPointKind.Write)]
    [InlineData(0, DebugPointKind.Access)]
    [InlineData(1, DebugPointKind.Write)]
    [InlineData(1, DebugPointKind.Access)]
    public void A_watchpoint_stops_behind_the_instruction_that_writes(int translateAfter, DebugPointKind kind)
    {
        Use(translateAfter);
        Put(a =>
        {
            var top = a.CreateLabel();
            a.mov(rsi, Data);
            a.xor(eax, eax);
            a.Label(ref top);
            a.mov(__dword_ptr[rsi + 64], eax); // the neighbour
            a.inc(eax);
            a.cmp(eax, 100);
            a.jne(top);
            a.mov(__dword_ptr[rsi], eax);
            a.mov(ebx, 1);
            a.@out(SoftRig.EndPort, al);
        });
        _rig.Processor.SetDebugPoints([new DebugPoint(kind, Data + 2, 1)]);
        _rig.Processor.Run().Should().Be(SoftExit.Debug);
        _rig.Processor.Hit.Should().Be(new DebugHit(DebugCause.Watchpoint, new DebugPoint(kind, Data + 2, 1)));
        _rig.Memory.Read64(Data).Should().Be(100, "the write is done");
        State().Gpr[3].Should().Be(0, "and nothing behind it");
        _rig.Processor.Run().Should().Be(SoftExit.Kicked);
    }

    [Fact]
    public void Reads_stop_for_a_watchpoint_on_reads_and_writes_do_not()
    {
        Put(a =>
        {
            a.mov(rsi, Data);
            a.mov(__qword_ptr[rsi], rsi);
            a.mov(ebx, 1);
            a.add(rdx, __qword_ptr[rsi]);
            a.mov(ebx, 2);
            a.add(__qword_ptr[rsi], rdx);
            a.mov(ebx, 3);
            a.@out(SoftRig.EndPort, al);
        });
        _rig.Processor.SetDebugPoints([new DebugPoint(DebugPointKind.Read, Data, 8)]);
        _rig.Processor.Run().Should().Be(SoftExit.Debug);
        State().Gpr[3].Should().Be(1);
        _rig.Processor.Run().Should().Be(SoftExit.Debug);
        State().Gpr[3].Should().Be(2, "an addition to memory reads it");
        _rig.Processor.Run().Should().Be(SoftExit.Kicked);
    }

    [Fact]
    public void A_breakpoint_on_a_repeated_instruction_is_hit_once_and_a_watch_stops_between_iterations()
    {
        ulong at = 0;
        Put(a =>
        {
            a.mov(rdi, Data);
            a.mov(ecx, 300);
            a.mov(eax, 7);
            a.rep.stosb();
            a.@out(SoftRig.EndPort, al);
        });
        at = EngineRig.Code + 20;
        _rig.Processor.SetDebugPoints([new DebugPoint(DebugPointKind.Execute, at), new DebugPoint(DebugPointKind.Write, Data + 100)]);
        _rig.Processor.Run().Should().Be(SoftExit.Debug);
        State().Rip.Should().Be(at);
        _rig.Processor.DebugStep(wait: false).Should().Be(SoftExit.Debug);
        State().Gpr[1].Should().Be(299, "one iteration");
        _rig.Processor.Run().Should().Be(SoftExit.Debug);
        _rig.Processor.Hit.Cause.Should().Be(DebugCause.Watchpoint);
        State().Gpr[1].Should().Be(300 - 101);
        _rig.Processor.Run().Should().Be(SoftExit.Kicked);
    }

    [Fact]
    public void A_step_over_an_instruction_that_faults_ends_at_its_handler()
    {
        Put(a => a.ud2());
        _rig.Processor.DebugStep(wait: false).Should().Be(SoftExit.Debug);
        State().Rip.Should().Be(SoftRig.Stubs + (6 * 32));
        _rig.Processor.Deliveries.Should().Be(1);
    }

    [Fact]
    public void The_push_of_an_exceptions_frame_hits_a_watchpoint()
    {
        Put(a => a.ud2());
        ulong stack = State().Gpr[4];
        _rig.Processor.SetDebugPoints([new DebugPoint(DebugPointKind.Write, stack - 16, 8)]);
        _rig.Processor.Run().Should().Be(SoftExit.Debug);
        _rig.Processor.Hit.Cause.Should().Be(DebugCause.Watchpoint);
        State().Rip.Should().Be(SoftRig.Stubs + (6 * 32));
    }

    public void Dispose() => _rig.Dispose();

    private void Use(int translateAfter)
    {
        _rig.Dispose();
        _rig = new SoftRig(translateAfter: translateAfter);
    }

    private void Put(Action<Assembler> write)
    {
        var a = new Assembler(64);
        write(a);
        _rig.Put(a, EngineRig.Code);
        _rig.State.Rip = EngineRig.Code;
        _rig.Processor.SetState(_rig.State);
    }

    private ArchitecturalState State()
    {
        var state = new ArchitecturalState();
        _rig.Processor.GetState(state);
        return state;
    }
}
