using Iced.Intel;
using Kvm.X86.Engine;
using Kvm.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.X86.Tests.Engine;

/// <summary>Modes and the ways between them: real, protected, compatibility, long, virtual-8086; far transfers, gates, system calls.</summary>
public sealed class ModeTests : IDisposable
{
    private const ulong Ring0 = EngineRig.Code, Ring3 = 0x140000, UserStack = 0x2f0000;
    private readonly SoftRig _rig = new();

    private void Put(ulong at, int bitness, Action<Assembler> write)
    {
        var a = new Assembler(bitness);
        write(a);
        _rig.Put(a, at);
    }

    private static void End(Assembler a) => a.@out((byte)SoftRig.EndPort, al);

    [Fact]
    public void FromResetThroughProtectedModeToLongMode()
    {
        // The reset vector lies outside this machine's memory, so real mode is entered as after a start-up IPI.
        var s = _rig.State;
        var reset = new ArchitecturalState();
        _rig.Processor.Reset(true);
        _rig.Processor.GetState(reset);
        reset.Rip.Should().Be(0xfff0);
        reset.Segments[Seg.Cs].Base.Should().Be(0xffff0000);

        Put(0x20000, 16, a =>
        {
            a.mov(eax, 0x20); // CR4.PAE
            a.mov(cr4, eax);
            a.mov(eax, (uint)EngineRig.Tables);
            a.mov(cr3, eax);
            a.db(0x66, 0x0f, 0x01, 0x16, 0x00, 0x01); // lgdt [0x100] with 32-bit base
            a.mov(eax, 0x11);
            a.mov(cr0, eax);
            a.db(0x66, 0xea, 0x00, 0x02, 0x02, 0x00, 0x38, 0x00); // jmp 0x38:0x20200
        });
        _rig.Memory.Memory.TryWrite(0x20100, (ushort)0x47).Should().BeTrue();
        _rig.Memory.Memory.TryWrite(0x20102, (uint)EngineRig.Gdt).Should().BeTrue();
        _rig.Memory.Write64(EngineRig.Gdt + 0x38, 0x00cf9b000000ffff); // 32-bit code
        Put(0x20200, 32, a =>
        {
            a.mov(ecx, 0xc0000080);
            a.mov(eax, 0x100);
            a.xor(edx, edx);
            a.wrmsr();
            a.mov(eax, 0x80000011);
            a.mov(cr0, eax);
            a.mov(ax, 0x18);
            a.mov(ds, ax);
            a.mov(ss, ax);
            a.db(0xea, 0x00, 0x03, 0x02, 0x00, 0x10, 0x00); // jmp 0x10:0x20300
        });
        Put(0x20300, 64, a =>
        {
            a.mov(rax, 0x1122334455667788UL);
            a.mov(rbx, rax);
            a.mov(rcx, cr0);
            End(a);
        });
        reset.Segments[Seg.Cs].Selector = 0x2000;
        reset.Segments[Seg.Cs].Base = 0x20000;
        reset.Segments[Seg.Ds].Selector = 0x2000;
        reset.Segments[Seg.Ds].Base = 0x20000;
        reset.Rip = 0;
        Copy(reset, s);
        _rig.Run();
        s.Gpr[3].Should().Be(0x1122334455667788);
        s.Efer.Should().Be(0x500);
        s.Gpr[1].Should().Be(0x80000011);
        s.Segments[Seg.Cs].IsLong.Should().BeTrue();
    }

    private static void Copy(ArchitecturalState from, ArchitecturalState to)
    {
        from.Gpr.CopyTo(to.Gpr, 0);
        from.Segments.CopyTo(to.Segments, 0);
        (to.Rip, to.Rflags, to.Cr0, to.Cr3, to.Cr4, to.Efer) = (from.Rip, from.Rflags, from.Cr0, from.Cr3, from.Cr4, from.Efer);
        (to.Gdtr, to.Idtr, to.Ldtr, to.Tr, to.Xcr0) = (from.Gdtr, from.Idtr, from.Ldtr, from.Tr, from.Xcr0);
    }

