using Kvm.Devices.Memory;
using Kvm.Devices.Virtio.Balloon;
using Kvm.Interop;

namespace Kvm.Vmm;

/// <summary>Owns the host memory behind the guest's.</summary>
internal sealed class RamMapping : IMemoryReclaimer, IDisposable
{
    // Tables and boot code lie here, a few pages of it; kernels are loaded above. A guest of a few instructions is smaller by two large pages.
    private const int LowMemory = 4 << 20;

    // The first mappings are those of the ranges of RAM, in their order.
    private readonly List<HostMapping> _mappings = [];
    private readonly AddressRange[] _ram;

    /// <summary>Maps the reset ROM and memory for every range of RAM in <paramref name="layout"/>; pages are given by the host when first touched.</summary>
    /// <param name="layout">Where memory is.</param>
    /// <param name="config">How much, and of which kind.</param>
    /// <param name="source">Has memory of its own; or null.</param>
    /// <exception cref="VmmException">The host does not give that much address space.</exception>
    public RamMapping(MachineLayout layout, VmConfig config, Snapshots.IMemorySource? source = null)
    {
        _ram = layout.Ram.ToArray();
        var regions = new List<GuestRegion>();
        try
        {
            foreach (var range in layout.Ram)
            {
                var pages = config.HugePages ? HugePages.Transparent : HugePages.Default;
                var mapping = (config.SharedMemory ? null : source?.Map(range)) ?? (config.SharedMemory
                    ? HostMapping.Shared((nuint)range.Size, config.Name, pages)
                    : HostMapping.Anonymous((nuint)range.Size, pages));
                _mappings.Add(mapping);
                if (range.Start == 0)
                    mapping.KeepSmall(LowMemory);
                regions.Add(new GuestRegion(range.Start, range.Size, mapping.Address));
            }

            var rom = HostMapping.Anonymous((nuint)MachineLayout.ResetRom.Size);
            _mappings.Add(rom);
            Boot.ResetRom.Write(rom.Span);
            regions.Add(new GuestRegion(MachineLayout.ResetRom.Start, MachineLayout.ResetRom.Size, rom.Address, ReadOnly: true));
            Memory = new GuestMemory(regions);
        }
        catch (KvmException e)
        {
            Dispose();
            throw new VmmException(HostErrors.NoMemory, $"{config.MemoryBytes >> 20} MiB of guest memory: {e.Message}", e);
        }
    }

    /// <summary>The guest's view.</summary>
    public GuestMemory Memory { get; }

    /// <summary>What brings the content of memory that is not there yet; null where all is.</summary>
    public Snapshots.Lazy.PagedMemory? Paged { get; set; }

    /// <summary>Where in this process a part of RAM begins.</summary>
    /// <exception cref="VmmException">It is no part of one range.</exception>
    public nint HostAddressOf(ulong address, ulong length)
    {
        for (int i = 0; i < _ram.Length; i++)
        {
            if (_ram[i].Contains(new AddressRange(address, length)))
                return _mappings[i].Address + (nint)(address - _ram[i].Start);
        }

        throw new VmmException(Snapshots.RestoreErrors.Lacking, $"lacking: memory from {address:x} to {address + length:x}");
    }

    /// <inheritdoc/>
    public bool Discard(ulong address, ulong length)
    {
        // What was brought once would be brought again.
        if (Paged is { IsComplete: false })
            return false;
        for (int i = 0; i < _ram.Length; i++)
        {
            if (!_ram[i].Contains(new AddressRange(address, length)))
                continue;
            bool taken = _mappings[i].Discard((nuint)(address - _ram[i].Start), (nuint)length) == 0;
            Memory.NotifyWritten(address, length);
            return taken;
        }

        return false;
    }

    /// <summary>Bytes of guest memory that the host has really given.</summary>
    public long ResidentBytes()
    {
        long sum = 0;
        foreach (var mapping in _mappings)
            sum += mapping.ResidentBytes();
        return sum;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var mapping in _mappings)
            mapping.Dispose();
    }
}
