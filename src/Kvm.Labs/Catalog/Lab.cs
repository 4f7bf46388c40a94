namespace Kvm.Labs.Catalog;

/// <summary>One lab: its number, its texts, and how a source of it is tried.</summary>
public abstract class Lab
{
    private protected Lab(int number, string name, string title)
    {
        (Number, Name, Title) = (number, name, title);
    }

    /// <summary>Its number, from 1.</summary>
    public int Number { get; }

    /// <summary>Its name in file names: lower case and dashes.</summary>
    public string Name { get; }

    /// <summary>Its title.</summary>
    public string Title { get; }

    /// <summary>Name of its files without an ending: <c>01-first-exit</c>.</summary>
    public string FileName => $"{Number:00}-{Name}";

    /// <summary>Ending of its source: <c>asm</c> for programs.</summary>
    public abstract string Extension { get; }

    /// <summary>The text: goal, background, what to look for, exercises (Markdown).</summary>
    public string Text => Resources.Read($"{FileName}.md");

    /// <summary>The source a student begins with.</summary>
    public string Source => Resources.Read($"{FileName}.{Extension}");

    /// <summary>A source that passes.</summary>
    internal string Solution => Resources.Read($"{FileName}.solution.{Extension}");

    /// <summary>Tries a source.</summary>
    /// <param name="source">The text of the source.</param>
    /// <param name="options">Engine and time.</param>
    /// <param name="cancel">Ends a run early.</param>
    /// <exception cref="Kvm.Vmm.VmmException">The engine asked for is not there, or the source has mistakes (KVM0041).</exception>
    public abstract LabReport Run(string source, LabOptions options, CancellationToken cancel = default);

    /// <summary>Tries a source and looks at what a solution shows.</summary>
    /// <inheritdoc cref="Run"/>
    public abstract CheckReport Check(string source, LabOptions options, CancellationToken cancel = default);

    /// <summary>Checks the solution that comes with the lab.</summary>
    /// <inheritdoc cref="Run"/>
    public CheckReport CheckSolution(LabOptions options, CancellationToken cancel = default) => Check(Solution, options, cancel);
}

/// <summary>How labs are run.</summary>
public sealed record LabOptions
{
    /// <summary>The engine: <c>kvm</c>, <c>soft</c>, or null for KVM where it opens and the software engine elsewhere.</summary>
    public string? Engine { get; init; }

    /// <summary>Time a run may take.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Name of the source's file, for messages.</summary>
    public string FileName { get; init; } = "source";

    /// <summary>Turns a source into bytes: this project's assembler, or another one.</summary>
    public Func<string, Assembling.AssemblyResult> Assembler { get; init; } = Assembling.Assembler.Assemble;
}
