// Invariants: pure functions of their arguments but RunRounds, which is as in Xmm.cs.
using System.Runtime.Intrinsics;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

// The SHA extensions (SDM vol. 2, SHA1… SHA256…; FIPS 180-4 for the functions). Element 3 is the first word in time.

internal readonly struct Sha1NextE : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b)
    {
        uint e = uint.RotateLeft(a.AsUInt32()[3], 30);
        Vector128<uint> words = b.AsUInt32();
        return words.WithElement(3, words[3] + e).AsByte();
    }
}

internal readonly struct Sha1Message1 : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b)
    {
        Vector128<uint> w = a.AsUInt32(), x = b.AsUInt32();
        return Vector128.Create(x[2] ^ w[0], x[3] ^ w[1], w[0] ^ w[2], w[1] ^ w[3]).AsByte();
    }
}

internal readonly struct Sha1Message2 : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b)
    {
        Vector128<uint> x = a.AsUInt32(), w = b.AsUInt32();
        uint w16 = uint.RotateLeft(x[3] ^ w[2], 1), w17 = uint.RotateLeft(x[2] ^ w[1], 1), w18 = uint.RotateLeft(x[1] ^ w[0], 1);
        return Vector128.Create(uint.RotateLeft(x[0] ^ w16, 1), w18, w17, w16).AsByte();
    }
}

/// <summary>SHA1RNDS4: four rounds, function and constant by bits 1:0 of the immediate.</summary>
internal readonly struct Sha1Rounds : IImmediateBinary
{
    public static Vector128<byte> Apply(Vector128<byte> first, Vector128<byte> second, int imm)
    {
        uint a = first.AsUInt32()[3], b = first.AsUInt32()[2], c = first.AsUInt32()[1], d = first.AsUInt32()[0], e = 0;
        uint constant = (imm & 3) switch { 0 => 0x5A827999, 1 => 0x6ED9EBA1, 2 => 0x8F1BBCDC, _ => 0xCA62C1D6 };
        for (int i = 0; i < 4; i++)
        {
            // The second operand's top word has E of the first round added already.
            uint f = (imm & 3) switch { 0 => (b & c) ^ (~b & d), 2 => (b & c) ^ (b & d) ^ (c & d), _ => b ^ c ^ d };
            uint next = f + uint.RotateLeft(a, 5) + second.AsUInt32()[3 - i] + e + constant;
            e = d;
            d = c;
            c = uint.RotateLeft(b, 30);
            b = a;
            a = next;
        }
        return Vector128.Create(d, c, b, a).AsByte();
    }
}

internal readonly struct Sha256Message1 : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b)
    {
        Vector128<uint> w = a.AsUInt32();
        uint w4 = b.AsUInt32()[0];
        return Vector128.Create(w[0] + Sigma0(w[1]), w[1] + Sigma0(w[2]), w[2] + Sigma0(w[3]), w[3] + Sigma0(w4)).AsByte();
    }

    private static uint Sigma0(uint x) => uint.RotateRight(x, 7) ^ uint.RotateRight(x, 18) ^ (x >> 3);
}

internal readonly struct Sha256Message2 : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b)
    {
        Vector128<uint> x = a.AsUInt32(), w = b.AsUInt32();
        uint w16 = x[0] + Sigma1(w[2]), w17 = x[1] + Sigma1(w[3]), w18 = x[2] + Sigma1(w16);
        return Vector128.Create(w16, w17, w18, x[3] + Sigma1(w17)).AsByte();
    }

    private static uint Sigma1(uint x) => uint.RotateRight(x, 17) ^ uint.RotateRight(x, 19) ^ (x >> 10);
}

/// <summary>SHA256RNDS2: two rounds; the round words and constants come in XMM0.</summary>
internal static unsafe class Sha256Rounds
{
    public static bool Run(Cpu* cpu, Op* op)
    {
        Vector128<byte> source;
        if (!Xmm.Ready(cpu) || !Xmm.Load128(cpu, op, &source))
            return false;
        Vector128<uint> cdgh = Xmm.Low(cpu, op->Reg)->AsUInt32(), abef = source.AsUInt32(), words = Xmm.Low(cpu, 0)->AsUInt32();
        uint a = abef[3], b = abef[2], c = cdgh[3], d = cdgh[2], e = abef[1], f = abef[0], g = cdgh[1], h = cdgh[0];
        for (int i = 0; i < 2; i++)
        {
            uint sum1 = uint.RotateRight(e, 6) ^ uint.RotateRight(e, 11) ^ uint.RotateRight(e, 25);
            uint sum0 = uint.RotateRight(a, 2) ^ uint.RotateRight(a, 13) ^ uint.RotateRight(a, 22);
            uint t1 = h + sum1 + ((e & f) ^ (~e & g)) + words[i];
            uint t2 = sum0 + ((a & b) ^ (a & c) ^ (b & c));
            h = g;
            g = f;
            f = e;
            e = d + t1;
            d = c;
            c = b;
            b = a;
            a = t1 + t2;
        }
        *Xmm.Low(cpu, op->Reg) = Vector128.Create(f, e, b, a).AsByte();
        return true;
    }
}
