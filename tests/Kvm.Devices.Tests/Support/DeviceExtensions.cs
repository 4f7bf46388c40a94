using System.Buffers.Binary;
using Kvm.Devices.Bus;
using Kvm.Devices.Snapshot;

namespace Kvm.Devices.Tests.Support;

/// <summary>The guest's IN and OUT in the widths it has, and save and restore in one call.</summary>
internal static class DeviceExtensions
{
    public static byte In8(this IBusDevice device, ulong offset)
    {
        Span<byte> data = stackalloc byte[1];
        device.Read(offset, data);
        return data[0];
    }

    public static ushort In16(this IBusDevice device, ulong offset)
    {
        Span<byte> data = stackalloc byte[2];
        device.Read(offset, data);
        return BinaryPrimitives.ReadUInt16LittleEndian(data);
    }

    public static uint In32(this IBusDevice device, ulong offset)
    {
        Span<byte> data = stackalloc byte[4];
        device.Read(offset, data);
        return BinaryPrimitives.ReadUInt32LittleEndian(data);
    }

    public static void Out8(this IBusDevice device, ulong offset, int value) => device.Write(offset, [(byte)value]);

    public static void Out16(this IBusDevice device, ulong offset, int value)
    {
        Span<byte> data = stackalloc byte[2];
        BinaryPrimitives.WriteUInt16LittleEndian(data, (ushort)value);
        device.Write(offset, data);
    }

    public static void Out32(this IBusDevice device, ulong offset, uint value)
    {
        Span<byte> data = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(data, value);
        device.Write(offset, data);
    }

    public static byte[] SaveState(this IStateful device)
    {
        var writer = new StateWriter();
        device.Save(writer);
        return writer.Written.ToArray();
    }

    public static bool RestoreState(this IStateful device, ReadOnlySpan<byte> record, ushort? version = null)
    {
        var reader = new StateReader(record);
        return device.TryRestore(ref reader, version ?? device.StateVersion);
    }
}

/// <summary>The same through a bus.</summary>
internal static class BusExtensions
{
    public static byte In8(this IoBus bus, ulong address)
    {
        Span<byte> data = stackalloc byte[1];
        bus.Read(address, data);
        return data[0];
    }

    public static uint In32(this IoBus bus, ulong address)
    {
        Span<byte> data = stackalloc byte[4];
        bus.Read(address, data);
        return BinaryPrimitives.ReadUInt32LittleEndian(data);
    }
}
