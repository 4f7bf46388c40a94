using Kvm.X86.Execute;
using Kvm.X86.State;

namespace Kvm.X86.Engine;

/// <summary>RDMSR and WRMSR. False: the register does not exist or the value is not allowed, #GP(0) is the caller's to raise.</summary>
internal static class ModelSpecific
{
    private const uint Tsc = 0x10, PlatformId = 0x17, ApicBase = 0x1b, FeatureControl = 0x3a, TscAdjust = 0x3b, SpecCtrl = 0x48, PredCmd = 0x49,
        UpdateSignature = 0x8b, MtrrCap = 0xfe, SysenterCs = 0x174, SysenterEsp = 0x175, SysenterEip = 0x176, McgCap = 0x179, McgStatus = 0x17a,
        MiscEnable = 0x1a0, DebugCtl = 0x1d9, Pat = 0x277, MtrrDefType = 0x2ff, Xss = 0xda0,
        Efer = 0xc000_0080, Star = 0xc000_0081, Lstar = 0xc000_0082, Cstar = 0xc000_0083, Fmask = 0xc000_0084, FsBase = 0xc000_0100,
        GsBase = 0xc000_0101, KernelGsBase = 0xc000_0102, TscAux = 0xc000_0103, SysCfg = 0xc001_0010, HwCr = 0xc001_0015;

    /// <summary>Reads.</summary>
    public static bool TryRead(ref Cpu cpu, CpuContext context, uint index, out ulong value)
    {
        switch (index)
        {
            case Efer: value = cpu.Efer; return true;
            case Star: value = cpu.Star; return true;
            case Lstar: value = cpu.Lstar; return true;
            case Cstar: value = cpu.Cstar; return true;
            case Fmask: value = cpu.Fmask; return true;
            case FsBase: value = cpu.Segments[Seg.Fs].Base; return true;
            case GsBase: value = cpu.Segments[Seg.Gs].Base; return true;
            case KernelGsBase: value = cpu.KernelGsBase; return true;
            case TscAux: value = cpu.TscAux; return true;
            case SysenterCs: value = cpu.SysenterCs; return true;
            case SysenterEsp: value = cpu.SysenterEsp; return true;
            case SysenterEip: value = cpu.SysenterEip; return true;
            case Pat: value = cpu.Pat; return true;
            case MiscEnable: value = cpu.MiscEnable; return true;
            case DebugCtl: value = cpu.DebugCtl; return true;
            case SpecCtrl: value = cpu.SpecCtrl; return context.HasSpeculationControl;
            case Xss: value = cpu.Xss; return true;
            case MtrrCap: value = 0x508; return true; // eight variable ranges, fixed ranges, write combining
            case UpdateSignature: value = 0x0100_0065UL << 32; return true;
            case PlatformId or McgCap or McgStatus or SysCfg or HwCr or FeatureControl: value = 0; return true;
            default:
                if (context.Mtrr.TryRead(index, out value))
                    return true;
                if (context.Chips != null && context.Chips.TryReadMsr(index, out value))
                    return true;
                if (index == Tsc)
                {
                    value = context.ReadTsc();
                    return true;
                }

                return IsProcessorVendorRegister(index);
        }
    }

    /// <summary>Writes.</summary>
    public static bool TryWrite(ref Cpu cpu, CpuContext context, uint index, ulong value)
    {
        switch (index)
        {
            case Efer: return ControlRegisters.TryWriteEfer(ref cpu, context, value);
            case Star: cpu.Star = value; return true;
            case Lstar: return TryAddress(ref cpu, value, ref cpu.Lstar);
            case Cstar: return TryAddress(ref cpu, value, ref cpu.Cstar);
            case Fmask: cpu.Fmask = (uint)value; return true;
            case FsBase: return TryAddress(ref cpu, value, ref cpu.Segments[Seg.Fs].Base);
            case GsBase: return TryAddress(ref cpu, value, ref cpu.Segments[Seg.Gs].Base);
            case KernelGsBase: return TryAddress(ref cpu, value, ref cpu.KernelGsBase);
            case TscAux: return value >> 32 == 0 && TrySet(ref cpu.TscAux, value);
            case SysenterCs: cpu.SysenterCs = (uint)value; return true;
            case SysenterEsp: return TryAddress(ref cpu, value, ref cpu.SysenterEsp);
            case SysenterEip: return TryAddress(ref cpu, value, ref cpu.SysenterEip);
            case Pat: return TryWritePat(ref cpu, value);
            case MiscEnable: cpu.MiscEnable = value; return true;
            case DebugCtl: cpu.DebugCtl = value & 3; return true;
            case SpecCtrl: return context.HasSpeculationControl && (value & ~7UL) == 0 && TrySet(ref cpu.SpecCtrl, value);
            case PredCmd: return context.HasSpeculationControl && (value & ~1UL) == 0;
            case Xss: return value == 0 && TrySet(ref cpu.Xss, value);
            case UpdateSignature or McgStatus or FeatureControl or SysCfg or HwCr: return true;
            default:
                return context.Mtrr.TryWrite(index, value) || TryWriteChips(context, index, value) || IsProcessorVendorRegister(index);
        }
    }

