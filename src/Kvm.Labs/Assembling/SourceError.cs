namespace Kvm.Labs.Assembling;

/// <summary>A mistake in a source, where it is and what was expected.</summary>
/// <param name="Line">Line, from 1.</param>
/// <param name="Column">Column in characters, from 1.</param>
/// <param name="Message">What is wrong and what would be right; one line.</param>
public sealed record SourceError(int Line, int Column, string Message)
{
    /// <summary><c>LINE:COLUMN: MESSAGE</c>.</summary>
    public override string ToString() => $"{Line}:{Column}: {Message}";
}

/// <summary>Leaves a line that cannot be understood; caught where lines are taken one by one.</summary>
internal class SourceException(int column, string message) : Exception(message)
{
    /// <summary>Column in the line, from 1.</summary>
    public int Column => column;
}
