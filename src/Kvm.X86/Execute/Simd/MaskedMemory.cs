// Invariants: as in Xmm.cs; pointers to locals do not outlive the call.
using System.Runtime.Intrinsics;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

/// <summary>VMASKMOVPx, VPMASKMOVx and gathers: only elements whose mask has its top bit set touch memory.</summary>
internal static unsafe class MaskedMemory
{
    public static bool LoadDoublewords128(Cpu* cpu, Op* op) => Load(cpu, op, 4, 16);

    public static bool LoadDoublewords256(Cpu* cpu, Op* op) => Load(cpu, op, 4, 32);

    public static bool LoadQuadwords128(Cpu* cpu, Op* op) => Load(cpu, op, 8, 16);

    public static bool LoadQuadwords256(Cpu* cpu, Op* op) => Load(cpu, op, 8, 32);

    public static bool StoreDoublewords128(Cpu* cpu, Op* op) => Store(cpu, op, 4, 16);

    public static bool StoreDoublewords256(Cpu* cpu, Op* op) => Store(cpu, op, 4, 32);

    public static bool StoreQuadwords128(Cpu* cpu, Op* op) => Store(cpu, op, 8, 16);

    public static bool StoreQuadwords256(Cpu* cpu, Op* op) => Store(cpu, op, 8, 32);

    /// <summary>Both halves of a register, side by side.</summary>
    private static void Copy(Cpu* cpu, int number, byte* to)
    {
        *(Vector128<byte>*)to = *Xmm.Low(cpu, number);
        *(Vector128<byte>*)(to + 16) = *Xmm.High(cpu, number);
    }

    private static bool Load(Cpu* cpu, Op* op, int size, int length)
    {
        byte* mask = stackalloc byte[32];
        byte* result = stackalloc byte[32];
        if (!Xmm.VexReady(cpu))
            return false;
        Copy(cpu, op->V, mask);
        new Span<byte>(result, 32).Clear();
        ulong address = Ea.Of(cpu, op);
        for (int i = 0; i < length; i += size)
        {
            if ((mask[i + size - 1] & 0x80) != 0 && !ReadElement(cpu, op, address + (ulong)i, result + i, size))
                return false;
        }
        *Xmm.Low(cpu, op->Reg) = *(Vector128<byte>*)result;
        *Xmm.High(cpu, op->Reg) = *(Vector128<byte>*)(result + 16);
        return true;
    }

    private static bool Store(Cpu* cpu, Op* op, int size, int length)
    {
        byte* mask = stackalloc byte[32];
        byte* value = stackalloc byte[32];
        if (!Xmm.VexReady(cpu))
            return false;
        Copy(cpu, op->V, mask);
        Copy(cpu, op->Reg, value);
        ulong address = Ea.Of(cpu, op);
        for (int i = 0; i < length; i += size)
        {
            if ((mask[i + size - 1] & 0x80) != 0 && !Mem.TryProbe(cpu, op, address + (ulong)i, size, write: true))
                return false;
        }
        for (int i = 0; i < length; i += size)
        {
            if ((mask[i + size - 1] & 0x80) == 0)
                continue;
            ulong at = address + (ulong)i;
            bool written = size == 4 ? Mem.TryWrite(cpu, op, at, *(uint*)(value + i)) : Mem.TryWrite(cpu, op, at, *(ulong*)(value + i));
            if (!written)
                return false;
        }
        return true;
    }

    private static bool ReadElement(Cpu* cpu, Op* op, ulong address, byte* to, int size) =>
        size == 4 ? Mem.TryRead(cpu, op, address, (uint*)to) : Mem.TryRead(cpu, op, address, (ulong*)to);

    public static bool GatherDoublewordsBy32x128(Cpu* cpu, Op* op) => Gather(cpu, op, 4, 4, 4);

    public static bool GatherDoublewordsBy32x256(Cpu* cpu, Op* op) => Gather(cpu, op, 4, 4, 8);

    public static bool GatherDoublewordsBy64x128(Cpu* cpu, Op* op) => Gather(cpu, op, 4, 8, 2);

    public static bool GatherDoublewordsBy64x256(Cpu* cpu, Op* op) => Gather(cpu, op, 4, 8, 4);

    public static bool GatherQuadwordsBy32x128(Cpu* cpu, Op* op) => Gather(cpu, op, 8, 4, 2);

    public static bool GatherQuadwordsBy32x256(Cpu* cpu, Op* op) => Gather(cpu, op, 8, 4, 4);

    public static bool GatherQuadwordsBy64x128(Cpu* cpu, Op* op) => Gather(cpu, op, 8, 8, 2);

    public static bool GatherQuadwordsBy64x256(Cpu* cpu, Op* op) => Gather(cpu, op, 8, 8, 4);

    /// <summary>
    /// Op.Index is the vector of indexes, Op.V the mask. Elements done before a fault stay done and their masks are clear, so that
    /// the instruction goes on where it stopped (SDM vol. 2, VPGATHERDD).
    /// </summary>
    private static bool Gather(Cpu* cpu, Op* op, int size, int indexSize, int count)
    {
        if (!Xmm.VexReady(cpu))
            return false;
        if (op->Reg == op->V || op->Reg == op->Index || op->V == op->Index)
            return Fault.Undefined(cpu);
        byte* mask = stackalloc byte[32];
        byte* indexes = stackalloc byte[32];
        byte* result = stackalloc byte[32];
        Copy(cpu, op->V, mask);
        Copy(cpu, op->Index, indexes);
        Copy(cpu, op->Reg, result);
        ulong origin = ((ulong*)cpu)[op->Base] + (ulong)(long)op->Disp;
        bool complete = true;
        for (int i = 0; i < count && complete; i++)
        {
            long index = indexSize == 4 ? ((int*)indexes)[i] : ((long*)indexes)[i];
            if ((mask[(i * size) + size - 1] & 0x80) != 0)
                complete = ReadElement(cpu, op, origin + ((ulong)index << op->Scale), result + (i * size), size);
            if (complete)
                new Span<byte>(mask + (i * size), size).Clear();
        }
        int length = count * size;
        if (complete)
            new Span<byte>(mask, 32).Clear();
        // Beyond the elements gathered the destination is zero.
        new Span<byte>(result + length, 32 - length).Clear();
        *Xmm.Low(cpu, op->Reg) = *(Vector128<byte>*)result;
        *Xmm.High(cpu, op->Reg) = *(Vector128<byte>*)(result + 16);
        *Xmm.Low(cpu, op->V) = *(Vector128<byte>*)mask;
        *Xmm.High(cpu, op->V) = *(Vector128<byte>*)(mask + 16);
        return complete;
    }
}
