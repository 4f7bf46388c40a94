using Kvm.Labs.Machine;
using Kvm.Vmm.Bare;
using Kvm.X86.State;

namespace Kvm.Labs.Catalog;

/// <summary>Labs 5 and 11: memory that is a device, shadow and nested page tables, dirty pages, a snapshot.</summary>
internal static class MemoryLabs
{
    private const ulong Pattern = 0x1122_3344_5566_7788;
    private const ulong Register = LabBoard.Registers + 8;

    private static readonly LabCheck[] _frames =
    [
        Checks.Memory(0x20000, 8, 0x1111, "the first value went to frame A (0x20000)"),
        Checks.Memory(0x21000, 8, 0x2222, "the second value went to frame B (0x21000)"),
    ];

    public static ProgramLab Memory { get; } = new(5, "memory", "MMIO, shadow paging and nested paging")
    {
        Plans =
        [
            new(new LabSetup(),
            [
                new("one write of eight bytes at 0xd0000008 comes to the VMM", outcome => Is(outcome, BareExitKind.MmioWrite)),
                new("one read of eight bytes there does, too", outcome => Is(outcome, BareExitKind.MmioRead)),
                Checks.Memory("seen", 8, Pattern, "what was read back is at seen"),
                .. _frames,
                Checks.Exits(),
            ]),
            new(new LabSetup { Shadow = true },
            [
                .. _frames,
                new("the guest's write to its page table was noticed", outcome => outcome.Shadow is { WriteProtectHits: > 0 } ? null : "no write to a guarded table was seen"),
                new("the window was filled twice from the guest's tables", outcome => outcome.Shadow is { Dropped: > 0 } ? null : "no entry of the shadow was dropped: the old translation still serves"),
            ])
            { Engine = "soft", Purpose = "shadow paging" },
        ],
    };

    public static ProgramLab DirtyPages { get; } = new(11, "dirty-pages", "Dirty pages and a tiny snapshot")
    {
        Plans =
        [
            new(new LabSetup { TrackWrites = true, Devices = AddKeeper },
            [
                Round(0, [256, 259]),
                Round(1, [257, 258]),
                Checks.Memory(0x100000, 4, 10, "what was done after the snapshot is undone: 10 is at 0x100000"),
                new("the machine went back once", outcome => outcome.Notes.Count(note => note.StartsWith("back to the snapshot", StringComparison.Ordinal)) is var times && times == 1 ? null : $"it went back {times} times"),
                Checks.Exits(),
            ]),
        ],
    };

    private static LabCheck Round(int round, int[] pages)
    {
        string expected = Say(round, pages);
        return new($"{expected}", outcome => outcome.Notes.FirstOrDefault(note => note.StartsWith($"round {round}:", StringComparison.Ordinal)) switch
        {
            null => "there was no such round",
            var note when note == expected => null,
            var note => $"seen: {note}",
        });
    }

    private static string Say(int round, IReadOnlyList<int> pages) =>
        $"round {round}: {(pages.Count == 0 ? "no pages were written" : $"written pages {string.Join(", ", pages)}")}";

    private static string? Is(LabOutcome outcome, BareExitKind kind) => outcome.ExitsOf(kind).ToList() switch
    {
        [] => "there was none",
        // A KVM that interprets may cut an access of eight bytes in two.
        [{ Address: Register, Size: 8, Value: Pattern }] => null,
        [{ Address: Register, Size: 4 }, { Address: Register + 4, Size: 4 }] => null,
        [var first, ..] => $"seen: {OutcomeText.What(first)}",
    };

    private static void AddKeeper(LabBoard board)
    {
        int rounds = 0, restores = 0;
        byte[]? memory = null;
        var state = new ArchitecturalState();
        board.Ports.Add(0xe0, 1, new LabDevice(null, (_, _, _) => board.Later((engine, _) =>
        {
            // What the processor itself writes (accessed and dirty bits of tables, descriptors) is below the program.
            var pages = engine.TakeWrittenPages().Where(page => page >= 16).ToList();
            board.Note(Say(rounds++, pages.Count > 100 ? pages[..100] : pages));
        })));
        board.Ports.Add(0xe1, 1, new LabDevice((_, _) => (ulong)restores, (_, _, _) => board.Later((engine, vcpu) =>
        {
            board.Memory.TryReadOnlySlice(0, LabBoard.MemorySize, out var now);
            memory = now.ToArray();
            engine.Save(vcpu, state);
            board.Note($"snapshot at 0x{state.Rip:x}: {LabBoard.MemorySize >> 20} MiB and the registers");
        })));
        board.Ports.Add(0xe2, 1, new LabDevice(null, (_, _, _) => board.Later((engine, vcpu) =>
        {
            if (memory is null)
            {
                board.Note("there is no snapshot to go back to");
                return;
            }

            board.Memory.TryWrite(0, memory);
            board.Memory.NotifyWritten(0, LabBoard.MemorySize);
            engine.Restore(vcpu, state);
            restores++;
            board.Note($"back to the snapshot: the processor goes on at 0x{state.Rip:x}");
        })));
    }
}
