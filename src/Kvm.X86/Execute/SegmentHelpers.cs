// Invariants: see Alu.cs.
using Iced.Intel;
using Kvm.X86.Decode;
using Kvm.X86.Engine;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>Instructions on segment registers and descriptors. A 16-bit source operand is Rm (a register or slot Temp).</summary>
internal static unsafe class SegmentHelpers
{
    /// <summary>The family's entry in <see cref="HelperTable"/>.</summary>
    public static nint Resolve(Code code, out HelperKind kind)
    {
        kind = HelperKind.Plain;
        switch (code)
        {
            case Code.Sldt_rm16 or Code.Sldt_r32m16 or Code.Sldt_r64m16: return At(&Sldt);
            case Code.Str_rm16 or Code.Str_r32m16 or Code.Str_r64m16: return At(&Str);
            case Code.Lldt_rm16 or Code.Lldt_r32m16 or Code.Lldt_r64m16: return At(&Lldt);
            case Code.Ltr_rm16 or Code.Ltr_r32m16 or Code.Ltr_r64m16: return At(&Ltr);
            case Code.Verr_rm16 or Code.Verr_r32m16 or Code.Verr_r64m16: return At(&Verr);
            case Code.Verw_rm16 or Code.Verw_r32m16 or Code.Verw_r64m16: return At(&Verw);
            case Code.Lar_r16_rm16: return At(&Lar<S16>);
            case Code.Lar_r32_r32m16: return At(&Lar<S32>);
            case Code.Lar_r64_r64m16: return At(&Lar<S64>);
            case Code.Lsl_r16_rm16: return At(&Lsl<S16>);
            case Code.Lsl_r32_r32m16: return At(&Lsl<S32>);
            case Code.Lsl_r64_r64m16: return At(&Lsl<S64>);
            case Code.Arpl_rm16_r16 or Code.Arpl_r32m16_r32: return At(&Arpl);
            default: return Loads(code, out kind);
        }
    }

    private static nint Loads(Code code, out HelperKind kind)
    {
        kind = HelperKind.Ends;
        return code switch
        {
            Code.Mov_Sreg_rm16 or Code.Mov_Sreg_r32m16 or Code.Mov_Sreg_r64m16 => At(&MovToSegment),
            Code.Les_r16_m1616 or Code.Lds_r16_m1616 or Code.Lss_r16_m1616 or Code.Lfs_r16_m1616 or Code.Lgs_r16_m1616 => At(&LoadFar<S16>),
            Code.Les_r32_m1632 or Code.Lds_r32_m1632 or Code.Lss_r32_m1632 or Code.Lfs_r32_m1632 or Code.Lgs_r32_m1632 => At(&LoadFar<S32>),
            Code.Lss_r64_m1664 or Code.Lfs_r64_m1664 or Code.Lgs_r64_m1664 => At(&LoadFar<S64>),
            _ => 0,
        };
    }

    private static nint At(delegate*<Cpu*, Op*, bool> helper) => (nint)helper;

    /// <summary>Loads a segment register other than CS; MOV and POP SS hold interrupts off for an instruction.</summary>
    public static bool TryLoad(Cpu* cpu, int register, ushort selector)
    {
        if (!Segmentation.TryLoad(ref *cpu, CpuContext.From(cpu), register, selector))
            return false;
        if (register == Seg.Ss)
        {
            cpu->InterruptShadow = 2;
            cpu->Attention = -1;
        }

        return true;
    }

    private static bool MovToSegment(Cpu* cpu, Op* op)
    {
        if (op->Reg == Seg.Cs || op->Reg > Seg.Gs)
            return Fault.Undefined(cpu);
        return TryLoad(cpu, op->Reg, (ushort)cpu->Gpr[op->Rm]);
    }

