// Invariants: see Alu.cs. A 16- or 32-bit source operand is Rm (a register or slot Temp); Imm8 is the operand size where one matters.
using Iced.Intel;
using Kvm.X86.Decode;
using Kvm.X86.Engine;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>Control, debug and model-specific registers, descriptor-table registers, CPUID, time, caches and translations.</summary>
internal static unsafe class SystemHelpers
{
    /// <summary>The family's entry in <see cref="HelperTable"/>.</summary>
    public static nint Resolve(Code code, out HelperKind kind)
    {
        kind = HelperKind.Ends;
        nint helper = code switch
        {
            Code.Mov_cr_r32 or Code.Mov_cr_r64 => At(&WriteControl),
            Code.Mov_dr_r32 or Code.Mov_dr_r64 => At(&WriteDebug),
            Code.Clts => At(&Clts),
            Code.Lmsw_rm16 or Code.Lmsw_r32m16 or Code.Lmsw_r64m16 => At(&Lmsw),
            Code.Invlpg_m => At(&Invlpg),
            Code.Invpcid_r32_m128 or Code.Invpcid_r64_m128 => At(&Invpcid),
            Code.Wrmsr => At(&Wrmsr),
            Code.Rdmsr => At(&Rdmsr),
            Code.Xsetbv => At(&Xsetbv),
            Code.Wbinvd or Code.Invd => At(&Wbinvd),
            Code.Vmcall or Code.Vmmcall => At(&Hypercall),
            Code.Rdtsc => At(&Rdtsc),
            Code.Rdtscp => At(&Rdtscp),
            Code.Cpuid => At(&Cpuid),
            Code.Serialize => At(&Nothing),
            _ => 0,
        };
        if (helper != 0)
            return helper;
        kind = HelperKind.Plain;
        return Plain(code);
    }

    private static nint Plain(Code code) => code switch
    {
        Code.Mov_r32_cr or Code.Mov_r64_cr => At(&ReadControl),
        Code.Mov_r32_dr or Code.Mov_r64_dr => At(&ReadDebug),
        Code.Smsw_rm16 or Code.Smsw_r32m16 or Code.Smsw_r64m16 => At(&Smsw),
        Code.Lgdt_m1632 or Code.Lgdt_m1632_16 or Code.Lgdt_m1664 => At(&Lgdt),
        Code.Lidt_m1632 or Code.Lidt_m1632_16 or Code.Lidt_m1664 => At(&Lidt),
        Code.Sgdt_m1632 or Code.Sgdt_m1632_16 or Code.Sgdt_m1664 => At(&Sgdt),
        Code.Sidt_m1632 or Code.Sidt_m1632_16 or Code.Sidt_m1664 => At(&Sidt),
        Code.Rdpmc => At(&Rdpmc),
        Code.Swapgs => At(&Swapgs),
        Code.Rdfsbase_r32 or Code.Rdfsbase_r64 => At(&ReadFsBase),
        Code.Rdgsbase_r32 or Code.Rdgsbase_r64 => At(&ReadGsBase),
        Code.Wrfsbase_r32 or Code.Wrfsbase_r64 => At(&WriteFsBase),
        Code.Wrgsbase_r32 or Code.Wrgsbase_r64 => At(&WriteGsBase),
        Code.Rdpid_r32 or Code.Rdpid_r64 => At(&Rdpid),
        _ => 0,
    };

    private static nint At(delegate*<Cpu*, Op*, bool> helper) => (nint)helper;

    private static bool Kernel(Cpu* cpu) => cpu->Cpl == 0 || Fault.Protection(cpu);

    private static bool Nothing(Cpu* cpu, Op* op) => true;

    private static bool ReadControl(Cpu* cpu, Op* op)
    {
        if (op->Reg is not (0 or 2 or 3 or 4 or 8))
            return Fault.Undefined(cpu);
        if (!Kernel(cpu))
            return false;
        ulong value = op->Reg switch
        {
            0 => cpu->Cr0,
            2 => cpu->Cr2,
            3 => cpu->Cr3,
            4 => cpu->Cr4,
            _ => CpuContext.From(cpu).Chips?.TaskPriorityClass ?? CpuContext.From(cpu).TaskPriority,
        };
        StackAccess.SetRegister(cpu, op->Rm, value, op->Imm8);
        return true;
    }

