// Invariants: see Alu.cs.
using Iced.Intel;
using Kvm.X86.Decode;
using Kvm.X86.Engine;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>Software interrupts, returns from events, system calls, HLT.</summary>
internal static unsafe class EventHelpers
{
    /// <summary>The family's entry in <see cref="HelperTable"/>.</summary>
    public static nint Resolve(Code code, out HelperKind kind)
    {
        kind = HelperKind.Ends;
        return code switch
        {
            Code.Int3 => At(&Int3),
            Code.Int_imm8 => At(&Int),
            Code.Int1 => At(&Int1),
            Code.Into => At(&Into),
            Code.Iretw => At(&Iret<S16>),
            Code.Iretd => At(&Iret<S32>),
            Code.Iretq => At(&Iret<S64>),
            Code.Retfw or Code.Retfw_imm16 => At(&Retf<S16>),
            Code.Retfd or Code.Retfd_imm16 => At(&Retf<S32>),
            Code.Retfq or Code.Retfq_imm16 => At(&Retf<S64>),
            Code.Syscall => At(&Syscall),
            Code.Sysretd or Code.Sysretq => At(&Sysret),
            Code.Sysenter => At(&Sysenter),
            Code.Sysexitd or Code.Sysexitq => At(&Sysexit),
            Code.Hlt => At(&Hlt),
            Code.Mwait => At(&Mwait),
            _ => 0,
        };
    }

    private static nint At(delegate*<Cpu*, Op*, bool> helper) => (nint)helper;

    private static bool Software(Cpu* cpu, int vector, Op* op, EventSource source)
    {
        Fault.Raise(cpu, vector);
        cpu->FaultIsTrap = 1;
        cpu->FaultSource = (int)source;
        cpu->FaultLength = op->Length;
        cpu->FaultAddress = 0;
        return false;
    }

    private static bool Int3(Cpu* cpu, Op* op) => Software(cpu, Vector.Breakpoint, op, EventSource.Software);

    private static bool Int(Cpu* cpu, Op* op) => Software(cpu, op->Imm8, op, EventSource.Software);

    private static bool Into(Cpu* cpu, Op* op) => !Flags.Test(cpu, 0) || Software(cpu, Vector.Overflow, op, EventSource.Software);

    /// <summary>ICEBP: a #DB trap without a DR6 bit, past gate privilege.</summary>
    private static bool Int1(Cpu* cpu, Op* op) => Software(cpu, Vector.Debug, op, EventSource.Exception);

    private static bool Iret<TSize>(Cpu* cpu, Op* op) where TSize : ISize =>
        InterruptReturn.Execute(ref *cpu, CpuContext.From(cpu), TSize.Bytes);

    /// <summary>Disp is the immediate.</summary>
    private static bool Retf<TSize>(Cpu* cpu, Op* op) where TSize : ISize =>
        FarTransfers.Return(ref *cpu, CpuContext.From(cpu), TSize.Bytes, (uint)op->Disp);

    private static SegmentRegister Flat(ushort selector, int attributes) => new()
    {
        Selector = selector,
        Limit = uint.MaxValue,
        Attributes = (ushort)attributes,
    };

    private const int Code64 = 0xa9b, Code32 = 0xc9b, Data = 0xc93, User = 0x60;

    private static bool Syscall(Cpu* cpu, Op* op)
    {
        if ((cpu->Efer & Bits.EferSce) == 0 || (cpu->Cr0 & Bits.Cr0Pe) == 0)
            return Fault.Undefined(cpu);
        uint flags = Flags.Get(cpu);
        if ((cpu->Efer & Bits.EferLma) == 0)
            return SyscallLegacy(cpu, flags);
        bool wide = (cpu->Mode & ModeBits.CodeSize) == 2;
        cpu->Gpr[1] = cpu->Rip;
        cpu->Gpr[11] = flags & ~Bits.Rf;
        SetFlags(cpu, flags & ~(uint)cpu->Fmask & ~Bits.Rf);
        ushort selector = (ushort)((cpu->Star >> 32) & 0xfffc);
        cpu->Segments[Seg.Ss] = Flat((ushort)(selector + 8), Data);
        // From compatibility mode too, as on AMD's processors.
        Enter(cpu, Flat(selector, Code64), 0, wide ? cpu->Lstar : cpu->Cstar);
        return true;
    }

    /// <summary>Outside long mode: no flags are saved, and IF goes.</summary>
    private static bool SyscallLegacy(Cpu* cpu, uint flags)
    {
        cpu->Gpr[1] = (uint)cpu->Rip;
        SetFlags(cpu, flags & ~(Bits.If | Bits.Vm | Bits.Rf));
        ushort selector = (ushort)((cpu->Star >> 32) & 0xfffc);
        cpu->Segments[Seg.Ss] = Flat((ushort)(selector + 8), Data);
        Enter(cpu, Flat(selector, Code32), 0, (uint)cpu->Star);
        return true;
    }

