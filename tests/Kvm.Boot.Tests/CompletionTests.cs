using Iced.Intel;
using Kvm.Devices.Bus;
using Kvm.Interop;
using Kvm.Vmm.Completion;
using Kvm.Vmm.Probing;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.Boot.Tests;

/// <summary>
/// Kernel-mode instructions that an incomplete KVM gives up on, each run on the real /dev/kvm: natively where it can, by
/// completion where it cannot. Either way the guest must see what the manual says (SDM vol. 2).
/// </summary>
public class CompletionTests
{
    private const int Data = 0x4000;
    private static readonly AssemblerRegister64 s_data = rbx;

    /// <summary>Name, code that leaves its answer in EAX, the answer.</summary>
    public static IEnumerable<object[]> Cases()
    {
        yield return Case("popcnt", 32, a => { a.mov(rcx, -1L >>> 32); a.popcnt(eax, ecx); });
        yield return Case("popcnt zero sets ZF", 1, a => { a.xor(ecx, ecx); a.popcnt(edx, ecx); a.setz(al); a.movzx(eax, al); });
        yield return Case("crc32", 0xdd5a9fc4, a => { a.mov(eax, -1); a.mov(ecx, 0x12345678); a.crc32(eax, ecx); }, expectedFromHost: () => System.Runtime.Intrinsics.X86.Sse42.Crc32(uint.MaxValue, 0x12345678u));
        yield return Case("andn", 0x0f, a => { a.mov(ecx, 0xf0); a.mov(edx, 0xff); a.andn(eax, ecx, edx); });
        yield return Case("bextr", 0x34, a => { a.mov(ecx, 0x1234_5678); a.mov(edx, 0x0810); a.bextr(eax, ecx, edx); });
        yield return Case("blsi", 8, a => { a.mov(ecx, 0x18); a.blsi(eax, ecx); });
        yield return Case("blsr", 0x10, a => { a.mov(ecx, 0x18); a.blsr(eax, ecx); });
        yield return Case("blsmsk", 0xf, a => { a.mov(ecx, 0x18); a.blsmsk(eax, ecx); });
        yield return Case("bzhi", 0x78, a => { a.mov(ecx, 0x1234_5678); a.mov(edx, 8); a.bzhi(eax, ecx, edx); });
        yield return Case("mulx", 1, a => { a.mov(edx, int.MinValue); a.mov(ecx, 2); a.mulx(eax, r8d, ecx); });
        yield return Case("shlx", 0x20, a => { a.mov(ecx, 1); a.mov(edx, 5); a.shlx(eax, ecx, edx); });
        yield return Case("sarx", 0xffff_ffff, a => { a.mov(ecx, -8); a.mov(edx, 5); a.sarx(eax, ecx, edx); });
        yield return Case("shrx", 0x07ff_ffff, a => { a.mov(ecx, -8); a.mov(edx, 5); a.shrx(eax, ecx, edx); });
        yield return Case("rorx", 0x8000_0000, a => { a.mov(ecx, 1); a.rorx(eax, ecx, 1); });
        yield return Case("pdep", 0x5050, a => { a.mov(ecx, 0x33); a.mov(edx, 0xf0f0); a.mov(ecx, 0x55); a.pdep(eax, ecx, edx); });
        yield return Case("pext", 0x55, a => { a.mov(ecx, 0x5050); a.mov(edx, 0xf0f0); a.pext(eax, ecx, edx); });
        yield return Case("adcx", 0, a => { a.stc(); a.mov(eax, -1); a.mov(ecx, 0); a.adcx(eax, ecx); });
        yield return Case("adox", 3, a => { a.xor(eax, eax); a.mov(eax, 1); a.mov(ecx, 2); a.adox(eax, ecx); });
        yield return Case("cmpxchg16b equal", 0x55, a => CompareExchange16(a, locked: false));
        yield return Case("lock cmpxchg16b equal", 0x55, a => CompareExchange16(a, locked: true));
        yield return Case("cmpxchg16b unequal loads RDX:RAX", 0x77, a => { a.mov(__qword_ptr[s_data], 0x77); a.xor(eax, eax); a.xor(edx, edx); a.xor(ecx, ecx); a.cmpxchg16b(__xmmword_ptr[s_data]); });
        yield return Case("xgetbv", 1, a => { EnableXsave(a); a.xor(ecx, ecx); a.xgetbv(); a.and(eax, 1); });
        yield return Case("stac and clac", 0, a => { EnableSmap(a); a.stac(); a.clac(); a.pushfq(); a.pop(rax); a.shr(eax, 18); a.and(eax, 1); });
        yield return Case("stac", 1, a => { EnableSmap(a); a.stac(); a.pushfq(); a.pop(rax); a.shr(eax, 18); a.and(eax, 1); });
        yield return Case("fwait", 5, a => { a.mov(eax, 5); a.wait(); });
        yield return Case("fld1 fistp", 1, a => { a.fninit(); a.fld1(); a.fistp(__dword_ptr[s_data]); a.mov(eax, __dword_ptr[s_data]); });
        yield return Case("fnstsw", 0, a => { a.fninit(); a.mov(eax, -1); a.fnstsw(ax); a.movzx(eax, ax); });
        yield return Case("fldcw fnstcw", 0x27f, a => { a.mov(__word_ptr[s_data], 0x27f); a.fldcw(__word_ptr[s_data]); a.fnstcw(__word_ptr[s_data + 8]); a.movzx(eax, __word_ptr[s_data + 8]); });
        yield return Case("fnclex", 0, a => { a.fninit(); a.fnclex(); a.fnstsw(ax); a.movzx(eax, ax); });
        yield return Case("ldmxcsr stmxcsr", 0x1fa0, a => { a.mov(__dword_ptr[s_data], 0x1fa0); a.ldmxcsr(__dword_ptr[s_data]); a.stmxcsr(__dword_ptr[s_data + 4]); a.mov(eax, __dword_ptr[s_data + 4]); });
        yield return Case("xsave xrstor keep a register", 0x1234, a => XsaveRoundTrip(a, compacted: false));
        yield return Case("xsavec xrstor keep a register", 0x1234, a => XsaveRoundTrip(a, compacted: true));
        yield return Case("movd mm movd", 0x99, a => { a.mov(ecx, 0x99); a.movd(mm1, ecx); a.movd(eax, mm1); a.emms(); });
        yield return Case("movq xmm", 0x1122_3344, a => { a.mov(rcx, 0x5566_7788_1122_3344); a.movq(xmm1, rcx); a.movd(eax, xmm1); });
        yield return Case("pxor", 0, a => { a.mov(ecx, -1); a.movd(xmm1, ecx); a.pxor(xmm1, xmm1); a.movd(eax, xmm1); });
        yield return Case("xorps", 0xff, a => { a.mov(ecx, 0xf0); a.movd(xmm1, ecx); a.mov(ecx, 0x0f); a.movd(xmm2, ecx); a.xorps(xmm1, xmm2); a.movd(eax, xmm1); });
        yield return Case("paddd", 7, a => { a.mov(ecx, 3); a.movd(xmm1, ecx); a.mov(ecx, 4); a.movd(xmm2, ecx); a.paddd(xmm1, xmm2); a.movd(eax, xmm1); });
        yield return Case("pcmpeqb pmovmskb", 0xffff, a => { a.pxor(xmm1, xmm1); a.pcmpeqb(xmm1, xmm1); a.pmovmskb(eax, xmm1); });
        yield return Case("punpcklbw", 0x0000_2211 | 0x0000_0000, a => { a.mov(ecx, 0x11); a.movd(xmm1, ecx); a.mov(ecx, 0x22); a.movd(xmm2, ecx); a.punpcklbw(xmm1, xmm2); a.movd(eax, xmm1); });
        yield return Case("addsd cvtsi2sd cvttsd2si", 42, a => { a.mov(ecx, 20); a.cvtsi2sd(xmm1, ecx); a.mov(ecx, 22); a.cvtsi2sd(xmm2, ecx); a.addsd(xmm1, xmm2); a.cvttsd2si(eax, xmm1); });
        yield return Case("vpxor vmovdqu vzeroupper", 0, a => { EnableAvx(a); a.vpxor(ymm1, ymm1, ymm1); a.vmovdqu(__ymmword_ptr[s_data], ymm1); a.vzeroupper(); a.mov(eax, __dword_ptr[s_data + 28]); });
        yield return Case("lar of the null selector clears ZF", 0, a => { a.xor(ecx, ecx); a.lar(edx, ecx); a.setz(al); a.movzx(eax, al); });
        yield return Case("verr of the null selector clears ZF", 0, a => { a.xor(ecx, ecx); a.verr(cx); a.setz(al); a.movzx(eax, al); });
        yield return Case("clwb", 3, a => { a.mov(eax, 3); a.clwb(__byte_ptr[s_data]); });
        yield return Case("movbe", 0x7856_3412, a => { a.mov(__dword_ptr[s_data], 0x1234_5678); a.movbe(eax, __dword_ptr[s_data]); });
    }

