namespace Kvm.X86.Float;

/// <summary>Result of a comparison.</summary>
internal enum FloatOrder : byte
{
    Less,
    Equal,
    Greater,
    Unordered,
}

/// <summary>Comparisons, minimum and maximum of SSE on one format.</summary>
internal static class SoftFloatCompare<TFormat>
    where TFormat : struct, IBinaryFormat
{
    /// <summary>Order of two values; <paramref name="signalQuiet"/>: a quiet NaN is invalid too (COMISx, and the ordered predicates of CMPxx).</summary>
    internal static FloatOrder Compare(ulong a, ulong b, bool signalQuiet, ref FloatEnvironment environment)
    {
        if (SoftFloat<TFormat>.IsNaN(a) || SoftFloat<TFormat>.IsNaN(b))
        {
            if (signalQuiet || SoftFloat<TFormat>.IsSignaling(a) || SoftFloat<TFormat>.IsSignaling(b))
                environment.Flags |= FloatFlags.Invalid;
            return FloatOrder.Unordered;
        }
        a = Effective(a, ref environment);
        b = Effective(b, ref environment);
        ulong sign = SoftFloat<TFormat>.SignMask;
        if (((a | b) & ~sign) == 0)
            return FloatOrder.Equal;
        // Sign and magnitude to an ordering of unsigned numbers.
        ulong left = (a & sign) != 0 ? ~a & ((sign << 1) - 1) : a | sign;
        ulong right = (b & sign) != 0 ? ~b & ((sign << 1) - 1) : b | sign;
        return left < right ? FloatOrder.Less : left == right ? FloatOrder.Equal : FloatOrder.Greater;
    }

    /// <summary>MINxx: the second operand when either is a NaN or both are zeros (SDM vol. 2, MINPD).</summary>
    internal static ulong Minimum(ulong a, ulong b, ref FloatEnvironment environment)
    {
        FloatOrder order = Compare(a, b, signalQuiet: true, ref environment);
        return Flushed(order == FloatOrder.Less ? a : b, environment);
    }

    /// <summary>MAXxx: the second operand when either is a NaN or both are zeros.</summary>
    internal static ulong Maximum(ulong a, ulong b, ref FloatEnvironment environment)
    {
        FloatOrder order = Compare(a, b, signalQuiet: true, ref environment);
        return Flushed(order == FloatOrder.Greater ? a : b, environment);
    }

    /// <summary>The 32 predicates of VCMPxx, of which legacy SSE has the first eight (SDM vol. 2, table 3-1).</summary>
    internal static bool Predicate(ulong a, ulong b, uint predicate, ref FloatEnvironment environment)
    {
        // Predicates 1, 2, 5, 6 and their like signal on quiet NaNs; the second sixteen swap signaling and quiet.
        bool signal = (predicate & 3) is 1 or 2;
        if ((predicate & 0x10) != 0)
            signal = !signal;
        FloatOrder order = Compare(a, b, signal, ref environment);
        bool result = (predicate & 7) switch
        {
            0 => order == FloatOrder.Equal,
            1 => order == FloatOrder.Less,
            2 => order is FloatOrder.Less or FloatOrder.Equal,
            3 => order == FloatOrder.Unordered,
            4 => order != FloatOrder.Equal,
            5 => order != FloatOrder.Less,
            6 => order is FloatOrder.Greater or FloatOrder.Unordered,
            _ => order != FloatOrder.Unordered,
        };
        if ((predicate & 8) == 0)
            return result;
        return (predicate & 7) switch
        {
            0 => order is FloatOrder.Equal or FloatOrder.Unordered,
            1 => order is FloatOrder.Less or FloatOrder.Unordered,
            2 => order != FloatOrder.Greater,
            3 => false,
            4 => order is FloatOrder.Less or FloatOrder.Greater,
            5 => order is FloatOrder.Greater or FloatOrder.Equal,
            6 => order == FloatOrder.Greater,
            _ => true,
        };
    }

    private static ulong Effective(ulong bits, ref FloatEnvironment environment)
    {
        if (!SoftFloat<TFormat>.IsDenormal(bits))
            return bits;
        if (environment.DenormalsAreZero)
            return bits & SoftFloat<TFormat>.SignMask;
        environment.Flags |= FloatFlags.Denormal;
        return bits;
    }

    private static ulong Flushed(ulong bits, in FloatEnvironment environment) =>
        environment.DenormalsAreZero && SoftFloat<TFormat>.IsDenormal(bits) ? bits & SoftFloat<TFormat>.SignMask : bits;
}
