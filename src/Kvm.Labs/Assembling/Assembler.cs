namespace Kvm.Labs.Assembling;

/// <summary>
/// From the text of a small Intel-like language (docs/labs/README.md) to bytes: lines to statements, then passes over the statements
/// until the addresses of labels no longer change. Encodings are Iced's. Everything a source can make grow has a limit.
/// </summary>
public static class Assembler
{
    /// <summary>Where a program without <c>org</c> begins: where a PC's firmware loads a boot sector.</summary>
    public const uint DefaultOrigin = 0x7c00;

    /// <summary>Assembles.</summary>
    /// <param name="source">The text.</param>
    public static AssemblyResult Assemble(string source)
    {
        ArgumentNullException.ThrowIfNull(source);
        if (source.Length > AssemblerLimits.Source)
            return new(null, [new SourceError(1, 1, $"a source has at most {AssemblerLimits.Source:#,0} characters; this one has {source.Length:#,0}")]);
        var lines = source.ReplaceLineEndings("\n").Split('\n');
        var errors = new List<SourceError>();
        var statements = Parse(lines, errors);
        if (errors.Count > 0)
            return new(null, errors);
        var layout = new Layout(statements);
        for (int pass = 0; pass < AssemblerLimits.Passes; pass++)
        {
            bool settled = layout.Run(final: false, errors);
            if (errors.Count > 0)
                return new(null, Sorted(errors));
            if (settled)
                break;
        }

        bool sure = layout.Run(final: true, errors);
        if (!sure && errors.Count == 0)
            errors.Add(new SourceError(1, 1, "the addresses do not settle: a constant, times or org depends on what it changes itself"));
        return errors.Count > 0 ? new(null, Sorted(errors)) : new(layout.ToProgram(lines), []);
    }

    private static List<Statement> Parse(string[] lines, List<SourceError> errors)
    {
        var parser = new StatementParser();
        var statements = new List<Statement>();
        for (int i = 0; i < lines.Length && errors.Count < AssemblerLimits.Errors; i++)
        {
            try
            {
                parser.Read(lines[i], i + 1, statements);
            }
            catch (SourceException e)
            {
                errors.Add(new SourceError(i + 1, e.Column, e.Message));
            }
        }

        return statements;
    }

    private static List<SourceError> Sorted(List<SourceError> errors) => [.. errors.DistinctBy(error => error.Line).OrderBy(error => error.Line)];
}
