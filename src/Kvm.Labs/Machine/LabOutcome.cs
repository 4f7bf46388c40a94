using System.Buffers.Binary;
using Kvm.Labs.Assembling;
using Kvm.Vmm.Bare;
using Kvm.X86.Paging;
using Kvm.X86.State;
using Kvm.X86.Translate;

namespace Kvm.Labs.Machine;

/// <summary>How a program's run ended.</summary>
internal enum LabEnd
{
    /// <summary>The program wrote to the exit port.</summary>
    Exit,

    /// <summary>HLT, and nothing could wake it.</summary>
    Halt,

    /// <summary>A triple fault.</summary>
    TripleFault,

    /// <summary>The time was up.</summary>
    Timeout,

    /// <summary>Ctrl-C.</summary>
    Interrupted,

    /// <summary>The engine could not go on.</summary>
    Failed,

    /// <summary>It has not ended: seen between two steps.</summary>
    Running,
}

/// <summary>Everything a run left, for checks and for people.</summary>
internal sealed record LabOutcome
{
    /// <summary>The program.</summary>
    public required AssembledProgram Program { get; init; }

    /// <summary><c>kvm</c> or <c>soft</c>.</summary>
    public required string Engine { get; init; }

    /// <summary>How it ended.</summary>
    public required LabEnd End { get; init; }

    /// <summary>The value written to the exit port.</summary>
    public uint? EndValue { get; init; }

    /// <summary>What was printed.</summary>
    public required string Console { get; init; }

    /// <summary>The exits, oldest first.</summary>
    public required IReadOnlyList<BareExit> Exits { get; init; }

    /// <summary>Exits that were only counted.</summary>
    public long ExitsDropped { get; init; }

    /// <summary>What was said about the run besides its exits.</summary>
    public required IReadOnlyList<string> Notes { get; init; }

    /// <summary>Each processor's registers.</summary>
    public required IReadOnlyList<ArchitecturalState> Processors { get; init; }

    /// <summary>A copy of memory.</summary>
    public required byte[] Memory { get; init; }

    /// <summary>Instructions completed for KVM, by mnemonic.</summary>
    public required IReadOnlyDictionary<string, long> Completions { get; init; }

    /// <summary>Counts of shadow paging, or null.</summary>
    public ShadowStatistics? Shadow { get; init; }

    /// <summary>Blocks of translated code.</summary>
    public IReadOnlyList<TranslatedCode> Translations { get; init; } = [];

    /// <summary>Retired instructions; null on KVM, which does not count them.</summary>
    public ulong? Instructions { get; init; }

    /// <summary>The first processor.</summary>
    public ArchitecturalState Cpu => Processors[0];

    /// <summary>A label's address; null if the source has no such label.</summary>
    public ulong? Label(string name) => Program.Symbols.TryGetValue(name, out long value) ? (ulong)value : null;

    /// <summary>An integer of 1, 2, 4 or 8 bytes in memory; null outside of it.</summary>
    public ulong? Read(ulong address, int size)
    {
        if (address > (ulong)(Memory.Length - 8))
            return null;
        ulong value = BinaryPrimitives.ReadUInt64LittleEndian(Memory.AsSpan((int)address));
        return size == 8 ? value : value & ((1UL << (size * 8)) - 1);
    }

    /// <summary>The exits of one kind at one address.</summary>
    public IEnumerable<BareExit> ExitsOf(BareExitKind kind, ulong? address = null) => Exits.Where(exit => exit.Kind == kind && (address is null || exit.Address == address));
}
