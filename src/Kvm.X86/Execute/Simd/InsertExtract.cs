// Invariants: as in Xmm.cs; element numbers are masked to the vector; general register numbers in an Op are 0-15.
using System.Runtime.Intrinsics;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

/// <summary>PINSRx, PEXTRx, EXTRACTPS, INSERTPS, PTEST, and their VEX forms.</summary>
internal static unsafe class InsertExtract
{
    public static bool InsertByte(Cpu* cpu, Op* op) => Xmm.Ready(cpu) && Insert(cpu, op, 1, false);

    public static bool InsertWord(Cpu* cpu, Op* op) => Xmm.Ready(cpu) && Insert(cpu, op, 2, false);

    public static bool InsertDoubleword(Cpu* cpu, Op* op) => Xmm.Ready(cpu) && Insert(cpu, op, 4, false);

    public static bool InsertQuadword(Cpu* cpu, Op* op) => Xmm.Ready(cpu) && Insert(cpu, op, 8, false);

    public static bool VexInsertByte(Cpu* cpu, Op* op) => Xmm.VexReady(cpu) && Insert(cpu, op, 1, true);

    public static bool VexInsertWord(Cpu* cpu, Op* op) => Xmm.VexReady(cpu) && Insert(cpu, op, 2, true);

    public static bool VexInsertDoubleword(Cpu* cpu, Op* op) => Xmm.VexReady(cpu) && Insert(cpu, op, 4, true);

    public static bool VexInsertQuadword(Cpu* cpu, Op* op) => Xmm.VexReady(cpu) && Insert(cpu, op, 8, true);

    private static bool Insert(Cpu* cpu, Op* op, int size, bool vex)
    {
        ulong value;
        if (op->Rm != Op.Memory)
            value = ((ulong*)cpu)[op->Rm];
        else if (!LoadMemory(cpu, op, size, &value))
            return false;
        Vector128<byte> result = *Xmm.Low(cpu, vex ? op->V : op->Reg);
        byte* at = (byte*)&result + (size * (op->Imm8 & ((16 / size) - 1)));
        switch (size)
        {
            case 1: *at = (byte)value; break;
            case 2: *(ushort*)at = (ushort)value; break;
            case 4: *(uint*)at = (uint)value; break;
            default: *(ulong*)at = value; break;
        }
        if (vex)
            Xmm.StoreVex128(cpu, op->Reg, result);
        else
            *Xmm.Low(cpu, op->Reg) = result;
        return true;
    }

    private static bool LoadMemory(Cpu* cpu, Op* op, int size, ulong* value)
    {
        *value = 0;
        ulong address = Ea.Of(cpu, op);
        return size switch
        {
            1 => Mem.TryRead(cpu, op, address, (byte*)value),
            2 => Mem.TryRead(cpu, op, address, (ushort*)value),
            4 => Mem.TryRead(cpu, op, address, (uint*)value),
            _ => Mem.TryRead(cpu, op, address, value),
        };
    }

    public static bool ExtractByte(Cpu* cpu, Op* op) => Xmm.Ready(cpu) && Extract(cpu, op, 1);

    public static bool ExtractWord(Cpu* cpu, Op* op) => Xmm.Ready(cpu) && Extract(cpu, op, 2);

    /// <summary>Also EXTRACTPS.</summary>
    public static bool ExtractDoubleword(Cpu* cpu, Op* op) => Xmm.Ready(cpu) && Extract(cpu, op, 4);

    public static bool ExtractQuadword(Cpu* cpu, Op* op) => Xmm.Ready(cpu) && Extract(cpu, op, 8);

    public static bool VexExtractByte(Cpu* cpu, Op* op) => Xmm.VexReady(cpu) && Extract(cpu, op, 1);

    public static bool VexExtractWord(Cpu* cpu, Op* op) => Xmm.VexReady(cpu) && Extract(cpu, op, 2);

    public static bool VexExtractDoubleword(Cpu* cpu, Op* op) => Xmm.VexReady(cpu) && Extract(cpu, op, 4);

    public static bool VexExtractQuadword(Cpu* cpu, Op* op) => Xmm.VexReady(cpu) && Extract(cpu, op, 8);