    private static bool WriteControl(Cpu* cpu, Op* op)
    {
        if (op->Reg is not (0 or 2 or 3 or 4 or 8))
            return Fault.Undefined(cpu);
        if (!Kernel(cpu))
            return false;
        ulong value = op->Imm8 == 8 ? cpu->Gpr[op->Rm] : (uint)cpu->Gpr[op->Rm];
        var context = CpuContext.From(cpu);
        switch (op->Reg)
        {
            case 0: return ControlRegisters.TryWriteCr0(ref *cpu, context, value);
            case 2:
                cpu->Cr2 = value;
                return true;
            case 3: return ControlRegisters.TryWriteCr3(ref *cpu, context, value);
            case 4: return ControlRegisters.TryWriteCr4(ref *cpu, context, value);
            default:
                if (value > 15)
                    return Fault.Protection(cpu);
                context.TaskPriority = (byte)value;
                if (context.Chips != null)
                    context.Chips.TaskPriorityClass = (byte)value;
                return true;
        }
    }

    /// <summary>DR4 and DR5 are DR6 and DR7 unless CR4.DE; any access with DR7.GD set is #DB.</summary>
    private static bool DebugNumber(Cpu* cpu, Op* op, out int number)
    {
        number = op->Reg;
        if (number > 7 || (number is 4 or 5 && (cpu->Cr4 & Bits.Cr4De) != 0))
            return Fault.Undefined(cpu);
        if (number is 4 or 5)
            number += 2;
        if (!Kernel(cpu))
            return false;
        if ((cpu->Dr7 & (1 << 13)) == 0)
            return true;
        cpu->FaultAddress = 1 << 13; // BD
        return Fault.Raise(cpu, Vector.Debug);
    }

    private static bool ReadDebug(Cpu* cpu, Op* op)
    {
        if (!DebugNumber(cpu, op, out int number))
            return false;
        ulong value = number switch { < 4 => cpu->Dr[number], 6 => cpu->Dr6, _ => cpu->Dr7 };
        StackAccess.SetRegister(cpu, op->Rm, value, op->Imm8);
        return true;
    }

    private static bool WriteDebug(Cpu* cpu, Op* op)
    {
        if (!DebugNumber(cpu, op, out int number))
            return false;
        ulong value = op->Imm8 == 8 ? cpu->Gpr[op->Rm] : (uint)cpu->Gpr[op->Rm];
        if (number >= 6 && value >> 32 != 0)
            return Fault.Protection(cpu);
        if (number < 4)
            cpu->Dr[number] = value;
        else if (number == 6)
            cpu->Dr6 = (value & 0xe00f) | 0xffff0ff0;
        else
            cpu->Dr7 = (value & 0xffff2bff) | 0x400;
        CpuContext.From(cpu).FlushTlb(true); // pages watched have changed
        cpu->Attention = -1; // and so may what is to be done instruction by instruction
        return true;
    }

    private static bool Clts(Cpu* cpu, Op* op)
    {
        if (!Kernel(cpu))
            return false;
        cpu->Cr0 &= ~Bits.Cr0Ts;
        return true;
    }

    private static bool Lmsw(Cpu* cpu, Op* op)
    {
        if (!Kernel(cpu))
            return false;
        // PE can be set, not cleared.
        ulong value = (cpu->Gpr[op->Rm] & 15) | (cpu->Cr0 & Bits.Cr0Pe);
        return ControlRegisters.TryWriteCr0(ref *cpu, CpuContext.From(cpu), (cpu->Cr0 & ~15UL) | value);
    }

    private static bool Umip(Cpu* cpu) => cpu->Cpl == 0 || (cpu->Cr4 & Bits.Cr4Umip) == 0 || Fault.Protection(cpu);

    private static bool Smsw(Cpu* cpu, Op* op) => Umip(cpu) && SegmentHelpers.StoreWord(cpu, op, cpu->Cr0);

    private static bool Lgdt(Cpu* cpu, Op* op) => TryReadTable(cpu, op, ref cpu->Gdtr);

