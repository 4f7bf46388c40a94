using Kvm.Interop.Compression;

namespace Kvm.Vmm.Boot;

/// <summary>What kind of file a kernel is.</summary>
public enum KernelFormat
{
    /// <summary>A Linux bzImage (vmlinuz).</summary>
    BzImage,

    /// <summary>A 64-bit ELF executable (vmlinux).</summary>
    Elf64,

    /// <summary>A 32-bit ELF executable.</summary>
    Elf32,

    /// <summary>A flat image whose Multiboot header says where it is loaded.</summary>
    Multiboot,
}

/// <summary>What to boot.</summary>
public sealed record BootRequest
{
    /// <summary>The kernel; the caller disposes it.</summary>
    public required ImageSource Kernel { get; init; }

    /// <summary>The initial RAM disk, or null; the caller disposes it.</summary>
    public ImageSource? Initrd { get; init; }

    /// <summary>The command line, handed over as UTF-8.</summary>
    public string CommandLine { get; init; } = "";

    /// <summary>Forces a boot protocol where the image offers several.</summary>
    public BootProtocol Protocol { get; init; } = BootProtocol.Auto;

    /// <summary>Guest-physical address of the ACPI RSDP, or 0 if the machine has no ACPI tables.</summary>
    public ulong RsdpAddress { get; init; }

    /// <summary>True if guest memory has never been written: areas that must be zero are then left untouched.</summary>
    public bool MemoryIsZero { get; init; }
}

/// <summary>A kernel in guest memory, ready to be entered.</summary>
public sealed record LoadedKernel
{
    /// <summary>What the file was.</summary>
    public required KernelFormat Format { get; init; }

    /// <summary>How it was packed; <see cref="CompressionFormat.Unknown"/> if it was not, or unpacks itself.</summary>
    public CompressionFormat Compression { get; init; }

    /// <summary>How it is entered.</summary>
    public EntryMode EntryMode => State.Mode;

    /// <summary>Guest-physical address of its first instruction.</summary>
    public ulong EntryPoint => State.Rip;

    /// <summary>Guest-physical address of the zero page, start_info or Multiboot information.</summary>
    public ulong BootParameters => EntryMode is EntryMode.Linux64 or EntryMode.Linux32 ? MachineLayout.ZeroPage : MachineLayout.StartInfo;

    /// <summary>Lowest to highest address that the kernel takes before it knows the memory map.</summary>
    public required AddressRange Extent { get; init; }

    /// <summary>Where the initrd is, or null.</summary>
    public AddressRange? Initrd { get; init; }

    /// <summary>The version text of a bzImage, or null.</summary>
    public string? KernelVersion { get; init; }

    /// <summary>True if the image shows that it is Linux.</summary>
    public required bool IsLinux { get; init; }

    /// <summary>The registers of vCPU 0.</summary>
    public required BootState State { get; init; }
}
