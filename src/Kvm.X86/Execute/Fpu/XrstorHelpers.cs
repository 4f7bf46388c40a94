// Invariants: as in XsaveHelpers.cs; the staging copy has ArchitecturalState.ExtendedSize bytes on the stack.
using System.Numerics;
using Iced.Intel;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Fpu;

/// <summary>XRSTOR and XRSTORS (SDM vol. 1, 13.8 and 13.12). Everything is read and checked before any state changes.</summary>
internal static unsafe class XrstorHelpers
{
    private const ulong X87Bit = 1, SseBit = 2, AvxBit = 4;

    public static bool Restore(Cpu* cpu, Op* op)
    {
        if (!XsaveHelpers.Ready(cpu, op, out ulong address))
            return false;
        return Run(cpu, op, address, cpu->Xcr0, supervisor: false);
    }

    public static bool RestoreSupervisor(Cpu* cpu, Op* op)
    {
        if ((cpu->Cr4 & Bits.Cr4OsXsave) != 0 && cpu->Cpl != 0)
            return Fault.Protection(cpu);
        if (!XsaveHelpers.Ready(cpu, op, out ulong address))
            return false;
        return Run(cpu, op, address, cpu->Xcr0 | cpu->Xss, supervisor: true);
    }

    private static bool Run(Cpu* cpu, Op* op, ulong address, ulong allowed, bool supervisor)
    {
        ulong* header = stackalloc ulong[8];
        if (!Mem.TryReadBytes(cpu, op, address + XsaveHelpers.HeaderOffset, (byte*)header, XsaveHelpers.HeaderSize))
            return false;
        ulong xstate = header[0], xcomp = header[1];
        bool compacted = (xcomp & XsaveHelpers.Compacted) != 0;
        if (!IsValid(header, allowed, compacted, supervisor))
            return Fault.Protection(cpu);
        XsaveLayout layout = CpuContext.From(cpu).Xsave;
        ulong mask = XsaveHelpers.Requested(cpu) & allowed;
        ulong load = mask & xstate;
        // In compacted format MXCSR comes and goes with SSE; in standard format SSE or AVX being asked for is enough (13.8.1).
        bool mxcsr = compacted ? (load & SseBit) != 0 : (mask & (SseBit | AvxBit)) != 0;
        byte* staging = stackalloc byte[ArchitecturalState.ExtendedSize];
        if (!ReadLegacy(cpu, op, address, load, mxcsr, staging))
            return false;
        if (mxcsr && (*(uint*)(staging + LegacyArea.MxcsrOffset) & ~ControlHelpers.MxcsrMask(cpu)) != 0)
            return Fault.Protection(cpu);
        for (ulong rest = load & layout.Known & ~3UL; rest != 0; rest &= rest - 1)
        {
            int number = BitOperations.TrailingZeroCount(rest);
            int from = compacted ? layout.CompactedOffset(xcomp & ~XsaveHelpers.Compacted, number) : layout.Offset(number);
            if (!Mem.TryReadBytes(cpu, op, address + (ulong)from, staging + layout.Offset(number), Size(cpu, layout, number)))
                return false;
        }
        Commit(cpu, op, layout, mask, load, staging);
        if (mxcsr)
            cpu->Mxcsr = *(uint*)(staging + LegacyArea.MxcsrOffset);
        else if (compacted && (mask & SseBit) != 0)
            cpu->Mxcsr = 0x1F80;
        return true;
    }

    /// <summary>The #GP conditions on the header (SDM vol. 1, 13.8.1, 13.8.2 and 13.12).</summary>
    private static bool IsValid(ulong* header, ulong allowed, bool compacted, bool supervisor)
    {
        ulong xstate = header[0], xcomp = header[1];
        if (!compacted)
            return !supervisor && (xstate & ~allowed) == 0 && (xcomp | header[2]) == 0;
        ulong rest = header[2] | header[3] | header[4] | header[5] | header[6] | header[7];
        ulong components = xcomp & ~XsaveHelpers.Compacted;
        return (components & ~allowed) == 0 && (xstate & ~components) == 0 && rest == 0;
    }

    private static int Size(Cpu* cpu, XsaveLayout layout, int number) =>
        number == 2 && !FxsaveHelpers.Is64Bit(cpu) ? 128 : layout.Size(number);

    private static bool ReadLegacy(Cpu* cpu, Op* op, ulong address, ulong load, bool mxcsr, byte* staging)
    {
        if ((load & X87Bit) != 0 && !Mem.TryReadBytes(cpu, op, address, staging, LegacyArea.XmmOffset))
            return false;
        if (mxcsr && !Mem.TryReadBytes(cpu, op, address + LegacyArea.MxcsrOffset, staging + LegacyArea.MxcsrOffset, 4))
            return false;
        return (load & SseBit) == 0 || Mem.TryReadBytes(cpu, op, address + LegacyArea.XmmOffset, staging + LegacyArea.XmmOffset, FxsaveHelpers.XmmBytes(cpu));
    }

    private static void Commit(Cpu* cpu, Op* op, XsaveLayout layout, ulong mask, ulong load, byte* staging)
    {
        byte* state = (byte*)cpu->Extended;
        if ((load & X87Bit) != 0)
            LegacyArea.LoadX87(cpu, staging, op->Code is Code.Xrstor64_mem or Code.Xrstors64_mem);
        else if ((mask & X87Bit) != 0)
            LegacyArea.InitializeX87(cpu);
        if ((mask & SseBit) != 0)
            Replace(state + LegacyArea.XmmOffset, staging + LegacyArea.XmmOffset, FxsaveHelpers.XmmBytes(cpu), (load & SseBit) != 0);
        for (ulong rest = mask & layout.Known & ~3UL; rest != 0; rest &= rest - 1)
        {
            int number = BitOperations.TrailingZeroCount(rest), offset = layout.Offset(number);
            Replace(state + offset, staging + offset, Size(cpu, layout, number), ((load >> number) & 1) != 0);
        }
        cpu->PassThroughState = (cpu->PassThroughState & ~mask) | (load & layout.Known & ~7UL);
    }

    /// <summary>Copies a component, or puts it into its initial configuration, which is zeros for all but x87.</summary>
    private static void Replace(byte* to, byte* from, int length, bool present)
    {
        if (present)
            Buffer.MemoryCopy(from, to, length, length);
        else
            new Span<byte>(to, length).Clear();
    }
}
