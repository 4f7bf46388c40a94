namespace Kvm.Devices.Bus;

/// <summary>
/// An address space of devices: a machine has two, ports (PIO, 64 KiB) and memory-mapped registers (MMIO).
/// Reads of addresses where nothing lives give all-ones, writes there vanish; both are counted.
/// </summary>
/// <remarks>Reading and writing are lock-free; adding and removing devices copies the table and may run beside them.</remarks>
public sealed class IoBus
{
    private readonly Lock _changes = new();
    private Entry[] _entries = [];
    private long _unclaimed;

    private readonly record struct Entry(ulong Start, ulong Size, IBusDevice Device);

    /// <summary>Accesses at which no device lived, since the start.</summary>
    public long UnclaimedAccesses => Interlocked.Read(ref _unclaimed);

    /// <summary>Puts a device at <c>[start, start + size)</c>.</summary>
    /// <exception cref="ArgumentException">The range is empty, wraps, or overlaps a device already there.</exception>
    public void Add(ulong start, ulong size, IBusDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        if (IsEmptyOrWraps(start, size))
            throw new ArgumentException($"device range {start:x}+{size:x} is empty or wraps", nameof(size));
        if (Place(start, size, device) is { } e)
            throw new ArgumentException($"device range {start:x}+{size:x} overlaps {e.Device.GetType().Name} at {e.Start:x}", nameof(start));
    }

    /// <summary>
    /// Like <see cref="Add"/> for a range a guest chose (a PCI base address): false, with nothing changed, if the range is
    /// empty, wraps, or overlaps a device already there.
    /// </summary>
    public bool TryAdd(ulong start, ulong size, IBusDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        return !IsEmptyOrWraps(start, size) && Place(start, size, device) is null;
    }

    private static bool IsEmptyOrWraps(ulong start, ulong size) => size == 0 || size - 1 > ulong.MaxValue - start;

    /// <summary>Puts a device in, or gives the one that is in its way.</summary>
    private Entry? Place(ulong start, ulong size, IBusDevice device)
    {
        lock (_changes)
        {
            foreach (var e in _entries)
            {
                if (start <= e.Start + (e.Size - 1) && e.Start <= start + (size - 1))
                    return e;
            }

            Volatile.Write(ref _entries, [.. _entries.Append(new Entry(start, size, device)).OrderBy(e => e.Start)]);
            return null;
        }
    }

    /// <summary>Takes the device that starts at <paramref name="start"/> away; false if none does.</summary>
    public bool Remove(ulong start)
    {
        lock (_changes)
        {
            var rest = _entries.Where(e => e.Start != start).ToArray();
            bool found = rest.Length != _entries.Length;
            Volatile.Write(ref _entries, rest);
            return found;
        }
    }

    /// <summary>
    /// Performs a guest's read. An access that begins in a device and runs past its end is cut at the end; the rest reads as ones.
    /// </summary>
    public void Read(ulong address, Span<byte> data)
    {
        data.Fill(0xff);
        if (TryFind(address, out var e))
            e.Device.Read(address - e.Start, data[..Within(e, address, data.Length)]);
        else
            Interlocked.Increment(ref _unclaimed);
    }

    /// <summary>Performs a guest's write, cut at the device's end like <see cref="Read"/>.</summary>
    public void Write(ulong address, ReadOnlySpan<byte> data)
    {
        if (TryFind(address, out var e))
            e.Device.Write(address - e.Start, data[..Within(e, address, data.Length)]);
        else
            Interlocked.Increment(ref _unclaimed);
    }

    private static int Within(in Entry e, ulong address, int length) =>
        (int)Math.Min((ulong)length, e.Size - (address - e.Start));

    private bool TryFind(ulong address, out Entry entry)
    {
        var entries = Volatile.Read(ref _entries);
        int low = 0, high = entries.Length - 1;
        while (low <= high)
        {
            int middle = (low + high) >>> 1;
            ref readonly var e = ref entries[middle];
            if (address < e.Start)
                high = middle - 1;
            else if (address - e.Start >= e.Size)
                low = middle + 1;
            else
            {
                entry = e;
                return true;
            }
        }

        entry = default;
        return false;
    }
}
