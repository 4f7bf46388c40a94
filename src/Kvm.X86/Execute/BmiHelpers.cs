// Invariants: see Alu.cs. A memory source was loaded to slot Temp: Rm is a register or that slot; V is VEX.vvvv.
using System.Buffers.Binary;
using System.Numerics;
using Iced.Intel;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>BMI1, BMI2, ADX, CRC32, MOVBE.</summary>
internal static unsafe class BmiHelpers
{
    /// <summary>The family's entry in <see cref="HelperTable"/>.</summary>
    public static nint Resolve(Code code) => code switch
    {
        Code.VEX_Andn_r32_r32_rm32 => At(&Andn<S32>),
        Code.VEX_Andn_r64_r64_rm64 => At(&Andn<S64>),
        Code.VEX_Bextr_r32_rm32_r32 => At(&Bextr<S32>),
        Code.VEX_Bextr_r64_rm64_r64 => At(&Bextr<S64>),
        Code.VEX_Blsi_r32_rm32 => At(&Blsi<S32>),
        Code.VEX_Blsi_r64_rm64 => At(&Blsi<S64>),
        Code.VEX_Blsr_r32_rm32 => At(&Blsr<S32>),
        Code.VEX_Blsr_r64_rm64 => At(&Blsr<S64>),
        Code.VEX_Blsmsk_r32_rm32 => At(&Blsmsk<S32>),
        Code.VEX_Blsmsk_r64_rm64 => At(&Blsmsk<S64>),
        Code.VEX_Bzhi_r32_rm32_r32 => At(&Bzhi<S32>),
        Code.VEX_Bzhi_r64_rm64_r64 => At(&Bzhi<S64>),
        Code.VEX_Mulx_r32_r32_rm32 => At(&Mulx32),
        Code.VEX_Mulx_r64_r64_rm64 => At(&Mulx64),
        Code.VEX_Pdep_r32_r32_rm32 => At(&Pdep<S32>),
        Code.VEX_Pdep_r64_r64_rm64 => At(&Pdep<S64>),
        Code.VEX_Pext_r32_r32_rm32 => At(&Pext<S32>),
        Code.VEX_Pext_r64_r64_rm64 => At(&Pext<S64>),
        Code.VEX_Rorx_r32_rm32_imm8 => At(&Rorx32),
        Code.VEX_Rorx_r64_rm64_imm8 => At(&Rorx64),
        Code.VEX_Sarx_r32_rm32_r32 => At(&Sarx<S32>),
        Code.VEX_Sarx_r64_rm64_r64 => At(&Sarx<S64>),
        Code.VEX_Shlx_r32_rm32_r32 => At(&Shlx<S32>),
        Code.VEX_Shlx_r64_rm64_r64 => At(&Shlx<S64>),
        Code.VEX_Shrx_r32_rm32_r32 => At(&Shrx<S32>),
        Code.VEX_Shrx_r64_rm64_r64 => At(&Shrx<S64>),
        _ => Rest(code),
    };

    private static nint Rest(Code code) => code switch
    {
        Code.Adcx_r32_rm32 => At(&Adcx<S32>),
        Code.Adcx_r64_rm64 => At(&Adcx<S64>),
        Code.Adox_r32_rm32 => At(&Adox<S32>),
        Code.Adox_r64_rm64 => At(&Adox<S64>),
        Code.Crc32_r32_rm8 or Code.Crc32_r64_rm8 => At(&Crc<S8>),
        Code.Crc32_r32_rm16 => At(&Crc<S16>),
        Code.Crc32_r32_rm32 => At(&Crc<S32>),
        Code.Crc32_r64_rm64 => At(&Crc<S64>),
        Code.Movbe_r16_m16 or Code.Movbe_m16_r16 => At(&Swap<S16>),
        Code.Movbe_r32_m32 or Code.Movbe_m32_r32 => At(&Swap<S32>),
        Code.Movbe_r64_m64 or Code.Movbe_m64_r64 => At(&Swap<S64>),
        _ => 0,
    };

    private static nint At(delegate*<Cpu*, Op*, bool> helper) => (nint)helper;

    private static bool Set<TSize>(Cpu* cpu, Op* op, long result, bool carry) where TSize : ISize
    {
        result = TSize.Extend(result);
        Flags.SetBits(cpu, result, carry ? Bits.Cf : 0);
        TSize.Set(cpu, op->Reg, result);
        return true;
    }

    private static bool Andn<TSize>(Cpu* cpu, Op* op) where TSize : ISize =>
        Set<TSize>(cpu, op, ~TSize.Get(cpu, op->V) & TSize.Get(cpu, op->Rm), false);

