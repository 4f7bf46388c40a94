namespace Kvm.Vmm.Completion;

/// <summary>
/// What an instruction may need besides general registers, told from its first bytes. A wrong yes costs some microseconds; a
/// wrong no would lose state, so whatever is not known to be harmless is a yes.
/// </summary>
internal static class InstructionBytes
{
    /// <summary>True unless the instruction certainly leaves x87, vector and XSAVE state alone.</summary>
    public static bool MayUseExtendedState(ReadOnlySpan<byte> code)
    {
        code = SkipPrefixes(code);
        return code switch
        {
            [0x9b or (>= 0xd8 and <= 0xdf), ..] => true, // FWAIT, x87
            [0xc4 or 0xc5 or 0x62, ..] => true, // VEX, EVEX
            [0x0f, 0x01, 0xd0 or 0xd1, ..] => true, // XGETBV, XSETBV
            [0x0f, 0x01, ..] => false, // CLAC, STAC, MONITOR, MWAIT, RDTSCP, SWAPGS …
            [0x0f, 0xb8 or 0xbc or 0xbd, ..] => false, // POPCNT, TZCNT, LZCNT
            [0x0f, 0x02 or 0x03 or 0x00, ..] => false, // LAR, LSL, VERR …
            [0x0f, 0xc7, var modRm, ..] => (modRm & 0xc0) != 0xc0 && ((modRm >> 3) & 7) is not 1, // all but CMPXCHG8B/16B
            [0x0f, ..] => true,
            [] => true,
            _ => false,
        };
    }

    /// <summary>True if the instruction may read or write model-specific registers.</summary>
    public static bool MayUseMsrs(ReadOnlySpan<byte> code) => SkipPrefixes(code) switch
    {
        [0x0f, 0x05 or 0x07 or 0x30 or 0x32 or 0x34 or 0x35, ..] => true, // SYSCALL … SYSEXIT, WRMSR, RDMSR
        [0x0f, 0x01, 0xf8 or 0xf9, ..] => true, // SWAPGS, RDTSCP
        [0x0f, 0xc7, >= 0xf8, ..] => true, // RDPID
        [] => true,
        _ => false,
    };

    private static ReadOnlySpan<byte> SkipPrefixes(ReadOnlySpan<byte> code)
    {
        while (code is [0x26 or 0x2e or 0x36 or 0x3e or (>= 0x40 and <= 0x4f) or 0x64 or 0x65 or 0x66 or 0x67 or 0xf0 or 0xf2 or 0xf3, ..])
            code = code[1..];
        return code;
    }
}