    private static bool Lidt(Cpu* cpu, Op* op) => TryReadTable(cpu, op, ref cpu->Idtr);

    /// <summary>Imm8: bytes of the base taken, 3 (16-bit operands), 4 or 8.</summary>
    private static bool TryReadTable(Cpu* cpu, Op* op, ref DescriptorTable table)
    {
        if (!Kernel(cpu))
            return false;
        byte* buffer = stackalloc byte[16];
        bool wide = op->Imm8 == 8;
        if (!Mem.TryReadBytes(cpu, op, Ea.Of(cpu, op), buffer, wide ? 10 : 6))
            return false;
        ulong address = wide ? *(ulong*)(buffer + 2) : *(uint*)(buffer + 2);
        if (op->Imm8 == 3)
            address &= 0xffffff;
        if (!Mem.IsCanonical(cpu, address))
            return Fault.Protection(cpu);
        table.Limit = *(ushort*)buffer;
        table.Base = address;
        return true;
    }

    private static bool Sgdt(Cpu* cpu, Op* op) => TryWriteTable(cpu, op, cpu->Gdtr);

    private static bool Sidt(Cpu* cpu, Op* op) => TryWriteTable(cpu, op, cpu->Idtr);

    private static bool TryWriteTable(Cpu* cpu, Op* op, DescriptorTable table)
    {
        if (!Umip(cpu))
            return false;
        byte* buffer = stackalloc byte[16];
        *(ushort*)buffer = table.Limit;
        *(ulong*)(buffer + 2) = table.Base;
        return Mem.TryWriteBytes(cpu, op, Ea.Of(cpu, op), buffer, op->Imm8 == 8 ? 10 : 6);
    }

    private static bool Invlpg(Cpu* cpu, Op* op)
    {
        if (!Kernel(cpu))
            return false;
        CpuContext.From(cpu).FlushPage(Ea.Of(cpu, op));
        return true;
    }

    private static bool Invpcid(Cpu* cpu, Op* op)
    {
        ulong* descriptor = stackalloc ulong[2];
        if (!Kernel(cpu) || !Mem.TryReadBytes(cpu, op, Ea.Of(cpu, op), (byte*)descriptor, 16))
            return false;
        ulong type = op->Imm8 == 8 ? cpu->Gpr[op->Reg] : (uint)cpu->Gpr[op->Reg];
        bool bad = type > 3 || descriptor[0] >> 12 != 0
            || (type == 0 && !Mem.IsCanonical(cpu, descriptor[1]))
            || (type < 2 && (cpu->Cr4 & Bits.Cr4Pcide) == 0 && descriptor[0] != 0);
        if (bad)
            return Fault.Protection(cpu);
        var context = CpuContext.From(cpu);
        if (type == 0)
            context.FlushPage(descriptor[1]);
        else
            context.FlushTlb(type == 2);
        return true;
    }

    private static bool Wbinvd(Cpu* cpu, Op* op) => Kernel(cpu);

    private static bool Rdmsr(Cpu* cpu, Op* op)
    {
        if (!Kernel(cpu))
            return false;
        if (!ModelSpecific.TryRead(ref *cpu, CpuContext.From(cpu), (uint)cpu->Gpr[1], out ulong value))
            return Fault.Protection(cpu);
        SetPair(cpu, value);
        return true;
    }

    private static bool Wrmsr(Cpu* cpu, Op* op)
    {
        if (!Kernel(cpu))
            return false;
        ulong value = (uint)cpu->Gpr[0] | (cpu->Gpr[2] << 32);
        return ModelSpecific.TryWrite(ref *cpu, CpuContext.From(cpu), (uint)cpu->Gpr[1], value) || Fault.Protection(cpu);
    }

    /// <summary>EDX:EAX ← value.</summary>
    private static void SetPair(Cpu* cpu, ulong value)
    {
        cpu->Gpr[0] = (uint)value;
        cpu->Gpr[2] = value >> 32;
    }