    private void RealMode(ushort cs, ushort ip)
    {
        var s = _rig.State;
        s.Cr0 = 0x10;
        s.Cr4 = s.Efer = 0;
        for (int n = 0; n < 6; n++)
            s.Segments[n] = new SegmentRegister { Limit = 0xffff, Attributes = 0x93 };
        s.Segments[Seg.Cs] = new SegmentRegister { Selector = cs, Base = (ulong)cs << 4, Limit = 0xffff, Attributes = 0x9b };
        s.Segments[Seg.Ss] = new SegmentRegister { Selector = 0x4000, Base = 0x40000, Limit = 0xffff, Attributes = 0x93 };
        s.Idtr = new DescriptorTable { Limit = 0x3ff };
        s.Gpr[4] = 0x1000;
        s.Rip = ip;
    }

    [Fact]
    public void RealModeCallsInterruptsAndStringsWork()
    {
        RealMode(0x2000, 0);
        _rig.Memory.Memory.TryWrite(0x21 * 4UL, 0x2000_0200u).Should().BeTrue(); // INT 21h → 2000:0200
        Put(0x20000, 16, a =>
        {
            a.mov(ax, 0x5000);
            a.mov(es, ax);
            a.xor(di, di);
            a.mov(cx, 5);
            a.mov(ax, 0xabcd);
            a.rep.stosw();
            a.@int(0x21);
            a.db(0x9a, 0x00, 0x03, 0x00, 0x20); // call 2000:0300
            End(a);
        });
        Put(0x20200, 16, a =>
        {
            a.mov(bx, 0x1234);
            a.iret();
        });
        Put(0x20300, 16, a =>
        {
            a.mov(dx, sp);
            a.retf();
        });
        _rig.Run();
        _rig.State.Gpr[3].Should().Be(0x1234);
        _rig.State.Gpr[2].Should().Be(0x1000 - 4);
        _rig.State.Gpr[4].Should().Be(0x1000);
        _rig.Memory.Read64(0x50000).Should().Be(0xabcdabcdabcdabcd);
        _rig.State.Gpr[7].Should().Be(10);
    }

    [Fact]
    public void RealModeAccessPastTheLimitIsAGeneralProtectionFault()
    {
        RealMode(0x2000, 0);
        _rig.Memory.Memory.TryWrite(13 * 4UL, 0x2000_0200u).Should().BeTrue();
        Put(0x20000, 16, a =>
        {
            a.mov(bx, 0xffff);
            a.mov(ax, __word_ptr[bx]);
        });
        Put(0x20200, 16, a =>
        {
            a.pop(dx);
            End(a);
        });
        _rig.Run();
        _rig.State.Gpr[2].Should().Be(3, "the fault's IP is on the stack, without an error code");
    }

    [Fact]
    public void SixteenBitBranchesWrapInTheSegment()
    {
        RealMode(0x2000, 0xfffe);
        _rig.Memory.Memory.TryWrite(0x2fffeUL, (ushort)0x10eb).Should().BeTrue(); // jmp +0x10 from 0xfffe: to 0x0010
        Put(0x20010, 16, End);
        _rig.Run();
        _rig.Ended.Should().BeTrue();
        _rig.State.Rip.Should().Be(0x12);
    }

    /// <summary>32-bit protected mode, flat, at level 0, without paging.</summary>
    private void ProtectedMode()
    {
        var s = _rig.State;
        s.Cr0 = 0x11;
        s.Cr4 = s.Efer = 0;
        s.Segments[Seg.Cs] = new SegmentRegister { Selector = 0x38, Limit = uint.MaxValue, Attributes = 0xc9b };
        _rig.Memory.Write64(EngineRig.Gdt + 0x38, 0x00cf9b000000ffff);
        s.Gdtr = new DescriptorTable { Base = EngineRig.Gdt, Limit = 0xff };
        // 32-bit gates for #GP and #SS.
        foreach (int vector in new[] { 11, 12, 13 })
        {
            ulong target = 0x30000 + ((ulong)vector * 0x100);
            _rig.Memory.Write64(EngineRig.Idt + ((ulong)vector * 8), (target & 0xffff) | (0x38UL << 16) | (0x8eUL << 40) | (target >> 16 << 48));
            Put(target, 32, a =>
            {
                a.pop(ecx);
                a.pop(edx);
                a.mov(ebx, vector);
                End(a);
            });
        }
    }

