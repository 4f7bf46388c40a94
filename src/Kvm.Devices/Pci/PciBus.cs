using Kvm.Devices.Bus;
using Kvm.Devices.Memory;

namespace Kvm.Devices.Pci;

/// <summary>
/// Bus 0: up to 256 functions by device and function number, their configuration spaces, and their base addresses on the
/// machine's two buses. Safe from any thread: configuration accesses are serialised.
/// </summary>
public sealed class PciBus
{
    /// <summary>Functions on a bus: 32 devices of 8.</summary>
    public const int FunctionCount = 256;

    private readonly Lock _lock = new();
    private readonly IoBus _ports;
    private readonly IoBus _memory;
    private readonly GuestMemory? _ram;
    private readonly PciFunction?[] _functions = new PciFunction?[FunctionCount];
    private readonly PciBarRange?[] _mapped = new PciBarRange?[FunctionCount * PciConfigSpace.BarCount];
    private long _refused;

    /// <summary>Makes an empty bus.</summary>
    /// <param name="ports">Where I/O base addresses are mapped.</param>
    /// <param name="memory">Where memory base addresses are mapped.</param>
    /// <param name="ram">
    /// The machine's memory, RAM and ROM: no base address is mapped over it, since accesses there never reach a bus and a doorbell there would
    /// hang at an address that is not the device's. Null where there is none.
    /// </param>
    public PciBus(IoBus ports, IoBus memory, GuestMemory? ram = null)
    {
        ArgumentNullException.ThrowIfNull(ports);
        ArgumentNullException.ThrowIfNull(memory);
        _ports = ports;
        _memory = memory;
        _ram = ram;
    }

    /// <summary>Base addresses that the guest pointed at memory, at another device or past the end of the address space, which were not mapped.</summary>
    public long RefusedMappings => Interlocked.Read(ref _refused);

    /// <summary>Puts a function at a device and function number.</summary>
    /// <param name="slot">Device × 8 + function, 0 to 255. A device's function 0 must exist for guests to look at its others.</param>
    /// <param name="function">The function, not yet on a bus.</param>
    /// <exception cref="ArgumentException">The place is taken, or the function is on a bus already.</exception>
    public void Add(int slot, PciFunction function)
    {
        ArgumentNullException.ThrowIfNull(function);
        ArgumentOutOfRangeException.ThrowIfNegative(slot);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(slot, FunctionCount);
        lock (_lock)
        {
            if (_functions[slot] is not null || function.Bus is not null)
                throw new ArgumentException($"slot {slot:x2} is taken or {function.StateName} is on a bus already", nameof(slot));
            _functions[slot] = function;
            function.Bus = this;
            Remap(slot, function);
        }
    }

    /// <summary>Takes the function at a slot away, with its mappings; false if there is none.</summary>
    public bool Remove(int slot)
    {
        lock (_lock)
        {
            if (slot is < 0 or >= FunctionCount || _functions[slot] is not { } function)
                return false;
            for (int bar = 0; bar < PciConfigSpace.BarCount; bar++)
                Unmap(slot, bar, function);
            _functions[slot] = null;
            function.Bus = null;
            return true;
        }
    }

    /// <summary>The guest reads configuration registers: ones where there is no function or no register.</summary>
    /// <param name="slot">Device × 8 + function.</param>
    /// <param name="offset">The first register.</param>
    /// <param name="data">1 to 8 bytes.</param>
    public void ReadConfig(int slot, int offset, Span<byte> data)
    {
        data.Fill(0xff);
        lock (_lock)
        {
            if (Find(slot, offset) is { } function)
                function.ReadConfig(offset, data[..Math.Min(data.Length, function.Config.Size - offset)]);
        }
    }

    /// <summary>The guest writes configuration registers; lost where there is no function or no register.</summary>
    /// <param name="slot">Device × 8 + function.</param>
    /// <param name="offset">The first register.</param>
    /// <param name="data">1 to 8 bytes.</param>
    public void WriteConfig(int slot, int offset, ReadOnlySpan<byte> data)
    {
        lock (_lock)
        {
            if (Find(slot, offset) is not { } function)
                return;
            function.WriteConfig(offset, data[..Math.Min(data.Length, function.Config.Size - offset)]);
            if (offset < PciConfigSpace.FirstBar + 4 * PciConfigSpace.BarCount && offset + data.Length > PciConfigSpace.Command)
                Remap(slot, function);
        }
    }

    /// <summary>
    /// Gives every base address register an address and every function with a pin its interrupt number, and switches decoding on: what
    /// firmware does on a PC. Before the guest runs.
    /// </summary>
    /// <param name="resources">What may be given away.</param>
    /// <exception cref="InvalidOperationException">A window is too small for all functions.</exception>
    public void AssignResources(PciResources resources)
    {
        ArgumentNullException.ThrowIfNull(resources);
        lock (_lock)
        {
            resources.Assign(_functions);
            for (int slot = 0; slot < FunctionCount; slot++)
            {
                if (_functions[slot] is { } function)
                    Remap(slot, function);
            }
        }
    }

    internal void Restore(PciFunction function, ReadOnlySpan<byte> record)
    {
        lock (_lock)
        {
            function.Config.Apply(record);
            int slot = Array.IndexOf(_functions, function);
            if (slot >= 0)
                Remap(slot, function);
        }
    }

    private PciFunction? Find(int slot, int offset) =>
        slot is >= 0 and < FunctionCount && _functions[slot] is { } function && offset >= 0 && offset < function.Config.Size ? function : null;

    private void Remap(int slot, PciFunction function)
    {
        for (int bar = 0; bar < PciConfigSpace.BarCount; bar++)
        {
            PciBarRange? wanted = function.Config.TryGetBar(bar, out var range) ? range : null;
            if (wanted == _mapped[slot * PciConfigSpace.BarCount + bar])
                continue;
            Unmap(slot, bar, function);
            if (wanted is not { } place || function.BarDevice(bar) is not { } device)
                continue;
            if (IsOverRam(place) || !BusOf(place.Kind).TryAdd(place.Address, place.Size, device))
            {
                _refused++;
                continue;
            }

            _mapped[slot * PciConfigSpace.BarCount + bar] = place;
            function.OnBarMapped(bar, place.Address);
        }
    }

    private void Unmap(int slot, int bar, PciFunction function)
    {
        ref var mapped = ref _mapped[slot * PciConfigSpace.BarCount + bar];
        if (mapped is not { } place)
            return;
        BusOf(place.Kind).Remove(place.Address);
        mapped = null;
        function.OnBarMapped(bar, null);
    }

    private bool IsOverRam(PciBarRange place) => place.Kind != PciBarKind.Io && _ram is not null && _ram.Overlaps(place.Address, place.Size);

    private IoBus BusOf(PciBarKind kind) => kind == PciBarKind.Io ? _ports : _memory;
}
