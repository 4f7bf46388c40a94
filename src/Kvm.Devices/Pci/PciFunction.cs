using Kvm.Devices.Bus;
using Kvm.Devices.Snapshot;

namespace Kvm.Devices.Pci;

/// <summary>
/// A function on a <see cref="PciBus"/>. A device derives from it, declares its base address registers in the configuration space and
/// gives each a bus device; the bus maps them where the guest asks.
/// </summary>
public abstract class PciFunction : IStateful
{
    internal PciBus? Bus;

    /// <summary>Makes a function.</summary>
    /// <param name="name">The state's name.</param>
    /// <param name="config">Its configuration space.</param>
    protected PciFunction(string name, PciConfigSpace config)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(config);
        StateName = name;
        Config = config;
    }

    /// <inheritdoc/>
    public string StateName { get; }

    /// <inheritdoc/>
    public virtual ushort StateVersion => 1;

    /// <summary>The configuration space. After the function is on a bus, use it in the methods below only: they are called under the bus's lock.</summary>
    protected internal PciConfigSpace Config { get; }

    /// <summary>The guest reads configuration registers; bytes are already within the space.</summary>
    protected internal virtual void ReadConfig(int offset, Span<byte> data) => Config.Read(offset, data);

    /// <summary>The guest writes configuration registers; the bus maps base addresses anew afterwards.</summary>
    protected internal virtual void WriteConfig(int offset, ReadOnlySpan<byte> data)
    {
        Config.Write(offset, data);
        OnConfigChanged();
    }

    /// <summary>Registers were written or restored: what depends on their bits is brought up to date.</summary>
    protected virtual void OnConfigChanged()
    {
    }

    /// <summary>The device behind a base address register, or null if the function has none there.</summary>
    protected internal virtual IBusDevice? BarDevice(int index) => null;

    /// <summary>A base address register's device was mapped, or (null) is mapped no more. Under the bus's lock; must not use the bus.</summary>
    protected internal virtual void OnBarMapped(int index, ulong? address)
    {
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        Config.Save(writer);
        SaveFunction(writer);
    }

    /// <inheritdoc/>
    /// <remarks>The base address registers are mapped where the record says before this returns.</remarks>
    public bool TryRestore(ref StateReader reader, ushort version)
    {
        var record = reader.Bytes(Config.Size);
        if (version == 0 || version > StateVersion || reader.Failed || !Config.Accepts(record) || !TryRestoreFunction(ref reader, version))
            return false;
        if (Bus is { } bus)
            bus.Restore(this, record);
        else
            Config.Apply(record);
        OnConfigChanged();
        return true;
    }

    /// <summary>Writes what the function has to keep besides its configuration space.</summary>
    protected virtual void SaveFunction(StateWriter writer)
    {
    }

    /// <summary>
    /// Reads what <see cref="SaveFunction"/> wrote, to the record's end, and applies it if it is good. The configuration space is applied afterwards.
    /// </summary>
    protected virtual bool TryRestoreFunction(ref StateReader reader, ushort version) => reader.Complete;
}
