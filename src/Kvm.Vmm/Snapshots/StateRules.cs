using System.Buffers.Binary;
using Kvm.X86.State;

namespace Kvm.Vmm.Snapshots;

/// <summary>What a processor's registers can be at all: the checks of SDM vol. 3, 27.3.1 ("checks on the guest state area"), as far as both engines rely on them.</summary>
internal static class StateRules
{
    private const ulong Cr0Bits = 0xe005_003f, Cr0Pe = 1, Cr0Nw = 1 << 29, Cr0Cd = 1 << 30, Cr0Pg = 1UL << 31;
    private const ulong Cr4Bits = 0x1ff_ffff, Cr4Pae = 1 << 5;
    private const ulong EferBits = 0xffff, EferLme = 1 << 8, EferLma = 1 << 10;
    private const ulong RflagsBits = 0x3f_7fd7, RflagsVm = 1 << 17;
    private const ulong Xcr0X87 = 1, Xcr0Sse = 2, Xcr0Avx = 4;
    private const ulong PhysicalBits = (1UL << 52) - 1;
    private const int MxcsrOffset = 24, HeaderOffset = 512, HeaderEnd = 576;
    private const uint MxcsrBits = 0xffff;

    /// <summary>Whether a processor can be in the state.</summary>
    public static bool IsPossible(ArchitecturalState state) =>
        AreControlsPossible(state) && AreSegmentsPossible(state) && IsExtendedPossible(state) && Enum.IsDefined(state.Activity)
        && state.Activity != ActivityState.Shutdown && state.PendingVector is >= -1 and <= 255 && state.Cr8 <= 15
        && (state.Rflags & ~RflagsBits) == 0 && (state.Dr6 | state.Dr7) <= uint.MaxValue && IsPatPossible(state.Msr.Pat)
        && AreAddressesCanonical(state) && (state.Cr3 & ~(PhysicalBits | 1UL << 63)) == 0;

    private static bool AreControlsPossible(ArchitecturalState state)
    {
        ulong cr0 = state.Cr0, efer = state.Efer;
        bool paging = (cr0 & Cr0Pg) != 0, lma = (efer & EferLma) != 0;
        return (cr0 & ~Cr0Bits) == 0 && (state.Cr4 & ~Cr4Bits) == 0 && (efer & ~EferBits) == 0
            && (!paging || (cr0 & Cr0Pe) != 0) && ((cr0 & Cr0Nw) == 0 || (cr0 & Cr0Cd) != 0)
            && lma == (paging && (efer & EferLme) != 0) && (!lma || (state.Cr4 & Cr4Pae) != 0)
            && (!lma || (state.Rflags & RflagsVm) == 0);
    }

    private static bool AreSegmentsPossible(ArchitecturalState state)
    {
        const ushort known = SegmentRegister.UnusableBit | 0xfff;
        foreach (ref readonly var segment in state.Segments.AsSpan())
        {
            if ((segment.Attributes & ~known) != 0)
                return false;
        }

        var code = state.Segments[1];
        bool isProtected = (state.Cr0 & Cr0Pe) != 0 && (state.Rflags & RflagsVm) == 0;
        return ((state.Ldtr.Attributes | state.Tr.Attributes) & ~known) == 0
            && (!isProtected || (code.IsCodeOrData && code.IsPresent && !code.IsUnusable))
            && (!code.IsLong || !code.IsBig || (state.Efer & EferLma) == 0);
    }

    private static bool IsExtendedPossible(ArchitecturalState state)
    {
        ulong inUse = BinaryPrimitives.ReadUInt64LittleEndian(state.Extended.AsSpan(HeaderOffset));
        bool standard = !state.Extended.AsSpan(HeaderOffset + 8, HeaderEnd - HeaderOffset - 8).ContainsAnyExcept((byte)0);
        ulong xcr0 = state.Xcr0;
        return standard && (BinaryPrimitives.ReadUInt32LittleEndian(state.Extended.AsSpan(MxcsrOffset)) & ~MxcsrBits) == 0
            && (xcr0 & Xcr0X87) != 0 && ((xcr0 & Xcr0Avx) == 0 || (xcr0 & Xcr0Sse) != 0)
            && (inUse & ~0x3_ffffUL & ~(1UL << 19)) == 0;
    }

    /// <summary>Each of eight bytes names a type of memory (SDM vol. 3, 12.12.2).</summary>
    private static bool IsPatPossible(ulong pat)
    {
        for (int i = 0; i < 8; i++)
        {
            if ((pat >> (8 * i) & 0xff) is not (0 or 1 or 4 or 5 or 6 or 7))
                return false;
        }

        return true;
    }

    private static bool AreAddressesCanonical(ArchitecturalState state)
    {
        foreach (ulong address in (ReadOnlySpan<ulong>)[state.Gdtr.Base, state.Idtr.Base, state.Tr.Base, state.Ldtr.Base, state.Segments[4].Base, state.Segments[5].Base,
            state.Msr.KernelGsBase, state.Msr.Lstar, state.Msr.Cstar, state.Msr.SysenterEip, state.Msr.SysenterEsp])
        {
            // 57 bits with five levels of tables, else 48: the wider one is asked for, the narrower one is the engine's matter.
            if ((long)address << 7 >> 7 != (long)address)
                return false;
        }

        return true;
    }
}
