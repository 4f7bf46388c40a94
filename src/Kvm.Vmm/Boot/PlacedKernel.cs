using Kvm.Interop.Compression;

namespace Kvm.Vmm.Boot;

/// <summary>A kernel whose code and data are in guest memory; boot data and initrd are still missing.</summary>
internal sealed record PlacedKernel
{
    /// <summary>Longest command line of Linux on x86 (COMMAND_LINE_SIZE less the NUL), where no header tells.</summary>
    internal const uint LinuxCommandLineMax = 2047;

    /// <summary>How it is entered.</summary>
    public required EntryMode Mode { get; init; }

    /// <summary>Physical address of the entry.</summary>
    public required ulong Entry { get; init; }

    /// <summary>What the kernel takes before it knows the memory map.</summary>
    public required AddressRange Extent { get; init; }

    /// <summary>Highest address of an initrd's last byte.</summary>
    public required ulong InitrdMax { get; init; }

    /// <summary>Longest command line in bytes.</summary>
    public required uint CommandLineMax { get; init; }

    /// <summary>True for Linux.</summary>
    public required bool IsLinux { get; init; }

    /// <summary>The setup header of a bzImage, else null.</summary>
    public BzImageHeader? Setup { get; init; }

    /// <summary>How it was packed.</summary>
    public CompressionFormat Compression { get; init; }
}
