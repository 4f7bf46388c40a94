namespace Kvm.X86.Float;

/// <summary>What an encoding stands for. The order matters: everything from <see cref="QuietNaN"/> on is not a number.</summary>
internal enum NumberKind : byte
{
    Zero,
    Finite,
    Infinity,
    QuietNaN,
    SignalingNaN,

    /// <summary>x87 only: pseudo-NaN, pseudo-infinity or unnormal (SDM vol. 1, table 8-3).</summary>
    Unsupported,
}

/// <summary>An unpacked source operand, independent of its format.</summary>
internal struct Operand
{
    internal NumberKind Kind;

    /// <summary>The encoding was denormal (or pseudo-denormal) and counts as such, that is, DAZ did not make it a zero.</summary>
    internal bool Denormal;

    /// <summary>The magnitude when <see cref="Kind"/> is Finite; the sign always.</summary>
    internal Wide Value;

    internal readonly bool IsNaN => Kind >= NumberKind.QuietNaN;
}

/// <summary>What an operation gave before rounding.</summary>
internal enum OutcomeKind : byte
{
    Finite,
    Zero,
    Infinity,

    /// <summary>The default NaN; the invalid flag is already raised.</summary>
    Indefinite,
}

/// <summary>A result before it is rounded into a format. The sign is in <see cref="Value"/> for every kind.</summary>
internal struct Outcome
{
    internal OutcomeKind Kind;
    internal Wide Value;

    internal static Outcome Finite(in Wide value) => new() { Kind = OutcomeKind.Finite, Value = value };

    internal static Outcome Zero(bool negative) => new() { Kind = OutcomeKind.Zero, Value = new Wide(negative, 0, 0, 0) };

    internal static Outcome Infinity(bool negative) => new() { Kind = OutcomeKind.Infinity, Value = new Wide(negative, 0, 0, 0) };

    internal static Outcome Indefinite(ref FloatEnvironment environment)
    {
        environment.Flags |= FloatFlags.Invalid;
        return new() { Kind = OutcomeKind.Indefinite };
    }
}
