using System.Text;
using Kvm.Devices.Memory;

namespace Kvm.Vmm.Boot;

/// <summary>
/// Puts a kernel, its initrd and its boot parameters into guest memory and says in which state vCPU 0 enters it. The
/// kernel's format is told by its content. Files are not trusted; what is wrong with one is a <see cref="LoadException"/>.
/// </summary>
public static class KernelLoader
{
    /// <summary>Below this much RAM there is no room for boot data and firmware tables.</summary>
    private const ulong LeastMemory = MachineLayout.HighMemory;

    /// <summary>Loads. ACPI and MP tables are written by others; their address is in the request.</summary>
    /// <param name="request">What to boot.</param>
    /// <param name="memory">Guest memory, laid out as <paramref name="layout"/> says. On failure its contents are undefined.</param>
    /// <param name="layout">The machine's layout.</param>
    /// <exception cref="LoadException">A file is wrong, or something does not fit.</exception>
    public static LoadedKernel Load(BootRequest request, GuestMemory memory, MachineLayout layout)
    {
        ArgumentNullException.ThrowIfNull(request);
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(layout);
        if (layout.LowRamEnd < LeastMemory)
            throw LoadException.NotOfFile(LoadErrors.MemoryTooSmall, "guest memory", $"{layout.MemorySize >> 10} KiB are less than 1 MiB");

        var ram = new GuestRam(memory, layout);
        var image = KernelImage.Parse(request.Kernel);
        var kernel = image.Format == KernelFormat.BzImage ? BzImagePlacer.Place(image, request, ram) : ElfPlacer.Place(image, request, ram);
        var initrd = InitrdLoader.Load(request.Initrd, kernel, ram);
        WriteCommandLine(ram, request, kernel);
        var state = WriteBootData(ram, request, kernel, initrd);
        return new LoadedKernel
        {
            Format = image.Format,
            Compression = kernel.Compression,
            Extent = kernel.Extent,
            Initrd = initrd.Size == 0 ? null : initrd,
            KernelVersion = image.BzImage?.KernelVersion,
            IsLinux = kernel.IsLinux,
            State = state,
        };
    }

    private static void WriteCommandLine(GuestRam ram, BootRequest request, PlacedKernel kernel)
    {
        string text = request.CommandLine;
        // Multiboot kernels take the first word for their own name, as boot loaders have always passed it.
        if (kernel.Mode == EntryMode.Multiboot32)
            text = $"{Path.GetFileName(request.Kernel.Name)} {text}";
        if (text.Contains('\0', StringComparison.Ordinal))
            throw LoadException.NotOfFile(LoadErrors.CommandLineNul, "command line", $"character {text.IndexOf('\0', StringComparison.Ordinal)} is NUL");
        int length = Encoding.UTF8.GetByteCount(text);
        if ((uint)length > kernel.CommandLineMax)
            throw LoadException.NotOfFile(LoadErrors.CommandLineTooLong, "command line", $"{length} bytes are more than the {kernel.CommandLineMax} this kernel takes");
        var target = ram.Slice(MachineLayout.CommandLine, length + 1, "command line");
        Encoding.UTF8.GetBytes(text, target);
        target[length] = 0;
    }

    private static BootState WriteBootData(GuestRam ram, BootRequest request, PlacedKernel kernel, AddressRange initrd)
    {
        InitialTables.WriteBiosData(ram);
        BootState state;
        switch (kernel.Mode)
        {
            case EntryMode.Linux64:
                ZeroPage.Write(ram, kernel, initrd, request.RsdpAddress);
                InitialTables.WritePageTables(ram);
                state = BootState.Linux64(kernel.Entry);
                break;
            case EntryMode.Linux32:
                ZeroPage.Write(ram, kernel, initrd, request.RsdpAddress);
                state = BootState.Linux32(kernel.Entry);
                break;
            case EntryMode.Pvh32:
                StartInfo.Write(ram, initrd, request.RsdpAddress);
                state = BootState.Pvh32(kernel.Entry);
                break;
            default:
                MultibootInfo.Write(ram, initrd);
                state = BootState.Multiboot32(kernel.Entry);
                break;
        }

        InitialTables.WriteGdt(ram, state);
        return state;
    }
}
