// Invariants: as in Xmm.cs; 8-bit register operands are byte offsets into the register file (the decoder's promise).
using System.Numerics;
using System.Runtime.Intrinsics;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

/// <summary>CRC32 (the Castagnoli polynomial); it uses general registers only, so none of SSE's conditions apply.</summary>
internal static unsafe class Crc
{
    public static bool Byte(Cpu* cpu, Op* op)
    {
        byte value;
        if (op->Rm != Op.Memory)
            value = ((byte*)cpu)[op->Rm];
        else if (!Mem.TryRead(cpu, op, Ea.Of(cpu, op), &value))
            return false;
        return Store(cpu, op, BitOperations.Crc32C((uint)((ulong*)cpu)[op->Reg], value));
    }

    public static bool Word(Cpu* cpu, Op* op)
    {
        ushort value;
        if (op->Rm != Op.Memory)
            value = (ushort)((ulong*)cpu)[op->Rm];
        else if (!Mem.TryRead(cpu, op, Ea.Of(cpu, op), &value))
            return false;
        return Store(cpu, op, BitOperations.Crc32C((uint)((ulong*)cpu)[op->Reg], value));
    }

    public static bool Doubleword(Cpu* cpu, Op* op)
    {
        uint value;
        if (!Xmm.LoadGeneral32(cpu, op, &value))
            return false;
        return Store(cpu, op, BitOperations.Crc32C((uint)((ulong*)cpu)[op->Reg], value));
    }

    public static bool Quadword(Cpu* cpu, Op* op)
    {
        ulong value;
        if (!Xmm.LoadGeneral64(cpu, op, &value))
            return false;
        return Store(cpu, op, BitOperations.Crc32C((uint)((ulong*)cpu)[op->Reg], value));
    }

    private static bool Store(Cpu* cpu, Op* op, uint value)
    {
        ((ulong*)cpu)[op->Reg] = value;
        return true;
    }
}

/// <summary>PCLMULQDQ: bits 0 and 4 of the immediate choose the quadwords.</summary>
internal readonly struct CarrylessMultiply : IImmediateBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b, int imm)
    {
        ulong x = a.AsUInt64()[imm & 1], y = b.AsUInt64()[(imm >> 4) & 1];
        ulong low = 0, high = 0;
        for (int i = 0; i < 64; i++)
        {
            ulong mask = 0 - ((y >> i) & 1);
            low ^= (x << i) & mask;
            high ^= (x >> 1 >> (63 - i)) & mask;
        }
        return Interleave.Join(low, high);
    }
}

/// <summary>PHMINPOSUW: the least word and its place.</summary>
internal readonly struct MinimumPosition : IUnary
{
    public static Vector128<byte> Apply(Vector128<byte> a)
    {
        Vector128<ushort> words = a.AsUInt16();
        int place = 0;
        for (int i = 1; i < 8; i++)
        {
            if (words[i] < words[place])
                place = i;
        }
        return Interleave.Join(words[place] | ((ulong)place << 16), 0);
    }
}

/// <summary>MPSADBW of one lane: eight sums over a window of four bytes. The upper lane of VEX.256 uses bits 5:3.</summary>
internal readonly struct MultipleSumDifferences : IImmediateBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b, int imm)
    {
        int from = (imm & 4) != 0 ? 4 : 0, block = (imm & 3) * 4;
        Span<ushort> sums = stackalloc ushort[8];
        for (int i = 0; i < 8; i++)
        {
            int sum = 0;
            for (int j = 0; j < 4; j++)
                sum += Math.Abs(a[from + i + j] - b[block + j]);
            sums[i] = (ushort)sum;
        }
        return Vector128.Create<ushort>(sums).AsByte();
    }
}
