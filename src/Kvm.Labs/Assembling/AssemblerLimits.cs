namespace Kvm.Labs.Assembling;

/// <summary>How much a source may ask for. A source is a student's or a stranger's file: everything it can make grow ends somewhere.</summary>
internal static class AssemblerLimits
{
    /// <summary>Characters of a source.</summary>
    public const int Source = 1 << 20;

    /// <summary>Characters of a line.</summary>
    public const int Line = 1024;

    /// <summary>Bytes from the first to the last byte of a program.</summary>
    public const int Image = 1 << 20;

    /// <summary>Repetitions of one <c>times</c>.</summary>
    public const int Repetitions = 1 << 16;

    /// <summary>Instructions and directives of a program, repetitions counted, in one pass.</summary>
    public const int Statements = 1 << 18;

    /// <summary>Parentheses and signs inside one another.</summary>
    public const int Depth = 64;

    /// <summary>Constants that refer to constants.</summary>
    public const int Definitions = 64;

    /// <summary>Mistakes reported of one source.</summary>
    public const int Errors = 20;

    /// <summary>Passes until the lengths of jumps are settled; each pass but the last makes at least one jump longer.</summary>
    public const int Passes = 64;
}
