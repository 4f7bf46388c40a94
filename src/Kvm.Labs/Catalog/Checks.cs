using Kvm.Labs.Machine;
using Kvm.Vmm.Bare;
using Kvm.Vmm.Configuration;

namespace Kvm.Labs.Catalog;

/// <summary>Checks that several labs share.</summary>
internal static class Checks
{
    /// <summary>The program wrote this value to the exit port.</summary>
    public static LabCheck Exits(uint value = 0) => new($"the program ends itself by writing {value} to port 0xf4", outcome =>
        outcome.End != LabEnd.Exit ? $"it {Describe(outcome)}" : outcome.EndValue != value ? $"it wrote {outcome.EndValue}" : null);

    /// <summary>The run ended so.</summary>
    public static LabCheck Ends(LabEnd end, string says) => new(says, outcome => outcome.End == end ? null : $"it {Describe(outcome)}");

    /// <summary>This was printed, and nothing else.</summary>
    public static LabCheck Prints(string text) => new($"the console shows {VisibleText.Quote(text)}", outcome =>
        outcome.Console == text ? null : outcome.Console.Length == 0 ? "it shows nothing" : $"it shows {VisibleText.Quote(outcome.Console)}");

    /// <summary>So many exits of a kind.</summary>
    public static LabCheck Count(BareExitKind kind, ulong address, int count, string says) => new(says, outcome =>
    {
        int seen = outcome.ExitsOf(kind, address).Sum(exit => exit.Count);
        return seen == count ? null : $"{seen} were seen";
    });

    /// <summary>An integer in memory at a label.</summary>
    public static LabCheck Memory(string label, int size, ulong value, string says) => new(says, outcome =>
        outcome.Label(label) is not { } address ? $"the source has no label {label}" : Value(outcome, address, size, value));

    /// <summary>An integer in memory at an address.</summary>
    public static LabCheck Memory(ulong address, int size, ulong value, string says) => new(says, outcome => Value(outcome, address, size, value));

    /// <summary>A bit or field of the first processor.</summary>
    public static LabCheck Register(string says, Func<X86.State.ArchitecturalState, bool> holds, Func<X86.State.ArchitecturalState, string> shown) =>
        new(says, outcome => holds(outcome.Cpu) ? null : shown(outcome.Cpu));

    /// <summary>How a run ended, behind "it".</summary>
    public static string Describe(LabOutcome outcome) => outcome.End switch
    {
        LabEnd.Exit => $"ended with {outcome.EndValue}",
        LabEnd.Halt => $"halted at 0x{outcome.Cpu.Rip:x} with nothing to wake it",
        LabEnd.TripleFault => $"triple-faulted near 0x{outcome.Cpu.Rip:x}{Place(outcome)}",
        LabEnd.Timeout => $"had not ended when the time was up (at 0x{outcome.Cpu.Rip:x}{Place(outcome)})",
        LabEnd.Interrupted => "was interrupted",
        LabEnd.Failed => outcome.Exits.LastOrDefault(exit => exit.Kind == BareExitKind.Failed).Text ?? "could not go on",
        _ => "has not ended yet",
    };

    private static string Place(LabOutcome outcome) => outcome.Program.At(outcome.Cpu.Rip) is { } listed ? $", line {listed.Line}" : "";

    private static string? Value(LabOutcome outcome, ulong address, int size, ulong value) => outcome.Read(address, size) switch
    {
        null => $"0x{address:x} is outside memory",
        var now when now == value => null,
        var now => $"0x{now:x} is there",
    };
}