    [Theory]
    [InlineData(0x40_9200_0000_0fffUL, 0xffdu, false, 13)] // four bytes at 0xffd pass limit 0xfff
    [InlineData(0x40_9200_0000_0fffUL, 0xffcu, false, -1)]
    [InlineData(0x40_9000_0000_0fffUL, 0x10u, true, 13)] // read-only
    [InlineData(0x40_9600_0000_0fffUL, 0x800u, false, 13)] // expand-down: below the limit
    [InlineData(0x40_9600_0000_0fffUL, 0x1000u, false, -1)]
    [InlineData(0xc0_9200_0000_0000UL, 0x0ffcu, false, -1)] // page granularity: 4 KiB
    public void SegmentLimitsAndRightsAreChecked(ulong descriptor, uint offset, bool write, int expected)
    {
        ProtectedMode();
        // Base 0x50000.
        _rig.Memory.Write64(EngineRig.Gdt + 0x40, descriptor | (0x50000UL << 16));
        Put(Ring0, 32, a =>
        {
            a.mov(ax, 0x40);
            a.mov(es, ax);
            a.mov(esi, offset);
            a.xor(ebx, ebx);
            if (write)
                a.mov(__dword_ptr.es[esi], eax);
            else
                a.mov(eax, __dword_ptr.es[esi]);
            End(a);
        });
        _rig.Run();
        _rig.Ended.Should().BeTrue();
        _rig.State.Gpr[3].Should().Be(expected < 0 ? 0UL : 13);
        if (expected >= 0)
            _rig.State.Gpr[1].Should().Be(0, "an access has no selector to blame");
    }

    [Theory]
    [InlineData(0x40_1200_0000_0fffUL, 11, 0x40u)] // not present
    [InlineData(0x40_9800_0000_0fffUL, 13, 0x40u)] // code that cannot be read
    [InlineData(0x00_8900_0000_0067UL, 13, 0x40u)] // a TSS
    public void LoadingABadSegmentNamesIt(ulong descriptor, int vector, uint error)
    {
        ProtectedMode();
        _rig.Memory.Write64(EngineRig.Gdt + 0x40, descriptor);
        Put(Ring0, 32, a =>
        {
            a.mov(ax, 0x40);
            a.mov(es, ax);
            End(a);
        });
        _rig.Run();
        (_rig.State.Gpr[3], _rig.State.Gpr[1]).Should().Be(((ulong)vector, error));
    }

    [Fact]
    public void SelectorOutsideTheTableIsAGeneralProtectionFault()
    {
        ProtectedMode();
        Put(Ring0, 32, a =>
        {
            a.mov(ax, 0x1000);
            a.mov(es, ax);
            End(a);
        });
        _rig.Run();
        (_rig.State.Gpr[3], _rig.State.Gpr[1]).Should().Be((13UL, 0x1000UL));
    }

    [Fact]
    public void AccessThroughANullSelectorFaults()
    {
        ProtectedMode();
        Put(Ring0, 32, a =>
        {
            a.xor(eax, eax);
            a.mov(es, ax);
            a.mov(eax, __dword_ptr.es[0x1000]);
            End(a);
        });
        _rig.Run();
        _rig.State.Gpr[3].Should().Be(13);
    }

