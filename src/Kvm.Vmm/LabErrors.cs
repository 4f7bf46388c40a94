namespace Kvm.Vmm;

/// <summary>The errors of labs: KVM0040–KVM0049.</summary>
public static class LabErrors
{
    /// <summary>A number or name that is no lab's.</summary>
    public static readonly ErrorInfo NoSuchLab = new("KVM0040", "there is no such lab",
        "A lab is named by its number or its name.",
        "See them: kvmsharp lab list")
    { ExitCode = ExitCode.Usage };

    /// <summary>A source that is no program.</summary>
    public static readonly ErrorInfo BadSource = new("KVM0041", "the lab's source has mistakes",
        "A line is not of the assembler's language, a name is nowhere defined, or the program is too large. The place is file:line:column.",
        "Mend the place named; the language is in docs/labs/README.md.")
    { ExitCode = ExitCode.BadInput };

    /// <summary>A lab that needs the other engine.</summary>
    public static readonly ErrorInfo WrongEngine = new("KVM0042", "the lab does not run on that engine",
        "The lab shows what only the other engine has.",
        "Leave --engine out.")
    { ExitCode = ExitCode.Usage };

    /// <summary>An assembler that is not there, or that failed.</summary>
    public static readonly ErrorInfo NoAssembler = new("KVM0043", "the other assembler cannot be used",
        "nasm, or as and objcopy, are not installed, did not end in time, or made nothing.",
        "Install the package nasm or binutils, or leave --assembler out.")
    { ExitCode = ExitCode.HostCannot };

    /// <summary>A source file that cannot be read.</summary>
    public static readonly ErrorInfo UnreadableSource = new("KVM0044", "the lab's source cannot be read",
        "The path is wrong, the file is not readable by this user, is no regular file of text, or is larger than 1 MiB.",
        "Make a copy to edit: kvmsharp lab new N; then name it with --source FILE.")
    { ExitCode = ExitCode.BadInput };

    /// <summary>All errors of this class in ascending order of id.</summary>
    public static IReadOnlyList<ErrorInfo> All => [NoSuchLab, BadSource, WrongEngine, NoAssembler, UnreadableSource];
}