    /// <summary>To a general register, zero-extended, or to memory.</summary>
    private static bool Extract(Cpu* cpu, Op* op, int size)
    {
        byte* at = (byte*)Xmm.Low(cpu, op->Reg) + (size * (op->Imm8 & ((16 / size) - 1)));
        if (op->Rm != Op.Memory)
        {
            ((ulong*)cpu)[op->Rm] = size switch { 1 => *at, 2 => *(ushort*)at, 4 => *(uint*)at, _ => *(ulong*)at };
            return true;
        }
        ulong address = Ea.Of(cpu, op);
        return size switch
        {
            1 => Mem.TryWrite(cpu, op, address, *at),
            2 => Mem.TryWrite(cpu, op, address, *(ushort*)at),
            4 => Mem.TryWrite(cpu, op, address, *(uint*)at),
            _ => Mem.TryWrite(cpu, op, address, *(ulong*)at),
        };
    }

    /// <summary>PEXTRW r, xmm by opcode C5: the vector is ModRM.rm.</summary>
    public static bool ExtractWordToReg(Cpu* cpu, Op* op)
    {
        if (!Xmm.Ready(cpu))
            return false;
        ((ulong*)cpu)[op->Reg] = ((ushort*)Xmm.Low(cpu, op->Rm))[op->Imm8 & 7];
        return true;
    }

    public static bool VexExtractWordToReg(Cpu* cpu, Op* op)
    {
        if (!Xmm.VexReady(cpu))
            return false;
        ((ulong*)cpu)[op->Reg] = ((ushort*)Xmm.Low(cpu, op->Rm))[op->Imm8 & 7];
        return true;
    }

    public static bool InsertSingle(Cpu* cpu, Op* op)
    {
        if (!Xmm.Ready(cpu) || !LoadSingle(cpu, op, out uint value))
            return false;
        *Xmm.Low(cpu, op->Reg) = InsertSingle(*Xmm.Low(cpu, op->Reg), value, op->Imm8);
        return true;
    }

    public static bool VexInsertSingle(Cpu* cpu, Op* op)
    {
        if (!Xmm.VexReady(cpu) || !LoadSingle(cpu, op, out uint value))
            return false;
        Xmm.StoreVex128(cpu, op->Reg, InsertSingle(*Xmm.Low(cpu, op->V), value, op->Imm8));
        return true;
    }

    /// <summary>From a register the immediate's top two bits choose the element.</summary>
    private static bool LoadSingle(Cpu* cpu, Op* op, out uint value)
    {
        uint read;
        value = 0;
        if (op->Rm != Op.Memory)
            read = ((uint*)Xmm.Low(cpu, op->Rm))[op->Imm8 >> 6];
        else if (!Mem.TryRead(cpu, op, Ea.Of(cpu, op), &read))
            return false;
        value = read;
        return true;
    }

    private static Vector128<byte> InsertSingle(Vector128<byte> destination, uint value, int imm)
    {
        uint* elements = (uint*)&destination;
        elements[(imm >> 4) & 3] = value;
        for (int i = 0; i < 4; i++)
        {
            if (((imm >> i) & 1) != 0)
                elements[i] = 0;
        }
        return destination;
    }

    public static bool Test(Cpu* cpu, Op* op)
    {
        Vector128<byte> source;
        if (!Xmm.Ready(cpu) || !Xmm.Load128(cpu, op, &source))
            return false;
        Vector128<byte> first = *Xmm.Low(cpu, op->Reg);
        SetTest(cpu, first & source, ~first & source);
        return true;
    }

    public static bool VexTest128(Cpu* cpu, Op* op)
    {
        Vector128<byte> source;
        if (!Xmm.VexReady(cpu) || !Xmm.Load128Unaligned(cpu, op, &source))
            return false;
        Vector128<byte> first = *Xmm.Low(cpu, op->Reg);
        SetTest(cpu, first & source, ~first & source);
        return true;
    }

    public static bool VexTest256(Cpu* cpu, Op* op)
    {
        Vector128<byte> low, high;
        if (!Xmm.VexReady(cpu) || !Xmm.Load256(cpu, op, &low, &high))
            return false;
        Vector128<byte> a = *Xmm.Low(cpu, op->Reg), b = *Xmm.High(cpu, op->Reg);
        SetTest(cpu, (a & low) | (b & high), (~a & low) | (~b & high));
        return true;
    }

    /// <summary>ZF: the conjunction is zero; CF: the source's bits outside the destination are zero.</summary>
    public static void SetTest(Cpu* cpu, Vector128<byte> both, Vector128<byte> outside) => FloatCompareHelpers.SetFlags(cpu,
        (both == Vector128<byte>.Zero ? Bits.Zf : 0) | (outside == Vector128<byte>.Zero ? Bits.Cf : 0));
}
