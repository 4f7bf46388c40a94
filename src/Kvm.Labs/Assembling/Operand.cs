using Iced.Intel;

namespace Kvm.Labs.Assembling;

/// <summary>What stands behind a mnemonic.</summary>
/// <param name="Column">Where it begins, from 1.</param>
internal abstract record Operand(int Column)
{
    /// <summary>Bytes said by <c>byte</c>, <c>word</c>, <c>dword</c>, <c>qword</c> or <c>oword</c>; 0 if nothing was said.</summary>
    public int Size { get; init; }

    /// <summary><c>far</c>: selector and offset.</summary>
    public bool Far { get; init; }

    /// <summary><c>short</c>: a jump of one byte.</summary>
    public bool Short { get; init; }

    /// <summary>How it is called in a message.</summary>
    public abstract string Shown { get; }
}

/// <summary>A register.</summary>
internal sealed record RegisterOperand(int Column, Register Register) : Operand(Column)
{
    public override string Shown => Register.ToString().ToLowerInvariant();
}

/// <summary>A number, or the target of a jump.</summary>
internal sealed record ValueOperand(int Column, Expression Value) : Operand(Column)
{
    public override string Shown => "a value";
}

/// <summary>A selector and an offset: <c>8:start</c>.</summary>
internal sealed record FarOperand(int Column, Expression Selector, Expression Offset) : Operand(Column)
{
    public override string Shown => "selector:offset";
}

/// <summary>A place in memory.</summary>
internal sealed record MemoryOperand(int Column) : Operand(Column)
{
    /// <summary>Overrides the segment, or none.</summary>
    public Register Segment { get; init; }

    /// <summary>The base register, or none.</summary>
    public Register Base { get; init; }

    /// <summary>The index register, or none.</summary>
    public Register Index { get; init; }

    /// <summary>1, 2, 4 or 8.</summary>
    public int Scale { get; init; } = 1;

    /// <summary>Added to the registers, or null.</summary>
    public Expression? Displacement { get; init; }

    /// <summary><c>rel</c>: encoded as a distance from the instruction.</summary>
    public bool Relative { get; init; }

    public override string Shown => Size == 0 ? "memory" : $"{Size} bytes of memory";
}
