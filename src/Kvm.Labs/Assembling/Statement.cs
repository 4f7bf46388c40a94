using Iced.Intel;

namespace Kvm.Labs.Assembling;

/// <summary>One thing that a line says. A line has up to two: a label, and what is at it.</summary>
/// <param name="Line">Line of the source, from 1.</param>
/// <param name="Column">Where it begins, from 1.</param>
internal abstract record Statement(int Line, int Column)
{
    /// <summary>How often it is there; null is once.</summary>
    public Expression? Times { get; init; }
}

/// <summary><c>name:</c>, a place in the program.</summary>
internal sealed record LabelStatement(int Line, int Column, string Name) : Statement(Line, Column);

/// <summary><c>name equ value</c>, a constant.</summary>
internal sealed record ConstantStatement(int Line, int Column, string Name, Expression Value) : Statement(Line, Column);

/// <summary><c>org</c>: the address of what follows.</summary>
internal sealed record OriginStatement(int Line, int Column, Expression Address) : Statement(Line, Column);

/// <summary><c>align</c>: the next address that this divides.</summary>
internal sealed record AlignStatement(int Line, int Column, Expression Boundary) : Statement(Line, Column);

/// <summary><c>bits</c>: the mode that instructions are encoded for.</summary>
internal sealed record BitsStatement(int Line, int Column, int Bits) : Statement(Line, Column);

/// <summary><c>db dw dd dq</c>: values and texts.</summary>
internal sealed record DataStatement(int Line, int Column, int Size, IReadOnlyList<DataItem> Items) : Statement(Line, Column);

/// <summary><c>resb resw resd resq</c>: zeros.</summary>
internal sealed record ReserveStatement(int Line, int Column, int Size, Expression Count) : Statement(Line, Column);

/// <summary>A value or a text of a data directive; one of the two is null.</summary>
internal readonly record struct DataItem(int Column, Expression? Value, string? Text);

/// <summary>An instruction.</summary>
internal sealed record InstructionStatement(int Line, int Column, string Name, IReadOnlyList<Operand> Operands, InstructionPrefixes Prefixes) : Statement(Line, Column)
{
    /// <summary>The instructions of this name, by their operands.</summary>
    public required IReadOnlyList<Code> Codes { get; init; }

    /// <summary>True when a short jump does not reach its target; it never becomes short again, so that passes come to an end.</summary>
    public bool NeedsNear { get; set; }
}

/// <summary>Words in front of an instruction.</summary>
[Flags]
internal enum InstructionPrefixes
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary><c>lock</c>.</summary>
    Lock = 1,

    /// <summary><c>rep</c>, <c>repe</c>, <c>repz</c>.</summary>
    Repeat = 2,

    /// <summary><c>repne</c>, <c>repnz</c>.</summary>
    RepeatNotEqual = 4,
}
