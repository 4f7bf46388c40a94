// Invariants: see Alu.cs.
using Iced.Intel;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>Instructions on RFLAGS itself.</summary>
internal static unsafe class FlagHelpers
{
    /// <summary>The family's entry in <see cref="HelperTable"/>.</summary>
    public static nint Resolve(Code code, out HelperKind kind)
    {
        kind = code is Code.Sti or Code.Popfw or Code.Popfd or Code.Popfq ? HelperKind.Ends : HelperKind.Plain;
        return code switch
        {
            Code.Clc => At(&Clc),
            Code.Stc => At(&Stc),
            Code.Cmc => At(&Cmc),
            Code.Cld => At(&Cld),
            Code.Std => At(&Std),
            Code.Cli => At(&Cli),
            Code.Sti => At(&Sti),
            Code.Lahf => At(&Lahf),
            Code.Sahf => At(&Sahf),
            Code.Pushfw => At(&Pushf<S16>),
            Code.Pushfd => At(&Pushf<S32>),
            Code.Pushfq => At(&Pushf<S64>),
            Code.Popfw => At(&Popf<S16>),
            Code.Popfd => At(&Popf<S32>),
            Code.Popfq => At(&Popf<S64>),
            Code.Salc => At(&Salc),
            _ => 0,
        };
    }

    private static nint At(delegate*<Cpu*, Op*, bool> helper) => (nint)helper;

    private static bool Clc(Cpu* cpu, Op* op)
    {
        Flags.SetCarry(cpu, false);
        return true;
    }

    private static bool Stc(Cpu* cpu, Op* op)
    {
        Flags.SetCarry(cpu, true);
        return true;
    }

    private static bool Cmc(Cpu* cpu, Op* op)
    {
        Flags.SetCarry(cpu, Flags.Carry(cpu) == 0);
        return true;
    }

    private static bool Cld(Cpu* cpu, Op* op)
    {
        cpu->Rflags &= ~Bits.Df;
        return true;
    }

    private static bool Std(Cpu* cpu, Op* op)
    {
        cpu->Rflags |= Bits.Df;
        return true;
    }

    /// <summary>CLI and STI: IOPL guards them in protected mode and in virtual-8086 mode.</summary>
    private static bool MayChangeIf(Cpu* cpu) =>
        (cpu->Cr0 & Bits.Cr0Pe) == 0 || Iopl(cpu) >= cpu->Cpl && ((cpu->Rflags & Bits.Vm) == 0 || Iopl(cpu) == 3);

    /// <summary>I/O privilege level.</summary>
    public static int Iopl(Cpu* cpu) => (int)(cpu->Rflags & Bits.Iopl) >> 12;

    private static bool Cli(Cpu* cpu, Op* op)
    {
        if (!MayChangeIf(cpu))
            return Fault.Protection(cpu);
        cpu->Rflags &= ~Bits.If;
        return true;
    }

    private static bool Sti(Cpu* cpu, Op* op)
    {
        if (!MayChangeIf(cpu))
            return Fault.Protection(cpu);
        if ((cpu->Rflags & Bits.If) == 0)
        {
            cpu->Rflags |= Bits.If;
            cpu->InterruptShadow = 1;
            cpu->Attention = -1;
        }

        return true;
    }

    private static bool Lahf(Cpu* cpu, Op* op)
    {
        ((byte*)cpu)[1] = (byte)((Flags.Status(cpu) & 0xd5) | 2);
        return true;
    }

    private static bool Sahf(Cpu* cpu, Op* op)
    {
        Flags.SetStatus(cpu, (Flags.Status(cpu) & Bits.Of) | (((byte*)cpu)[1] & 0xd5u));
        return true;
    }

    private static bool Salc(Cpu* cpu, Op* op)
    {
        *(byte*)cpu = (byte)-Flags.Carry(cpu);
        return true;
    }

    private static bool Pushf<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        if ((cpu->Rflags & Bits.Vm) != 0 && Iopl(cpu) < 3)
            return Fault.Protection(cpu);
        // VM and RF read zero (SDM vol. 2, PUSHF).
        return StackAccess.TryPush(cpu, op, Flags.Get(cpu) & ~(Bits.Vm | Bits.Rf), TSize.Bytes);
    }

    private static bool Popf<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        if ((cpu->Rflags & Bits.Vm) != 0 && Iopl(cpu) < 3)
            return Fault.Protection(cpu);
        if (!StackAccess.TryPop(cpu, op, TSize.Bytes, out ulong value))
            return false;
        uint change = Bits.StatusFlags | Bits.Tf | Bits.Df | Bits.Nt | (TSize.Bytes > 2 ? Bits.Ac | Bits.Id | Bits.Rf : 0);
        if ((cpu->Cr0 & Bits.Cr0Pe) == 0 || cpu->Cpl == 0)
            change |= Bits.If | Bits.Iopl;
        else if (cpu->Cpl <= Iopl(cpu))
            change |= Bits.If;
        Replace(cpu, (uint)value & ~Bits.Rf, change);
        return true;
    }

    /// <summary>Replaces the bits of <paramref name="change"/> in RFLAGS and everything that follows from them.</summary>
    public static void Replace(Cpu* cpu, uint value, uint change)
    {
        uint old = Flags.Get(cpu);
        uint flags = (old & ~change) | (value & change);
        cpu->Rflags = flags;
        cpu->FlagKind = FlagKind.Explicit;
        if (((old ^ flags) & Bits.Ac) != 0)
            CpuContext.From(cpu).SelectTlb();
        if ((flags & Bits.Tf) != 0)
            cpu->Attention = -1;
        else if ((flags & Bits.If) != 0)
            CpuContext.From(cpu).LookForEvents();
    }
}