    private static bool Bextr<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        uint control = (uint)cpu->Gpr[op->V];
        int start = (byte)control, length = (byte)(control >> 8);
        ulong value = ShiftMath.Unsigned<TSize>(TSize.Get(cpu, op->Rm));
        value = start > 63 ? 0 : value >> start;
        if (length < 64)
            value &= (1UL << length) - 1;
        return Set<TSize>(cpu, op, (long)value, false);
    }

    // Destination of the three is VEX.vvvv.
    private static bool SetV<TSize>(Cpu* cpu, Op* op, long result, bool carry) where TSize : ISize
    {
        result = TSize.Extend(result);
        Flags.SetBits(cpu, result, carry ? Bits.Cf : 0);
        TSize.Set(cpu, op->V, result);
        return true;
    }

    private static bool Blsi<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        long a = TSize.Get(cpu, op->Rm);
        return SetV<TSize>(cpu, op, a & -a, a != 0);
    }

    private static bool Blsr<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        long a = TSize.Get(cpu, op->Rm);
        return SetV<TSize>(cpu, op, a & (a - 1), a == 0);
    }

    private static bool Blsmsk<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        long a = TSize.Get(cpu, op->Rm);
        return SetV<TSize>(cpu, op, a ^ (a - 1), a == 0);
    }

    private static bool Bzhi<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        int n = (byte)cpu->Gpr[op->V], bits = TSize.Bytes * 8;
        long a = TSize.Get(cpu, op->Rm);
        return Set<TSize>(cpu, op, n >= bits ? a : a & (long)((1UL << n) - 1), n >= bits);
    }

    private static bool Mulx32(Cpu* cpu, Op* op)
    {
        ulong product = (ulong)(uint)cpu->Gpr[2] * (uint)cpu->Gpr[op->Rm];
        cpu->Gpr[op->V] = (uint)product;
        cpu->Gpr[op->Reg] = product >> 32;
        return true;
    }

    private static bool Mulx64(Cpu* cpu, Op* op)
    {
        ulong high = Math.BigMul(cpu->Gpr[2], cpu->Gpr[op->Rm], out ulong low);
        cpu->Gpr[op->V] = low;
        cpu->Gpr[op->Reg] = high;
        return true;
    }

    private static bool Pdep<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        ulong source = cpu->Gpr[op->V], mask = ShiftMath.Unsigned<TSize>(TSize.Get(cpu, op->Rm)), result = 0;
        for (; mask != 0; mask &= mask - 1, source >>= 1)
            result |= (source & 1) != 0 ? mask & (ulong)-(long)mask : 0;
        TSize.Set(cpu, op->Reg, (long)result);
        return true;
    }

    private static bool Pext<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        ulong source = cpu->Gpr[op->V], mask = ShiftMath.Unsigned<TSize>(TSize.Get(cpu, op->Rm)), result = 0;
        for (int n = 0; mask != 0; mask &= mask - 1, n++)
            result |= (source & mask & (ulong)-(long)mask) != 0 ? 1UL << n : 0;
        TSize.Set(cpu, op->Reg, (long)result);
        return true;
    }

    private static bool Rorx32(Cpu* cpu, Op* op)
    {
        cpu->Gpr[op->Reg] = BitOperations.RotateRight((uint)cpu->Gpr[op->Rm], op->Imm8);
        return true;
    }

    private static bool Rorx64(Cpu* cpu, Op* op)
    {
        cpu->Gpr[op->Reg] = BitOperations.RotateRight(cpu->Gpr[op->Rm], op->Imm8);
        return true;
    }

    private static int Count<TSize>(Cpu* cpu, Op* op) where TSize : ISize => (int)cpu->Gpr[op->V] & ((TSize.Bytes * 8) - 1);

    private static bool Sarx<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        TSize.Set(cpu, op->Reg, TSize.Get(cpu, op->Rm) >> Count<TSize>(cpu, op));
        return true;
    }

    private static bool Shlx<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        TSize.Set(cpu, op->Reg, TSize.Get(cpu, op->Rm) << Count<TSize>(cpu, op));
        return true;
    }

    private static bool Shrx<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        TSize.Set(cpu, op->Reg, (long)(ShiftMath.Unsigned<TSize>(TSize.Get(cpu, op->Rm)) >> Count<TSize>(cpu, op)));
        return true;
    }

    private static bool Adcx<TSize>(Cpu* cpu, Op* op) where TSize : ISize => AddWith<TSize>(cpu, op, Bits.Cf);

    private static bool Adox<TSize>(Cpu* cpu, Op* op) where TSize : ISize => AddWith<TSize>(cpu, op, Bits.Of);

    /// <summary>Adds with one flag as carry in and out; the others stay.</summary>
    private static bool AddWith<TSize>(Cpu* cpu, Op* op, uint flag) where TSize : ISize
    {
        uint flags = Flags.Status(cpu);
        ulong a = ShiftMath.Unsigned<TSize>(TSize.Get(cpu, op->Reg)), b = ShiftMath.Unsigned<TSize>(TSize.Get(cpu, op->Rm));
        ulong sum = a + b + ((flags & flag) != 0 ? 1UL : 0);
        bool carry = TSize.Bytes == 8 ? sum < a || (sum == a && b != 0) : sum >> 32 != 0;
        TSize.Set(cpu, op->Reg, (long)sum);
        Flags.SetStatus(cpu, (flags & ~flag) | (carry ? flag : 0));
        return true;
    }

    /// <summary>CRC-32C, bit-reflected polynomial 0x82f63b78.</summary>
    private static bool Crc<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        uint crc = (uint)cpu->Gpr[op->Reg];
        ulong data = ShiftMath.Unsigned<TSize>(TSize.Get(cpu, op->Rm));
        crc = TSize.Bytes switch
        {
            1 => BitOperations.Crc32C(crc, (byte)data),
            2 => BitOperations.Crc32C(crc, (ushort)data),
            4 => BitOperations.Crc32C(crc, (uint)data),
            _ => BitOperations.Crc32C(crc, data),
        };
        cpu->Gpr[op->Reg] = crc;
        return true;
    }

    /// <summary>MOVBE: Reg ← Rm with its bytes reversed. One of them is slot Temp.</summary>
    private static bool Swap<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        long value = TSize.Get(cpu, op->Rm);
        TSize.Set(cpu, op->Reg, BinaryPrimitives.ReverseEndianness(value) >> (64 - (TSize.Bytes * 8)));
        return true;
    }
}
