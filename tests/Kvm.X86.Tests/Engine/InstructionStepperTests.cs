using Iced.Intel;
using Kvm.X86.Engine;
using Kvm.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.X86.Tests.Engine;

/// <summary>Completion of single instructions: what the VMM does for a KVM that gives up.</summary>
public sealed class InstructionStepperTests : IDisposable
{
    private readonly EngineRig _rig = new();
    private readonly InstructionStepper _stepper;
    private readonly ArchitecturalState _state = EngineRig.LongMode();

    public InstructionStepperTests() => _stepper = new InstructionStepper(_rig.Memory, _rig.Pio, _rig.Mmio);

    private StepResult Step(Action<Assembler> write)
    {
        _rig.Assemble(write);
        _state.Rip = EngineRig.Code;
        return _stepper.Step(_state);
    }

    [Fact]
    public void PopcntCountsAndSetsFlags()
    {
        _state.Gpr[1] = 0xf0f0;
        Step(a => a.popcnt(rax, rcx)).Kind.Should().Be(StepKind.Done);
        _state.Gpr[0].Should().Be(8);
        _state.Rip.Should().Be(EngineRig.Code + 5);
        (_state.Rflags & 0x8d5).Should().Be(0);
    }

    [Fact]
    public void Int3IsATrapForTheCallerToDeliver()
    {
        var result = Step(a => a.int3());
        result.Should().Be(new StepResult(StepKind.Exception, 3, false, 0, 0, true));
        _state.Rip.Should().Be(EngineRig.Code + 1);
    }

    [Fact]
    public void IntNGivesItsVectorWithoutErrorCode()
    {
        var result = Step(a => a.@int(14));
        result.Kind.Should().Be(StepKind.Exception);
        (result.Vector, result.HasErrorCode, result.IsSoftware).Should().Be((14, false, true));
        _state.Rip.Should().Be(EngineRig.Code + 2);
    }

    [Fact]
    public void IcebpIsADebugTrapPastGatePrivilege()
    {
        var result = Step(a => a.db(0xf1));
        (result.Vector, result.IsSoftware).Should().Be((1, false));
        _state.Rip.Should().Be(EngineRig.Code + 1);
    }

    [Theory]
    [InlineData(true, 2u)]
    [InlineData(false, 0u)]
    public void PageFaultLeavesEverythingAndReportsAddress(bool write, uint error)
    {
        const ulong Missing = 0x4000_0000;
        _state.Gpr[3] = Missing;
        _state.Gpr[2] = 7;
        var before = _state.Gpr.ToArray();
        var result = Step(a =>
        {
            if (write)
                a.cmpxchg16b(__xmmword_ptr[rbx]);
            else
                a.popcnt(rax, __qword_ptr[rbx]);
        });
        result.Should().Be(new StepResult(StepKind.Exception, 14, true, error, Missing, false));
        _state.Rip.Should().Be(EngineRig.Code);
        _state.Gpr.Should().Equal(before);
    }

    [Fact]
    public void WriteToAReadOnlyPageFaultsOnlyWhereTheProcessorDoes()
    {
        // The page of Data becomes read-only: CR0.WP decides for the supervisor.
        _rig.Write64(EngineRig.Tables + 0x2000 + 8, 0x200085);
        _state.Gpr[3] = EngineRig.Data;
        Step(a => a.cmpxchg16b(__xmmword_ptr[rbx])).Should().Be(new StepResult(StepKind.Exception, 14, true, 3, EngineRig.Data, false));
        _state.Cr0 &= ~0x10000UL;
        Step(a => a.cmpxchg16b(__xmmword_ptr[rbx])).Kind.Should().Be(StepKind.Done);
    }

