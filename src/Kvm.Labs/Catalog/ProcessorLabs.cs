using System.Buffers.Binary;
using Kvm.Labs.Machine;
using Kvm.Vmm.Bare;
using Kvm.X86.Engine;

namespace Kvm.Labs.Catalog;

/// <summary>Labs 6 to 9: what a processor says of itself, interrupts, faults, a second processor.</summary>
internal static class ProcessorLabs
{
    private const uint Secret = 0x4b56_0000;
    private const ulong SecretValue = 0x1234_5678_9abc_def0;
    private const uint Cmpxchg16b = 1 << 13;
    private static readonly CpuidResult _all = new(uint.MaxValue, uint.MaxValue, uint.MaxValue, uint.MaxValue);

    public static ProgramLab CpuidAndMsrs { get; } = new(6, "cpuid-msr", "CPUID and MSR exits, features masked")
    {
        Plans =
        [
            new(new LabSetup
            {
                MsrWindow = (Secret, 16),
                Cpuid =
                [
                    new(0x4000_0000, 0, default, new CpuidResult(0x4000_0000, Word("Lab-"), Word("Virt"), Word("ual!"))),
                    new(1, 0, _all with { Ecx = ~Cmpxchg16b }, new CpuidResult(0, 0, 1u << 31, 0)),
                ],
                Devices = AddSecret,
            },
            [
                Checks.Prints("Lab-Virtual!"),
                Checks.Memory("has_cx16", 1, 0, "CMPXCHG16B is masked: 0 is at has_cx16"),
                new("the secret register was read: an exit RDMSR 0x4b560000", outcome => outcome.ExitsOf(BareExitKind.MsrRead, Secret).Any() ? null : "it was not"),
                new("its inverse was written: an exit WRMSR 0x4b560001", outcome => outcome.ExitsOf(BareExitKind.MsrWrite, Secret + 1).ToList() switch
                {
                    [] => "nothing was written",
                    [.., var last] when last.Value == ~SecretValue => null,
                    [.., var last] => $"0x{last.Value:x} was written",
                }),
                Checks.Exits(),
            ]),
        ],
    };

    public static ProgramLab Interrupts { get; } = new(7, "interrupts", "HLT, interrupts, the APIC timer, injection")
    {
        Plans =
        [
            new(new LabSetup { Chips = true, Devices = AddInjector },
            [
                new("the timer's handler ran at least three times", outcome => AtLeast(outcome, "ticks", 3)),
                Checks.Memory("device", 4, 1, "the injected interrupt was handled once"),
                Checks.Exits(),
            ]),
        ],
    };

    public static ProgramLab Faults { get; } = new(8, "faults", "Exceptions, double and triple faults")
    {
        Plans =
        [
            new(new LabSetup(),
            [
                Checks.Prints("UD"),
                Checks.Ends(LabEnd.TripleFault, "the program ends in a triple fault"),
            ]),
        ],
    };

    public static ProgramLab Multiprocessing { get; } = new(9, "smp", "A second processor: INIT and SIPI")
    {
        Plans =
        [
            new(new LabSetup { Chips = true, Cpus = 2 },
            [
                Checks.Memory("started", 4, 1, "the second processor reported once"),
                Checks.Memory("id", 4, 1, "its APIC id is 1"),
                Checks.Exits(),
            ]),
        ],
    };

    private static string? AtLeast(LabOutcome outcome, string label, ulong least) => outcome.Label(label) is { } address && outcome.Read(address, 4) is var value
        ? value >= least ? null : $"{label} is {value}"
        : $"the source has no label {label}";

    private static void AddSecret(LabBoard board)
    {
        ulong taken = 0;
        board.ReadMsr = index => (index - Secret) switch
        {
            0 => SecretValue,
            1 => taken,
            _ => null,
        };
        board.WriteMsr = (index, value) =>
        {
            if (index != Secret + 1)
                return false;
            taken = value;
            return true;
        };
    }

    private static void AddInjector(LabBoard board) => board.Ports.Add(0x530, 1, new LabDevice(null, (_, _, vector) => board.Later((engine, _) =>
    {
        if (vector < 32)
        {
            board.Note($"vector {vector} is an exception's and not injected as an interrupt");
            return;
        }

        board.Note($"interrupt injected, vector 0x{vector:x}");
        engine.Interrupt((byte)vector);
    })));

    private static uint Word(string text) => BinaryPrimitives.ReadUInt32LittleEndian(System.Text.Encoding.ASCII.GetBytes(text));
}
