namespace Kvm.X86.Float;

/// <summary>
/// What an operation may depend on besides its operands, and where it reports: rounding mode, exception masks,
/// denormal handling, and the flags raised so far. One per instruction, on the stack; not thread-safe.
/// </summary>
internal struct FloatEnvironment
{
    /// <summary>One of <c>FloatFlags.Round*</c>.</summary>
    internal uint Rounding;

    /// <summary>Masked exceptions, same bits as the flags: 1 = masked.</summary>
    internal uint Masks;

    /// <summary>Flags raised (only ever set), <see cref="FloatFlags.RoundedUp"/> for x87.</summary>
    internal uint Flags;

    /// <summary>x87 precision control: significant bits (24, 53 or 64) of add, subtract, multiply, divide and square root.</summary>
    internal int Precision;

    /// <summary>MXCSR.DAZ: denormal operands count as zeros of their sign.</summary>
    internal bool DenormalsAreZero;

    /// <summary>MXCSR.FTZ: tiny results become zero while underflow is masked.</summary>
    internal bool FlushToZero;

    /// <summary>Environment of an SSE instruction under the given MXCSR.</summary>
    internal static FloatEnvironment FromMxcsr(uint mxcsr) => new()
    {
        Rounding = (mxcsr >> 13) & 3,
        Masks = (mxcsr >> 7) & FloatFlags.All,
        Precision = 64,
        DenormalsAreZero = (mxcsr & 0x40) != 0,
        FlushToZero = (mxcsr & 0x8000) != 0,
    };

    /// <summary>Environment of an x87 instruction under the given control word. The reserved precision 01 acts as 64 bits.</summary>
    internal static FloatEnvironment FromControlWord(ushort controlWord) => new()
    {
        Rounding = ((uint)controlWord >> 10) & 3,
        Masks = controlWord & FloatFlags.All,
        Precision = ((controlWord >> 8) & 3) switch { 0 => 24, 2 => 53, _ => 64 },
    };

    /// <summary>True when one of <paramref name="exceptions"/> is raised and not masked.</summary>
    internal readonly bool Unmasked(uint exceptions) => (Flags & exceptions & ~Masks & FloatFlags.All) != 0;

    /// <summary>True when all of <paramref name="exceptions"/> are masked.</summary>
    internal readonly bool Masked(uint exceptions) => (exceptions & ~Masks) == 0;
}
