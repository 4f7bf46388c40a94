// Invariants: as in LegacyArea.cs; components at their standard offsets lie inside Cpu.Extended (XsaveLayout.Known promises it).
using System.Numerics;
using System.Runtime.Intrinsics;
using Iced.Intel;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Fpu;

/// <summary>
/// XSAVE, XSAVEOPT, XSAVEC, XSAVES (SDM vol. 1, 13.7–13.11). All memory is checked before the first byte is written, so a fault
/// leaves everything as it was.
/// </summary>
internal static unsafe class XsaveHelpers
{
    /// <summary>Offset of XSTATE_BV and of XCOMP_BV.</summary>
    public const int HeaderOffset = 512, XcompOffset = 520;

    /// <summary>Size of the header.</summary>
    public const int HeaderSize = 64;

    /// <summary>XCOMP_BV[63]: the compacted format.</summary>
    public const ulong Compacted = 1UL << 63;

    private const ulong X87Bit = 1, SseBit = 2, AvxBit = 4;

    public static bool Save(Cpu* cpu, Op* op)
    {
        if (!Ready(cpu, op, out ulong address))
            return false;
        ulong mask = Requested(cpu) & cpu->Xcr0;
        return WriteStandard(cpu, op, address, mask, optimized: false);
    }

    public static bool SaveOptimized(Cpu* cpu, Op* op)
    {
        if (!Ready(cpu, op, out ulong address))
            return false;
        ulong mask = Requested(cpu) & cpu->Xcr0;
        return WriteStandard(cpu, op, address, mask, optimized: true);
    }

    public static bool SaveCompacted(Cpu* cpu, Op* op)
    {
        if (!Ready(cpu, op, out ulong address))
            return false;
        return WriteCompacted(cpu, op, address, Requested(cpu) & cpu->Xcr0);
    }

    public static bool SaveSupervisor(Cpu* cpu, Op* op)
    {
        if ((cpu->Cr4 & Bits.Cr4OsXsave) != 0 && cpu->Cpl != 0)
            return Fault.Protection(cpu);
        if (!Ready(cpu, op, out ulong address))
            return false;
        return WriteCompacted(cpu, op, address, Requested(cpu) & (cpu->Xcr0 | cpu->Xss));
    }

    /// <summary>#UD without CR4.OSXSAVE, #NM with CR0.TS, #GP off a 64-byte boundary.</summary>
    public static bool Ready(Cpu* cpu, Op* op, out ulong address)
    {
        address = Ea.Of(cpu, op);
        if ((cpu->Cr4 & Bits.Cr4OsXsave) == 0)
            return Fault.Undefined(cpu);
        if ((cpu->Cr0 & Bits.Cr0Ts) != 0)
            return Fault.Raise(cpu, State.Vector.DeviceNotAvailable);
        return Mem.RequireAligned(cpu, address, 64);
    }

    /// <summary>EDX:EAX.</summary>
    public static ulong Requested(Cpu* cpu) => (cpu->Gpr[2] << 32) | (uint)cpu->Gpr[0];

    /// <summary>Components that are not in their initial configuration.</summary>
    public static ulong InUse(Cpu* cpu)
    {
        ulong inUse = cpu->PassThroughState & CpuContext.From(cpu).Xsave.Known & ~7UL;
        if (!LegacyArea.IsX87Initial(cpu))
            inUse |= X87Bit;
        if (!AllZero((byte*)cpu->Extended + LegacyArea.XmmOffset))
            inUse |= SseBit;
        if (!AllZero((byte*)cpu->Extended + XsaveLayout.HeaderEnd))
            inUse |= AvxBit;
        return inUse;
    }

    private static bool AllZero(byte* bytes)
    {
        Vector128<ulong> sum = Vector128<ulong>.Zero;
        for (int i = 0; i < 256; i += 16)
            sum |= *(Vector128<ulong>*)(bytes + i);
        return sum == Vector128<ulong>.Zero;
    }

    private static bool IsWide(Op* op) => op->Code is Code.Xsave64_mem or Code.Xsaveopt64_mem or Code.Xsavec64_mem or Code.Xsaves64_mem;

