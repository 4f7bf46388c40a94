using Kvm.Labs.Machine;
using Kvm.Vmm.Bare;

namespace Kvm.Labs.Catalog;

/// <summary>Labs 1 to 4: exits, and the modes of the processor.</summary>
internal static class ModeLabs
{
    private const ulong Pe = 1, Pg = 1UL << 31, Lma = 1 << 10;
    private const int Cs = 1;

    public static ProgramLab FirstExit { get; } = new(1, "first-exit", "The first exit: OUT in real mode")
    {
        Plans =
        [
            new(new LabSetup(),
            [
                Checks.Prints("Hello\n"),
                Checks.Count(BareExitKind.PortWrite, LabBoard.Console, 6, "six bytes went to port 0x3f8"),
                Checks.Exits(),
                Checks.Register("the processor is still in real mode (CR0.PE is 0)", cpu => (cpu.Cr0 & Pe) == 0, cpu => $"CR0 is 0x{cpu.Cr0:x}"),
            ]),
        ],
    };

    public static ProgramLab RunStructure { get; } = new(2, "run-structure", "The run structure: direction, size, port, count, data")
    {
        Plans =
        [
            new(new LabSetup { Devices = AddQuestions },
            [
                new("port 0x510 is read with one access of four bytes", outcome =>
                    outcome.ExitsOf(BareExitKind.PortRead, 0x510).ToList() is [{ Size: 4, Count: 1 }] ? null : Seen(outcome, BareExitKind.PortRead, 0x510)),
                Checks.Memory("answer", 4, 0x12345678, "the answer is at answer"),
                new("port 0x514 is written with one access of two bytes, value 0x5679", outcome =>
                    outcome.ExitsOf(BareExitKind.PortWrite, 0x514).ToList() is [{ Size: 2, Value: 0x5679 }] ? null : Seen(outcome, BareExitKind.PortWrite, 0x514)),
                Checks.Prints("in one go\n"),
                new("the text is sent by one instruction", outcome =>
                    outcome.ExitsOf(BareExitKind.PortWrite, LabBoard.Console).Select(exit => outcome.Program.At(exit.Rip - 1)?.Line ?? outcome.Program.At(exit.Rip)?.Line).Distinct().Count() <= 2
                        && outcome.Program.Image.AsSpan().IndexOf((ReadOnlySpan<byte>)[0xf3, 0x6e]) >= 0 ? null : "there is no rep outsb, or the text came from several places"),
                Checks.Exits(),
            ]),
        ],
    };

    public static ProgramLab ProtectedMode { get; } = new(3, "protected-mode", "From real mode to protected mode")
    {
        Plans =
        [
            new(new LabSetup(),
            [
                Checks.Register("CR0.PE is 1", cpu => (cpu.Cr0 & Pe) != 0, cpu => $"CR0 is 0x{cpu.Cr0:x}"),
                Checks.Register("CS is 0x08 and 32-bit code to 4 GiB", cpu => cpu.Segments[Cs] is { Selector: 8, IsBig: true, Limit: uint.MaxValue },
                    cpu => $"CS is 0x{cpu.Segments[Cs].Selector:x}, limit 0x{cpu.Segments[Cs].Limit:x}, {(cpu.Segments[Cs].IsBig ? "32" : "16")}-bit"),
                Checks.Register("DS is 0x10", cpu => cpu.Segments[3].Selector == 0x10, cpu => $"DS is 0x{cpu.Segments[3].Selector:x}"),
                Checks.Prints("32 bits\n"),
                Checks.Exits(),
            ]),
        ],
    };

    public static ProgramLab LongMode { get; } = new(4, "long-mode", "64-bit mode and page tables")
    {
        Plans =
        [
            new(new LabSetup { Devices = AddWalker },
            [
                Checks.Register("CR0.PG is 1", cpu => (cpu.Cr0 & Pg) != 0, cpu => $"CR0 is 0x{cpu.Cr0:x}"),
                Checks.Register("EFER.LMA is 1", cpu => (cpu.Efer & Lma) != 0, cpu => $"EFER is 0x{cpu.Efer:x}"),
                new("0x40000000 leads to physical 0x200000", outcome => PageWalk.Of(outcome.Memory, outcome.Cpu, 0x4000_0000).Physical switch
                {
                    0x20_0000 => null,
                    null => "it leads nowhere",
                    var other => $"it leads to 0x{other:x}",
                }),
                Checks.Memory(0x20_0000, 8, 0x4b56_4d53_4841_5250, "the program's value is at physical 0x200000"),
                Checks.Exits(),
            ]),
        ],
    };

    private static string Seen(LabOutcome outcome, BareExitKind kind, ulong port)
    {
        var seen = outcome.ExitsOf(kind, port).Take(3).Select(exit => OutcomeText.What(exit)).ToList();
        return seen.Count == 0 ? "there was no such access" : $"seen: {string.Join("; ", seen)}";
    }

    private static void AddQuestions(LabBoard board)
    {
        board.Ports.Add(0x510, 4, new LabDevice((_, _) => 0x12345678, null));
        board.Ports.Add(0x514, 4, new LabDevice(null, (_, _, _) => { }));
    }

    private static void AddWalker(LabBoard board) => board.Ports.Add(0x520, 4, new LabDevice(null, (_, _, address) => board.Later((engine, vcpu) =>
    {
        var state = new X86.State.ArchitecturalState();
        engine.Save(vcpu, state);
        board.Memory.TryReadOnlySlice(0, LabBoard.MemorySize, out var memory);
        foreach (string line in PageWalk.Of(memory, state, address).Lines)
            board.Note(line);
    })));
}
