// Invariants: a Cpu* is valid while its CpuContext is; nothing else is dereferenced here.
using System.Numerics;
using System.Runtime.CompilerServices;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>The lazy status flags: recorded by <c>Set…</c>, read by the rest (see <see cref="FlagKind"/>).</summary>
internal static unsafe class Flags
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetSub(Cpu* cpu, long a, long b, long result) => Set(cpu, FlagKind.Sub, a, b, result);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetAdd(Cpu* cpu, long a, long b, long result) => Set(cpu, FlagKind.Add, a, b, result);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetLogic(Cpu* cpu, long result)
    {
        cpu->FlagResult = result;
        cpu->FlagKind = FlagKind.Logic;
    }

    /// <summary>Result gives ZF, SF, PF; <paramref name="bits"/> has CF, AF and OF at their places.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetBits(Cpu* cpu, long result, long bits)
    {
        cpu->FlagResult = result;
        cpu->FlagA = bits;
        cpu->FlagKind = FlagKind.Bits;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Set(Cpu* cpu, int kind, long a, long b, long result)
    {
        cpu->FlagResult = result;
        cpu->FlagA = a;
        cpu->FlagB = b;
        cpu->FlagKind = (byte)kind;
    }

    /// <summary>CF as 0 or 1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Carry(Cpu* cpu) => cpu->FlagKind switch
    {
        FlagKind.Explicit => cpu->Rflags & 1,
        FlagKind.Sub => (ulong)cpu->FlagA < (ulong)cpu->FlagB ? 1 : 0,
        FlagKind.Add => (ulong)cpu->FlagResult < (ulong)cpu->FlagA ? 1 : 0,
        FlagKind.Logic => 0,
        FlagKind.Host => (cpu->HostFlags >> 8) & 1,
        _ => cpu->FlagA & 1,
    };

    /// <summary>The six status flags at their places in RFLAGS.</summary>
    public static uint Status(Cpu* cpu)
    {
        if (cpu->FlagKind == FlagKind.Explicit)
            return cpu->Rflags & Bits.StatusFlags;
        if (cpu->FlagKind == FlagKind.Host)
            return ((uint)(cpu->HostFlags >> 8) & (Bits.StatusFlags & ~Bits.Of)) | ((cpu->HostFlags & 1u) << 11);
        long r = cpu->FlagResult, a = cpu->FlagA, b = cpu->FlagB;
        uint flags = (r == 0 ? Bits.Zf : 0) | (r < 0 ? Bits.Sf : 0) | ((BitOperations.PopCount((byte)r) & 1) == 0 ? Bits.Pf : 0);
        flags |= cpu->FlagKind switch
        {
            FlagKind.Sub => ((ulong)a < (ulong)b ? Bits.Cf : 0) | ((uint)(a ^ b ^ r) & Bits.Af) | (((a ^ b) & (a ^ r)) < 0 ? Bits.Of : 0),
            FlagKind.Add => ((ulong)r < (ulong)a ? Bits.Cf : 0) | ((uint)(a ^ b ^ r) & Bits.Af) | (((a ^ r) & (b ^ r)) < 0 ? Bits.Of : 0),
            FlagKind.Bits => (uint)a & (Bits.Cf | Bits.Af | Bits.Of),
            FlagKind.Inc => ((uint)a & Bits.Cf) | ((r & 15) == 0 ? Bits.Af : 0) | (r == b ? Bits.Of : 0),
            FlagKind.Dec => ((uint)a & Bits.Cf) | ((r & 15) == 15 ? Bits.Af : 0) | (r == b ? Bits.Of : 0),
            _ => 0,
        };
        return flags;
    }

    /// <summary>All of RFLAGS.</summary>
    public static uint Get(Cpu* cpu) => (cpu->Rflags & ~Bits.StatusFlags) | Status(cpu) | 2;

    /// <summary>Replaces the status flags.</summary>
    public static void SetStatus(Cpu* cpu, uint flags)
    {
        cpu->Rflags = (cpu->Rflags & ~Bits.StatusFlags) | (flags & Bits.StatusFlags);
        cpu->FlagKind = FlagKind.Explicit;
    }

    /// <summary>Brings the status flags to the form translated code reads.</summary>
    public static void ToHost(Cpu* cpu)
    {
        if (cpu->FlagKind == FlagKind.Host)
            return;
        uint flags = Status(cpu);
        cpu->HostFlags = (ushort)(((flags & 0xd5) << 8) | ((flags >> 11) & 1));
        cpu->FlagKind = FlagKind.Host;
    }

    /// <summary>Sets CF alone; the other five keep their values.</summary>
    public static void SetCarry(Cpu* cpu, bool carry) => SetStatus(cpu, (Status(cpu) & ~Bits.Cf) | (carry ? Bits.Cf : 0));

    /// <summary>Whether a condition code (0–15, as encoded in Jcc) holds.</summary>
    public static bool Test(Cpu* cpu, int condition)
    {
        uint f = Status(cpu);
        bool result = (condition >> 1) switch
        {
            0 => (f & Bits.Of) != 0,
            1 => (f & Bits.Cf) != 0,
            2 => (f & Bits.Zf) != 0,
            3 => (f & (Bits.Cf | Bits.Zf)) != 0,
            4 => (f & Bits.Sf) != 0,
            5 => (f & Bits.Pf) != 0,
            6 => ((f & Bits.Sf) != 0) != ((f & Bits.Of) != 0),
            _ => (f & Bits.Zf) != 0 || ((f & Bits.Sf) != 0) != ((f & Bits.Of) != 0),
        };
        return result != ((condition & 1) != 0);
    }
}

/// <summary>RFLAGS for safe code.</summary>
internal static unsafe class FlagImage
{
    /// <summary>All of RFLAGS.</summary>
    public static uint Get(ref Cpu cpu) => Flags.Get((Cpu*)Unsafe.AsPointer(ref cpu));

    /// <summary>Replaces the bits of <paramref name="change"/>; reserved bits stay as they are.</summary>
    public static void Replace(ref Cpu cpu, uint value, uint change)
    {
        uint flags = (Get(ref cpu) & ~change) | (value & change);
        cpu.Rflags = (flags & 0x3f7fd5) | 2;
        cpu.FlagKind = FlagKind.Explicit;
    }
}
