using Iced.Intel;
using Kvm.Devices.Bus;
using Kvm.X86.Engine;
using Kvm.X86.Interrupts;
using Kvm.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.X86.Tests.Engine;

/// <summary>RDMSR and WRMSR that must raise #GP(0), and change nothing then; CPUID while the local APIC is disabled.</summary>
public sealed class ModelSpecificTests : IDisposable
{
    private readonly EngineRig _memory = new();
    private readonly SoftRig _rig;

    public ModelSpecificTests()
    {
        var board = new ChipSet(new ChipSetOptions { Clock = new ManualGuestClock(), Memory = _memory.Memory, Processors = 1 });
        _rig = new SoftRig(board.Processors[0]);
    }

    private void Write(Assembler a, uint msr, ulong value)
    {
        a.mov(ecx, msr);
        a.mov(eax, (uint)value);
        a.mov(edx, (uint)(value >> 32));
        a.wrmsr();
    }

    private void Run(Action<Assembler> program)
    {
        _rig.Run(a =>
        {
            program(a);
            a.@out((byte)SoftRig.EndPort, al);
        });
        _rig.Ended.Should().BeTrue();
    }

    [Theory]
    [InlineData(0x48u)]
    [InlineData(0x49u)]
    public void Reading_what_CPUID_does_not_show_is_refused(uint msr)
    {
        Run(a =>
        {
            a.mov(ecx, msr);
            a.rdmsr();
        });
        _rig.Seen.Vector.Should().Be(Vector.GeneralProtection);
    }

    [Theory]
    [InlineData(0x48u, 1ul)] // IA32_SPEC_CTRL and IA32_PRED_CMD: not in CPUID
    [InlineData(0x49u, 1ul)]
    [InlineData(0xc000_0103u, 1ul << 32)] // TSC_AUX has 32 bits
    [InlineData(0xda0u, 1ul)] // IA32_XSS: no supervisor state
    [InlineData(0x1bu, 1ul << 46 | 0xfee0_0900)] // IA32_APIC_BASE beyond MAXPHYADDR
    public void A_refused_write_changes_nothing(uint msr, ulong value)
    {
        Run(a => Write(a, msr, value));
        _rig.Seen.Vector.Should().Be(Vector.GeneralProtection);
        var state = _rig.State.Msr;
        (state.SpecCtrl, state.TscAux, state.Xss).Should().Be((0, 0, 0));
    }

    [Theory]
    [InlineData(1u)]
    [InlineData(0x8000_0001u)]
    public void SDM_11_4_3_CPUID_hides_the_APIC_while_it_is_disabled(uint leaf)
    {
        Run(a =>
        {
            a.mov(eax, leaf);
            a.cpuid();
            a.mov(r14d, edx);
            Write(a, 0x1b, 0xfee0_0100);
            a.mov(eax, leaf);
            a.cpuid();
            a.mov(r15d, edx);
        });
        (_rig.State.Gpr[14] ^ _rig.State.Gpr[15]).Should().Be(1 << 9);
        (_rig.State.Gpr[15] & (1 << 9)).Should().Be(0);
    }

    public void Dispose()
    {
        _rig.Dispose();
        _memory.Dispose();
    }
}
