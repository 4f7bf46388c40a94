namespace Kvm.Vmm.Explain;

/// <summary>An exit of one vendor's processor: its number in the vendor's table and its name there.</summary>
/// <param name="Number">The first number.</param>
/// <param name="Name">The name; <c>#</c> stands for the index where there are several.</param>
/// <param name="Count">How many numbers it has.</param>
public readonly record struct HardwareExit(ulong Number, string Name, ulong Count = 1)
{
    /// <summary>Name and number as people write them: <c>IO_INSTRUCTION (30)</c>, <c>CR0_READ to CR15_READ (0x0–0xf)</c>.</summary>
    /// <param name="hexadecimal">As AMD's manual numbers exits.</param>
    public string ToText(bool hexadecimal)
    {
        string first = hexadecimal ? ExitTables.SvmNumber(Number) : $"{Number}";
        if (Count == 1)
            return $"{Name} ({first})";
        string last = hexadecimal ? ExitTables.SvmNumber(Number + (Count - 1)) : $"{Number + (Count - 1)}";
        return $"{Name.Replace("#", "0", StringComparison.Ordinal)} to {Name.Replace("#", $"{Count - 1}", StringComparison.Ordinal)} ({first}–{last})";
    }
}

/// <summary>
/// What makes a processor leave the guest, under one roof for both vendors and KVM: the same event has a number in VT-x's table,
/// one in AMD-V's, and, where KVM does not deal with it by itself, an exit reason of KVM's.
/// </summary>
/// <param name="Title">The event in a few words.</param>
/// <param name="Vmx">VT-x's basic exit reasons; none where only AMD-V has the event.</param>
/// <param name="Svm">AMD-V's exit codes; none where only VT-x has it.</param>
/// <param name="Kvm">Numbers of KVM's exit reasons that the VMM may then see; none where KVM deals with it alone.</param>
/// <param name="Meaning">What happened.</param>
/// <param name="Vmm">What KVM does about it, and what is left for the VMM.</param>
public sealed record ExitCause(string Title, IReadOnlyList<HardwareExit> Vmx, IReadOnlyList<HardwareExit> Svm, IReadOnlyList<uint> Kvm, string Meaning, string Vmm)
{
    /// <summary>Where Intel's manual tells of it, besides the table of appendix C: a heading, because numbers change with editions.</summary>
    public string? VmxClause { get; init; }

    /// <summary>Where AMD's manual tells of it, besides the table of appendix C.</summary>
    public string? SvmClause { get; init; }

    /// <summary>The clause for VT-x, or null where it has no such exit.</summary>
    public string? VmxSource => Vmx.Count == 0 ? null : VmxClause is null ? "SDM vol. 3, appendix C" : $"SDM vol. 3, appendix C; “{VmxClause}”";

    /// <summary>The clause for AMD-V, or null where it has no such exit.</summary>
    public string? SvmSource => Svm.Count == 0 ? null : SvmClause is null ? "APM vol. 2, appendix C" : $"APM vol. 2, appendix C and {SvmClause}";

    /// <summary>VT-x's names with their numbers; a dash where there are none.</summary>
    public string VmxText => Vmx.Count == 0 ? "–" : string.Join(", ", Vmx.Select(exit => exit.ToText(false)));

    /// <summary>AMD-V's names with their numbers; a dash where there are none.</summary>
    public string SvmText => Svm.Count == 0 ? "–" : string.Join(", ", Svm.Select(exit => exit.ToText(true)));

    /// <summary>KVM's names with their numbers; a dash where the VMM sees none.</summary>
    public string KvmText => Kvm.Count == 0 ? "–" : string.Join(", ", Kvm.Select(number => $"{ExitTables.KvmName(number)} ({number})"));
}
