namespace Kvm.Vmm.Explain;

/// <summary>The tables of numbers that <c>kvmsharp explain</c> knows.</summary>
public enum TopicTable
{
    /// <summary>Basic exit reasons of VT-x (SDM vol. 3, appendix C).</summary>
    VmxExit,

    /// <summary>Exit codes of AMD-V (APM vol. 2, appendix C).</summary>
    SvmExit,

    /// <summary>Why KVM_RUN returned: <c>KVM_EXIT_</c> in linux/kvm.h.</summary>
    KvmExit,

    /// <summary>Model-specific registers.</summary>
    Msr,

    /// <summary>Leaves of CPUID.</summary>
    CpuidLeaf,

    /// <summary>Ports of a PC.</summary>
    Port,

    /// <summary>Registers of virtio transports, by their offset.</summary>
    VirtioRegister,

    /// <summary>Errors of this program.</summary>
    Error,
}

/// <summary>One entry of a table: a number that has a name, and what there is to say about it.</summary>
/// <param name="Table">Which table.</param>
/// <param name="Number">The number, the first of <see cref="Count"/>.</param>
/// <param name="Name">Its name; where one entry stands for several numbers, <c>#</c> in it is their index.</param>
/// <param name="Meaning">What it is, in a sentence or two.</param>
public sealed record Topic(TopicTable Table, ulong Number, string Name, string Meaning)
{
    /// <summary>How many numbers from <see cref="Number"/> on the entry stands for.</summary>
    public ulong Count { get; init; } = 1;

    /// <summary>What a VMM does about it; null where there is nothing to do.</summary>
    public string? Vmm { get; init; }

    /// <summary>Where the manual or specification tells of it.</summary>
    public string? Clause { get; init; }

    /// <summary>For an exit: what is behind it, and its names in the other tables.</summary>
    public ExitCause? Cause { get; init; }

    /// <summary>The name of one of the entry's numbers.</summary>
    /// <param name="number">From <see cref="Number"/>, fewer than <see cref="Count"/> on.</param>
    public string NameOf(ulong number) => Name.Replace("#", $"{number - Number}", StringComparison.Ordinal);

    /// <summary>True if the entry stands for the number.</summary>
    /// <param name="number">Any number.</param>
    public bool Has(ulong number) => number >= Number && number - Number < Count;
}
