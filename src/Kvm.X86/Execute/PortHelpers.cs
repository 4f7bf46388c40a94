// Invariants: see Alu.cs. Spans cover locals of the caller.
using Iced.Intel;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>IN, OUT, INS, OUTS.</summary>
internal static unsafe class PortHelpers
{
    /// <summary>The family's entry in <see cref="HelperTable"/>.</summary>
    public static nint Resolve(Code code, out HelperKind kind)
    {
        kind = HelperKind.Ends; // a device may have changed what this processor is to do next
        return code switch
        {
            Code.In_AL_imm8 => At(&InImm<S8>),
            Code.In_AX_imm8 => At(&InImm<S16>),
            Code.In_EAX_imm8 => At(&InImm<S32>),
            Code.In_AL_DX => At(&InDx<S8>),
            Code.In_AX_DX => At(&InDx<S16>),
            Code.In_EAX_DX => At(&InDx<S32>),
            Code.Out_imm8_AL => At(&OutImm<S8>),
            Code.Out_imm8_AX => At(&OutImm<S16>),
            Code.Out_imm8_EAX => At(&OutImm<S32>),
            Code.Out_DX_AL => At(&OutDx<S8>),
            Code.Out_DX_AX => At(&OutDx<S16>),
            Code.Out_DX_EAX => At(&OutDx<S32>),
            _ => Strings(code, ref kind),
        };
    }

    private static nint Strings(Code code, ref HelperKind kind)
    {
        kind = HelperKind.Repeats;
        return code switch
        {
            Code.Insb_m8_DX => At(&StringHelpers.Ins<S8>),
            Code.Insw_m16_DX => At(&StringHelpers.Ins<S16>),
            Code.Insd_m32_DX => At(&StringHelpers.Ins<S32>),
            Code.Outsb_DX_m8 => At(&StringHelpers.Outs<S8>),
            Code.Outsw_DX_m16 => At(&StringHelpers.Outs<S16>),
            Code.Outsd_DX_m32 => At(&StringHelpers.Outs<S32>),
            _ => 0,
        };
    }

    private static nint At(delegate*<Cpu*, Op*, bool> helper) => (nint)helper;

    private static bool InImm<TSize>(Cpu* cpu, Op* op) where TSize : ISize => In<TSize>(cpu, op, op->Imm8);

    private static bool InDx<TSize>(Cpu* cpu, Op* op) where TSize : ISize => In<TSize>(cpu, op, (ushort)cpu->Gpr[2]);

    private static bool In<TSize>(Cpu* cpu, Op* op, uint port) where TSize : ISize
    {
        if (!MayAccess(cpu, port, TSize.Bytes))
            return false;
        ulong value = Read(cpu, op, port, TSize.Bytes);
        TSize.Set(cpu, 0, (long)value);
        return true;
    }

    private static bool OutImm<TSize>(Cpu* cpu, Op* op) where TSize : ISize => Out<TSize>(cpu, op, op->Imm8);

    private static bool OutDx<TSize>(Cpu* cpu, Op* op) where TSize : ISize => Out<TSize>(cpu, op, (ushort)cpu->Gpr[2]);

    private static bool Out<TSize>(Cpu* cpu, Op* op, uint port) where TSize : ISize
    {
        if (!MayAccess(cpu, port, TSize.Bytes))
            return false;
        Write(cpu, op, port, cpu->Gpr[0], TSize.Bytes);
        return true;
    }

    /// <summary>Reads a port, rights aside.</summary>
    public static ulong Read(Cpu* cpu, Op* op, uint port, int size)
    {
        ulong value = 0;
        var context = CpuContext.From(cpu);
        context.Observer?.Begin(true, port, size, false, HelperCall.RipOf(cpu, op, 0));
        context.Pio.Read(port, new Span<byte>(&value, size));
        context.Observer?.End(value);
        return value;
    }

    /// <summary>Writes a port, rights aside.</summary>
    public static void Write(Cpu* cpu, Op* op, uint port, ulong value, int size)
    {
        var context = CpuContext.From(cpu);
        context.Observer?.Begin(true, port, size, true, HelperCall.RipOf(cpu, op, 0));
        context.Pio.Write(port, new ReadOnlySpan<byte>(&value, size));
        context.Observer?.End(value);
    }

    /// <summary>IOPL, or the TSS's permission bits (SDM vol. 1, 19.5); #GP(0) if neither allows.</summary>
    public static bool MayAccess(Cpu* cpu, uint port, int size)
    {
        if ((cpu->Cr0 & Bits.Cr0Pe) == 0 || ((cpu->Rflags & Bits.Vm) == 0 && cpu->Cpl <= FlagHelpers.Iopl(cpu)))
            return true;
        ref var tr = ref cpu->Segments[Seg.Tr];
        // Only a 32- or 64-bit TSS has a map; its offset is at 102.
        if ((tr.Type & 0xd) != 9 || tr.Limit < 103)
            return Fault.Protection(cpu);
        var context = CpuContext.From(cpu);
        ushort map, bits;
        if (!context.TryReadSystem(tr.Base + 102, new Span<byte>(&map, 2)))
            return false;
        uint at = map + (port >> 3);
        if (at + 1 > tr.Limit)
            return Fault.Protection(cpu);
        if (!context.TryReadSystem(tr.Base + at, new Span<byte>(&bits, 2)))
            return false;
        uint mask = ((1u << size) - 1) << (int)(port & 7);
        return (bits & mask) == 0 || Fault.Protection(cpu);
    }
}

internal static unsafe partial class StringHelpers
{
    /// <summary>INS: the target is proven writable before the port is read.</summary>
    public static bool Ins<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        var pass = new Pass(cpu, op, TSize.Bytes);
        uint port = (ushort)cpu->Gpr[2];
        if (!PortHelpers.MayAccess(cpu, port, TSize.Bytes))
            return false;
        if (pass.Count == 0)
            return true;
        do
        {
            if (!pass.TryLinear(Rdi, Seg.Es, true, out ulong to) || !Mem.TryProbe(cpu, op, to, TSize.Bytes, true))
                return false;
            ulong value = PortHelpers.Read(cpu, op, port, TSize.Bytes);
            if (!Mem.TryWriteBytes(cpu, op, to, (byte*)&value, TSize.Bytes))
                return false;
            pass.Move(Rdi, 1);
        }
        while (pass.Done(1, false));
        return true;
    }

    public static bool Outs<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        var pass = new Pass(cpu, op, TSize.Bytes);
        uint port = (ushort)cpu->Gpr[2];
        if (!PortHelpers.MayAccess(cpu, port, TSize.Bytes))
            return false;
        if (pass.Count == 0)
            return true;
        do
        {
            ulong value = 0;
            if (!pass.TryLinear(Rsi, op->Segment, false, out ulong from) || !Mem.TryReadBytes(cpu, op, from, (byte*)&value, TSize.Bytes))
                return false;
            PortHelpers.Write(cpu, op, port, value, TSize.Bytes);
            pass.Move(Rsi, 1);
        }
        while (pass.Done(1, false));
        return true;
    }
}