    [SkippableTheory]
    [MemberData(nameof(Cases))]
    public void Kernel_mode_instruction_does_what_the_manual_says(string name, uint expected, Action<Assembler> code)
    {
        TinyMachine.RequireKvm();
        using var system = KvmSystem.Open();
        using var guest = new TinyGuest(system);
        using var completer = new InstructionCompleter(guest.Vcpu, guest.GuestMemory, new IoBus(), new IoBus(), ExtendedStateLayout.OfHost);
        guest.Load(Assemble(code));
        var outcome = guest.Run(out uint value, completer);
        Skip.If(outcome == TinyOutcome.Shutdown && !OnThisProcessor(name), $"this processor has no {name}");
        outcome.Should().Be(TinyOutcome.Done, Describe(guest));
        value.Should().Be(expected, name);
    }

    private static object[] Case(string name, uint expected, Action<Assembler> code, Func<uint>? expectedFromHost = null) =>
        [name, expectedFromHost is not null && System.Runtime.Intrinsics.X86.Sse42.IsSupported ? expectedFromHost() : expected, code];

    /// <summary>False for the instructions that not every x86-64-v2 processor has.</summary>
    private static bool OnThisProcessor(string name) => name.Split(' ')[0] switch
    {
        "andn" or "bextr" or "blsi" or "blsr" or "blsmsk" => System.Runtime.Intrinsics.X86.Bmi1.IsSupported,
        "bzhi" or "mulx" or "shlx" or "sarx" or "shrx" or "rorx" or "pdep" or "pext" => System.Runtime.Intrinsics.X86.Bmi2.IsSupported,
        "vpxor" => System.Runtime.Intrinsics.X86.Avx2.IsSupported,
        "adcx" or "adox" or "clwb" or "movbe" or "stac" => false,
        _ => true,
    };