    private static bool TrySet(ref ulong register, ulong value)
    {
        register = value;
        return true;
    }

    private static bool TryWriteChips(CpuContext context, uint index, ulong value)
    {
        // The APIC knows the widest address there is, not this processor's.
        if (index == ApicBase && value >> context.State.PhysicalBits != 0)
            return false;
        if (context.Chips == null || !context.Chips.TryWriteMsr(index, value))
            return false;
        if (index == ApicBase)
            context.FlushTlb(true); // its page may have moved
        return true;
    }

    /// <summary>
    /// Registers of the vendor's that kernels read and write without asking CPUID: configuration of pieces this
    /// processor has not. They read zero and forget what is written.
    /// </summary>
    private static bool IsProcessorVendorRegister(uint index) => index
        is 0x2a or 0xcd or 0xce or 0x198 or 0x199 or 0x19a or 0x19b or 0x19c or 0x1a2 or 0x34 or 0x79 or 0xe7 or 0xe8
        or >= 0xc001_0000 and <= 0xc001_0007 or 0xc001_001f or 0xc001_0020 or 0xc001_0055 or 0xc001_0058 or 0xc001_0061 or 0xc001_0062
        or 0xc001_0063 or 0xc001_0064 or 0xc001_0112 or 0xc001_0113 or 0xc001_0117 or 0xc001_0140 or 0xc001_0141
        or 0xc001_1004 or 0xc001_1005 or 0xc001_100d or >= 0xc001_1020 and <= 0xc001_102d;

    private static bool TryAddress(ref Cpu cpu, ulong value, ref ulong register)
    {
        if (!Modes.IsCanonical(ref cpu, value))
            return false;
        register = value;
        return true;
    }

    /// <summary>Each byte must be a memory type: 0, 1, 4, 5, 6, 7.</summary>
    private static bool TryWritePat(ref Cpu cpu, ulong value)
    {
        for (int n = 0; n < 64; n += 8)
        {
            if (((0xf3UL >> (int)Math.Min((value >> n) & 0xff, 8)) & 1) == 0)
                return false;
        }

        cpu.Pat = value;
        return true;
    }
}

/// <summary>Memory-type range registers: remembered, checked for form, without effect.</summary>
internal sealed class MtrrFile
{
    private readonly ulong[] _fixed = new ulong[11];
    private readonly ulong[] _variable = new ulong[16];
    private ulong _defaultType;

    /// <summary>The registers' numbers of the fixed ranges, in the order of their addresses.</summary>
    private static ReadOnlySpan<ushort> FixedNumbers => [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];

    /// <summary>Copies from a saved state.</summary>
    public void Load(MsrState state)
    {
        state.MtrrFixed.CopyTo(_fixed, 0);
        state.MtrrVariable.CopyTo(_variable, 0);
        _defaultType = state.MtrrDefType;
    }

    /// <summary>Copies to a saved state.</summary>
    public void Save(MsrState state)
    {
        _fixed.CopyTo(state.MtrrFixed, 0);
        _variable.CopyTo(state.MtrrVariable, 0);
        state.MtrrDefType = _defaultType;
    }

    /// <summary>Reads one of them.</summary>
    public bool TryRead(uint index, out ulong value)
    {
        value = 0;
        if (index == 0x2ff)
            value = _defaultType;
        else if (index is >= 0x200 and < 0x210)
            value = _variable[index - 0x200];
        else if (index <= ushort.MaxValue && FixedNumbers.IndexOf((ushort)index) is >= 0 and var n)
            value = _fixed[n];
        else
            return false;
        return true;
    }

    /// <summary>Writes one of them.</summary>
    public bool TryWrite(uint index, ulong value)
    {
        if (index == 0x2ff)
            _defaultType = value & 0xcff;
        else if (index is >= 0x200 and < 0x210)
            _variable[index - 0x200] = value;
        else if (index <= ushort.MaxValue && FixedNumbers.IndexOf((ushort)index) is >= 0 and var n)
            _fixed[n] = value;
        else
            return false;
        return true;
    }
}
