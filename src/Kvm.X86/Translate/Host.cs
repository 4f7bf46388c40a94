namespace Kvm.X86.Translate;

/// <summary>Registers of the host's processor, as encoded.</summary>
internal static class Host
{
    public const int Rax = 0, Rcx = 1, Rdx = 2, Rbx = 3, Rsp = 4, Rbp = 5, Rsi = 6, Rdi = 7, R8 = 8, R9 = 9, R10 = 10, R11 = 11, R12 = 12,
        R13 = 13, R14 = 14, R15 = 15;

    /// <summary>No index in a memory operand.</summary>
    public const int None = -1;
}

/// <summary>Condition codes as encoded in Jcc, SETcc and CMOVcc.</summary>
internal static class Cc
{
    public const int O = 0, No = 1, B = 2, Ae = 3, E = 4, Ne = 5, Be = 6, A = 7, S = 8, Ns = 9, P = 10, Np = 11, L = 12, Ge = 13, Le = 14, G = 15;
}

/// <summary>
/// Opcodes as <see cref="Emitter"/> takes them: the byte, 0x0fXX for the two-byte map, 0x0f38XX and 0x0f3aXX for the three-byte
/// maps, a mandatory prefix in bits 24–31. Names end in what they take: Store and Load tell which operand is ModRM.rm.
/// </summary>
internal static class Opcode
{
    // Add, Or, Adc, Sbb, And, Sub, Xor, Cmp follow each other: + 8·n.
    public const int AluStore = 0x00, AluLoad = 0x02, AluImmediate = 0x80, AluImmediate8 = 0x83, TestStore = 0x84, XchgStore = 0x86, MovStore = 0x88, MovLoad = 0x8a,
        MovImmediate = 0xc6, Lea = 0x8d, ShiftImmediate = 0xc0, ShiftCl = 0xd2, Group3 = 0xf6, Group4 = 0xfe, Group5 = 0xff, Movsxd = 0x63, Imul = 0x0faf, ImulImmediate = 0x69,
        ImulImmediate8 = 0x6b, Movzx = 0x0fb6, Movsx = 0x0fbe, Setcc = 0x0f90, Cmovcc = 0x0f40, BitImmediate = 0x0fba, Bt = 0x0fa3, Bts = 0x0fab, Btr = 0x0fb3, Btc = 0x0fbb,
        Bsf = 0x0fbc, Bsr = 0x0fbd, ShldImmediate = 0x0fa4, ShldCl = 0x0fa5, ShrdImmediate = 0x0fac, ShrdCl = 0x0fad, Cmpxchg = 0x0fb0, Xadd = 0x0fc0, Cmpxchg16B = 0x0fc7,
        JccNear = 0x0f80, JmpNear = 0xe9, JmpShort = 0xeb, JccShort = 0x70;

    public const int Popcnt = 0x0fb8 | RepPrefix, Tzcnt = 0x0fbc | RepPrefix, Lzcnt = 0x0fbd | RepPrefix;

    public const int RepPrefix = 0xf3 << 24, RepnePrefix = 0xf2 << 24, SizePrefix = 0x66 << 24;
}

/// <summary>A host memory operand: [base + index·2^scale + displacement].</summary>
internal readonly record struct HostMemory(int Base, int Displacement, int Index = Host.None, int Scale = 0);
