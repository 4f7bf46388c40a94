// Invariants: as in Xmm.cs; pointers to locals do not outlive the call; lengths are at most the number of elements.
using System.Numerics;
using System.Runtime.Intrinsics;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

/// <summary>PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (SDM vol. 2, 4.1: "imm8 control byte").</summary>
internal static unsafe class StringCompare
{
    public static bool ExplicitIndex(Cpu* cpu, Op* op) => Legacy(cpu, op, isExplicit: true, index: true);

    public static bool ExplicitMask(Cpu* cpu, Op* op) => Legacy(cpu, op, isExplicit: true, index: false);

    public static bool ImplicitIndex(Cpu* cpu, Op* op) => Legacy(cpu, op, isExplicit: false, index: true);

    public static bool ImplicitMask(Cpu* cpu, Op* op) => Legacy(cpu, op, isExplicit: false, index: false);

    public static bool VexExplicitIndex(Cpu* cpu, Op* op) => Vex(cpu, op, isExplicit: true, index: true);

    public static bool VexExplicitMask(Cpu* cpu, Op* op) => Vex(cpu, op, isExplicit: true, index: false);

    public static bool VexImplicitIndex(Cpu* cpu, Op* op) => Vex(cpu, op, isExplicit: false, index: true);

    public static bool VexImplicitMask(Cpu* cpu, Op* op) => Vex(cpu, op, isExplicit: false, index: false);

    private static bool Legacy(Cpu* cpu, Op* op, bool isExplicit, bool index)
    {
        Vector128<byte> source;
        if (!Xmm.Ready(cpu) || !Xmm.Load128Unaligned(cpu, op, &source))
            return false;
        Compare(cpu, op, source, isExplicit, index);
        return true;
    }

    private static bool Vex(Cpu* cpu, Op* op, bool isExplicit, bool index)
    {
        Vector128<byte> source;
        if (!Xmm.VexReady(cpu) || !Xmm.Load128Unaligned(cpu, op, &source))
            return false;
        Compare(cpu, op, source, isExplicit, index);
        if (!index)
            *Xmm.High(cpu, 0) = Vector128<byte>.Zero;
        return true;
    }

    private static void Compare(Cpu* cpu, Op* op, Vector128<byte> second, bool isExplicit, bool toIndex)
    {
        int imm = op->Imm8;
        Vector128<byte> first = *Xmm.Low(cpu, op->Reg);
        int count = (imm & 1) != 0 ? 8 : 16;
        bool wide = op->Code is Iced.Intel.Code.Pcmpestri64_xmm_xmmm128_imm8 or Iced.Intel.Code.Pcmpestrm64_xmm_xmmm128_imm8
            or Iced.Intel.Code.VEX_Vpcmpestri64_xmm_xmmm128_imm8 or Iced.Intel.Code.VEX_Vpcmpestrm64_xmm_xmmm128_imm8;
        int firstLength = isExplicit ? ExplicitLength(cpu->Gpr[0], wide, count) : ImplicitLength(&first, imm, count);
        int secondLength = isExplicit ? ExplicitLength(cpu->Gpr[2], wide, count) : ImplicitLength(&second, imm, count);
        uint all = (1u << count) - 1;
        uint result = Aggregate(&first, firstLength, &second, secondLength, imm, count);
        // Polarity: bit 4 negates, bit 5 restricts that to valid elements of the second operand.
        if ((imm & 0x10) != 0)
            result ^= (imm & 0x20) != 0 ? (1u << secondLength) - 1 : all;
        if (toIndex)
        {
            int chosen = result == 0 ? count : (imm & 0x40) != 0 ? BitOperations.Log2(result) : BitOperations.TrailingZeroCount(result);
            cpu->Gpr[1] = (uint)chosen;
        }
        else
        {
            *Xmm.Low(cpu, 0) = (imm & 0x40) != 0 ? Expand(result, count) : Vector128.CreateScalar((ulong)result).AsByte();
        }
        FloatCompareHelpers.SetFlags(cpu, (result != 0 ? Bits.Cf : 0) | (secondLength < count ? Bits.Zf : 0)
            | (firstLength < count ? Bits.Sf : 0) | ((result & 1) != 0 ? Bits.Of : 0));
    }

    /// <summary>The magnitude of EAX or EDX, at most the number of elements.</summary>
    private static int ExplicitLength(ulong register, bool wide, int count)
    {
        long value = wide ? (long)register : (int)register;
        // The least negative number has no magnitude in its own width.
        ulong magnitude = value < 0 ? 0 - (ulong)value : (ulong)value;
        return magnitude > (ulong)count ? count : (int)magnitude;
    }

    private static int ImplicitLength(Vector128<byte>* value, int imm, int count)
    {
        for (int i = 0; i < count; i++)
        {
            if (Element(value, i, imm) == 0)
                return i;
        }
        return count;
    }

    /// <summary>An element as a number: bit 0 of the immediate chooses words, bit 1 signed.</summary>
    private static int Element(Vector128<byte>* value, int i, int imm) => (imm & 3) switch
    {
        0 => ((byte*)value)[i],
        1 => ((ushort*)value)[i],
        2 => ((sbyte*)value)[i],
        _ => ((short*)value)[i],
    };

    private static uint Aggregate(Vector128<byte>* first, int firstLength, Vector128<byte>* second, int secondLength, int imm, int count)
    {
        uint result = 0;
        for (int j = 0; j < count; j++)
        {
            bool hit = ((imm >> 2) & 3) switch
            {
                0 => j < secondLength && AnyEqual(first, firstLength, Element(second, j, imm), imm),
                1 => j < secondLength && InRanges(first, firstLength, Element(second, j, imm), imm),
                2 => EachEqual(first, firstLength, second, secondLength, j, imm),
                _ => Ordered(first, firstLength, second, secondLength, j, imm, count),
            };
            result |= hit ? 1u << j : 0;
        }
        return result;
    }

    private static bool AnyEqual(Vector128<byte>* set, int length, int element, int imm)
    {
        for (int i = 0; i < length; i++)
        {
            if (Element(set, i, imm) == element)
                return true;
        }
        return false;
    }

    private static bool InRanges(Vector128<byte>* ranges, int length, int element, int imm)
    {
        for (int i = 0; i + 1 < length; i += 2)
        {
            if (element >= Element(ranges, i, imm) && element <= Element(ranges, i + 1, imm))
                return true;
        }
        return false;
    }

    /// <summary>Two invalid elements are equal, one invalid is not.</summary>
    private static bool EachEqual(Vector128<byte>* first, int firstLength, Vector128<byte>* second, int secondLength, int i, int imm)
    {
        bool validFirst = i < firstLength, validSecond = i < secondLength;
        return validFirst && validSecond ? Element(first, i, imm) == Element(second, i, imm) : validFirst == validSecond;
    }

    /// <summary>The first operand as a substring that begins at element <paramref name="at"/>.</summary>
    private static bool Ordered(Vector128<byte>* needle, int needleLength, Vector128<byte>* text, int textLength, int at, int imm, int count)
    {
        for (int i = 0; i < count - at; i++)
        {
            if (i >= needleLength)
                return true;
            if (at + i >= textLength || Element(needle, i, imm) != Element(text, at + i, imm))
                return false;
        }
        return true;
    }

    private static Vector128<byte> Expand(uint mask, int count)
    {
        Vector128<byte> result = default;
        byte* bytes = (byte*)&result;
        int size = 16 / count;
        for (int i = 0; i < 16; i++)
            bytes[i] = ((mask >> (i / size)) & 1) != 0 ? (byte)0xFF : (byte)0;
        return result;
    }
}
