using Kvm.Devices.Bus;
using Kvm.Devices.Pci;
using Kvm.Devices.Platform;
using Kvm.Devices.Snapshot;

namespace Kvm.Devices.Tests.Support;

/// <summary>
/// A watchdog on a bus of its own, seen through one window: offsets 0 to 15 are its registers, from 16 on its configuration registers from 0x60 on. So hostile
/// accesses reach both.
/// </summary>
internal sealed class WatchdogBoard : IBusDevice, IStateful, IDisposable
{
    private const int Slot = 8;

    private readonly PciBus _bus = new(new IoBus(), new IoBus());

    public WatchdogBoard(TimeProvider time, Action expired)
    {
        Watchdog = new Watchdog6300Esb("watchdog", time, expired);
        _bus.Add(Slot, Watchdog);
    }

    public Watchdog6300Esb Watchdog { get; }

    public string StateName => Watchdog.StateName;

    public ushort StateVersion => Watchdog.StateVersion;

    public void Read(ulong offset, Span<byte> data)
    {
        if (Config(offset) is { } register)
            _bus.ReadConfig(Slot, register, data);
        else
            Watchdog.Read(offset, data);
    }

    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (Config(offset) is { } register)
            _bus.WriteConfig(Slot, register, data);
        else
            Watchdog.Write(offset, data);
    }

    public void WriteConfig(int register, params byte[] data) => _bus.WriteConfig(Slot, register, data);

    public uint ReadConfig(int register)
    {
        Span<byte> data = stackalloc byte[4];
        _bus.ReadConfig(Slot, register, data);
        return BitConverter.ToUInt32(data);
    }

    public void Save(StateWriter writer) => Watchdog.Save(writer);

    public bool TryRestore(ref StateReader reader, ushort version) => Watchdog.TryRestore(ref reader, version);

    public void Dispose() => Watchdog.Dispose();

    private static int? Config(ulong offset) => offset is >= 16 and < 40 ? 0x60 + (int)offset - 16 : null;
}
