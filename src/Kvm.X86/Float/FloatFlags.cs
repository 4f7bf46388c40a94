namespace Kvm.X86.Float;

/// <summary>
/// Exception flags as they stand in MXCSR[5:0] and in the x87 status word (SDM vol. 1, 8.1.3.3 and 10.2.3),
/// and the rounding modes as encoded in MXCSR.RC and FCW.RC (SDM vol. 1, table 4-8).
/// </summary>
internal static class FloatFlags
{
    internal const uint Invalid = 0x01;
    internal const uint Denormal = 0x02;
    internal const uint ZeroDivide = 0x04;
    internal const uint Overflow = 0x08;
    internal const uint Underflow = 0x10;
    internal const uint Precision = 0x20;

    /// <summary>All six exceptions.</summary>
    internal const uint All = 0x3F;

    /// <summary>Exceptions found by looking at the operands, before any result is computed.</summary>
    internal const uint PreComputation = Invalid | Denormal | ZeroDivide;

    /// <summary>x87 only: stack fault, bit 6 of the status word.</summary>
    internal const uint StackFault = 0x40;

    /// <summary>x87 only: C1, bit 9 of the status word: the result was rounded up in magnitude.</summary>
    internal const uint RoundedUp = 0x200;

    internal const uint RoundNearest = 0;
    internal const uint RoundDown = 1;
    internal const uint RoundUp = 2;
    internal const uint RoundToZero = 3;
}