    [Fact]
    public void AccessedAndDirtyBitsAreSetAsTheProcessorSetsThem()
    {
        _state.Gpr[3] = EngineRig.Data;
        Step(a => a.popcnt(rax, __qword_ptr[rbx]));
        (_rig.Read64(EngineRig.Tables + 0x2008) & 0x60).Should().Be(0x20);
        Step(a => a.cmpxchg16b(__xmmword_ptr[rbx]));
        (_rig.Read64(EngineRig.Tables + 0x2008) & 0x60).Should().Be(0x60);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Cmpxchg16bExchangesOrLoads(bool equal)
    {
        _rig.Write64(EngineRig.Data, 1);
        _rig.Write64(EngineRig.Data + 8, 2);
        _state.Gpr[0] = 1;
        _state.Gpr[2] = equal ? 2u : 3u;
        _state.Gpr[3] = 5;
        _state.Gpr[1] = 6;
        _state.Gpr[6] = EngineRig.Data;
        Step(a => a.@lock.cmpxchg16b(__xmmword_ptr[rsi])).Kind.Should().Be(StepKind.Done);
        ((_state.Rflags & 0x40) != 0).Should().Be(equal);
        (_rig.Read64(EngineRig.Data), _rig.Read64(EngineRig.Data + 8)).Should().Be(equal ? (5UL, 6UL) : (1UL, 2UL));
        (_state.Gpr[0], _state.Gpr[2]).Should().Be((1UL, 2UL));
    }

    [Fact]
    public void StacAndClacSwitchAc()
    {
        Step(a => a.stac()).Kind.Should().Be(StepKind.Done);
        (_state.Rflags & 0x40000).Should().NotBe(0);
        Step(a => a.clac()).Kind.Should().Be(StepKind.Done);
        (_state.Rflags & 0x40000).Should().Be(0);
    }

    [Fact]
    public void SmapRefusesUserPagesUnlessAcIsSet()
    {
        _state.Cr4 |= 1 << 21;
        _state.Gpr[3] = EngineRig.Data;
        // The code's own page must be a supervisor page for SMEP to stay out of it; SMAP concerns data only.
        Step(a => a.popcnt(rax, __qword_ptr[rbx])).Should().Be(new StepResult(StepKind.Exception, 14, true, 1, EngineRig.Data, false));
        _state.Rflags |= 0x40000;
        Step(a => a.popcnt(rax, __qword_ptr[rbx])).Kind.Should().Be(StepKind.Done);
    }

    [Fact]
    public void SelectorInstructionsReadTheGdt()
    {
        _state.Gpr[1] = 0x10;
        Step(a => a.lar(eax, ecx)).Kind.Should().Be(StepKind.Done);
        _state.Gpr[0].Should().Be(0x00af9b00);
        (_state.Rflags & 0x40).Should().NotBe(0);
        Step(a => a.lsl(eax, ecx)).Kind.Should().Be(StepKind.Done);
        _state.Gpr[0].Should().Be(0xffffffff);
        Step(a => a.verw(cx)).Kind.Should().Be(StepKind.Done);
        (_state.Rflags & 0x40).Should().Be(0);
    }

    [Fact]
    public void XgetbvAndXsetbvGoThroughXcr0()
    {
        Step(a => a.xgetbv()).Kind.Should().Be(StepKind.Done);
        _state.Gpr[0].Should().Be(7);
        _state.Gpr[0] = 3;
        Step(a => a.xsetbv()).Kind.Should().Be(StepKind.Done);
        _state.Xcr0.Should().Be(3);
        _state.Gpr[0] = 4;
        Step(a => a.xsetbv()).Vector.Should().Be(13);
    }

    [Fact]
    public void VectorRegistersLiveInTheStandardFormatArea()
    {
        _state.Gpr[0] = 0x1234_5678_9abc_def0;
        Step(a => a.movq(xmm3, rax)).Kind.Should().Be(StepKind.Done);
        BitConverter.ToUInt64(_state.Extended, 160 + 48).Should().Be(0x1234_5678_9abc_def0);
        (_state.Extended[512] & 2).Should().Be(2);
    }

    [Fact]
    public void ComponentsTheEngineDoesNotKnowPassThrough()
    {
        _state.Extended[513] = 2; // XSTATE_BV bit 9: PKRU
        _state.Extended[2688] = 0x55;
        Step(a => a.pxor(xmm0, xmm0)).Kind.Should().Be(StepKind.Done);
        _state.Extended[513].Should().Be(2);
        _state.Extended[2688].Should().Be(0x55);
    }

    [Fact]
    public void WhatIsNotKnownIsReportedWithItsBytes()
    {
        var before = _state.Rip;
        var result = Step(a => a.vpaddd(zmm0, zmm1, zmm2));
        result.Kind.Should().Be(StepKind.Unsupported);
        _stepper.Instruction.Mnemonic.Should().Be(Mnemonic.Vpaddd);
        _stepper.Bytes.Length.Should().Be(6);
        _state.Rip.Should().Be(before);
    }

    [Fact]
    public void UndefinedOpcodesAreGuestExceptions()
    {
        Step(a => a.ud2()).Should().Be(new StepResult(StepKind.Exception, 6, false, 0, 0, false));
        Step(a => a.db(0x06)).Vector.Should().Be(6);
    }

    [Fact]
    public void HltReportsTheActivity()
    {
        Step(a => a.hlt()).Kind.Should().Be(StepKind.Done);
        _state.Activity.Should().Be(ActivityState.Halted);
        _state.Rip.Should().Be(EngineRig.Code + 1);
    }

    [Fact]
    public void InstructionAcrossTwoPagesIsFetchedFromBoth()
    {
        _state.Rip = EngineRig.Code + 0xffe;
        _state.Gpr[1] = 0xff;
        Put(EngineRig.Code + 0xffe, [0xf3, 0x48, 0x0f, 0xb8, 0xc1]);
        _stepper.Step(_state).Kind.Should().Be(StepKind.Done);
        _state.Gpr[0].Should().Be(8);
        _state.Rip.Should().Be(EngineRig.Code + 0x1003);
    }

    private void Put(ulong address, ReadOnlySpan<byte> bytes) => _rig.Memory.TryWrite(address, bytes).Should().BeTrue();

    [Fact]
    public void RepeatedStringRunsToItsEndInOneStep()
    {
        _state.Gpr[1] = 10000;
        _state.Gpr[7] = EngineRig.Data + 5;
        _state.Gpr[0] = 0x41;
        Step(a => a.rep.stosb()).Kind.Should().Be(StepKind.Done);
        _state.Gpr[1].Should().Be(0);
        _state.Gpr[7].Should().Be(EngineRig.Data + 10005);
        _rig.Read64(EngineRig.Data + 10004 - 7).Should().Be(0x4141414141414141);
        _rig.Read64(EngineRig.Data + 10005).Should().Be(0);
    }

    [Fact]
    public void SteppingAllocatesNothing()
    {
        _state.Gpr[3] = EngineRig.Data;
        _rig.Assemble(a => a.popcnt(rax, __qword_ptr[rbx]));
        for (int n = 0; n < 100; n++)
            Again();
        Allocation.Of(_ => Again(), 10_000).Should().Be(0);

        void Again()
        {
            _state.Rip = EngineRig.Code;
            _stepper.Step(_state);
        }
    }

    public void Dispose()
    {
        _stepper.Dispose();
        _rig.Dispose();
    }
}
