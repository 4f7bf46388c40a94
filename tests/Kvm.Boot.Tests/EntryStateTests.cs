using Iced.Intel;
using Kvm.Vmm;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Tests.Boot;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.Boot.Tests;

/// <summary>
/// Guests that look at the state they were entered in: what each boot protocol promises, seen from inside. A guest
/// writes the number of the first promise that was not kept to the debug-exit port, or 0.
/// </summary>
public class EntryStateTests
{
    private const uint Entry = 0x10_0000;
    private const int CodeSelector = 0x10;
    private const int DataSelector = 0x18;

    [SkippableFact]
    public void The_64_bit_Linux_protocol()
    {
        TinyMachine.RequireKvm();
        byte[] code = Assemble(64, (a, fail) =>
        {
            Expect(a, fail, 1, () => a.cmp(__dword_ptr[rsi + 0x202], 0x53726448)); // HdrS in the zero page
            Expect(a, fail, 2, () => a.cmp(rsi, (int)MachineLayout.ZeroPage));
            ExpectSelectors(a, fail);
            Expect(a, fail, 5, () => a.cmp(__word_ptr[0x413], 639)); // mapped one to one
            ExpectFlagsClear(a, fail, () => a.pushfq(), () => a.pop(rax));
            a.mov(ecx, 0xc000_0080); // EFER
            a.rdmsr();
            Expect(a, fail, 7, () => a.cmp(eax, 0x500));
            a.mov(ax, DataSelector); // the GDT is really there
            a.mov(ds, ax);
            a.mov(ss, ax);
            a.mov(ebx, __dword_ptr[rsi + 0x228]);
            Expect(a, fail, 8, () => a.cmp(__dword_ptr[rbx], 0x736e6f63)); // "cons…" of the command line
        });
        Run(new ElfBuilder(true) { Entry = Entry }.Load(Entry, code).LinuxNote().Build());
    }

    [SkippableFact]
    public void PVH()
    {
        TinyMachine.RequireKvm();
        byte[] code = Assemble(32, (a, fail) =>
        {
            Expect(a, fail, 1, () => a.cmp(__dword_ptr[ebx], 0x336ec578));
            ExpectProtectedMode(a, fail);
            a.mov(esi, __dword_ptr[ebx + 32]); // RSDP
            Expect(a, fail, 8, () => a.cmp(__dword_ptr[esi], 0x20445352));
        });
        Run(new ElfBuilder(true) { Entry = Entry }.Load(Entry, code).Pvh(Entry).Build());
    }

    [SkippableFact]
    public void The_32_bit_Linux_protocol()
    {
        TinyMachine.RequireKvm();
        byte[] code = Assemble(32, (a, fail) =>
        {
            Expect(a, fail, 1, () => a.cmp(__dword_ptr[esi + 0x202], 0x53726448));
            Expect(a, fail, 2, () => a.cmp(ebp, 0));
            Expect(a, fail, 9, () => a.cmp(edi, 0));
            Expect(a, fail, 10, () => a.cmp(ebx, 0));
            ExpectProtectedMode(a, fail);
            ExpectSelectors(a, fail);
        });
        Run(new ElfBuilder(false) { Entry = Entry }.Load(Entry, code, virtualAddress: 0xc000_0000 + Entry).Build());
    }

    [SkippableFact]
    public void Multiboot()
    {
        TinyMachine.RequireKvm();
        byte[] header = [2, 0xb0, 0xad, 0x1b, 3, 0, 0, 0, 0xfb, 0x4f, 0x52, 0xe4];
        byte[] code = Assemble(32, (a, fail) =>
        {
            Expect(a, fail, 1, () => a.cmp(eax, 0x2badb002));
            Expect(a, fail, 2, () => a.test(__dword_ptr[ebx], 1 << 6), equal: false); // there is a memory map
            Expect(a, fail, 9, () => a.cmp(__dword_ptr[ebx + 4], 639));
            ExpectProtectedMode(a, fail);
        }, Entry + 12);
        Run(new ElfBuilder(false) { Entry = Entry + 12 }.Load(Entry, [.. header, .. code]).Build());
    }

    private static void Run(byte[] kernel)
    {
        var (result, _) = TinyMachine.Run(kernel);
        result.Outcome.Should().Be(VmOutcome.DebugExit, result.Explanation);
        result.DebugExitValue.Should().Be(0u, "the guest writes the number of the promise that was not kept");
    }

    private static byte[] Assemble(int bits, Action<Assembler, Label> write, uint origin = Entry)
    {
        var a = new Assembler(bits);
        var fail = a.CreateLabel();
        // A stack for what is tested through it; the protocols promise none.
        a.mov(esp, 0x8_0000);
        write(a, fail);
        a.mov(edx, 0);
        a.Label(ref fail);
        a.mov(eax, edx);
        a.@out(0xf4, eax);
        a.hlt();
        using var code = new MemoryStream();
        a.Assemble(new StreamCodeWriter(code), origin);
        return code.ToArray();
    }

    /// <summary>Ends with <paramref name="number"/> unless the comparison gives equal (or not).</summary>
    private static void Expect(Assembler a, Label fail, int number, Action compare, bool equal = true)
    {
        a.mov(edx, number);
        compare();
        if (equal)
            a.jne(fail);
        else
            a.je(fail);
    }

    private static void ExpectSelectors(Assembler a, Label fail)
    {
        a.mov(ax, cs);
        Expect(a, fail, 3, () => a.cmp(ax, CodeSelector));
        foreach (var segment in new[] { ds, es, ss })
        {
            a.mov(ax, segment);
            Expect(a, fail, 4, () => a.cmp(ax, DataSelector));
        }
    }

    private static void ExpectProtectedMode(Assembler a, Label fail)
    {
        a.mov(eax, cr0);
        a.and(eax, unchecked((int)0xe005_003f) & ~0x10); // ET is hard-wired
        Expect(a, fail, 5, () => a.cmp(eax, 1));
        a.mov(eax, cr4);
        Expect(a, fail, 7, () => a.cmp(eax, 0));
        ExpectFlagsClear(a, fail, () => a.pushfd(), () => a.pop(eax));
        a.mov(ax, DataSelector);
        a.mov(ds, ax);
    }

    /// <summary>IF, TF and VM are clear.</summary>
    private static void ExpectFlagsClear(Assembler a, Label fail, Action push, Action pop)
    {
        push();
        pop();
        Expect(a, fail, 6, () => a.test(eax, 0x2_0300));
    }
}
