namespace Kvm.Vmm;

/// <summary>
/// The errors of usage, KVM0001–KVM0019 (exit code 2 unless said), and of configuration files, KVM0020–KVM0039 (exit code 3).
/// </summary>
public static class UsageErrors
{
    /// <summary>A word on the command line is no verb, option or argument.</summary>
    public static readonly ErrorInfo Unknown = Usage("KVM0001", "the command line was not understood",
        "A verb or an option is misspelt, or one argument too many was given.",
        "See what there is: kvmsharp --help, kvmsharp run --help");

    /// <summary>An option has no value, or was given more than once.</summary>
    public static readonly ErrorInfo Incomplete = Usage("KVM0002", "an option is incomplete or was given twice",
        "The option needs exactly one value, after a space or an equals sign.",
        "Give it once with one value: --memory 512M; a value that starts with a dash needs the form --append=-x");

    /// <summary>An option's value does not have the option's form.</summary>
    public static readonly ErrorInfo BadValue = Usage("KVM0003", "an option's value was not understood",
        "Sizes are a whole number and K, M, G or T (256M); durations a whole number and ms, s, m or h (10s); other options list their values in --help.",
        "See the option's form: kvmsharp run --help");

    /// <summary>No kernel was named.</summary>
    public static readonly ErrorInfo NoKernel = Usage("KVM0004", "no kernel image was named",
        "A guest needs a kernel: as the argument of run, or as boot-source in a configuration file.",
        "Name one: kvmsharp run vmlinuz --initrd initrd.img");

    /// <summary>Options that contradict one another.</summary>
    public static readonly ErrorInfo Conflict = Usage("KVM0005", "two options exclude each other",
        "One of them makes the other one meaningless.",
        "Leave one of them out.");

    /// <summary>The machine as described cannot be built.</summary>
    public static readonly ErrorInfo InvalidMachine = Usage("KVM0006", "no machine can be built like this",
        "A size, a count or a text of the machine lies outside its range.",
        "Change the value; the ranges are in: kvmsharp run --help");

    /// <summary>A file that the run writes cannot be written.</summary>
    public static readonly ErrorInfo CannotWrite = new("KVM0007", "a file cannot be written",
        "The folder does not exist or is not writable by this user, the path names a folder, or the disk is full.",
        "Check the folder and its permissions: ls -ld FOLDER; df FOLDER")
    { ExitCode = ExitCode.HostFailure };

    /// <summary>Nothing to explain.</summary>
    public static readonly ErrorInfo NothingKnown = Usage("KVM0008", "there is nothing to explain by that name",
        "The word is neither a name nor a number in the tables of exits, registers, ports and errors.",
        "See the tables and what is in them: kvmsharp explain, kvmsharp explain vmx");

    /// <summary>The page of <c>--web</c> cannot be served.</summary>
    public static readonly ErrorInfo CannotServe = new("KVM0009", "the page cannot be served",
        "Another program listens on that port of 127.0.0.1, or it is below 1024 and not allowed to this user.",
        "Leave the port out, and a free one is taken: --web")
    { ExitCode = ExitCode.HostFailure };

    /// <summary>A fault of the program itself.</summary>
    public static readonly ErrorInfo Unexpected = new("KVM0019", "kvmsharp failed in a way it should not",
        "A fault of the program, or a failure of the host that the program does not know.",
        "Run it again with --verbose, which prints where it failed, and report that.")
    { ExitCode = ExitCode.HostFailure };

    /// <summary>The configuration file cannot be opened or read.</summary>
    public static readonly ErrorInfo ConfigUnreadable = File("KVM0020", "cannot read the configuration file",
        "The path is wrong, the file is not readable by this user, or it is not a regular file.",
        "Check the path and its permissions: ls -l FILE");

    /// <summary>The configuration file is not JSON.</summary>
    public static readonly ErrorInfo ConfigNotJson = File("KVM0021", "the configuration file is not JSON",
        "A quotation mark, comma or brace is missing, or the text is not UTF-8. Comments and trailing commas are not JSON.",
        "Mend the file at the place named; python3 -m json.tool FILE checks it.");

    /// <summary>A member that does not exist.</summary>
    public static readonly ErrorInfo ConfigUnknownMember = File("KVM0022", "the configuration file has an unknown member",
        "The name is misspelt, or stands in the wrong object.",
        "See a complete file: kvmsharp run KERNEL --dry-run");

    /// <summary>A member that has a wrong type or a value outside its range.</summary>
    public static readonly ErrorInfo ConfigBadValue = File("KVM0023", "the configuration file has a wrong value",
        "A member has another type than its own, a value outside its range, is missing, or stands there twice.",
        "See a complete file: kvmsharp run KERNEL --dry-run");

    /// <summary>A member that exists in Firecracker and not here.</summary>
    public static readonly ErrorInfo ConfigUnsupported = File("KVM0024", "the configuration file asks for what is not supported yet",
        "The member is one of Firecracker's that this version does not have. Empty or null it is accepted.",
        "Remove the member, or set it to null.");

    /// <summary>The configuration file is larger or deeper than any real one.</summary>
    public static readonly ErrorInfo ConfigTooLarge = File("KVM0025", "the configuration file is too large",
        "A configuration has at most 1 MiB and 16 levels.",
        "Check that this is the file meant: ls -l FILE");

    /// <summary>A file that should hold translations does not.</summary>
    public static readonly ErrorInfo NoTranslations = File("KVM0026", "no translations could be read",
        "The file is missing, too large, or was not written by run --translations; or no translated block of it holds the address.",
        "Write one: kvmsharp run KERNEL --engine soft --translations FILE");

    /// <summary>A file of jobs that does not hold any, or cannot be read.</summary>
    public static readonly ErrorInfo BadJobs = File("KVM0027", "the jobs cannot be simulated",
        "The file is missing or is not comma-separated values with a header, a field of the line and column named is outside its range, or together the jobs would never end.",
        "Mend the place named; the columns are in docs/scheduling.md and in: kvmsharp sched --help");

    /// <summary>A file that should hold a trace does not.</summary>
    public static readonly ErrorInfo BadTrace = File("KVM0028", "the trace cannot be replayed",
        "The file is missing, was not written by trace --format binary, or is damaged at the offset named; what precedes that was shown.",
        "Record one: kvmsharp trace KERNEL --format binary --output FILE");

    /// <summary>A file that should hold symbols does not.</summary>
    public static readonly ErrorInfo NoSymbols = File("KVM0029", "no symbols could be read",
        "The file is missing, too large, or neither an ELF file with a symbol table nor a System.map.",
        "Name a vmlinux that was not stripped, or a System.map: --symbols FILE");

    /// <summary>All errors of this class in ascending order of id.</summary>
    public static IReadOnlyList<ErrorInfo> All =>
    [
        Unknown, Incomplete, BadValue, NoKernel, Conflict, InvalidMachine, CannotWrite, NothingKnown, CannotServe, Unexpected,
        ConfigUnreadable, ConfigNotJson, ConfigUnknownMember, ConfigBadValue, ConfigUnsupported, ConfigTooLarge, NoTranslations, BadJobs, BadTrace, NoSymbols,
    ];

    private static ErrorInfo Usage(string id, string summary, string cause, string fix) =>
        new(id, summary, cause, fix) { ExitCode = ExitCode.Usage };

    private static ErrorInfo File(string id, string summary, string cause, string fix) =>
        new(id, summary, cause, fix) { ExitCode = ExitCode.BadInput };
}
