namespace Kvm.Vmm.Boot;

/// <summary>Places the initial RAM disk: for Linux and PVH as high as the kernel allows, for Multiboot right above the kernel.</summary>
internal static class InitrdLoader
{
    private const ulong Page = 4096;

    /// <summary>Reads the file into guest memory; an empty range if there is none.</summary>
    /// <exception cref="LoadException">The file is empty, cannot be read, or does not fit.</exception>
    internal static AddressRange Load(ImageSource? initrd, PlacedKernel kernel, GuestRam ram)
    {
        if (initrd is null)
            return default;
        if (initrd.Length == 0)
            throw LoadException.Whole(LoadErrors.InitrdEmpty, initrd, "initrd", "it has no bytes");

        // Not a byte above what the kernel can reach; inclusive maximum, so the end is one more.
        ulong top = Math.Min(ram.Layout.LowRamEnd, kernel.InitrdMax + 1) & ~(Page - 1);
        ulong bottom = Math.Max((kernel.Extent.End + (Page - 1)) & ~(Page - 1), MachineLayout.HighMemory);
        if (bottom > top || initrd.Length > top - bottom)
        {
            ulong room = bottom > top ? 0 : top - bottom;
            throw LoadException.Whole(LoadErrors.InitrdDoesNotFit, initrd, "initrd",
                $"{initrd.Length} bytes; between the kernel's end at 0x{bottom:x} and 0x{top:x} there are {room}");
        }

        // Multiboot kernels map little at first and expect modules close by.
        ulong at = kernel.Mode == EntryMode.Multiboot32 ? bottom : (top - initrd.Length) & ~(Page - 1);
        ram.ReadFile(initrd, 0, at, initrd.Length, "initrd");
        return new(at, initrd.Length);
    }
}
