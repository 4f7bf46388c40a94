namespace Kvm.X86.State;

/// <summary>Exception vectors (SDM vol. 3, table 6-1).</summary>
internal static class Vector
{
    public const int DivideError = 0, Debug = 1, Nmi = 2, Breakpoint = 3, Overflow = 4, BoundRange = 5, InvalidOpcode = 6,
        DeviceNotAvailable = 7, DoubleFault = 8, InvalidTss = 10, SegmentNotPresent = 11, StackFault = 12,
        GeneralProtection = 13, PageFault = 14, X87Error = 16, AlignmentCheck = 17, MachineCheck = 18, SimdError = 19, ControlProtection = 21;

    // Bits 8, 10–14, 17, 21.
    private const uint WithErrorCode = 0x00227d00;

    /// <summary>Whether the exception pushes an error code.</summary>
    public static bool HasErrorCode(int vector) => vector < 32 && ((WithErrorCode >> vector) & 1) != 0;
}

/// <summary>Bits of control registers, EFER and RFLAGS.</summary>
internal static class Bits
{
    public const ulong Cr0Pe = 1, Cr0Mp = 2, Cr0Em = 4, Cr0Ts = 8, Cr0Et = 16, Cr0Ne = 32, Cr0Wp = 1 << 16, Cr0Am = 1 << 18,
        Cr0Nw = 1 << 29, Cr0Cd = 1 << 30, Cr0Pg = 1UL << 31;

    public const ulong Cr4Vme = 1, Cr4Pvi = 2, Cr4Tsd = 4, Cr4De = 8, Cr4Pse = 16, Cr4Pae = 32, Cr4Mce = 64, Cr4Pge = 128, Cr4Pce = 256,
        Cr4OsFxsr = 512, Cr4OsXmmExcpt = 1024, Cr4Umip = 2048, Cr4La57 = 4096, Cr4FsGsBase = 1 << 16, Cr4Pcide = 1 << 17,
        Cr4OsXsave = 1 << 18, Cr4Smep = 1 << 20, Cr4Smap = 1 << 21;

    public const ulong EferSce = 1, EferLme = 1 << 8, EferLma = 1 << 10, EferNxe = 1 << 11;

    public const uint Cf = 1, Pf = 4, Af = 16, Zf = 64, Sf = 128, Tf = 256, If = 512, Df = 1024, Of = 2048, Iopl = 0x3000, Nt = 0x4000,
        Rf = 0x10000, Vm = 0x20000, Ac = 0x40000, Vif = 0x80000, Vip = 0x100000, Id = 0x200000;

    /// <summary>CF PF AF ZF SF OF.</summary>
    public const uint StatusFlags = Cf | Pf | Af | Zf | Sf | Of;
}
