using Iced.Intel;
using Kvm.Vmm.Reporting;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.Boot.Tests;

/// <summary>
/// <c>syscall</c> from user mode into a page that only the kernel may execute, on the real /dev/kvm: right by the processor, or by
/// repair where KVM leaves the user's CS (SDM vol. 2, SYSCALL).
/// </summary>
public class SystemCallTests
{
    private const uint Long = TinyKernel.Entry + 0x200, Entered = TinyKernel.Entry + 0x600, PageFault = TinyKernel.Entry + 0x700;
    private const uint Gdt = 0x5000, Idt = 0x6000, Tss = 0x7000, Pointer = 0x7800, KernelStack = 0x9000, User = 0x20_0000;

    [SkippableTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_system_call_enters_the_kernel_whether_LSTAR_or_the_page_fault_gate_was_set_first(bool gateFirst)
    {
        TinyMachine.RequireKvm();

        var (result, _) = TinyMachine.Run(TinyKernel.Wrap(Program(gateFirst)));

        result.Outcome.Should().Be(VmOutcome.DebugExit, result.Explanation);
        result.DebugExitValue.Should().Be(0x08, "CS is the one STAR names, with privilege level 0");
    }

    private static byte[] Program(bool gateFirst)
    {
        byte[] image = new byte[0x800];
        Place(image, TinyKernel.Entry, 32, EnterLongMode);
        Place(image, Long, 64, a => PrepareAndCall(a, gateFirst));
        Place(image, Entered, 64, a => { a.mov(eax, cs); a.@out(0xf4, eax); a.hlt(); });
        Place(image, PageFault, 64, a => { a.mov(eax, 0x63); a.@out(0xf4, eax); a.hlt(); });
        return image;
    }

    private static void Place(byte[] image, uint address, int bitness, Action<Assembler> write)
    {
        var assembler = new Assembler(bitness);
        write(assembler);
        using var code = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(code), address);
        code.ToArray().CopyTo(image, (int)(address - TinyKernel.Entry));
    }

    /// <summary>Identity map: the first 2 MiB for the kernel, the second for everybody (SDM vol. 3, 4.5).</summary>
    private static void EnterLongMode(Assembler a)
    {
        a.mov(__dword_ptr[0x1000], 0x2007);
        a.mov(__dword_ptr[0x2000], 0x3007);
        a.mov(__dword_ptr[0x3000], 0x83);
        a.mov(__dword_ptr[0x3008], User | 0x87);
        a.mov(eax, 0x1000);
        a.mov(cr3, eax);
        a.mov(eax, 0x20);
        a.mov(cr4, eax);
        a.mov(ecx, 0xc000_0080); // EFER: LME, SCE
        a.mov(eax, 0x101);
        a.xor(edx, edx);
        a.wrmsr();
        a.mov(eax, 0x8000_0011);
        a.mov(cr0, eax);
        Descriptor(a, 0x08, 0x0020_9a00); // kernel code, 64-bit
        Descriptor(a, 0x10, 0x00cf_9200, 0xffff); // kernel data
        Descriptor(a, 0x18, 0x00cf_f200, 0xffff); // user data
        Descriptor(a, 0x20, 0x0020_fa00); // user code, 64-bit
        Descriptor(a, 0x28, 0x0000_8900, (Tss << 16) | 0x67); // TSS
        a.mov(__word_ptr[Pointer], 0x37);
        a.mov(__dword_ptr[Pointer + 2], Gdt);
        a.lgdt(__[Pointer]);
        a.mov(__dword_ptr[Tss + 4], KernelStack); // RSP0
        a.db(0xea); // jmp 08:Long
        a.dd(Long);
        a.dw(0x08);
    }

    private static void Descriptor(Assembler a, uint selector, uint high, uint low = 0)
    {
        a.mov(__dword_ptr[Gdt + selector], low);
        a.mov(__dword_ptr[Gdt + selector + 4], high);
    }

    private static void PrepareAndCall(Assembler a, bool gateFirst)
    {
        a.mov(rsp, KernelStack - 0x100);
        a.mov(eax, 0x28);
        a.ltr(ax);
        a.mov(__word_ptr[User], 0x050f); // syscall
        if (gateFirst)
            SetPageFaultGate(a);
        SetMsr(a, 0xc000_0081, high: 0x0010_0008, low: 0); // STAR
        SetMsr(a, 0xc000_0082, high: 0, low: Entered); // LSTAR
        SetMsr(a, 0xc000_0084, high: 0, low: 0); // FMASK
        if (!gateFirst)
            SetPageFaultGate(a);
        a.@out(0x80, al); // any exit
        a.push(0x1b);
        a.push((int)(User + 0x1000));
        a.push(2);
        a.push(0x23);
        a.push((int)User);
        a.iretq();
    }

    private static void SetPageFaultGate(Assembler a)
    {
        const uint gate = Idt + (14 * 16);
        a.mov(__dword_ptr[gate], (0x08 << 16) | (PageFault & 0xffff));
        a.mov(__dword_ptr[gate + 4], (PageFault & 0xffff_0000) | 0x8e00);
        a.mov(__qword_ptr[gate + 8], 0);
        a.mov(__word_ptr[Pointer], 0xfff);
        a.mov(__qword_ptr[Pointer + 2], (int)Idt);
        a.lidt(__[Pointer]);
    }

    private static void SetMsr(Assembler a, uint index, uint high, uint low)
    {
        a.mov(ecx, index);
        a.mov(eax, low);
        a.mov(edx, high);
        a.wrmsr();
    }
}
