namespace Kvm.Labs.Catalog;

/// <summary>An exit in a report.</summary>
/// <param name="Number">From 1.</param>
/// <param name="Vcpu">Which vCPU.</param>
/// <param name="Reason">KVM's name of the reason.</param>
/// <param name="Line">Line of the source, or 0.</param>
/// <param name="What">What happened, in words.</param>
public readonly record struct ExitLine(int Number, int Vcpu, string Reason, int Line, string What);

/// <summary>A run in a report.</summary>
public sealed record RunLines
{
    /// <summary>What the run is for, where a lab has several; else empty.</summary>
    public required string Purpose { get; init; }

    /// <summary><c>kvm</c> or <c>soft</c>.</summary>
    public required string Engine { get; init; }

    /// <summary>How it ended, behind "the program".</summary>
    public required string End { get; init; }

    /// <summary>True if the time was up.</summary>
    public bool TimedOut { get; init; }

    /// <summary>True if somebody cancelled.</summary>
    public bool Interrupted { get; init; }

    /// <summary>What was printed.</summary>
    public required string Console { get; init; }

    /// <summary>The exits, oldest first.</summary>
    public required IReadOnlyList<ExitLine> Exits { get; init; }

    /// <summary>Exits that were only counted.</summary>
    public long ExitsDropped { get; init; }

    /// <summary>What else there is to say.</summary>
    public required IReadOnlyList<string> Notes { get; init; }

    /// <summary>Registers of the first vCPU by name.</summary>
    public required IReadOnlyList<(string Name, ulong Value)> Registers { get; init; }
}

/// <summary>What a lab's runs showed.</summary>
/// <param name="Lab">The lab.</param>
/// <param name="Runs">The runs; none of a lab that runs nothing.</param>
/// <param name="Text">What there is to see besides, or empty.</param>
public sealed record LabReport(Lab Lab, IReadOnlyList<RunLines> Runs, string Text);

/// <summary>A check and what came of it.</summary>
/// <param name="Says">What has to be so.</param>
/// <param name="Problem">What is not so; null if it is.</param>
public readonly record struct CheckLine(string Says, string? Problem);

/// <summary>What the checks of a lab said.</summary>
/// <param name="Lab">The lab.</param>
/// <param name="Engines">Engines that ran it, in the order of its runs; none of a lab that runs nothing.</param>
/// <param name="Lines">Each check.</param>
/// <param name="Elapsed">Time taken.</param>
/// <param name="Interrupted">True if somebody cancelled.</param>
public sealed record CheckReport(Lab Lab, IReadOnlyList<string> Engines, IReadOnlyList<CheckLine> Lines, TimeSpan Elapsed, bool Interrupted)
{
    /// <summary>True if every check holds.</summary>
    public bool Passed => !Interrupted && Lines.All(line => line.Problem is null);
}