    /// <summary>Flags of SYSCALL and SYSRET: they trap if TF is set at their end, not as others at their beginning.</summary>
    private static void SetFlags(Cpu* cpu, uint flags)
    {
        cpu->Rflags = (flags & 0x3f7fd5) | 2;
        cpu->FlagKind = FlagKind.Explicit;
        if ((flags & Bits.Tf) != 0)
        {
            cpu->PendingDebug |= DebugRegisters.SingleStep;
            cpu->Attention = -1;
        }
        else if ((flags & Bits.If) != 0)
            CpuContext.From(cpu).LookForEvents();
    }

    private static void Enter(Cpu* cpu, SegmentRegister code, int cpl, ulong rip)
    {
        cpu->Segments[Seg.Cs] = code;
        cpu->Cpl = cpl;
        cpu->Rip = rip;
        Modes.Update(ref *cpu, CpuContext.From(cpu));
    }

    private static bool Sysret(Cpu* cpu, Op* op)
    {
        if ((cpu->Efer & Bits.EferSce) == 0 || (cpu->Cr0 & Bits.Cr0Pe) == 0)
            return Fault.Undefined(cpu);
        bool wide = op->Code == Code.Sysretq, legacy = (cpu->Efer & Bits.EferLma) == 0;
        if (cpu->Cpl != 0 || (wide && !Mem.IsCanonical(cpu, cpu->Gpr[1])))
            return Fault.Protection(cpu);
        uint selector = (uint)(cpu->Star >> 48) | 3;
        SetFlags(cpu, legacy ? Flags.Get(cpu) | Bits.If : (uint)cpu->Gpr[11] & ~(Bits.Rf | Bits.Vm));
        cpu->Segments[Seg.Ss] = Flat((ushort)(selector + 8), Data | User);
        ushort code = (ushort)(wide ? selector + 16 : selector);
        Enter(cpu, Flat(code, (wide ? Code64 : Code32) | User), 3, wide ? cpu->Gpr[1] : (uint)cpu->Gpr[1]);
        return true;
    }

    private static bool Sysenter(Cpu* cpu, Op* op)
    {
        if ((cpu->Cr0 & Bits.Cr0Pe) == 0 || (cpu->SysenterCs & 0xfffc) == 0)
            return Fault.Protection(cpu);
        bool longMode = Segmentation.IsLongMode(ref *cpu);
        cpu->Rflags &= ~(Bits.If | Bits.Vm | Bits.Rf);
        ushort selector = (ushort)(cpu->SysenterCs & 0xfffc);
        cpu->Segments[Seg.Ss] = Flat((ushort)(selector + 8), Data);
        cpu->Gpr[4] = longMode ? cpu->SysenterEsp : (uint)cpu->SysenterEsp;
        Enter(cpu, Flat(selector, longMode ? Code64 : Code32), 0, longMode ? cpu->SysenterEip : (uint)cpu->SysenterEip);
        return true;
    }

    private static bool Sysexit(Cpu* cpu, Op* op)
    {
        if ((cpu->Cr0 & Bits.Cr0Pe) == 0 || cpu->Cpl != 0 || (cpu->SysenterCs & 0xfffc) == 0)
            return Fault.Protection(cpu);
        bool wide = op->Code == Code.Sysexitq;
        if (wide && (!Mem.IsCanonical(cpu, cpu->Gpr[1]) || !Mem.IsCanonical(cpu, cpu->Gpr[2])))
            return Fault.Protection(cpu);
        uint selector = (uint)(cpu->SysenterCs & 0xfffc) + (wide ? 32u : 16) | 3;
        cpu->Segments[Seg.Ss] = Flat((ushort)(selector + 8), Data | User);
        cpu->Gpr[4] = wide ? cpu->Gpr[1] : (uint)cpu->Gpr[1];
        Enter(cpu, Flat((ushort)selector, (wide ? Code64 : Code32) | User), 3, wide ? cpu->Gpr[2] : (uint)cpu->Gpr[2]);
        return true;
    }

    private static bool Hlt(Cpu* cpu, Op* op)
    {
        if (cpu->Cpl != 0)
            return Fault.Protection(cpu);
        cpu->Activity = (int)ActivityState.Halted;
        cpu->Attention = -1;
        return true;
    }

    /// <summary>MWAIT as HLT; with interrupts off and bit 0 of ECX an interrupt would wake it, which HLT does not: then it goes on.</summary>
    private static bool Mwait(Cpu* cpu, Op* op)
    {
        if (cpu->Cpl != 0)
            return Fault.Undefined(cpu);
        if ((cpu->Gpr[1] & ~1UL) != 0)
            return Fault.Protection(cpu);
        if ((cpu->Gpr[1] & 1) != 0 && (cpu->Rflags & Bits.If) == 0)
            return true;
        return Hlt(cpu, op);
    }
}