    [Fact]
    public void Virtual86RunsRealCodeUnderProtectedMode()
    {
        ProtectedMode();
        _rig.Memory.Write64(EngineRig.Gdt + 0x48, 0x00cf93000000ffff);
        _rig.Memory.Write64(EngineRig.Tss + 4, EngineRig.Stack);
        _rig.Memory.Memory.TryWrite(EngineRig.Tss + 8, (ushort)0x48).Should().BeTrue();
        Put(Ring0, 32, a =>
        {
            // The frame IRET pops: GS FS DS ES SS ESP EFLAGS CS EIP.
            foreach (int value in new[] { 0, 0, 0x5000, 0x5000, 0x4000, 0x800, 0x23002 - 0x3000, 0x2000, 0 })
                a.push(value);
            a.iretd();
        });
        Put(0x20000, 16, a =>
        {
            a.mov(__word_ptr[0x10], 0x7777); // DS = 0x5000
            a.cli(); // IOPL 0: #GP
        });
        _rig.Run();
        _rig.Memory.Read64(0x50010).Should().Be(0x7777);
        _rig.State.Gpr[3].Should().Be(13);
        (_rig.State.Gpr[1], _rig.State.Gpr[2]).Should().Be((0UL, 6UL));
        (_rig.State.Rflags & Bits.Vm).Should().Be(0);
    }

    [Fact]
    public void SyscallAndSysretChangeLevelAndBack()
    {
        _rig.State.Msr.Star = (0x10UL << 32) | (0x1bUL << 48);
        _rig.State.Msr.Lstar = 0x150000;
        _rig.State.Msr.Fmask = 0x200;
        _rig.State.Rflags = 0x202;
        Put(Ring0, 64, a =>
        {
            a.push(0x23);
            a.push((int)UserStack);
            a.push(0x202);
            a.push(0x2b);
            a.push((int)Ring3);
            a.iretq();
        });
        Put(Ring3, 64, a =>
        {
            a.mov(r12, rsp);
            a.syscall();
            a.ud2(); // back at level 3
        });
        Put(0x150000, 64, a =>
        {
            a.mov(r13w, cs);
            a.pushfq();
            a.pop(r14);
            a.sysretq();
        });
        _rig.Run();
        _rig.Seen.Vector.Should().Be(6);
        _rig.Seen.Rip.Should().Be(Ring3 + 5);
        _rig.State.Gpr[12].Should().Be(UserStack);
        ((ushort)_rig.State.Gpr[13]).Should().Be(0x10);
        (_rig.State.Gpr[14] & 0x200).Should().Be(0, "FMASK clears IF");
        (_rig.State.Gpr[11] & 0x200).Should().NotBe(0, "R11 keeps it");
    }

    [Fact]
    public void ExceptionFromUserModeTakesTheTssStackAndIretqReturns()
    {
        ulong handlerStack = EngineRig.Stack - 0x10000;
        var handler = new Assembler(64);
        handler.mov(r12, rsp);
        handler.add(__qword_ptr[rsp], 2); // past the UD2
        handler.iretq();
        _rig.Put(handler, 0x190000);
        _rig.SetGate(6, 0x190000, ist: 0);
        Put(Ring0, 64, a =>
        {
            a.push(0x23);
            a.push((int)UserStack);
            a.push(2);
            a.push(0x2b);
            a.push((int)Ring3);
            a.iretq();
        });
        Put(Ring3, 64, a =>
        {
            a.ud2();
            a.mov(r13, rsp);
            a.mov(r14w, cs);
            a.hlt(); // #GP(0) at level 3
        });
        _rig.Run();
        _rig.State.Gpr[12].Should().Be(handlerStack - 40);
        _rig.State.Gpr[13].Should().Be(UserStack);
        ((ushort)_rig.State.Gpr[14]).Should().Be(0x2b);
        (_rig.Seen.Vector, _rig.Seen.Error).Should().Be((13UL, 0UL));
    }

    [Fact]
    public void SoftwareInterruptFromUserModeNeedsAGateForIt()
    {
        _rig.SetGate(0x40, SoftRig.Stubs + (0x40 * 32), 0, dpl: 0);
        Put(Ring0, 64, a =>
        {
            a.push(0x23);
            a.push((int)UserStack);
            a.push(2);
            a.push(0x2b);
            a.push((int)Ring3);
            a.iretq();
        });
        Put(Ring3, 64, a =>
        {
            a.nop();
            a.@int(0x40);
        });
        _rig.Run();
        _rig.Seen.Should().Be((13UL, (0x40UL * 8) | 2, Ring3 + 1, 0UL));
    }

