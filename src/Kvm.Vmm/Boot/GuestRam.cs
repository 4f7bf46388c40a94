using Kvm.Devices.Memory;

namespace Kvm.Vmm.Boot;

/// <summary>Guest RAM as loaders write it: checked against the layout, large pieces in one go, files straight into it.</summary>
internal sealed class GuestRam(GuestMemory memory, MachineLayout layout)
{
    /// <summary>A span cannot be longer than 2 GiB; larger pieces are cut.</summary>
    private const ulong Chunk = 1UL << 30;

    /// <summary>The memory.</summary>
    public GuestMemory Memory => memory;

    /// <summary>The layout.</summary>
    public MachineLayout Layout => layout;

    /// <summary>Refuses a piece of kernel that is not in RAM, or where boot data or firmware tables go.</summary>
    /// <param name="file">The file it is of.</param>
    /// <param name="what">The name of the piece.</param>
    /// <param name="range">Where it goes.</param>
    /// <param name="isLinux">Whether it is entered by a protocol of Linux, with more boot data than others.</param>
    internal void CheckRoom(ImageSource file, string what, AddressRange range, bool isLinux = true)
    {
        bool inRam = false;
        foreach (var ram in layout.Ram)
            inRam |= ram.Contains(range);
        if (!inRam)
            throw LoadException.Whole(LoadErrors.DoesNotFit, file, what, $"{range} is not inside the guest's {layout.MemorySize >> 20} MiB of RAM");
        foreach (var data in (ReadOnlySpan<AddressRange>)[MachineLayout.StartData, isLinux ? MachineLayout.LinuxData : default, MachineLayout.CommandLineData])
        {
            if (range.Overlaps(data))
                throw LoadException.Whole(LoadErrors.Overlap, file, what, $"{range} overlaps the boot data in {data}");
        }

        if (range.Overlaps(MachineLayout.Firmware))
            throw LoadException.Whole(LoadErrors.Overlap, file, what, $"{range} overlaps the firmware tables in {MachineLayout.Firmware}");
    }

    /// <summary>The bytes at an address, up to 2 GiB, in place.</summary>
    internal Span<byte> Slice(ulong address, int length, string what) =>
        memory.TrySlice(address, length, out var bytes) ? bytes
            : throw LoadException.NotOfFile(LoadErrors.DoesNotFit, what, $"0x{address:x}+0x{length:x} is not in guest memory");

    /// <summary>Reads a part of a file straight into guest memory.</summary>
    internal void ReadFile(ImageSource file, ulong offset, ulong address, ulong length, string what)
    {
        while (length > 0)
        {
            int n = (int)Math.Min(length, Chunk);
            file.Read(offset, Slice(address, n, what), what);
            (offset, address, length) = (offset + (ulong)n, address + (ulong)n, length - (ulong)n);
        }
    }

    /// <summary>Clears a range.</summary>
    internal void Clear(AddressRange range, string what)
    {
        for (ulong at = range.Start; at < range.End;)
        {
            int n = (int)Math.Min(range.End - at, Chunk);
            Slice(at, n, what).Clear();
            at += (ulong)n;
        }
    }
}
