// Invariants: as in LegacyArea.cs; buffers are on the stack and do not outlive the call.
using Iced.Intel;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Fpu;

/// <summary>FXSAVE and FXRSTOR (SDM vol. 1, 10.5).</summary>
internal static unsafe class FxsaveHelpers
{
    public static bool Save(Cpu* cpu, Op* op)
    {
        ulong address = Ea.Of(cpu, op);
        if (!X87.Available(cpu) || !Mem.RequireAligned(cpu, address, 16))
            return false;
        // Bytes 464–511 belong to software and are not written.
        const int written = 464;
        byte* area = stackalloc byte[LegacyArea.Size];
        new Span<byte>(area, LegacyArea.Size).Clear();
        LegacyArea.SaveX87(cpu, area, op->Code == Code.Fxsave64_m512byte);
        LegacyArea.SaveMxcsr(cpu, area);
        int length = XmmBytes(cpu);
        Buffer.MemoryCopy((byte*)cpu->Extended + LegacyArea.XmmOffset, area + LegacyArea.XmmOffset, length, length);
        return Mem.TryWriteBytes(cpu, op, address, area, written);
    }

    public static bool Restore(Cpu* cpu, Op* op)
    {
        ulong address = Ea.Of(cpu, op);
        if (!X87.Available(cpu) || !Mem.RequireAligned(cpu, address, 16))
            return false;
        byte* area = stackalloc byte[LegacyArea.Size];
        if (!Mem.TryReadBytes(cpu, op, address, area, LegacyArea.Size))
            return false;
        uint mxcsr = *(uint*)(area + LegacyArea.MxcsrOffset);
        if ((mxcsr & ~ControlHelpers.MxcsrMask(cpu)) != 0)
            return Fault.Protection(cpu);
        cpu->Mxcsr = mxcsr;
        LegacyArea.LoadX87(cpu, area, op->Code == Code.Fxrstor64_m512byte);
        int length = XmmBytes(cpu);
        Buffer.MemoryCopy(area + LegacyArea.XmmOffset, (byte*)cpu->Extended + LegacyArea.XmmOffset, length, length);
        return true;
    }

    /// <summary>Sixteen registers in 64-bit mode, else eight.</summary>
    public static int XmmBytes(Cpu* cpu) => Is64Bit(cpu) ? 256 : 128;

    public static bool Is64Bit(Cpu* cpu) =>
        (cpu->Efer & Bits.EferLma) != 0 && cpu->Segments[Seg.Cs].IsLong;
}