    /// <summary>LDS and its kin: V is the segment register; the offset is read first, the selector behind it.</summary>
    private static bool LoadFar<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        ulong at = Ea.Of(cpu, op);
        ulong* buffer = stackalloc ulong[2];
        if (!Mem.TryReadBytes(cpu, op, at, (byte*)buffer, TSize.Bytes + 2))
            return false;
        if (!TryLoad(cpu, op->Imm8, *(ushort*)((byte*)buffer + TSize.Bytes)))
            return false;
        TSize.Set(cpu, op->Reg, TSize.Load((nint)buffer));
        return true;
    }

    /// <summary>These exist in protected mode only.</summary>
    private static bool Protected(Cpu* cpu) => !Segmentation.IsReal(ref *cpu) || Fault.Undefined(cpu);

    private static bool Umip(Cpu* cpu) => cpu->Cpl == 0 || (cpu->Cr4 & Bits.Cr4Umip) == 0 || Fault.Protection(cpu);

    private static bool Sldt(Cpu* cpu, Op* op) => Protected(cpu) && Umip(cpu) && StoreWord(cpu, op, cpu->Segments[Seg.Ldtr].Selector);

    private static bool Str(Cpu* cpu, Op* op) => Protected(cpu) && Umip(cpu) && StoreWord(cpu, op, cpu->Segments[Seg.Tr].Selector);

    /// <summary>Stores 16 bits to memory, or the operand size (Imm8) to a register.</summary>
    public static bool StoreWord(Cpu* cpu, Op* op, ulong value)
    {
        if (op->HasMemory)
            return Mem.TryWrite(cpu, op, Ea.Of(cpu, op), (ushort)value);
        StackAccess.SetRegister(cpu, op->Rm, value, op->Imm8);
        return true;
    }

    private static bool Lldt(Cpu* cpu, Op* op)
    {
        if (!Protected(cpu))
            return false;
        if (cpu->Cpl != 0)
            return Fault.Protection(cpu);
        return Segmentation.TryLoadLdt(ref *cpu, CpuContext.From(cpu), (ushort)cpu->Gpr[op->Rm]);
    }

    private static bool Ltr(Cpu* cpu, Op* op)
    {
        if (!Protected(cpu))
            return false;
        if (cpu->Cpl != 0)
            return Fault.Protection(cpu);
        return Segmentation.TryLoadTask(ref *cpu, CpuContext.From(cpu), (ushort)cpu->Gpr[op->Rm]);
    }

    /// <summary>The descriptor of a selector, as LAR, LSL, VERR and VERW look at it. False: ZF is to be clear, or a page faulted.</summary>
    private static bool TryLook(Cpu* cpu, ushort selector, out SegmentRegister segment, out bool faulted)
    {
        segment = default;
        faulted = false;
        if ((selector & 0xfffc) == 0 || !Segmentation.TryAddress(ref *cpu, selector, 8, out ulong address))
            return false;
        ulong descriptor;
        if (!CpuContext.From(cpu).TryReadSystem(address, new Span<byte>(&descriptor, 8)))
        {
            faulted = true;
            return false;
        }

        segment = Segmentation.Parse(descriptor, selector);
        bool conforming = segment.IsCode && (segment.Type & 4) != 0;
        return conforming || (cpu->Cpl <= segment.Dpl && (selector & 3) <= segment.Dpl);
    }

    private static bool SetZero(Cpu* cpu, bool zero)
    {
        Flags.SetStatus(cpu, (Flags.Status(cpu) & ~Bits.Zf) | (zero ? Bits.Zf : 0));
        return true;
    }

    private static bool Verr(Cpu* cpu, Op* op)
    {
        if (!Protected(cpu))
            return false;
        bool seen = TryLook(cpu, (ushort)cpu->Gpr[op->Rm], out var s, out bool faulted);
        return !faulted && SetZero(cpu, seen && s.IsReadable);
    }

    private static bool Verw(Cpu* cpu, Op* op)
    {
        if (!Protected(cpu))
            return false;
        bool seen = TryLook(cpu, (ushort)cpu->Gpr[op->Rm], out var s, out bool faulted);
        return !faulted && SetZero(cpu, seen && s.IsWritable);
    }

    private static bool Lar<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        if (!Protected(cpu))
            return false;
        bool seen = TryLook(cpu, (ushort)cpu->Gpr[op->Rm], out var s, out bool faulted);
        if (faulted)
            return false;
        // Types valid to LAR (SDM vol. 2, table 3-49).
        bool valid = seen && (s.IsCodeOrData || IsLong(cpu, s.Type, 0x1a04, 0x1a3e));
        if (valid)
            TSize.Set(cpu, op->Reg, AccessRights(s));
        return SetZero(cpu, valid);
    }

    /// <summary>Bits 8–15 and 20–23 of the descriptor's upper half; bits 16–19 are the limit's.</summary>
    private static long AccessRights(in SegmentRegister s) =>
        ((long)(s.Attributes & 0xff) << 8) | ((long)(s.Attributes & 0xf00) << 12) | ((s.IsPageGranular ? s.Limit >> 12 : s.Limit) & 0xf0000);

    private static bool IsLong(Cpu* cpu, int type, int longTypes, int legacyTypes) =>
        (((Segmentation.IsLongMode(ref *cpu) ? longTypes : legacyTypes) >> type) & 1) != 0;

    private static bool Lsl<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        if (!Protected(cpu))
            return false;
        bool seen = TryLook(cpu, (ushort)cpu->Gpr[op->Rm], out var s, out bool faulted);
        if (faulted)
            return false;
        // LDT and TSSs (SDM vol. 2, table 3-50).
        bool valid = seen && (s.IsCodeOrData || IsLong(cpu, s.Type, 0x0a04, 0x0a0e));
        if (valid)
            TSize.Set(cpu, op->Reg, s.Limit);
        return SetZero(cpu, valid);
    }

    /// <summary>ARPL: Rm is slot Temp or a register holding the destination, Reg the source; a store may follow.</summary>
    private static bool Arpl(Cpu* cpu, Op* op)
    {
        if (!Protected(cpu))
            return false;
        ushort destination = (ushort)cpu->Gpr[op->Rm];
        int rpl = (int)cpu->Gpr[op->Reg] & 3;
        bool lower = (destination & 3) < rpl;
        if (lower)
            S16.Set(cpu, op->Rm, (destination & ~3) | rpl);
        return SetZero(cpu, lower);
    }
}