    [Fact]
    public void CallGateEntersTheKernelOnItsStack()
    {
        ulong target = 0x160000;
        _rig.Memory.Write64(EngineRig.Gdt + 0x40, (target & 0xffff) | (0x10UL << 16) | (0xecUL << 40) | (target >> 16 << 48));
        _rig.Memory.Write64(EngineRig.Gdt + 0x48, 0);
        _rig.State.Gdtr = new DescriptorTable { Base = EngineRig.Gdt, Limit = 0x4f };
        Put(Ring0, 64, a =>
        {
            a.push(0x23);
            a.push((int)UserStack);
            a.push(2);
            a.push(0x2b);
            a.push((int)Ring3);
            a.iretq();
        });
        _rig.Memory.Write64(0x170000, 0x0043_0000_0000UL); // m16:32 far pointer: offset ignored, selector 0x43
        Put(Ring3, 64, a =>
        {
            a.mov(rbx, 0x170000UL);
            a.db(0xff, 0x1b); // call far [rbx], 32-bit offset
            a.ud2();
        });
        Put(target, 64, a =>
        {
            a.mov(r12, rsp);
            a.mov(r13w, cs);
            a.mov(r14, __qword_ptr[rsp + 16]); // the caller's RSP
            a.db(0x48, 0xcb); // retfq
        });
        _rig.Run();
        _rig.Seen.Vector.Should().Be(6, "the far return came back to level 3");
        _rig.State.Gpr[12].Should().Be(EngineRig.Stack - 0x10000 - 32);
        ((ushort)_rig.State.Gpr[13]).Should().Be(0x10);
        _rig.State.Gpr[14].Should().Be(UserStack);
    }

    [Theory]
    [InlineData(0, 0x80000000UL)] // PG without PE
    [InlineData(0, 0x20000011UL)] // NW without CD
    [InlineData(0, 1UL << 32)]
    [InlineData(4, 0UL)] // PAE cannot go in long mode
    [InlineData(4, 1UL << 25)]
    [InlineData(3, 1UL << 60)]
    [InlineData(8, 16UL)]
    public void BadControlRegisterValuesAreGeneralProtectionFaults(int register, ulong value)
    {
        _rig.Run(a =>
        {
            a.mov(rax, value);
            switch (register)
            {
                case 0: a.mov(cr0, rax); break;
                case 3: a.mov(cr3, rax); break;
                case 4: a.mov(cr4, rax); break;
                default: a.mov(cr8, rax); break;
            }

            End(a);
        });
        _rig.Seen.Vector.Should().Be(13);
    }

    [Theory]
    [InlineData(0xc0000080u, 0x500UL | (1UL << 20))] // EFER: reserved bit
    [InlineData(0xc0000080u, 0x001UL)] // EFER: LME cannot go while paging is on
    [InlineData(0xc0000082u, 0x8000_0000_0000UL)] // LSTAR: not canonical
    [InlineData(0xc0000101u, 0x8000_0000_0000UL)] // GS base
    [InlineData(0x277u, 0x02UL)] // PAT: reserved type
    [InlineData(0x12345678u, 0UL)] // no such register
    public void BadMsrValuesAreGeneralProtectionFaults(uint index, ulong value)
    {
        _rig.Run(a =>
        {
            a.mov(ecx, index);
            a.mov(eax, (uint)value);
            a.mov(edx, (uint)(value >> 32));
            a.wrmsr();
            End(a);
        });
        _rig.Seen.Vector.Should().Be(13);
    }

    [Fact]
    public void TaskSwitchEndsTheRunWithAnExplanation()
    {
        ProtectedMode();
        _rig.Memory.Write64(EngineRig.Gdt + 0x40, 0x0000890000000067UL | (0xb000UL << 16));
        Put(Ring0, 32, a => a.db(0xea, 0, 0, 0, 0, 0x40, 0));
        _rig.Run().Should().Be(SoftExit.Unsupported);
        _rig.Processor.Failure.Should().Contain("task");
        _rig.State.Rip.Should().Be(Ring0);
    }

    public void Dispose() => _rig.Dispose();
}
