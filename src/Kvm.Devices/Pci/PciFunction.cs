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
    protected internal virtual void WriteConfig(int offset, ReadOnlySpan<byte> data) => Config.Write(offset, data);

    /// <summary>The device behind a base address register, or null if the function has none there.</summary>
    protected internal virtual IBusDevice? BarDevice(int index) => null;

    /// <inheritdoc/>
    public virtual void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        Config.Save(writer);
    }

    /// <inheritdoc/>
    /// <remarks>The base address registers are mapped where the record says before this returns.</remarks>
    public virtual bool TryRestore(ref StateReader reader, ushort version)
    {
        var record = reader.Bytes(Config.Size);
        if (version != 1 || !reader.Complete || !Config.Accepts(record))
            return false;
        if (Bus is { } bus)
            bus.Restore(this, record);
        else
            Config.Apply(record);
        return true;
    }
}
