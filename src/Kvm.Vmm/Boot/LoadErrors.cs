namespace Kvm.Vmm.Boot;

/// <summary>The errors of kernel and initrd files, KVM0100–KVM0149. Each ends the program with exit code 3.</summary>
public static class LoadErrors
{
    /// <summary>The file cannot be opened or read.</summary>
    public static readonly ErrorInfo Unreadable = Make("KVM0100", "cannot read the kernel or initrd file",
        "The path is wrong, the file is not readable by this user, or it is not a regular file.",
        "Check the path and its permissions: ls -l FILE");

    /// <summary>The file has no bytes.</summary>
    public static readonly ErrorInfo Empty = Make("KVM0101", "the kernel file is empty",
        "A download or a build stopped before it wrote anything.",
        "Fetch or build the kernel again.");

    /// <summary>The first bytes are of no known format.</summary>
    public static readonly ErrorInfo UnknownFormat = Make("KVM0102", "the kernel file has no known format",
        "The file starts with neither an ELF header nor a Linux boot sector, and holds no Multiboot header.",
        "Give a bzImage (vmlinuz) or an ELF image (vmlinux); for a compressed file unpack it first.");

    /// <summary>A structure reaches past the end of the file.</summary>
    public static readonly ErrorInfo Truncated = Make("KVM0103", "the kernel file is cut short",
        "A header, segment or payload reaches past the end of the file.",
        "Fetch or copy the kernel again and compare its size with the original.");

    /// <summary>A header field has a value that cannot be right.</summary>
    public static readonly ErrorInfo BadHeader = Make("KVM0104", "the kernel file has a wrong header field",
        "A field holds a value that its specification does not allow.",
        "Fetch or build the kernel again; readelf -hl FILE shows an ELF header.");

    /// <summary>The image is valid, but for another machine or mode.</summary>
    public static readonly ErrorInfo WrongMachine = Make("KVM0105", "the kernel is not for this machine",
        "The image is for another processor, another byte order, or is a relocatable object.",
        "Give a kernel built for x86 (CONFIG_X86_64 or CONFIG_X86_32).");

    /// <summary>Segments overlap one another or an area the loader needs.</summary>
    public static readonly ErrorInfo Overlap = Make("KVM0106", "parts of the kernel overlap",
        "Two segments of the image, or a segment and the boot data that the loader writes, claim the same memory.",
        "Link the kernel at 1 MiB or above, each segment at addresses of its own.");

    /// <summary>The image does not fit into guest memory.</summary>
    public static readonly ErrorInfo DoesNotFit = Make("KVM0107", "the kernel does not fit into the guest's memory",
        "A segment, or the memory the kernel says it needs to start (init_size), lies outside the guest's RAM.",
        "Give the guest more memory: --memory 256M");

    /// <summary>The image offers no entry that was asked for or that we know.</summary>
    public static readonly ErrorInfo NoEntry = Make("KVM0108", "the kernel has no usable entry point",
        "The entry point lies in no loaded segment, or the boot protocol asked for is not offered by the image.",
        "Leave the choice of protocol to the program, or build the kernel with CONFIG_PVH.");

    /// <summary>The payload's compression is not supported.</summary>
    public static readonly ErrorInfo UnsupportedCompression = Make("KVM0109", "the kernel's compression is not supported",
        "The payload of a bzImage can be gzip, LZ4, zstd or xz, or an ELF file; this one is something else.",
        "Build the kernel with CONFIG_KERNEL_GZIP, _LZ4, _ZSTD or _XZ, or give its vmlinux.");

    /// <summary>The payload does not unpack.</summary>
    public static readonly ErrorInfo CorruptPayload = Make("KVM0110", "the kernel's payload is damaged",
        "The decompressor found a wrong checksum, a wrong code or an early end.",
        "Fetch or copy the kernel again.");

    /// <summary>The payload unpacks to more than the header announces.</summary>
    public static readonly ErrorInfo PayloadTooLarge = Make("KVM0111", "the kernel's payload unpacks to too much",
        "The unpacked kernel is larger than its header says (init_size), than guest memory, or than any kernel is.",
        "Do not trust this file; fetch the kernel again, or give the guest more memory.");

    /// <summary>The system lacks a decompression library.</summary>
    public static readonly ErrorInfo MissingLibrary = Make("KVM0112", "a decompression library is missing",
        "LZ4, zstd and xz payloads are unpacked by the system's liblz4.so.1, libzstd.so.1 and liblzma.so.5.",
        "Install it: apt install liblz4-1 libzstd1 liblzma5") with
    { ExitCode = ExitCode.HostCannot };

    /// <summary>The initial RAM disk does not fit.</summary>
    public static readonly ErrorInfo InitrdDoesNotFit = Make("KVM0113", "the initrd does not fit into the guest's memory",
        "Between the kernel and the highest address that the kernel allows for an initrd there is not enough RAM.",
        "Give the guest more memory, at least the kernel and the initrd together, or a smaller initrd.");

    /// <summary>The command line is longer than the kernel takes.</summary>
    public static readonly ErrorInfo CommandLineTooLong = Make("KVM0114", "the kernel command line is too long",
        "The kernel says how many bytes it takes (cmdline_size, 2047 for most).",
        "Shorten --append or --cmdline.");

    /// <summary>The command line holds a NUL.</summary>
    public static readonly ErrorInfo CommandLineNul = Make("KVM0115", "the kernel command line holds a NUL character",
        "The kernel takes the command line as a string that ends at the first NUL.",
        "Remove the character from --append or --cmdline.");

    /// <summary>The guest has too little memory for any boot data.</summary>
    public static readonly ErrorInfo MemoryTooSmall = Make("KVM0116", "the guest has too little memory to boot anything",
        "The boot data alone needs the first megabyte.",
        "Give the guest more memory: --memory 256M");

    /// <summary>The boot protocol of the image is too old.</summary>
    public static readonly ErrorInfo ProtocolTooOld = Make("KVM0117", "the kernel's boot protocol is too old",
        "The image is a zImage, or its boot protocol is older than 2.00 (Linux 1.3.73).",
        "Give a bzImage of a newer kernel, or its vmlinux.");

    /// <summary>The initrd file has no bytes.</summary>
    public static readonly ErrorInfo InitrdEmpty = Make("KVM0118", "the initrd is empty",
        "A download or a build stopped before it wrote anything.",
        "Build the initrd again, or leave --initrd away.");

    /// <summary>All errors of this class in ascending order of id.</summary>
    public static IReadOnlyList<ErrorInfo> All =>
    [
        Unreadable, Empty, UnknownFormat, Truncated, BadHeader, WrongMachine, Overlap, DoesNotFit, NoEntry,
        UnsupportedCompression, CorruptPayload, PayloadTooLarge, MissingLibrary, InitrdDoesNotFit, CommandLineTooLong,
        CommandLineNul, MemoryTooSmall, ProtocolTooOld, InitrdEmpty,
    ];

    private static ErrorInfo Make(string id, string summary, string cause, string fix) =>
        new(id, summary, cause, fix) { ExitCode = ExitCode.BadInput };
}