    private static bool WriteStandard(Cpu* cpu, Op* op, ulong address, ulong mask, bool optimized)
    {
        XsaveLayout layout = CpuContext.From(cpu).Xsave;
        ulong xstate;
        if (!Mem.TryRead(cpu, op, address + HeaderOffset, &xstate))
            return false;
        ulong inUse = InUse(cpu);
        // XSAVE writes requested components in any case, XSAVEOPT only those in use.
        ulong write = optimized ? mask & inUse : mask;
        bool mxcsr = (mask & (SseBit | AvxBit)) != 0;
        xstate = (xstate & ~mask) | (mask & inUse);
        if (!Mem.TryProbe(cpu, op, address + HeaderOffset, 8, write: true) || !ProbeLegacy(cpu, op, address, write, mxcsr))
            return false;
        for (ulong rest = write & layout.Known & ~3UL; rest != 0; rest &= rest - 1)
        {
            int number = BitOperations.TrailingZeroCount(rest);
            if (!Mem.TryProbe(cpu, op, address + (ulong)layout.Offset(number), layout.Size(number), write: true))
                return false;
        }
        if (!WriteLegacy(cpu, op, address, write, mxcsr))
            return false;
        for (ulong rest = write & layout.Known & ~3UL; rest != 0; rest &= rest - 1)
        {
            int number = BitOperations.TrailingZeroCount(rest), offset = layout.Offset(number);
            if (!WriteComponent(cpu, op, address + (ulong)offset, layout, number))
                return false;
        }
        return Mem.TryWrite(cpu, op, address + HeaderOffset, xstate);
    }

    private static bool WriteCompacted(Cpu* cpu, Op* op, ulong address, ulong mask)
    {
        XsaveLayout layout = CpuContext.From(cpu).Xsave;
        ulong inUse = InUse(cpu);
        // MXCSR counts as part of SSE here (SDM vol. 2, XSAVEC).
        if (cpu->Mxcsr != 0x1F80)
            inUse |= SseBit;
        ulong write = mask & inUse;
        ulong* header = stackalloc ulong[2];
        header[0] = write;
        header[1] = mask | Compacted;
        bool mxcsr = (write & SseBit) != 0;
        if (!Mem.TryProbe(cpu, op, address + HeaderOffset, 16, write: true) || !ProbeLegacy(cpu, op, address, write, mxcsr))
            return false;
        for (ulong rest = write & layout.Known & ~3UL; rest != 0; rest &= rest - 1)
        {
            int number = BitOperations.TrailingZeroCount(rest);
            if (!Mem.TryProbe(cpu, op, address + (ulong)layout.CompactedOffset(mask, number), layout.Size(number), write: true))
                return false;
        }
        if (!WriteLegacy(cpu, op, address, write, mxcsr))
            return false;
        for (ulong rest = write & layout.Known & ~3UL; rest != 0; rest &= rest - 1)
        {
            int number = BitOperations.TrailingZeroCount(rest);
            if (!WriteComponent(cpu, op, address + (ulong)layout.CompactedOffset(mask, number), layout, number))
                return false;
        }
        return Mem.TryWriteBytes(cpu, op, address + HeaderOffset, (byte*)header, 16);
    }

    private static bool WriteComponent(Cpu* cpu, Op* op, ulong address, XsaveLayout layout, int number)
    {
        // Outside 64-bit mode the registers 8 to 15 do not exist and their places are not written.
        int size = number == 2 && !FxsaveHelpers.Is64Bit(cpu) ? 128 : layout.Size(number);
        return Mem.TryWriteBytes(cpu, op, address, (byte*)cpu->Extended + layout.Offset(number), size);
    }

    private static bool ProbeLegacy(Cpu* cpu, Op* op, ulong address, ulong write, bool mxcsr) =>
        ((write & X87Bit) == 0 || Mem.TryProbe(cpu, op, address, LegacyArea.XmmOffset, write: true))
        && (!mxcsr || Mem.TryProbe(cpu, op, address + LegacyArea.MxcsrOffset, 8, write: true))
        && ((write & SseBit) == 0 || Mem.TryProbe(cpu, op, address + LegacyArea.XmmOffset, FxsaveHelpers.XmmBytes(cpu), write: true));

    private static bool WriteLegacy(Cpu* cpu, Op* op, ulong address, ulong write, bool mxcsr)
    {
        byte* area = stackalloc byte[LegacyArea.XmmOffset];
        if ((write & X87Bit) != 0)
        {
            LegacyArea.SaveX87(cpu, area, IsWide(op));
            if (!Mem.TryWriteBytes(cpu, op, address, area, LegacyArea.MxcsrOffset)
                || !Mem.TryWriteBytes(cpu, op, address + LegacyArea.RegistersOffset, area + LegacyArea.RegistersOffset, 128))
                return false;
        }
        if (mxcsr)
        {
            LegacyArea.SaveMxcsr(cpu, area);
            if (!Mem.TryWriteBytes(cpu, op, address + LegacyArea.MxcsrOffset, area + LegacyArea.MxcsrOffset, 8))
                return false;
        }
        return (write & SseBit) == 0 || Mem.TryWriteBytes(cpu, op, address + LegacyArea.XmmOffset,
            (byte*)cpu->Extended + LegacyArea.XmmOffset, FxsaveHelpers.XmmBytes(cpu));
    }
}
