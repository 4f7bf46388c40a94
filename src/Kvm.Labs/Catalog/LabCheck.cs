using Kvm.Labs.Machine;

namespace Kvm.Labs.Catalog;

/// <summary>One thing that a solved lab shows.</summary>
/// <param name="Says">What has to be so, in words.</param>
/// <param name="Problem">What is not so in a run's outcome, in words; null if it is.</param>
internal sealed record LabCheck(string Says, Func<LabOutcome, string?> Problem);

/// <summary>One run of a lab's program: on which engine, with which machine, and what is looked at.</summary>
/// <param name="Setup">The machine.</param>
/// <param name="Checks">What a solution shows in this run.</param>
internal sealed record LabPlan(LabSetup Setup, IReadOnlyList<LabCheck> Checks)
{
    /// <summary>The engine this run needs, or null where either will do.</summary>
    public string? Engine { get; init; }

    /// <summary>What this run is for, where a lab has several.</summary>
    public string Purpose { get; init; } = "";
}
