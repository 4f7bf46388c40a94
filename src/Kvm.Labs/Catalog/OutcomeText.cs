using System.Globalization;
using Kvm.Labs.Machine;
using Kvm.Vmm.Bare;
using Kvm.Vmm.Configuration;
using Kvm.X86.State;

namespace Kvm.Labs.Catalog;

/// <summary>A run's outcome in words.</summary>
internal static class OutcomeText
{
    private static readonly string[] _general = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
    private static readonly string[] _segments = ["es", "cs", "ss", "ds", "fs", "gs"];

    /// <summary>The outcome as lines of a report.</summary>
    public static RunLines Of(LabOutcome outcome, string purpose) => new()
    {
        Purpose = purpose,
        Engine = outcome.Engine,
        End = Checks.Describe(outcome),
        TimedOut = outcome.End == LabEnd.Timeout,
        Interrupted = outcome.End == LabEnd.Interrupted,
        Console = outcome.Console,
        Exits = [.. outcome.Exits.Select((exit, index) => Line(outcome, exit, index))],
        ExitsDropped = outcome.ExitsDropped,
        Notes = [.. outcome.Notes, .. Facts(outcome)],
        Registers = Registers(outcome.Cpu),
    };

    /// <summary>Registers by name, in the order people look for them.</summary>
    public static IReadOnlyList<(string Name, ulong Value)> Registers(ArchitecturalState state) =>
    [
        ("rip", state.Rip), ("rflags", state.Rflags),
        .. _general.Select((name, index) => (name, state.Gpr[index])),
        ("cr0", state.Cr0), ("cr2", state.Cr2), ("cr3", state.Cr3), ("cr4", state.Cr4), ("efer", state.Efer),
        .. _segments.Select((name, index) => (name, (ulong)state.Segments[index].Selector)),
    ];

    /// <summary>One exit in words.</summary>
    public static ExitLine Line(LabOutcome outcome, in BareExit exit, int index) => new(index + 1, exit.Vcpu, Reason(exit.Kind), LineOf(outcome, exit), What(exit));

    /// <summary>What an exit was, in words.</summary>
    public static string What(in BareExit exit) => exit.Kind switch
    {
        BareExitKind.PortWrite => $"out 0x{exit.Address:x}, {Bytes(exit)}{Character(exit)}",
        BareExitKind.PortRead => $"in 0x{exit.Address:x} gives {Bytes(exit)}",
        BareExitKind.MmioWrite => $"write of {Bytes(exit)} at 0x{exit.Address:x}, where no memory is",
        BareExitKind.MmioRead => $"read at 0x{exit.Address:x}, where no memory is, gives {Bytes(exit)}",
        BareExitKind.MsrWrite => $"wrmsr 0x{exit.Address:x} = 0x{exit.Value:x}{Refused(exit)}",
        BareExitKind.MsrRead => $"rdmsr 0x{exit.Address:x} gives 0x{exit.Value:x}{Refused(exit)}",
        BareExitKind.Halt => "hlt",
        BareExitKind.Completed => $"KVM gave up on '{exit.Text}'; completed here",
        BareExitKind.TripleFault => "triple fault: the processor shut down",
        _ => exit.Text ?? "the engine could not go on",
    };

    /// <summary>KVM's name for the reason (Linux, include/uapi/linux/kvm.h).</summary>
    public static string Reason(BareExitKind kind) => kind switch
    {
        BareExitKind.PortRead or BareExitKind.PortWrite => "KVM_EXIT_IO",
        BareExitKind.MmioRead or BareExitKind.MmioWrite => "KVM_EXIT_MMIO",
        BareExitKind.MsrRead => "KVM_EXIT_X86_RDMSR",
        BareExitKind.MsrWrite => "KVM_EXIT_X86_WRMSR",
        BareExitKind.Halt => "KVM_EXIT_HLT",
        BareExitKind.TripleFault => "KVM_EXIT_SHUTDOWN",
        BareExitKind.Completed => "KVM_EXIT_INTERNAL_ERROR",
        _ => "failed",
    };

    private static string Refused(in BareExit exit) => exit.Text is { } text ? $" ({text})" : "";

    private static string Bytes(in BareExit exit)
    {
        string value = string.Create(CultureInfo.InvariantCulture, $"0x{exit.Value:x}");
        string many = exit.Count > 1 ? $" and {exit.Count - 1} more" : "";
        return exit.Size == 1 ? $"{value}{many} (1 byte{(exit.Count > 1 ? " each" : "")})" : $"{value}{many} ({exit.Size} bytes{(exit.Count > 1 ? " each" : "")})";
    }

    private static string Character(in BareExit exit) =>
        exit.Size == 1 && exit.Value is >= 0x20 and < 0x7f ? $" '{(char)exit.Value}'" : "";

    /// <summary>
    /// The line of the instruction that came out. The software engine shows RIP at it; KVM too, but behind it where an emulated write is
    /// over for the processor before anybody has made it.
    /// </summary>
    private static int LineOf(LabOutcome outcome, in BareExit exit)
    {
        var at = outcome.Program.At(exit.Rip);
        bool isAt = exit.Kind switch
        {
            BareExitKind.Completed or BareExitKind.TripleFault or BareExitKind.MmioRead => true,
            BareExitKind.MmioWrite => outcome.Engine == "soft",
            _ => at is { } listed && listed.Address == exit.Rip && Accesses(outcome, listed),
        };
        return (isAt && at is { Bits: > 0 } ? at : outcome.Program.At(exit.Rip - 1) ?? at)?.Line ?? 0;
    }

    /// <summary>True for instructions that come out: ports, halts, model-specific registers.</summary>
    private static bool Accesses(LabOutcome outcome, Assembling.ListedBytes listed)
    {
        var bytes = outcome.Program.Image.AsSpan((int)(listed.Address - outcome.Program.Origin), listed.Length);
        while (bytes.Length > 1 && bytes[0] is 0xf2 or 0xf3 or 0x66 or 0x67)
            bytes = bytes[1..];
        return bytes[0] is (>= 0x6c and <= 0x6f) or (>= 0xe4 and <= 0xe7) or (>= 0xec and <= 0xef) or 0xf4 || (bytes.Length > 1 && bytes[0] == 0x0f && bytes[1] is 0x30 or 0x32);
    }

    private static IEnumerable<string> Facts(LabOutcome outcome)
    {
        foreach (var (mnemonic, count) in outcome.Completions)
            yield return $"completed for KVM: {mnemonic}, {count} times";
        if (outcome.Shadow is { } shadow)
            yield return $"shadow paging: {shadow.Fills} fills, {shadow.Hits} hits, {shadow.WriteProtectHits} writes to guarded tables, {shadow.Dropped} entries dropped";
        if (outcome.Translations.Count > 0)
        {
            yield return $"translated to host code: {outcome.Translations.Count} blocks";
            foreach (string line in TranslationListing.Of(outcome.Translations[0], outcome.Program.At(outcome.Translations[0].Rip)?.Bits ?? 64))
                yield return line;
        }

        if (outcome.Instructions is { } instructions)
            yield return $"{instructions:#,0} instructions retired";
        if (outcome.ExitsDropped > 0)
            yield return $"{outcome.ExitsDropped:#,0} exits more, which were only counted";
        if (outcome.Console.Length > 0 && VisibleText.Escape(outcome.Console).Length > outcome.Console.Length + 2)
            yield return "the console has control characters, which are shown escaped";
    }
}
