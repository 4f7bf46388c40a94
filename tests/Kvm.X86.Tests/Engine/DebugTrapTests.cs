using Iced.Intel;
using Kvm.X86.Engine;
using Kvm.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.X86.Tests.Engine;

/// <summary>#DB where instructions treat it in their own way. The first exception ends a program (<see cref="SoftRig.Seen"/>).</summary>
public sealed class DebugTrapTests : IDisposable
{
    private const uint Tf = 1 << 8;
    private const ulong NoReason = 0xffff0ff0, SingleStep = NoReason | 1 << 14;

    private readonly SoftRig _rig = new();

    private (ulong Vector, ulong Rip, ulong Dr6) Run(Action<Assembler> program)
    {
        _rig.Run(a =>
        {
            program(a);
            a.@out((byte)SoftRig.EndPort, al);
        });
        _rig.Ended.Should().BeTrue();
        return (_rig.Seen.Vector, _rig.Seen.Rip, _rig.State.Dr6);
    }

    private static void SetTrapFlag(Assembler a)
    {
        a.pushfq();
        a.or(__dword_ptr[rsp], Tf);
        a.popfq();
    }

    /// <summary>The address of what a program leaves in R15 by its first instruction.</summary>
    private ulong Marked => _rig.State.Gpr[15];

    [Fact]
    public void Icebp_behind_mov_ss_loses_the_step_that_mov_ss_held_back()
    {
        Run(a =>
        {
            var behind = a.CreateLabel();
            a.lea(r15, __[behind]);
            a.mov(eax, ss);
            SetTrapFlag(a);
            a.mov(ss, eax);
            a.db(0xf1);
            a.Label(ref behind);
            a.nop();
        }).Should().Be((1, Marked, NoReason));
    }

    [Fact]
    public void Int_behind_mov_ss_keeps_the_step_that_mov_ss_held_back()
    {
        Run(a =>
        {
            a.mov(eax, ss);
            SetTrapFlag(a);
            a.mov(ss, eax);
            a.int3();
        }).Should().Be((1, SoftRig.Stubs + (3 * 32), SingleStep), "#BP was delivered, and #DB at its handler");
    }

    [Fact]
    public void General_detection_behind_mov_ss_is_the_fault_alone()
    {
        _rig.State.Dr7 |= 1 << 13;
        Run(a =>
        {
            var at = a.CreateLabel();
            a.lea(r15, __[at]);
            a.mov(eax, ss);
            SetTrapFlag(a);
            a.mov(ss, eax);
            a.Label(ref at);
            a.mov(dr6, rax);
        }).Should().Be((1, Marked, NoReason | 1 << 13));
    }

    [Fact]
    public void A_step_over_hlt_does_not_halt()
    {
        Run(a =>
        {
            var behind = a.CreateLabel();
            a.lea(r15, __[behind]);
            SetTrapFlag(a);
            a.hlt();
            a.Label(ref behind);
            a.nop();
        }).Should().Be((1, Marked, SingleStep));
        _rig.State.Activity.Should().Be(ActivityState.Running);
    }

    [Fact]
    public void A_breakpoint_behind_mov_ss_is_taken_as_on_AMD()
    {
        _rig.State.Dr7 = 0x402;
        Run(a =>
        {
            var at = a.CreateLabel();
            a.lea(r15, __[at]);
            a.mov(dr0, r15);
            a.mov(eax, ss);
            a.mov(ss, eax);
            a.Label(ref at);
            a.nop();
        }).Should().Be((1, Marked, NoReason | 1));
    }

    [Fact]
    public void Syscall_that_masks_TF_is_not_stepped()
    {
        _rig.State.Efer |= 1;
        (_rig.State.Msr.Star, _rig.State.Msr.Fmask) = (0x10UL << 32, Tf);
        Run(a =>
        {
            var kernel = a.CreateLabel();
            a.lea(rax, __[kernel]);
            a.mov(rdx, rax);
            a.shr(rdx, 32);
            a.mov(ecx, 0xc000_0082);
            a.wrmsr();
            SetTrapFlag(a);
            a.syscall();
            a.Label(ref kernel);
            a.nop();
        });
        _rig.Seen.Vector.Should().Be(0, "no exception came");
        (_rig.State.Gpr[11] & Tf).Should().Be(Tf);
    }

    [Fact]
    public void Sysret_that_sets_TF_is_stepped_at_once()
    {
        _rig.State.Efer |= 1;
        _rig.State.Msr.Star = 0x18UL << 48;
        Run(a =>
        {
            var user = a.CreateLabel();
            a.lea(rcx, __[user]);
            a.mov(r15, rcx);
            a.mov(r11d, Tf | 2);
            a.sysretq();
            a.Label(ref user);
            a.nop();
        }).Should().Be((1, Marked, SingleStep));
    }

    [Fact]
    public void Iret_to_user_code_keeps_the_bases_of_segments_it_makes_null()
    {
        _rig.State.Segments[Seg.Gs] = new SegmentRegister { Selector = 0x18, Base = 0x1234_5000, Limit = uint.MaxValue, Attributes = 0xc93 };
        Run(a =>
        {
            var user = a.CreateLabel();
            a.push(0x23);
            a.push(rsp);
            a.push(2);
            a.push(0x2b);
            a.lea(rax, __[user]);
            a.push(rax);
            a.iretq();
            a.Label(ref user);
            a.rdgsbase(rbx);
            a.mov(eax, gs);
            a.ud2();
        }).Vector.Should().Be(6);
        (_rig.State.Gpr[3]).Should().Be(0x1234_5000);
    }

    public void Dispose() => _rig.Dispose();
}
