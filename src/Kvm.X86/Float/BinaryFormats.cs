namespace Kvm.X86.Float;

/// <summary>An interchange format of IEEE 754 by its two numbers; the implementations are empty structs used as type arguments.</summary>
internal interface IBinaryFormat
{
    /// <summary>Stored fraction bits.</summary>
    static abstract int FractionBits { get; }

    /// <summary>Exponent bits.</summary>
    static abstract int ExponentBits { get; }
}

/// <summary>binary16, for F16C.</summary>
internal readonly struct HalfFormat : IBinaryFormat
{
    public static int FractionBits => 10;

    public static int ExponentBits => 5;
}

/// <summary>binary32.</summary>
internal readonly struct SingleFormat : IBinaryFormat
{
    public static int FractionBits => 23;

    public static int ExponentBits => 8;
}

/// <summary>binary64.</summary>
internal readonly struct DoubleFormat : IBinaryFormat
{
    public static int FractionBits => 52;

    public static int ExponentBits => 11;
}