    private static string Describe(TinyGuest guest) =>
        Kvm.Vmm.Vcpu.RegisterDump.Describe(Kvm.Vmm.Vcpu.ExitDispatcher.Explain(guest.Vcpu.RunPage), state => Kvm.Vmm.Vcpu.KvmVcpuState.Save(guest.Vcpu, state));

    private static byte[] Assemble(Action<Assembler> code)
    {
        var a = new Assembler(64);
        a.mov(s_data, Data);
        code(a);
        a.@out(unchecked((byte)TinyGuest.DonePort), eax);
        using var bytes = new MemoryStream();
        a.Assemble(new StreamCodeWriter(bytes), TinyGuest.CodeAddress);
        return bytes.ToArray();
    }

    private static void CompareExchange16(Assembler a, bool locked)
    {
        a.xor(eax, eax);
        a.xor(edx, edx);
        a.mov(r9, s_data);
        a.mov(__qword_ptr[r9], rax);
        a.mov(__qword_ptr[r9 + 8], rdx);
        a.mov(ebx, 0x55);
        a.xor(ecx, ecx);
        if (locked)
            a.@lock.cmpxchg16b(__xmmword_ptr[r9]);
        else
            a.cmpxchg16b(__xmmword_ptr[r9]);
        a.mov(rax, __qword_ptr[r9]);
    }

    private static void EnableXsave(Assembler a)
    {
        a.mov(rax, cr4);
        a.or(rax, 1 << 18); // OSXSAVE
        a.mov(cr4, rax);
    }

    private static void EnableSmap(Assembler a)
    {
        a.mov(rax, cr4);
        a.and(rax, ~(1 << 21));
        a.mov(cr4, rax);
    }

    private static void EnableAvx(Assembler a) => EnableComponents(a, 7);

    /// <summary>Sets XCR0: 1 x87, 2 SSE, 4 AVX.</summary>
    private static void EnableComponents(Assembler a, int components)
    {
        EnableXsave(a);
        a.xor(ecx, ecx);
        a.mov(eax, components);
        a.xor(edx, edx);
        a.xsetbv();
    }

    private static void XsaveRoundTrip(Assembler a, bool compacted)
    {
        EnableComponents(a, 3);
        a.mov(ecx, 0x1234);
        a.movd(xmm5, ecx);
        a.lea(rdi, __[s_data + 0x800]);
        a.mov(eax, 3);
        a.xor(edx, edx);
        if (compacted)
            a.xsavec(__[rdi]);
        else
            a.xsave(__[rdi]);
        a.pxor(xmm5, xmm5);
        a.mov(eax, 3);
        a.xrstor(__[rdi]);
        a.movd(eax, xmm5);
    }
}
