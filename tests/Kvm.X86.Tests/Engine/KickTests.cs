using Iced.Intel;
using Kvm.X86.Engine;
using Kvm.X86.State;
using Kvm.X86.Tests.Translate;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.X86.Tests.Engine;

/// <summary>Whatever a guest is busy with, a kick gets through: the guest says it is under way by a port, the kick comes from another thread.</summary>
public sealed class KickTests
{
    private const byte StartedPort = 0xf6;

    private sealed class Started : Devices.Bus.IBusDevice, IDisposable
    {
        public ManualResetEventSlim Event { get; } = new();

        public void Read(ulong offset, Span<byte> data) => data.Clear();

        public void Write(ulong offset, ReadOnlySpan<byte> data) => Event.Set();

        public void Dispose() => Event.Dispose();
    }

    private static void Kicked(bool translated, Action<SoftRig, Assembler> busy)
    {
        Skip.If(translated && TestCodeMemory.Unavailable != null, TestCodeMemory.Unavailable);
        using var rig = new SoftRig(null, translated ? 1 : 0);
        using var started = new Started();
        rig.Memory.Pio.Add(StartedPort, 1, started);
        var a = new Assembler(64);
        a.@out(StartedPort, al);
        busy(rig, a);
        rig.Put(a, EngineRig.Code);
        rig.Processor.SetState(rig.State);
        var exit = SoftExit.Limit;
        var thread = new Thread(() => exit = rig.Processor.Run());
        thread.Start();
        started.Event.Wait(TimeSpan.FromSeconds(20)).Should().BeTrue("the guest gets under way");
        rig.Processor.Kick();
        thread.Join(TimeSpan.FromSeconds(20)).Should().BeTrue("a kick is obeyed");
        exit.Should().Be(SoftExit.Kicked);
    }

    [SkippableTheory]
    [InlineData(false)]
    [InlineData(true)]
    public void KickEndsALoopThatNeverEnds(bool translated) => Kicked(translated, (_, a) =>
    {
        var here = a.CreateLabel();
        a.Label(ref here);
        a.inc(eax);
        a.jmp(here);
    });

    [SkippableTheory]
    [InlineData(false)]
    [InlineData(true)]
    public void KickEndsALoopOfIndirectJumps(bool translated) => Kicked(translated, (_, a) =>
    {
        var here = a.CreateLabel();
        a.lea(rbx, __[here]);
        a.Label(ref here);
        a.jmp(rbx);
    });

    [SkippableTheory]
    [InlineData(false)]
    [InlineData(true)]
    public void KickEndsAStringInstructionOfManyBytes(bool translated) => Kicked(translated, (_, a) =>
    {
        var again = a.CreateLabel();
        a.Label(ref again);
        a.mov(rcx, 0xe00000UL);
        a.xor(esi, esi);
        a.rep.lodsb();
        a.jmp(again);
    });

    [SkippableTheory]
    [InlineData(false)]
    [InlineData(true)]
    public void KickEndsAPortStringInstruction(bool translated) => Kicked(translated, (_, a) =>
    {
        var again = a.CreateLabel();
        a.mov(edx, 0x80);
        a.Label(ref again);
        a.mov(rcx, 0xe00000UL);
        a.xor(esi, esi);
        a.rep.outsb();
        a.jmp(again);
    });

    [SkippableTheory]
    [InlineData(false)]
    [InlineData(true)]
    public void KickEndsHandlersThatFaultAtOnce(bool translated) => Kicked(translated, (rig, a) =>
    {
        // #UD's handler is an undefined instruction on a stack that begins anew each time.
        rig.State.Tr = rig.State.Tr with { Limit = 0x67 };
        rig.Memory.Write64(EngineRig.Tss + 0x24, EngineRig.Stack);
        var handler = new Assembler(64);
        handler.ud2();
        rig.Put(handler, EngineRig.Code + 0x1000);
        rig.SetGate(Vector.InvalidOpcode, EngineRig.Code + 0x1000, 1);
        a.ud2();
    });

    [SkippableTheory]
    [InlineData(false)]
    [InlineData(true)]
    public void KickEndsCodeThatRewritesItself(bool translated) => Kicked(translated, (_, a) =>
    {
        var here = a.CreateLabel();
        a.lea(rbx, __[here]);
        a.Label(ref here);
        a.inc(__dword_ptr[rbx + 64]);
        a.mov(al, __byte_ptr[rbx]);
        a.mov(__byte_ptr[rbx], al);
        a.jmp(here);
    });
}