    private static bool Xsetbv(Cpu* cpu, Op* op)
    {
        if ((cpu->Cr4 & Bits.Cr4OsXsave) == 0)
            return Fault.Undefined(cpu);
        if (!Kernel(cpu))
            return false;
        if ((uint)cpu->Gpr[1] != 0)
            return Fault.Protection(cpu);
        return ControlRegisters.TryWriteXcr0(ref *cpu, CpuContext.From(cpu), (uint)cpu->Gpr[0] | (cpu->Gpr[2] << 32));
    }

    /// <summary>No hypercall is offered (KVM's features that use them are not): "no such call", as KVM answers.</summary>
    private static bool Hypercall(Cpu* cpu, Op* op)
    {
        const long NoSuchCall = -1000, NotPermitted = -1;
        cpu->Gpr[0] = (ulong)(cpu->Cpl == 0 ? NoSuchCall : NotPermitted);
        return true;
    }

    private static bool TimeAllowed(Cpu* cpu) => cpu->Cpl == 0 || (cpu->Cr4 & Bits.Cr4Tsd) == 0 || Fault.Protection(cpu);

    private static bool Rdtsc(Cpu* cpu, Op* op)
    {
        if (!TimeAllowed(cpu))
            return false;
        SetPair(cpu, CpuContext.From(cpu).ReadTsc());
        return true;
    }

    private static bool Rdtscp(Cpu* cpu, Op* op)
    {
        if (!Rdtsc(cpu, op))
            return false;
        cpu->Gpr[1] = (uint)cpu->TscAux;
        return true;
    }

    private static bool Rdpid(Cpu* cpu, Op* op)
    {
        cpu->Gpr[op->Rm] = (uint)cpu->TscAux;
        return true;
    }

    /// <summary>There are no performance counters.</summary>
    private static bool Rdpmc(Cpu* cpu, Op* op) => Fault.Protection(cpu);

    /// <summary>CPUID serialises: stores before it are seen before loads behind it are made.</summary>
    private static bool Cpuid(Cpu* cpu, Op* op)
    {
        Interlocked.MemoryBarrier();
        var result = CpuContext.From(cpu).QueryCpuid((uint)cpu->Gpr[0], (uint)cpu->Gpr[1]);
        cpu->Gpr[0] = result.Eax;
        cpu->Gpr[3] = result.Ebx;
        cpu->Gpr[1] = result.Ecx;
        cpu->Gpr[2] = result.Edx;
        return true;
    }

    private static bool Swapgs(Cpu* cpu, Op* op)
    {
        if ((cpu->Mode & ModeBits.CodeSize) != 2)
            return Fault.Undefined(cpu);
        if (!Kernel(cpu))
            return false;
        (cpu->KernelGsBase, cpu->Segments[Seg.Gs].Base) = (cpu->Segments[Seg.Gs].Base, cpu->KernelGsBase);
        return true;
    }

    private static bool BasesAllowed(Cpu* cpu) =>
        ((cpu->Cr4 & Bits.Cr4FsGsBase) != 0 && (cpu->Mode & ModeBits.CodeSize) == 2) || Fault.Undefined(cpu);

    private static bool ReadFsBase(Cpu* cpu, Op* op) => ReadBase(cpu, op, Seg.Fs);

    private static bool ReadGsBase(Cpu* cpu, Op* op) => ReadBase(cpu, op, Seg.Gs);

    private static bool ReadBase(Cpu* cpu, Op* op, int segment)
    {
        if (!BasesAllowed(cpu))
            return false;
        StackAccess.SetRegister(cpu, op->Rm, cpu->Segments[segment].Base, op->Imm8);
        return true;
    }

    private static bool WriteFsBase(Cpu* cpu, Op* op) => WriteBase(cpu, op, Seg.Fs);

    private static bool WriteGsBase(Cpu* cpu, Op* op) => WriteBase(cpu, op, Seg.Gs);

    private static bool WriteBase(Cpu* cpu, Op* op, int segment)
    {
        if (!BasesAllowed(cpu))
            return false;
        ulong value = op->Imm8 == 8 ? cpu->Gpr[op->Rm] : (uint)cpu->Gpr[op->Rm];
        if (!Mem.IsCanonical(cpu, value))
            return Fault.Protection(cpu);
        cpu->Segments[segment].Base = value;
        return true;
    }
}
