using Iced.Intel;
using Kvm.X86.Engine;
using Kvm.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.X86.Tests.Engine;

/// <summary>CALL, JMP and RET to addresses that are not canonical: #GP(0) of the instruction itself, which has changed nothing (SDM vol. 2).</summary>
public sealed class NonCanonicalJumpTests
{
    private const ulong Bad = 0x8000_0000_0000, Stack = EngineRig.Stack, Pushed = 0x1122_3344_5566_7788;

    public static TheoryData<string, int> Jumps()
    {
        var data = new TheoryData<string, int>();
        foreach (string name in new[] { "jmp reg", "jmp mem", "call reg", "call mem", "ret", "ret imm" })
        {
            data.Add(name, 0);
            data.Add(name, 2);
        }

        return data;
    }

    private static void Emit(Assembler a, string jump)
    {
        switch (jump)
        {
            case "jmp reg": a.jmp(rbx); break;
            case "jmp mem": a.jmp(__qword_ptr[rsi]); break;
            case "call reg": a.call(rbx); break;
            case "call mem": a.call(__qword_ptr[rsi]); break;
            case "ret": a.ret(); break;
            default: a.ret(16); break;
        }
    }

    /// <summary>The jump goes to good addresses ten times, so that it is translated where blocks are, and then to the bad one.</summary>
    [Theory]
    [MemberData(nameof(Jumps))]
    public void A_jump_to_a_non_canonical_address_faults_where_it_is(string jump, int translateAfter)
    {
        using var rig = new SoftRig(translateAfter: translateAfter);
        rig.Run(a =>
        {
            var top = a.CreateLabel();
            var good = a.CreateLabel();
            var at = a.CreateLabel();
            a.lea(r15, __[at]);
            a.lea(r12, __[good]);
            a.mov(r13, Bad);
            a.mov(r14, Pushed);
            a.mov(rsi, EngineRig.Data);
            a.mov(ecx, 11);
            a.Label(ref top);
            a.mov(rsp, Stack);
            a.mov(__qword_ptr[rsp - 8], r14);
            a.dec(ecx);
            a.mov(rbx, r12);
            a.cmove(rbx, r13);
            a.mov(__qword_ptr[rsi], rbx);
            a.mov(__qword_ptr[rsp], rbx);
            a.jmp(at);
            a.Label(ref at);
            Emit(a, jump);
            a.Label(ref good);
            a.jmp(top);
        });
        rig.Ended.Should().BeTrue();
        rig.Seen.Should().Be(((ulong)Vector.GeneralProtection, 0UL, rig.State.Gpr[15], rig.Seen.Cr2));
        rig.Memory.Read64(Stack).Should().Be(Bad);
        // Exceptions push SS:RSP first; what is there is the stack pointer of the jump.
        rig.Memory.Read64(Stack - 16).Should().Be(Stack);
    }
}
